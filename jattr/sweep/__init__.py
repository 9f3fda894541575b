"""Sweeps: many searches of known pictures, every result kept, nothing done twice; tables and figures from the store."""
