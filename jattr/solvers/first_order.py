"""First-order methods: any optax transformation, and those that a text names.

A text is an optax optimiser with its rate and schedule, as `adam:0.05:cosine`.
"""

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax

from jattr.errors import InputError, suggest
from jattr.solvers.base import Method, Problem, PyTree, Solver, Trial

Rate: TypeAlias = float | optax.Schedule

FIRST_ORDER_STEPS, SEGMENT = 500, 50
LAST_RATE_SHARE = 0.01  # of the rate, at the end of an exponential schedule
OPTIMISERS: dict[str, Callable[[Rate], optax.GradientTransformation]] = {
    "adam": optax.adam,
    "nadam": optax.nadam,
    "adabelief": optax.adabelief,
    "rmsprop": optax.rmsprop,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "sgd": optax.sgd,
}
SCHEDULES: dict[str, Callable[[float, int], Rate]] = {  # from rate and number of steps
    "constant": lambda rate, steps: rate,
    "cosine": lambda rate, steps: optax.warmup_cosine_decay_schedule(
        0.0, rate, max(1, steps // 20), steps
    ),
    "exponential": lambda rate, steps: optax.exponential_decay(rate, steps, LAST_RATE_SHARE),
}


def loss_and_gradient(problem: Problem, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the mean squared residual at z and its gradient [d]."""
    return jax.value_and_grad(lambda z: jnp.mean(jnp.square(problem.residual(z))))(z)


def gradient_method(transform: optax.GradientTransformation) -> Solver:
    """Return any optax transformation as a solver."""

    def init(z: jax.Array) -> PyTree:
        return z, transform.init(z)

    def step(state: PyTree, problem: Problem) -> tuple[PyTree, Trial]:
        z, inner = state
        loss, gradient = loss_and_gradient(problem, z)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats inside
            updates, inner = transform.update(gradient, inner, z)
        # the loss belongs to the point before the update
        return (optax.apply_updates(z, updates), inner), Trial(z, loss)

    return Solver(init, step)


def adam_cosine(steps: int) -> Solver:
    """Return Adam whose rate rises to 0.1 over the first twentieth and falls as a cosine."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, max(1, steps // 20), steps)
    return gradient_method(optax.adam(schedule, b1=0.9, b2=0.99))


@functools.lru_cache(maxsize=256)
def parse_method(text: str) -> Method:
    """Return the method that `NAME:RATE[:SCHEDULE]` describes.

    Raises:
      InputError: the optimiser or schedule does not exist, or the rate is not above 0.

    >>> parse_method("adam:0.05:cosine").steps
    500
    """
    name, rate_text, *rest = text.split(":")
    if name not in OPTIMISERS:
        raise InputError(
            f"optimiser {text!r} begins with {name!r}; {suggest(name, list(OPTIMISERS))}"
        )
    try:
        rate = float(rate_text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1e3:
        raise InputError(
            f"optimiser {text!r} has the rate {rate_text!r}; it is a number above 0, up to 1000"
        )
    schedule = rest[0] if rest else "constant"
    if len(rest) > 1 or schedule not in SCHEDULES:
        raise InputError(
            f"optimiser {text!r} has the schedule {':'.join(rest)!r};"
            f" {suggest(schedule, list(SCHEDULES))}"
        )
    transform, rates = OPTIMISERS[name], SCHEDULES[schedule]
    return Method(
        lambda steps: gradient_method(transform(rates(rate, steps))),
        FIRST_ORDER_STEPS,
        SEGMENT,
        lambda d: 2,
    )
