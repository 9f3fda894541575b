"""Verification: a saved result is computed again from its files."""
