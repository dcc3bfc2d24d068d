"""Costs of statements and processes, and a simulation of large deployments with these costs."""
