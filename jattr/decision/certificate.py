"""The certificate: a test that a reproduction differs from the image by 8-bit rounding alone.

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

Everything here is a function of arrays; `Observation.certificate_data` computes them from a
generator.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import gammaincc

from jattr.decision.description_length import ROUNDING_VARIANCE, DescriptionLength

ALPHA = 1e-6  # an image that the generator made is denied its certificate this often
BYTE_STEP = 2.0 / 255.0  # between neighbouring bytes, in [-1, 1] units
MIN_EXCESS = 50  # unclipped bytes beyond the unknowns: fewer could be fitted by chance
ONE_LEVEL = 1.5  # rounding steps: what moves a byte by one level at most
MIN_SPARE = 8  # bytes beyond those that the latent's neighbourhood tells apart: 2^64 images to one
BYTE_OFFSETS = {"round": 0.5, "truncate": 0.0}  # added before floor; see `jattr.images.to_byte`


@dataclass(frozen=True)
class Certificate:
    """The test of one image, one generator, one latent; the field `holds` is the outcome."""

    # `fits`, enough bytes beyond the unknowns, and bits of evidence
    holds: bool
    bit_exact: bool  # every byte identical after rounding, on the device that computed it
    rounding: str  # the rule under which it holds: "round" or "truncate"
    identical_bytes: float  # share of all bytes
    # of the unrounded reproduction from the interval's middle, in rounding steps
    largest_deviation: float
    unclipped: int  # bytes from 1 to 254; those that the generator always makes equal, once
    rank: int  # of the Jacobian at the unclipped bytes, above the noise of rounding
    excess: int  # unclipped - rank: the degrees of freedom
    statistic: float  # T; of an altered image, the sum of -log P
    p_value: float  # chance of so large a deviation if the generator made the image
    alpha: float = ALPHA
    # what was done to the image; then bytes above are what is observed: bytes or coefficients
    alteration: str = ""
    # mean of the statistic under the hypothesis: `excess`, or that of an altered image
    expected: float = 0.0
    fits: bool = False  # p_value >= alpha, and no byte alone too far off
    latent_bits: float = 0.0  # that describe the image by the latent
    general_bits: float = 0.0  # by models of images that know nothing of the generator
    # how many bits less than `SHARE` of the latter: what the certificate is worth
    evidence_bits: float = 0.0

    def to_dict(self) -> dict[str, object]:
        """Return the certificate as JSON values."""
        return asdict(self)


def certify_rounding(
    pixels: np.ndarray,
    reproduction: np.ndarray,
    deviations: np.ndarray,
    jacobian: np.ndarray,
    *,
    bits: DescriptionLength,
    rounding: str,
    alpha: float = ALPHA,
    maker_rounding: str | None = None,
    alteration: str = "",
) -> Certificate:
    """Return the test of an image whose bytes are those of its reproduction, rounded.

    Args:
      pixels: uint8 [H, W, C], the image.
      reproduction: float32 [H, W, C], [-1, 1] units, not clipped.
      deviations: float32 [N], of the reproduction from the middle of each byte's interval; 0 where
        a clipped byte's interval reaches beyond it.
      jacobian: float32 [N, d], of the deviations in the latent.
      bits: of the image, by the latent and in general.
      rounding: the rule to test.
      alpha: significance level.
      maker_rounding: the rule to state, where an alteration has moved bytes; None: `rounding`.
      alteration: what was done to the image, to state.
    """
    e = deviations.astype(np.float64) / BYTE_STEP
    values = reproduction.astype(np.float64)
    finite = bool(np.isfinite(e).all() and np.isfinite(jacobian).all())
    identical = _identical(values, pixels, rounding)

    # Numbers that the generator always makes equal carry one rounding error: they count once.
    unclipped = ((pixels > 0) & (pixels < 255)).ravel()
    once = _distinct(values.ravel(), jacobian, e) if finite else np.arange(len(e))
    inside, clipped = once[unclipped[once]], once[~unclipped[once]]

    # e of the unclipped bytes, and of the clipped ones what lies beyond their interval.
    within, columns = e[inside], jacobian[inside].astype(np.float64) / BYTE_STEP
    outside = np.maximum(np.abs(e[clipped]) - 0.5, 0.0)

    # |e|^2 and |(1 - P) e|^2 in units of the rounding variance; n and n - rank are their means.
    directions = _directions(columns, finite)
    n, rank = len(inside), len(directions.values)
    beyond = 12.0 * float(outside @ outside)
    whole = 12.0 * float(within @ within) + beyond
    rest = max(0.0, whole - 12.0 * directions.explained(columns, within)) if finite else np.nan

    # Either sum may refuse the latent: twice the smaller p-value (Bonferroni).
    p_value = min(1.0, 2.0 * min(_tail(rest, n - rank, n), _tail(whole, n, n))) if finite else 0.0
    far = jacobian[clipped].astype(np.float64) / BYTE_STEP
    no_outlier = finite and _within_rounding(directions, columns, within, far, outside, alpha)
    fits = p_value >= alpha and no_outlier
    return Certificate(
        holds=fits and _suffices(n, columns.shape[1], directions) and bits.suffices,
        bit_exact=bool(identical.all()),
        rounding=maker_rounding or rounding,
        identical_bytes=float(identical.mean()),
        largest_deviation=_finite(np.abs(e).max()),
        unclipped=n,
        rank=rank,
        excess=n - rank,
        statistic=_finite(rest),
        p_value=float(p_value),
        alpha=alpha,
        alteration=alteration,
        expected=float(n - rank),
        fits=fits,
        **_stated(bits),
    )


def certify_censored(
    prediction: np.ndarray,
    center: np.ndarray,
    half: np.ndarray,
    jacobian: np.ndarray,
    *,
    bits: DescriptionLength,
    statistic: float,
    expected: float,
    p_value: float,
    num_informative: int,
    identical: float,
    consistent: bool,
    rounding: str,
    alteration: str,
    alpha: float = ALPHA,
) -> Certificate:
    """Return the test of an altered image, from its censored likelihood: docs/certificate.md.

    Args:
      prediction: float64 [N], of each number observed, in bytes.
      center: float64 [N], middle of the interval in which the number was observed, in bytes.
      half: float64 [N], half the interval's width.
      jacobian: float64 [N, d], of the prediction, in units of a rounding step that would leave over
        as much as the alteration does: divided by sqrt(12 residual variance).
      bits: of the image, by the latent and in general.
      statistic: the sum of -log P of what is observed.
      expected: its mean if the prediction is right.
      p_value: chance of so large a statistic.
      num_informative: how many of the numbers say something.
      identical: share of the numbers that programs which carry out the alteration give again.
      consistent: whether the whole image is as near as own images are.
      rounding: how the generator's bytes were made.
      alteration: what was done to the image.
      alpha: significance level.
    """
    finite = bool(np.isfinite(prediction).all() and np.isfinite(jacobian).all())
    directions = _directions(jacobian, finite)
    rank, p_value = len(directions.values), p_value if finite else 0.0
    suffices = _suffices(num_informative, jacobian.shape[1], directions)
    fits = finite and p_value >= alpha and consistent
    return Certificate(
        holds=fits and suffices and bits.suffices,
        bit_exact=identical == 1.0,
        rounding=rounding,
        identical_bytes=identical,
        largest_deviation=_finite((np.abs(prediction - center) / (2.0 * half)).max()),
        unclipped=num_informative,
        rank=rank,
        excess=num_informative - rank,
        statistic=_finite(statistic),
        p_value=p_value,
        alpha=alpha,
        alteration=alteration,
        expected=_finite(expected),
        fits=fits,
        **_stated(bits),
    )


def _stated(bits: DescriptionLength) -> dict[str, float]:
    return {
        "latent_bits": _finite(bits.latent),
        "general_bits": _finite(bits.general),
        "evidence_bits": _finite(bits.evidence) if bits.evidence > -math.inf else -1e30,
    }


def strongest(certificates: Sequence[Certificate]) -> Certificate:
    """Return the best of the tests of one latent, one a rounding rule."""
    return max(
        certificates, key=lambda test: (test.holds, test.bit_exact, test.p_value, -test.statistic)
    )


def _identical(values: np.ndarray, pixels: np.ndarray, rounding: str) -> np.ndarray:
    """Return which bytes [H, W, C] the values float64 [H, W, C] round to; none of NaN."""
    scaled = (np.clip(np.nan_to_num(values), -1, 1) + 1) * 127.5
    rounded = np.floor(scaled + BYTE_OFFSETS[rounding]).astype(np.int64)
    same: np.ndarray = (rounded == pixels) & np.isfinite(values)
    return same


class Directions(NamedTuple):
    """The directions of the latent that the image shows above the noise of rounding.

    Moving the latent along one by one unit, the prior's scale, moves the image by more than one
    byte's rounding noise. What moves it less cannot fit noise away. They span P.
    """

    values: np.ndarray  # [rank], squared lengths of the image's moves, in rounding steps
    vectors: np.ndarray  # [d, rank]

    def explained(self, columns: np.ndarray, e: np.ndarray) -> float:
        """Return |P e|^2 of deviations e [n] under the Jacobian [n, d]."""
        return float(((self.vectors.T @ (columns.T @ e)) ** 2 / self.values).sum())

    def leverage(self, rows: np.ndarray) -> np.ndarray:
        """Return how much of the fitted bytes' noise rows [m, d] of the Jacobian take on [m]."""
        return np.asarray(((rows @ self.vectors) ** 2 / self.values).sum(1))

    @property
    def information(self) -> float:
        """How many bytes the latent's neighbourhood tells apart.

        8 bits are one byte, and a bit is twice the noise of rounding.
        """
        return float(np.log2(1.0 + 12.0 * self.values).sum()) / 16.0


