"""Building objects from config nodes, and checking a config before anything is built."""
