"""Sweeps: many searches of known images, every result kept, nothing done twice.

Tables and figures from the store.
"""