def _directions(columns: np.ndarray, finite: bool) -> Directions:
    """Return the directions that a Jacobian [n, d], in rounding steps, shows."""
    if not finite:
        return Directions(np.zeros(0), np.zeros((columns.shape[1], 0)))
    values, vectors = np.linalg.eigh(columns.T @ columns)
    strong = values > ROUNDING_VARIANCE
    return Directions(values[strong], vectors[:, strong])


def _suffices(n: int, size: int, directions: Directions) -> bool:
    """Return whether n bytes are enough beyond what a latent of `size` numbers can be fitted to.

    Its rank here does not say that alone: a latent far out, or where the image is flat, chose among
    many images elsewhere. So all its numbers count. One that hides several bytes in the digits of a
    number moves the image by so much more.
    """
    unknowns = max(len(directions.values), size)
    return n - unknowns >= MIN_EXCESS and n - directions.information >= MIN_SPARE


def _distinct(values: np.ndarray, jacobian: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Return the indices [m] of numbers that differ; of equal ones that with the largest |e|.

    Equal are those of one value and one row of the Jacobian: the channels of a grey image, pixels
    that are repeated. They carry one rounding, and say one thing.
    """
    # Multiply-shift hashing of the bits of (value, row) with random odd factors: 64 bits, so that
    # two of a million different ones share a key with a chance of about 1e-8.
    rng = np.random.default_rng(len(values))
    odd = rng.integers(0, 1 << 63, jacobian.shape[1] + 1, np.uint64) * np.uint64(2) + np.uint64(1)
    value_key = np.asarray(values, np.float64).view(np.uint64) * odd[-1]
    parts = [  # in parts of 16 MiB; + 0.0 turns -0.0 into 0.0
        np.ascontiguousarray(part + np.float32(0.0), np.float32).view(np.uint32).astype(np.uint64)
        @ odd[:-1]
        for part in np.array_split(jacobian, 1 + jacobian.size // 2**22)
    ]
    keys = np.concatenate(parts) ^ value_key
    # `unique` returns the first of equal keys: sort by |e|, the largest first.
    order = np.argsort(-np.abs(e), kind="stable")
    return np.sort(order[np.unique(keys[order], return_index=True)[1]])


def _within_rounding(
    directions: Directions,
    columns: np.ndarray,
    within: np.ndarray,
    clipped: np.ndarray,
    outside: np.ndarray,
    alpha: float,
) -> bool:
    """Return whether no single byte is farther off than rounding and the fit to the others explain.

    At the latent that fits best, byte i of leverage h is off by (1 - h) of its own rounding error,
    at most 1/2, and a weighted sum of the others' whose squared weights sum to h (1 - h); a clipped
    byte by such a sum of all, to h. By Hoeffding's inequality for errors in [-1/2, 1/2] the sums
    exceed sqrt(squares log(2 n / alpha) / 2) at any of n bytes with a chance of at most alpha.
    Searches may end a little beside that latent, as at a kink, so that a byte is one level off: up
    to `ONE_LEVEL` none is refused.

    Args:
      directions: of the fit.
      columns: [n, d], the Jacobian of the unclipped bytes, in rounding steps.
      within: [n], their deviations.
      clipped: [m, d], the Jacobian of the clipped bytes.
      outside: [m], how far they lie beyond their intervals.
      alpha: chance that any own byte is refused.
    """
    count = max(len(within) + len(outside), 1)
    hoeffding = math.log(2.0 * count / alpha) / 2.0
    h = np.clip(directions.leverage(columns), 0.0, 1.0)
    unclipped_limit = 0.5 * (1.0 - h) + np.sqrt(h * (1.0 - h) * hoeffding)
    clipped_limit = np.sqrt(directions.leverage(clipped) * hoeffding)
    tolerated = np.abs(within) <= np.maximum(unclipped_limit, ONE_LEVEL)
    return bool(tolerated.all() and (outside <= np.maximum(clipped_limit, ONE_LEVEL - 0.5)).all())


def _tail(statistic: float, mean: int, n: int) -> float:
    """Return the chance that the sum of `mean` projected squares of n bytes exceeds the statistic.

    The squares are scaled to mean 1 each. By a gamma distribution of that mean and variance and of
    a chi-square's skewness, an upper bound of the sum's.
    """
    if mean <= 0:
        return 0.0
    # Var = 2 mean + kurtosis * (sum of squared diagonal of 1 - P), which is at least mean^2 / n.
    variance = 2.0 * mean - 1.2 * mean * mean / n
    # Standardise, then take the chi-square of `mean` degrees of freedom: gamma of half as much.
    shape = mean / 2.0
    return float(
        gammaincc(shape, max(0.0, shape + math.sqrt(shape / variance) * (statistic - mean)))
    )


def _finite(value: float) -> float:
    """Return a number that JSON can hold."""
    return float(value) if np.isfinite(value) else 1e30
