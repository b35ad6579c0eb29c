"""Data that the package brings along, generated, with gold attention."""
