"""The parts of the soak: the traffic, what it meets, what is watched, and the verdict."""
