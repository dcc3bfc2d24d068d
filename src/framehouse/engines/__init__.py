"""The engines, which generate images. Each engine is a module or a package. `interface.py` defines their interface."""
