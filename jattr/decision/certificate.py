"""The certificate: a test that a reproduction differs from the accused bytes by 8-bit rounding and
nothing else.

`docs/certificate.md` derives it. Under the hypothesis "G made this image at a latent near this
one", each unclipped byte's deviation e is uniform within half a rounding step, variance step^2 /
12, excess kurtosis -6/5. A search fits away the part of e that lies in the column space of the
Jacobian J, so the test looks at the rest:

    T = 12 / step^2 |(1 - P) e|^2,  mean dof = unclipped - rank,
    variance 2 dof - 6/5 dof^2 / unclipped,

and besides at the whole, |e|^2, against its distribution at the true latent (mean and 4/5 variance
of `unclipped`), so that a latent far away cannot hide in P. Clipped bytes (0, 255) add what lies
outside their interval, and no degree of freedom. Both must hold: the p-value is twice the smaller
one. Besides, no single byte may be farther off than rounding explains, and there must be bytes
enough beyond the latent's numbers and beyond what it can tell apart.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaincc

from jattr.generators.base import Generator
from jattr.inversion.linearization import linearise
from jattr.inversion.observation.altered import AlteredObservation
from jattr.inversion.problem import MIN_EXCESS, STEP, target_of

ALPHA = 1e-6  # an image that the generator made is denied its certificate this often
ONE_LEVEL = 1.5  # rounding steps: what moves a byte by one level at most
MIN_SPARE = 8  # bytes beyond those that the latent's neighbourhood tells apart: 2^64 images to one
TO_BYTE = {"round": 0.5, "truncate": 0.0}


@dataclass(frozen=True)
class Certificate:
    """The test of one image, one generator, one latent; the field `holds` is the outcome."""

    holds: bool  # p_value >= alpha, enough bytes beyond the unknowns, no byte alone too far off
    bit_exact: bool  # every byte identical after rounding, on the device that computed it
    rounding: str  # the rule under which it holds: "round" or "truncate"
    identical_bytes: float  # share of all bytes
    # of the unrounded reproduction from the interval's middle, in rounding steps
    largest_deviation: float
    unclipped: int  # bytes from 1 to 254; those that the generator always makes equal, once
    rank: int  # of the Jacobian at the unclipped bytes, above the noise of rounding
    excess: int  # unclipped - rank: the degrees of freedom
    statistic: float  # T; of an altered image, its surprise
    p_value: float  # chance of so large a deviation if the generator made the image
    alpha: float = ALPHA
    # what was done to the image; then bytes below are what is observed: bytes or coefficients
    alteration: str = ""
    # mean of the statistic under the hypothesis: `excess`, or that of an altered image
    expected: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as JSON values."""
        return asdict(self)


def certify(
    gen: Generator,
    z: Any,
    pixels: np.ndarray,
    *,
    label: int = -1,
    rounding: str | None = None,
    alpha: float = ALPHA,
) -> Certificate:
    """Return the test of whether `gen` made the image at latent z, at full float32 precision.

    Args:
      gen: the generator.
      z: [*latent_shape], the recovered latent.
      pixels: uint8 [H, W, C], the image.
      label: its class; -1 if unconditional.
      rounding: the rule to test; None: the card's, or both, the better one winning.
      alpha: significance level.
    """
    rules = [rounding] if rounding else [gen.rounding] if gen.rounding else ["round", "truncate"]
    tests = [_test(gen, z, pixels, label, rule, alpha) for rule in rules]
    return max(tests, key=lambda test: (test.holds, test.bit_exact, test.p_value, -test.statistic))


