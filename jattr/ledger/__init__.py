"""The second framework: a public, tamper-evident log of a model's uses.

Merkle trees of RFC 6962, signed notes, checkpoints, tiles, witnesses and receipts after C2SP
(https://c2sp.org). Nothing here imports jax.
"""
