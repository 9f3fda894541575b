"""Solvers: they know latents and residuals, and no images."""
