"""The front door: command line, settings, the one-command demo, and embedded servers for it."""

__all__ = ["__version__"]

__version__ = "0.1.0"
