"""The real processes, killed, cut, filled, refused and put back in time: what must be true afterwards."""
