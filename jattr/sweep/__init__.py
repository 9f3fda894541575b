"""Sweeps: many searches of known images, every result kept, nothing done twice; tables and
figures from the store.
"""
