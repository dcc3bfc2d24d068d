"""Adapters: the code that calls outside systems and libraries. Each of them has one module or package here."""
