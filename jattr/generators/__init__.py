"""Generators: architecture cards, networks, convolution forms, folders, digests."""
