"""Which method searches and which polishes: what the choice needs to know of a latent's size and a picture's cost."""

GRADIENTS = "lbfgs"
LM = "levenberg-marquardt"
LM_LOGIT = "levenberg-marquardt-logit"
DENSE_POLISH = 512  # the largest latent that is polished with its whole Jacobian
DEAR_JACOBIAN = 5e10  # floating-point operations: above this searches begin with gradients alone


def dense_jacobian(latent_size: int, forward_cost: float) -> bool:
    """Return whether every step of a search may take the whole Jacobian."""
    return latent_size <= DENSE_POLISH and latent_size * forward_cost <= DEAR_JACOBIAN


def polish_method(size: int) -> str:
    """Return the Gauss-Newton method for latents of this size."""
    return LM if size <= DENSE_POLISH else "gauss-newton-cg"
