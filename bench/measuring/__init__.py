"""The parts that all measurements share: figures and their table, our processes, load, and alternatives."""
