"""Engines generate images. Each engine is one module or package; `interface.py` defines what an engine is."""
