"""Generated datasets with gold attention, which need no files."""
