"""Files of a run, opened as plain data: nothing in them runs code, resolves a reference or decides where to write."""
