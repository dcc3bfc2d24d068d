"""Engines generate images. Each engine is a module or a package; `interface.py` defines the interface of an engine."""
