"""The certificate: a test that a reproduction differs from the accused bytes by 8-bit rounding and nothing else.

`docs/certificate.md` derives it. Under the hypothesis "G made this picture at a latent near this one", each unclipped
byte's deviation e is uniform within half a rounding step, variance step^2 / 12, excess kurtosis -6/5. A search fits
away the part of e that lies in the column space of the Jacobian J, so the test looks at the rest:

    T = 12 / step^2 |(1 - P) e|^2,  mean dof = unclipped - rank,  variance 2 dof - 6/5 dof^2 / unclipped,

and besides at the whole, |e|^2, against its distribution at the true latent (mean and 4/5 variance of `unclipped`), so
that a latent far away cannot hide in P. Clipped bytes (0, 255) add what lies outside their interval, and no degree of
freedom. Both must hold: the p-value is twice the smaller one.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.special import gammaincc

from jattr.generators.base import Generator
from jattr.inversion.altered import Altered
from jattr.inversion.linear import linearise
from jattr.inversion.problem import MIN_EXCESS, STEP, target_of

ALPHA = 1e-6  # a picture that the generator made is denied its certificate this often
TO_BYTE = {"round": 0.5, "truncate": 0.0}


@dataclass(frozen=True)
class Certificate:
    """The test of one picture, one generator, one latent; the field `holds` is the outcome."""

    holds: bool  # p_value >= alpha and excess >= MIN_EXCESS
    bit_exact: bool  # every byte identical after rounding, on the device that computed it
    rounding: str  # the rule under which it holds: "round" or "truncate"
    identical_bytes: float  # share of all bytes
    largest_deviation: float  # of the unrounded reproduction from the interval's middle, in rounding steps
    unclipped: int  # bytes from 1 to 254
    rank: int  # of the Jacobian at the unclipped bytes, above the noise of rounding
    excess: int  # unclipped - rank: the degrees of freedom
    statistic: float  # T; of an altered picture, its surprise
    p_value: float  # chance of so large a deviation if the generator made the picture
    alpha: float = ALPHA
    alteration: str = ""  # what was done to the picture; then bytes below are what is observed: bytes or coefficients
    expected: float = 0.0  # mean of the statistic under the hypothesis: `excess`, or that of an altered picture

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON values."""
        return asdict(self)


def certify(
    gen: Generator, z: Any, pixels: np.ndarray, *, label: int = -1, rounding: str | None = None, alpha: float = ALPHA
) -> Certificate:
    """Return the test of whether `gen` made the picture at latent z, at full float32 precision.

    Args:
      gen: the generator.
      z: [*latent_shape], the recovered latent.
      pixels: uint8 [H, W, C], the accused picture.
      label: its class; -1 if unconditional.
      rounding: the rule to test; None: the card's, or both, the better one winning.
      alpha: significance level.
    """
    rules = [rounding] if rounding else [gen.rounding] if gen.rounding else ["round", "truncate"]
    tests = [_test(gen, z, pixels, label, rule, alpha) for rule in rules]
    return max(tests, key=lambda test: (test.holds, test.bit_exact, test.p_value, -test.statistic))


def certify_altered(accused: Altered, picture: int, z: Any, label: int = -1, *, alpha: float = ALPHA) -> Certificate:
    """Return the test of whether the candidate made an altered picture at latent z: docs/certificate.md.

    The statistic is the surprise of `inversion/likely.py`. `identical_bytes` and `bit_exact` speak of the numbers that
    come out when the reproduction's bytes are sent through the alteration as programs carry it out.
    """
    z = np.asarray(z, np.float32).reshape(-1)
    if accused.chain.copies:
        here = z.reshape(accused.gen.latent_shape)
        test = _test(accused.gen, here, accused.pixels[picture], label, "round", alpha)
        return replace(test, rounding=accused.original.rounding or "round", alteration=accused.chain.text)
    found = accused.surprise(picture, label, z)
    known = accused.intervals(picture)
    prediction, jacobian = accused.predict(z, label)
    sound = bool(np.isfinite(prediction).all() and np.isfinite(jacobian).all())
    rank = _projection(jacobian / np.sqrt(12.0 * accused.roundings.left)[:, None], 0 * prediction)[0] if sound else 0
    telling = accused.telling(picture)
    p = accused.p_value(found) if sound else 0.0
    same = accused.identical(picture, z, label)
    return Certificate(
        holds=sound and p >= alpha and telling - rank >= MIN_EXCESS and accused.near_enough(picture, z, label),
        bit_exact=bool(same == 1.0),
        rounding=accused.original.rounding or "round",
        identical_bytes=same,
        largest_deviation=_finite((np.abs(prediction - known.center) / (2.0 * known.half)).max()),
        unclipped=telling,
        rank=rank,
        excess=telling - rank,
        statistic=_finite(found.total),
        p_value=p,
        alpha=alpha,
        alteration=accused.chain.text,
        expected=_finite(found.expected),
    )


