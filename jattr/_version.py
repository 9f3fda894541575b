"""The version of jattr."""

__version__ = "0.2.0"
