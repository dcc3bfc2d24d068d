"""Adapters for external systems and libraries. Each system or library has one module or package here."""