def certify_altered(
    observation: AlteredObservation, image: int, z: Any, label: int = -1, *, alpha: float = ALPHA
) -> Certificate:
    """Return the test of whether the candidate made an altered image at latent z:
    docs/certificate.md.

    The statistic is the surprise of `inversion/likely.py`. `identical_bytes` and `bit_exact` speak
    of the numbers that come out when the reproduction's bytes are sent through the alteration as
    programs carry it out.
    """
    z = np.asarray(z, np.float32).reshape(-1)
    if observation.chain.copies:
        here = z.reshape(observation.gen.latent_shape)
        test = _test(observation.gen, here, observation.pixels[image], label, "round", alpha)
        return replace(
            test,
            rounding=observation.original.byte_rule,
            alteration=observation.chain.text,
        )
    found = observation.surprise(image, label, z)
    known = observation.intervals(image)
    prediction, jacobian = observation.predict(z, label)
    sound = bool(np.isfinite(prediction).all() and np.isfinite(jacobian).all())
    seen = _seen(jacobian / np.sqrt(12.0 * observation.roundings.left)[:, None], sound)
    rank = len(seen.values)
    telling = observation.telling(image)
    p = observation.p_value(found) if sound else 0.0
    same = observation.identical(image, z, label)
    return Certificate(
        holds=sound
        and p >= alpha
        and _enough(telling, rank, z.size, seen)
        and observation.near_enough(image, z, label),
        bit_exact=bool(same == 1.0),
        rounding=observation.original.byte_rule,
        identical_bytes=same,
        largest_deviation=_finite((np.abs(prediction - known.center) / (2.0 * known.half)).max()),
        unclipped=telling,
        rank=rank,
        excess=telling - rank,
        statistic=_finite(found.total),
        p_value=p,
        alpha=alpha,
        alteration=observation.chain.text,
        expected=_finite(found.expected),
    )


def _test(
    gen: Generator, z: Any, pixels: np.ndarray, label: int, rule: str, alpha: float
) -> Certificate:
    target = target_of(np.asarray(pixels), rule)
    made, deviations, jacobian = linearise(gen, target, label, z)
    e = deviations.astype(np.float64) / STEP  # in rounding steps
    made, sound = (
        made.astype(np.float64),
        bool(np.isfinite(e).all() and np.isfinite(jacobian).all()),
    )
    made_bytes = np.floor((np.clip(np.nan_to_num(made), -1, 1) + 1) * 127.5 + TO_BYTE[rule]).astype(
        np.int64
    )
    same = (made_bytes == pixels) & np.isfinite(made)
    unclipped = ((pixels > 0) & (pixels < 255)).ravel()
    once = _once(made.ravel(), jacobian, e) if sound else np.arange(len(e))
    inside, clipped = once[unclipped[once]], once[~unclipped[once]]
    outside = np.maximum(np.abs(e[clipped]) - 0.5, 0.0)  # clipped bytes: beyond their interval
    within, columns = e[inside], jacobian[inside].astype(np.float64) / STEP
    seen = _seen(columns, sound)
    n, rank = len(inside), len(seen.values)
    beyond = 12.0 * float(outside @ outside)
    whole = 12.0 * float(within @ within) + beyond
    rest = max(0.0, whole - 12.0 * seen.explained(columns, within)) if sound else np.nan
    p = min(1.0, 2.0 * min(_tail(rest, n - rank, n), _tail(whole, n, n))) if sound else 0.0
    far = jacobian[clipped].astype(np.float64) / STEP
    single = sound and _within_rounding(seen, columns, within, far, outside, alpha)
    return Certificate(
        holds=p >= alpha and single and _enough(n, rank, columns.shape[1], seen),
        bit_exact=bool(same.all()),
        rounding=rule,
        identical_bytes=float(same.mean()),
        largest_deviation=_finite(np.abs(e).max()),
        unclipped=n,
        rank=rank,
        excess=n - rank,
        statistic=_finite(rest) if sound else _finite(np.nan),
        p_value=float(p),
        alpha=alpha,
        expected=float(n - rank),
    )


class Seen(NamedTuple):
    """The directions of the latent that the image shows: moving it by one unit, the prior's scale,
    moves the image by more than one byte's rounding noise. What moves it less cannot fit noise
    away.
    """

    values: np.ndarray  # [rank], squared lengths of the image's moves, in rounding steps
    vectors: np.ndarray  # [d, rank]

    def explained(self, columns: np.ndarray, e: np.ndarray) -> float:
        """Return |P e|^2."""
        return float(((self.vectors.T @ (columns.T @ e)) ** 2 / self.values).sum())

    def leverage(self, rows: np.ndarray) -> np.ndarray:
        """Return, for rows [m, d] of the Jacobian, how much of the noise of the fitted bytes
        they take on [m].
        """
        return np.asarray(((rows @ self.vectors) ** 2 / self.values).sum(1))

    @property
    def told(self) -> float:
        """How many bytes the latent's neighbourhood tells apart: 8 bits are one, a bit twice the
        noise of rounding.
        """
        return float(np.log2(1.0 + 12.0 * self.values).sum()) / 16.0


