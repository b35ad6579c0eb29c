"""Datasets: reading from files or the hub, tokenisation and batches."""
