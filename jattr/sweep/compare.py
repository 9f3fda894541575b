"""Comparison of two stores: the same pictures under the same candidates, searched in two ways, pair by pair.

Sources: McNemar, Psychometrika 12 (1947), as the exact binomial test of the pictures on which the two differ; Efron,
Annals of Statistics 7 (1979), for the bootstrap, of pictures. Repeats of a picture are summed first, so that with one
seed the test is McNemar's, and with several the sign test of the pictures' sums.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from jattr.errors import InputError
from jattr.sweep.estimates import Z, by_picture
from jattr.sweep.metrics import attributions
from jattr.sweep.spec import NONE
from jattr.sweep.store import Store, Table
from jattr.sweep.tables import Results, Searched, read, rows_table

DRAWS, DRAWS_SEED = 2_000, 0  # of the bootstrap
SECONDS = "timing_seconds"  # the measure that depends on the clock


class Key(NamedTuple):
    """What two searches of a pair have in common, besides the setting."""

    source: str
    pictures_seed: int | None
    maker: str
    picture: int
    attack: str
    alteration: str
    candidate: str
    seed: int

    @property
    def picture_key(self) -> tuple[object, ...]:
        """The picture under its candidate, whatever the seed."""
        return self[:-1]


class Difference(NamedTuple):
    """Success in B less that in A, of pairs of searches."""

    setting_a: str
    setting_b: str
    alteration: str
    attack: str
    measure: str
    n: int  # pictures
    searches: int  # pairs: pictures times repeats
    share_a: float
    share_b: float
    difference: float
    standard_error: float | None
    only_a: int  # pictures with more successes in A
    only_b: int
    p_value: float  # that they differ by chance: McNemar's exact test


class Ratio(NamedTuple):
    """Geometric mean of B over A, of pairs."""

    setting_a: str
    setting_b: str
    alteration: str
    attack: str
    measure: str
    n: int  # pictures; of seconds, cells
    ratio: float
    standard_error: float | None  # of its natural logarithm
    low: float | None  # 95 % interval by bootstrap
    high: float | None


class Unpaired(NamedTuple):
    """Searches of one store that the other does not have."""

    store: str  # "a" or "b"
    setting: str
    alteration: str
    attack: str
    source: str
    maker: str
    candidate: str
    seed: int
    searches: int
    reason: str


class Comparison(NamedTuple):
    """How two stores differ."""

    settings: list[tuple[str, str]]  # pairs that were compared
    differences: list[Difference]
    ratios: list[Ratio]
    unpaired: list[Unpaired]
    warnings: list[str]

    @property
    def tables(self) -> dict[str, Table]:
        """The comparison as tables by name; ratios of seconds apart."""
        timing = [row for row in self.ratios if row.measure == SECONDS]
        rest = [row for row in self.ratios if row.measure != SECONDS]
        return {
            "differences": rows_table(Difference, self.differences),
            "ratios": rows_table(Ratio, rest),
            "timing_ratios": rows_table(Ratio, timing),
            "unpaired": rows_table(Unpaired, self.unpaired),
        }

    @property
    def text(self) -> str:
        """The comparison in words, for a terminal."""
        lines = [f"{a} (A) against {b} (B)" for a, b in self.settings]
        lines += [_difference_text(row) for row in self.differences]
        lines += [_ratio_text(row) for row in self.ratios]
        lines += [f"not paired: {row.searches} searches of {row.store.upper()}: {_words(row)}" for row in self.unpaired]
        return "\n".join(lines + self.warnings)


def compare(a: Store, b: Store) -> Comparison:
    """Return how store B differs from store A.

    Settings are paired by name; where each store has but one, those two are. Whatever has no partner is listed.

    Raises:
      InputError: nothing pairs, or a candidate of one name is another model in the other store.
    """
    return compare_results(read(a), read(b))


def compare_results(a: Results, b: Results) -> Comparison:
    """Return how results B differ from A; as `compare`."""
    settings = _settings(a, b)
    _check_models(a, b)
    sides = _by_key(a), _by_key(b)
    comparison = Comparison(settings, [], [], [], _warnings(a, b))
    for first, second in settings:
        left, right = sides[0].get(first, {}), sides[1].get(second, {})
        shared = [key for key in left if key in right]
        for condition in dict.fromkeys((key.alteration, key.attack) for key in shared):
            keys = [key for key in shared if (key.alteration, key.attack) == condition]
            facts = (first, second, *condition)
            comparison.differences.extend(_differences(facts, keys, left, right))
            comparison.ratios.extend(_ratios(facts, keys, left, right))
            comparison.ratios.extend(_times(facts, keys, left, right, a, b))
        comparison.differences.extend(_accuracies(first, second, a, b))
    if not comparison.ratios:
        raise InputError(
            "the two stores have no search in common: a pair needs the same pictures (source, seed, maker), candidate,"
            " alteration, attack and seed; compare sweeps that differ in their settings alone"
        )
    comparison.unpaired.extend(_unpaired("a", sides[0], sides[1], dict(settings)))
    comparison.unpaired.extend(_unpaired("b", sides[1], sides[0], {second: first for first, second in settings}))
    return comparison


def _settings(a: Results, b: Results) -> list[tuple[str, str]]:
    names = [[setting.name for setting in side.spec.settings] for side in (a, b)]
    shared = [(name, name) for name in names[0] if name in names[1]]
    if shared:
        return shared
    if len(names[0]) == len(names[1]) == 1:
        return [(names[0][0], names[1][0])]
    raise InputError(
        f"no setting has the same name in both stores: {', '.join(names[0][:5])} and {', '.join(names[1][:5])}; name"
        " the ones to compare alike, or give stores of one setting each"
    )


def _check_models(a: Results, b: Results) -> None:
    changed = [name for name, digest in a.digests.items() if b.digests.get(name, digest) != digest]
    if changed:
        raise InputError(
            f"generator {changed[0]!r} is not the same model in both stores: its digest differs; compare sweeps of the"
            " same generators"
        )


def _warnings(a: Results, b: Results) -> list[str]:
    """Return what else differs between the stores than their settings."""
    runs = a.origin.get("run", {}), b.origin.get("run", {})
    names = [name for name in runs[0] if runs[0][name] != runs[1].get(name)]
    return [f"the stores differ in {name}: {str(runs[0][name])[:16]}, {str(runs[1].get(name))[:16]}" for name in names]


def _by_key(results: Results) -> dict[str, dict[Key, Searched]]:
    found: dict[str, dict[Key, Searched]] = {}
    for s in results.searched:
        p, pictures = s.picture, results.spec.pictures[s.picture.entry]
        seed = None if pictures.kind == "folder" else pictures.seed
        key = Key(p.source, seed, p.maker, p.number, p.attack, s.alteration, s.candidate, s.seed)
        found.setdefault(s.setting, {})[key] = s
    return found


Side = Mapping[Key, Searched]
Facts = tuple[str, str, str, str]  # setting of A, of B, alteration, attack


def _differences(facts: Facts, keys: Sequence[Key], a: Side, b: Side) -> list[Difference]:
    """Return the differences in success of pictures under their maker."""
    own = [key for key in keys if a[key].picture.own and key.maker == key.candidate]
    measures: dict[str, Callable[[Searched], bool]] = {
        "arrived": lambda s: s.arrived,
        "certified": lambda s: s.certified,
    }
    return [
        difference(facts, measure, [(key.picture_key, holds(a[key]), holds(b[key])) for key in own])
        for measure, holds in measures.items()
        if own
    ]


def _accuracies(first: str, second: str, a: Results, b: Results) -> list[Difference]:
    """Return the differences in closed-set accuracy, where both stores have the same candidates, two or more."""
    if set(a.candidates) != set(b.candidates) or len(a.candidates) < 2:
        return []
    sides = []
    for results, setting in ((a, first), (b, second)):
        seeds = [pictures.seed for pictures in results.spec.pictures]
        rows, _ = attributions(results)
        sides.append(
            {
                (row.alteration, row.attack, row.maker, seeds[row.entry], row.picture, row.seed): row.right
                for row in rows
                if row.own and row.setting == setting
            }
        )
    shared = [key for key in sides[0] if key in sides[1]]
    found = []
    for condition in dict.fromkeys(key[:2] for key in shared):
        pairs = [(key[:-1], sides[0][key], sides[1][key]) for key in shared if key[:2] == condition]
        found.append(difference((first, second, *condition), "nearest_is_maker", pairs))
    return found


def difference(facts: Facts, measure: str, pairs: Sequence[tuple[object, bool, bool]]) -> Difference:
    """Return the difference of two ways in something that holds or not.

    Args:
      facts: settings, alteration and attack.
      measure: what it is.
      pairs: (picture, whether it holds in A, whether in B); a picture comes once for each repeat.

    >>> pairs = [(1, True, True), (2, False, True), (3, False, True), (4, False, True)]
    >>> difference(("", "", "", ""), "", pairs)[6:]
    (4, 0.25, 1.0, 0.75, 0.25, 0, 3, 0.25)
    """
    of_a, of_b = (by_picture((pair[0], pair[side]) for pair in pairs) for side in (1, 2))
    change = np.array([np.mean(of_b[picture]) - np.mean(of_a[picture]) for picture in of_a])
    n, worse, better = len(change), int((change < 0).sum()), int((change > 0).sum())
    error = float(change.std(ddof=1) / math.sqrt(n)) if n > 1 else None
    p = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
    shares = [float(np.mean([np.mean(values) for values in side.values()])) for side in (of_a, of_b)]
    return Difference(*facts, measure, n, len(pairs), *shares, float(change.mean()), error, worse, better, p)


def _ratios(facts: Facts, keys: Sequence[Key], a: Side, b: Side) -> list[Ratio]:
    """Return the ratios of evaluations: of all pairs, and of own pictures that arrived in both."""
    run = [key for key in keys if a[key].evaluations > 0 and b[key].evaluations > 0]
    own = [key for key in run if key.maker == key.candidate and a[key].picture.own]
    both = [key for key in own if a[key].arrived and b[key].arrived]
    groups = {"evaluations": run, "evaluations_own": own, "evaluations_both_arrived": both}
    return [
        ratio(facts, measure, [(key.picture_key, a[key].evaluations, b[key].evaluations) for key in some])
        for measure, some in groups.items()
        if some
    ]


def _times(facts: Facts, keys: Sequence[Key], a: Side, b: Side, first: Results, second: Results) -> list[Ratio]:
    """Return the ratio of seconds of cells; only cells of the same pictures are paired."""
    seconds = [dict(zip(r.cells.column("number"), r.cells.column(SECONDS), strict=True)) for r in (first, second)]
    sizes = [_sizes(side) for side in (a, b)]
    cells: dict[tuple[int, int], int] = {}
    for key in keys:
        pair = a[key].cell, b[key].cell
        cells[pair] = cells.get(pair, 0) + 1
    whole = [pair for pair, count in cells.items() if sizes[0][pair[0]] == sizes[1][pair[1]] == count]
    pairs = [(pair, seconds[0][pair[0]], seconds[1][pair[1]]) for pair in whole]
    return [ratio(facts, SECONDS, pairs)] if pairs else []


def _sizes(side: Side) -> dict[int, int]:
    found: dict[int, int] = {}
    for s in side.values():
        found[s.cell] = found.get(s.cell, 0) + 1
    return found


def ratio(facts: Facts, measure: str, pairs: Sequence[tuple[object, float, float]]) -> Ratio:
    """Return the geometric mean of B over A, its repeats averaged by picture first.

    Args:
      facts: settings, alteration and attack.
      measure: what it is.
      pairs: (picture, value in A, value in B), above 0.

    >>> ratio(("", "", "", ""), "", [(1, 1.0, 2.0), (2, 1.0, 8.0)])[5:7]
    (2, 4.0)
    """
    logs = by_picture((picture, math.log(b / a)) for picture, a, b in pairs)
    means = np.array([np.mean(values) for values in logs.values()])
    n = len(means)
    if n < 2:
        return Ratio(*facts, measure, n, float(np.exp(means.mean())), None, None, None)
    rng = np.random.default_rng(DRAWS_SEED)
    drawn = np.array([means[rng.integers(0, n, n)].mean() for _ in range(DRAWS)])
    low, high = np.exp(np.quantile(drawn, [0.025, 0.975]))
    error = float(means.std(ddof=1) / math.sqrt(n))
    return Ratio(*facts, measure, n, float(np.exp(means.mean())), error, float(low), float(high))


def _unpaired(
    name: str, side: Mapping[str, Side], other: Mapping[str, Side], partners: Mapping[str, str]
) -> Iterable[Unpaired]:
    """Return what has no partner, summed over pictures."""
    counts: dict[tuple[str, ...], int] = {}
    for setting, searches in side.items():
        partner = partners.get(setting)
        known = {} if partner is None else other.get(partner, {})
        reason = "no setting to pair it with" if partner is None else "the other store has no such search"
        for key in searches:
            if key not in known:
                facts = (
                    setting,
                    key.alteration,
                    key.attack,
                    key.source,
                    key.maker,
                    key.candidate,
                    str(key.seed),
                    reason,
                )
                counts[facts] = counts.get(facts, 0) + 1
    for facts, count in counts.items():
        yield Unpaired(name, *facts[:6], int(facts[6]), count, facts[7])


def _difference_text(row: Difference) -> str:
    return (
        f"{_condition(row)}{row.measure}: A {row.share_a:.3f}, B {row.share_b:.3f}, difference {row.difference:+.3f}"
        f"{_error(row.standard_error)}, n {row.n}; better in A {row.only_a}, in B {row.only_b}, p {row.p_value:.3g}"
    )


def _ratio_text(row: Ratio) -> str:
    span = "" if row.low is None else f" [{row.low:.3g}, {row.high:.3g}]"
    return f"{_condition(row)}{row.measure}: B / A {row.ratio:.3g}{span}, n {row.n}"


def _condition(row: Difference | Ratio) -> str:
    words = [word for word in (row.alteration, row.attack) if word != NONE]
    return f"{', '.join(words)}: " if words else ""


def _error(error: float | None) -> str:
    return "" if error is None else f" ± {Z * error:.3f}"


def _words(row: Unpaired) -> str:
    return (
        f"{row.source} {row.maker}, {row.alteration}, {row.attack}, under {row.candidate}, {row.setting}, seed"
        f" {row.seed}: {row.reason}"
    )
