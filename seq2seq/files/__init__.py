"""Files: written whole or not at all, text opened in one way, sealed with a digest."""
