"""The rules of the service in plain Python: no I/O, no clock, no third-party imports."""
