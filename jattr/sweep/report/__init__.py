"""What a store of a sweep says: tables, metrics, figures, a page, comparisons.

Pure functions of the store.
"""
