"""Readers of datasets: text files, tables, folders of images, Karpathy's JSON, the hub."""
