"""Scores: log10 of the residual of a candidate's best reproduction; low is like its own.

A score of +inf means that every restart failed. It ranks above all others. NaN and -inf are refused
at this one door.
"""

from fractions import Fraction

import numpy as np

from jattr.errors import InputError

FAIR = 3  # restarts that every candidate has had before it may be given up; scores are taken then
LEAST_RESIDUAL = 1e-12  # mean squared, [-1, 1] units; far below the floor of 8-bit rounding, 5.1e-6


def scores_of(residual: object) -> np.ndarray:
    """Return the scores of residuals.

    Args:
      residual: [...], mean squared, [-1, 1] units, 0 or more; None or +inf: every restart failed.

    Raises:
      InputError: a residual that is NaN or negative.

    >>> scores_of([1e-5, None]).tolist()
    [-5.0, inf]
    """
    raw = np.asarray(residual, dtype=object)
    values = np.array(
        [np.inf if value is None else value for value in raw.ravel()], np.float64
    ).reshape(raw.shape)
    if np.isnan(values).any() or (values < 0).any():
        raise InputError(
            "a residual is NaN or negative; give 0 or more, and None or +inf where every restart"
            " failed"
        )
    return np.log10(np.maximum(values, LEAST_RESIDUAL))


def check_scores(scores: object, what: str, *, least: int = 1) -> np.ndarray:
    """Return the scores as float64 [n] after checking them.

    Args:
      scores: [n], each a number or +inf.
      what: whose they are, for the message.
      least: how many there must be.

    Raises:
      InputError: fewer than `least`, another rank, NaN or -inf.
    """
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"{what}: got something other than numbers; give scores, one number each"
        ) from None
    if values.ndim != 1 or len(values) < least:
        raise InputError(
            f"{what}: got an array of shape {values.shape}; give [n] scores, n at least {least}"
        )
    check_no_nan(values, what)
    return values


def check_no_nan(values: np.ndarray, what: str) -> None:
    """Raise an InputError if a score is NaN or -inf."""
    wrong = np.isnan(values) | np.isneginf(values)
    if wrong.any():
        raise InputError(
            f"{what}: {int(wrong.sum())} of {values.size} scores are NaN or -inf; a score is a"
            " number, or +inf where"
            " every restart failed"
        )


def as_fraction(alpha: float) -> Fraction:
    """Return a level as the decimal that it is written as, so that 0.29 of 100 are 29.

    Raises:
      InputError: alpha outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha:g}; give a number between 0 and 1, such as 0.05")
    return Fraction(repr(float(alpha)))
