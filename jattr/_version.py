"""The version of jattr."""

__version__ = "0.1.0"
