"""The parts of the soak test: the traffic, a server outside of the deployment, the measurements and the checks."""
