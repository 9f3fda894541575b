"""Solvers, and methods by their names: they know latents and residuals, and no images."""

import optax

from jattr.solvers.base import Method
from jattr.solvers.first_order import adam_cosine, gradient_method, parse_method
from jattr.solvers.levenberg_marquardt import CG_STEPS, gauss_newton_cg, levenberg_marquardt
from jattr.solvers.quasi_newton import dense_curvature, limited_curvature, quasi_newton

__all__ = ["METHODS", "method_named"]

LOGIT_STEPS = 16  # of levenberg-marquardt-logit in the logit domain

METHODS: dict[str, Method] = {
    "adam-paper": Method(
        lambda n: gradient_method(optax.adam(0.1, b1=0.0, b2=0.99)), 500, 50, lambda d: 2
    ),
    "adam-cosine": Method(adam_cosine, 500, 50, lambda d: 2),
    "bfgs": Method(lambda n: quasi_newton(dense_curvature()), 200, 25, lambda d: 2),
    "lbfgs": Method(lambda n: quasi_newton(limited_curvature()), 100, 20, lambda d: 2),
    "levenberg-marquardt": Method(
        lambda n: levenberg_marquardt(),
        steps=40,
        segment=4,
        evaluations=lambda d: d + 1,
        polish=False,
        dense=True,
        stall=0.02,
    ),
    "levenberg-marquardt-logit": Method(
        lambda n: levenberg_marquardt(min(LOGIT_STEPS, n // 2)),
        steps=60,
        segment=4,
        evaluations=lambda d: d + 1,
        polish=False,
        dense=True,
        patience=LOGIT_STEPS + 4,
        stall=0.02,
    ),
    "gauss-newton-cg": Method(
        lambda n: gauss_newton_cg(), 40, 4, lambda d: 3 * CG_STEPS + 3, polish=False
    ),
}


def method_named(name: str) -> Method:
    """Return the method of this name: one of METHODS, or `NAME:RATE[:SCHEDULE]` of optax.

    Raises:
      InputError: the text has a colon and describes no method of optax.
      KeyError: a name without a colon that is not in METHODS.
    """
    if name not in METHODS and ":" in name:
        return parse_method(name)
    return METHODS[name]