def _enough(n: int, rank: int, size: int, seen: Seen) -> bool:
    """Whether n bytes are enough beyond what the latent can be fitted to.

    Its rank here does not say that alone: a latent far out, or where the image is flat, chose among
    many images elsewhere. So all its numbers count. One that hides several bytes in the digits of a
    number moves the image by so much more.
    """
    return n - max(rank, size) >= MIN_EXCESS and n - seen.told >= MIN_SPARE


def _seen(columns: np.ndarray, sound: bool = True) -> Seen:
    """Return the directions that a Jacobian [n, d], in rounding steps, shows above the noise of
    rounding.
    """
    if not sound:
        return Seen(np.zeros(0), np.zeros((columns.shape[1], 0)))
    values, vectors = np.linalg.eigh(columns.T @ columns)
    strong = values > 1.0 / 12.0
    return Seen(values[strong], vectors[:, strong])


def _once(made: np.ndarray, jacobian: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Return the places [m] of numbers that the generator does not make equal, of equal ones the
    one farthest off.

    Equal are those of one value and one row of the Jacobian: the channels of a grey image, pixels
    that are repeated. They carry one rounding, and say one thing.
    """
    rng = np.random.default_rng(len(made))
    odd = rng.integers(0, 1 << 63, jacobian.shape[1] + 1, np.uint64) * np.uint64(2) + np.uint64(1)
    value = np.asarray(made, np.float64).view(np.uint64) * odd[-1]
    parts = [  # 0.0: no -0.0
        np.ascontiguousarray(part + np.float32(0.0), np.float32).view(np.uint32).astype(np.uint64)
        @ odd[:-1]
        for part in np.array_split(jacobian, 1 + jacobian.size // 2**22)
    ]
    keys = np.concatenate(parts)
    order = np.argsort(-np.abs(e), kind="stable")
    return np.sort(order[np.unique((keys ^ value)[order], return_index=True)[1]])


def _within_rounding(
    seen: Seen,
    columns: np.ndarray,
    within: np.ndarray,
    clipped: np.ndarray,
    outside: np.ndarray,
    alpha: float,
) -> bool:
    """Whether no single byte is farther off than rounding and the fit to the other bytes explain.

    At the latent that fits best, byte i of leverage h is off by (1 - h) of its own rounding error,
    at most 1/2, and a weighted sum of the others' whose squared weights sum to h (1 - h); a clipped
    byte by such a sum of all, to h. By Hoeffding's inequality for errors in [-1/2, 1/2] the sums
    exceed sqrt(squares log(2 n / alpha) / 2) at any of n bytes with a chance of at most alpha.
    Searches may end a little beside that latent, as at a kink, so that a byte is one level off: up
    to `ONE_LEVEL` none is refused.
    """
    count = max(len(within) + len(outside), 1)
    wide = math.log(2.0 * count / alpha) / 2.0
    h = np.clip(seen.leverage(columns), 0.0, 1.0)
    most = 0.5 * (1.0 - h) + np.sqrt(h * (1.0 - h) * wide)
    free = np.sqrt(seen.leverage(clipped) * wide)
    tolerated = np.abs(within) <= np.maximum(most, ONE_LEVEL)
    return bool(tolerated.all() and (outside <= np.maximum(free, ONE_LEVEL - 0.5)).all())


def _tail(statistic: float, mean: int, n: int) -> float:
    """Return the chance that the sum of `mean` projected squares, scaled to mean 1 each, exceeds
    the statistic.

    By a gamma distribution of that mean and variance and of a chi-square's skewness, an upper bound
    of the sum's.
    """
    if mean <= 0:
        return 0.0
    variance = 2.0 * mean - 1.2 * mean * mean / n
    shape = mean / 2.0
    return float(
        gammaincc(shape, max(0.0, shape + math.sqrt(shape / variance) * (statistic - mean)))
    )


def _finite(value: Any) -> float:
    return float(value) if np.isfinite(value) else 1e30
