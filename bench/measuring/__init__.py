"""What all measurements share: figures and their table, our own processes, load, and other people's packages."""
