"""Datasets: from files or the hub, through tokenizers, to batches."""
