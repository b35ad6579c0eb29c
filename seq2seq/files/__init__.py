"""Files: atomic writing, text in UTF-8, and caches sealed with a digest."""
