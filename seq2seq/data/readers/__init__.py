"""Readers of datasets: text files, tables, folders of images, Karpathy's JSON and the Hugging Face hub."""
