"""Who paints. One module or folder per engine; base.py says what an engine is."""