def _test(gen: Generator, z: Any, pixels: np.ndarray, label: int, rule: str, alpha: float) -> Certificate:
    target = target_of(np.asarray(pixels), rule)
    made, deviations, jacobian = linearise(gen, target, label, z)
    e = deviations.astype(np.float64) / STEP  # in rounding steps
    made, sound = made.astype(np.float64), bool(np.isfinite(e).all() and np.isfinite(jacobian).all())
    made_bytes = np.floor((np.clip(np.nan_to_num(made), -1, 1) + 1) * 127.5 + TO_BYTE[rule]).astype(np.int64)
    same = (made_bytes == pixels) & np.isfinite(made)
    unclipped = ((pixels > 0) & (pixels < 255)).ravel()
    outside = np.maximum(np.abs(e[~unclipped]) - 0.5, 0.0)  # clipped bytes: beyond their interval
    within, columns = e[unclipped], jacobian.astype(np.float64)[unclipped] / STEP
    rank, explained = _projection(columns, within)
    n, dof = int(unclipped.sum()), int(unclipped.sum()) - rank
    beyond = 12.0 * float(outside @ outside)
    whole = 12.0 * float(within @ within) + beyond
    rest = max(0.0, whole - 12.0 * explained)
    p = min(1.0, 2.0 * min(_tail(rest, dof, n), _tail(whole, n, n))) if sound else 0.0
    return Certificate(
        holds=sound and p >= alpha and dof >= MIN_EXCESS,
        bit_exact=bool(same.all()),
        rounding=rule,
        identical_bytes=float(same.mean()),
        largest_deviation=_finite(np.abs(e).max()),
        unclipped=n,
        rank=rank,
        excess=dof,
        statistic=_finite(rest) if sound else _finite(np.nan),
        p_value=float(p),
        alpha=alpha,
        expected=float(dof),
    )


def _projection(columns: np.ndarray, e: np.ndarray) -> tuple[int, float]:
    """Return the rank of J [n, d] above the noise of rounding, and |P e|^2, both in rounding steps.

    A direction counts if moving the latent by one unit, the prior's scale, moves the picture by more than one byte's
    rounding noise; what moves it less cannot fit noise away.
    """
    if not len(e) or not np.isfinite(columns).all() or not np.isfinite(e).all():
        return 0, 0.0
    values, vectors = np.linalg.eigh(columns.T @ columns)
    strong = values > 1.0 / 12.0
    coordinates = (vectors[:, strong].T @ (columns.T @ e)) ** 2 / values[strong]
    return int(strong.sum()), float(coordinates.sum())


def _tail(statistic: float, mean: int, n: int) -> float:
    """Return the chance that the sum of `mean` projected squares, scaled to mean 1 each, exceeds the statistic.

    By a gamma distribution of that mean and variance and of a chi-square's skewness, an upper bound of the sum's.
    """
    if mean <= 0:
        return 0.0
    variance = 2.0 * mean - 1.2 * mean * mean / n
    shape = mean / 2.0
    return float(gammaincc(shape, max(0.0, shape + math.sqrt(shape / variance) * (statistic - mean))))


def _finite(value: Any) -> float:
    return float(value) if np.isfinite(value) else 1e30
