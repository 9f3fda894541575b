"""Methods by a text: an optax optimiser with its rate and schedule, as `adam:0.05:cosine`."""

from collections.abc import Callable
from typing import Any

import optax

from jattr.errors import InputError, suggest
from jattr.solvers.quasi_newton import METHODS, Method, gradient_method

STEPS, SEGMENT = 500, 50
LAST = 0.01  # of the rate, at the end of an exponential schedule
OPTIMISERS: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "adam": optax.adam,
    "nadam": optax.nadam,
    "adabelief": optax.adabelief,
    "rmsprop": optax.rmsprop,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "sgd": optax.sgd,
}
SCHEDULES: dict[str, Callable[[float, int], Any]] = {  # from rate and number of steps
    "constant": lambda rate, steps: rate,
    "cosine": lambda rate, steps: optax.warmup_cosine_decay_schedule(
        0.0, rate, max(1, steps // 20), steps
    ),
    "exponential": lambda rate, steps: optax.exponential_decay(rate, steps, LAST),
}


def ensure_method(text: str) -> None:
    """Make `NAME:RATE[:SCHEDULE]` a method by this name; other texts are left to whoever looks them
    up.

    Raises:
      InputError: the optimiser or schedule does not exist, or the rate is not above 0.

    >>> ensure_method("adam:0.05:cosine")
    >>> METHODS.pop("adam:0.05:cosine").steps
    500
    """
    if text in METHODS or ":" not in text:
        return
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
    make, rates = OPTIMISERS[name], SCHEDULES[schedule]
    METHODS[text] = Method(
        lambda steps: gradient_method(make(rates(rate, steps))), STEPS, SEGMENT, lambda d: 2
    )
