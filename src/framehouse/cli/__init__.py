"""The command line. Each command's module is loaded only when it is called, so that help is instant."""

from framehouse.cli.main import main

__all__ = ["main"]
