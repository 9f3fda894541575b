"""Observations: what an image says about the latent that made it."""
