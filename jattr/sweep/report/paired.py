"""Paired statistics: what differs between two ways of searching the same images.

Sources: McNemar, Psychometrika 12 (1947), as the exact binomial test of the images on which the two
differ; Efron, Annals of Statistics 7 (1979), for the bootstrap, of images. Repeats of an image are
averaged first, so that with one seed the test is McNemar's, and with several the sign test of the
images' means.
"""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.stats import binomtest

from jattr.sweep.report.estimates import by_image
from jattr.sweep.spec import NONE

DRAWS, DRAWS_SEED = 2_000, 0  # of the bootstrap
Facts: TypeAlias = tuple[str, str, str, str]  # setting of A, of B, alteration, attack


class Difference(NamedTuple):
    """Success in B less that in A, of pairs of searches."""

    setting_a: str
    setting_b: str
    alteration: str
    attack: str
    measure: str
    n: int  # images
    searches: int  # pairs: images times repeats
    share_a: float
    share_b: float
    difference: float
    standard_error: float | None
    only_a: int  # images with more successes in A
    only_b: int
    p_value: float  # that they differ by chance: McNemar's exact test


class Ratio(NamedTuple):
    """Geometric mean of B over A, of pairs."""

    setting_a: str
    setting_b: str
    alteration: str
    attack: str
    measure: str
    n: int  # images; of seconds, cells
    ratio: float
    standard_error: float | None  # of its natural logarithm
    low: float | None  # 95 % interval by bootstrap
    high: float | None


def difference(
    facts: Facts, measure: str, pairs: Sequence[tuple[Hashable, bool, bool]]
) -> Difference:
    """Return the difference of two ways in something that holds or not.

    Args:
      facts: settings, alteration and attack.
      measure: what it is.
      pairs: (image, whether it holds in A, whether in B); an image comes once for each repeat.

    >>> pairs = [(1, True, True), (2, False, True), (3, False, True), (4, False, True)]
    >>> difference(("", "", "", ""), "", pairs)[6:]
    (4, 0.25, 1.0, 0.75, 0.25, 0, 3, 0.25)
    """
    of_a = by_image((picture, holds) for picture, holds, _ in pairs)
    of_b = by_image((picture, holds) for picture, _, holds in pairs)
    change = np.array([np.mean(of_b[picture]) - np.mean(of_a[picture]) for picture in of_a])
    n, worse, better = len(change), int((change < 0).sum()), int((change > 0).sum())
    error = float(change.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    p = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
    in_a, in_b = (
        float(np.mean([np.mean(values) for values in side.values()])) for side in (of_a, of_b)
    )
    return Difference(
        *facts, measure, n, len(pairs), in_a, in_b, float(change.mean()), error, worse, better, p
    )


def ratio(facts: Facts, measure: str, pairs: Sequence[tuple[Hashable, float, float]]) -> Ratio:
    """Return the geometric mean of B over A, its repeats averaged by image first.

    Args:
      facts: settings, alteration and attack.
      measure: what it is.
      pairs: (image, value in A, value in B), above 0.

    >>> ratio(("", "", "", ""), "", [(1, 1.0, 2.0), (2, 1.0, 8.0)])[5:7]
    (2, 4.0)
    """
    logs = by_image((picture, math.log(b / a)) for picture, a, b in pairs)
    means = np.array([np.mean(values) for values in logs.values()])
    n = len(means)
    if n < 2:
        return Ratio(*facts, measure, n, float(np.exp(means.mean())), None, None, None)
    rng = np.random.default_rng(DRAWS_SEED)
    drawn = np.array([means[rng.integers(0, n, n)].mean() for _ in range(DRAWS)])
    low, high = np.exp(np.quantile(drawn, [0.025, 0.975]))
    error = float(means.std(ddof=1) / math.sqrt(n))
    return Ratio(*facts, measure, n, float(np.exp(means.mean())), error, float(low), float(high))


def in_words(row: Difference | Ratio) -> str:
    """Return a line for a terminal."""
    words = [row.alteration] if row.alteration != NONE else []
    words += [f"attack {row.attack}"] if row.attack != NONE else []
    head = f"{', '.join(words)}: " if words else ""
    if isinstance(row, Ratio):
        span = "" if row.low is None else f" [{row.low:.3g}, {row.high:.3g}]"
        return f"{head}{row.measure}: B / A {row.ratio:.3g}{span}, n {row.n}"
    error = "" if row.standard_error is None else f" ± {row.standard_error:.3f}"
    return (
        f"{head}{row.measure}: A {row.share_a:.3f}, B {row.share_b:.3f}, difference"
        f" {row.difference:+.3f}{error},"
        f" n {row.n}; better in A {row.only_a}, in B {row.only_b}, p {row.p_value:.3g}"
    )
