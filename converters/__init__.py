"""Readers and converters for weights files of other frameworks; no PyTorch needed."""
