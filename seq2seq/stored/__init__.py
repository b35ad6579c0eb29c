"""What a run or a stranger left on the disk, opened as data: nothing in it runs, resolves or decides where we write."""
