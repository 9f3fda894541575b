"""Attacks on attribution: images altered within a few bytes, so that their source is missed or a
model is blamed.
"""
