"""What is true: plain Python, no I/O, no clock, no third-party import."""
