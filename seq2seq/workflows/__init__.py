"""What the commands do, in the order they do it: a module a command."""
