"""Comparison of two stores: the same images under the same candidates, searched in two ways,
pair by pair.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from jattr.errors import InputError
from jattr.sweep.report.paired import Difference, Facts, Ratio, difference, in_words, ratio
from jattr.sweep.report.tables import Results, Searched, read, rows_table
from jattr.sweep.store import Store, Table

SECONDS_MEASURE = "timing_seconds"  # the measure that depends on the clock


class Key(NamedTuple):
    """What two searches of a pair have in common, besides the setting."""

    source: str
    pictures_seed: int | None
    batch: str  # its digest: the same images, or files
    maker: str
    first: int  # of its batch: images of a batch are made together
    pictures: int  # of its batch
    picture: int
    attack: str
    alteration: str
    candidate: str
    seed: int

    @property
    def unseeded(self) -> "Key":
        """The image under its candidate, whatever the seed."""
        return self._replace(seed=0)


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
    notes: list[str]  # what else differs between the stores

    @property
    def tables(self) -> dict[str, Table]:
        """The comparison as tables by name; ratios of seconds apart."""
        return {
            "differences": rows_table(Difference, self.differences),
            "ratios": rows_table(
                Ratio, [row for row in self.ratios if row.measure != SECONDS_MEASURE]
            ),
            "timing_ratios": rows_table(
                Ratio, [row for row in self.ratios if row.measure == SECONDS_MEASURE]
            ),
            "unpaired": rows_table(Unpaired, self.unpaired),
        }

    @property
    def text(self) -> str:
        """The comparison in words, for a terminal."""
        lines = []
        for a, b in self.settings:
            lines.append(a if a == b else f"{a} (A) against {b} (B)")
            rows: list[Difference | Ratio] = [*self.differences, *self.ratios]
            lines += [
                f"  {in_words(row)}" for row in rows if (row.setting_a, row.setting_b) == (a, b)
            ]
        return "\n".join([*lines, *map(_words, self.unpaired), *self.notes])


Side: TypeAlias = Mapping[Key, Searched]  # of one store and setting
Sides: TypeAlias = tuple[Side, Side]


def compare(a: Store, b: Store) -> Comparison:
    """Return how store B differs from store A.

    Settings are paired by name; where each store has but one, those two are. What has no partner is
    listed.

    Raises:
      InputError: nothing pairs, or a generator of one name is another model in the other store.
    """
    return compare_results(read(a), read(b))


def compare_results(a: Results, b: Results) -> Comparison:
    """Return how results B differ from A; as `compare`."""
    settings = _settings(a, b)
    _check_models(a, b)
    searches = _by_setting(a), _by_setting(b)
    same_candidates = set(a.candidates) == set(b.candidates) and len(a.candidates) > 1
    differences: list[Difference] = []
    ratios: list[Ratio] = []
    for first, second in settings:
        sides = searches[0].get(first, {}), searches[1].get(second, {})
        shared = [key for key in sides[0] if key in sides[1]]
        for condition in dict.fromkeys((key.alteration, key.attack) for key in shared):
            facts = (first, second, *condition)
            keys = [key for key in shared if (key.alteration, key.attack) == condition]
            differences += _successes(facts, keys, sides)
            differences += (
                _accuracy(facts, keys, sides, len(a.candidates)) if same_candidates else []
            )
            ratios += [*_efforts(facts, keys, sides), *_times(facts, keys, sides, a, b)]
    if not differences and not ratios:
        raise InputError(
            "the two stores have no search in common: a pair needs the same pictures (source,"
            " seed, maker, batch),"
            " candidate, alteration, attack and seed; compare sweeps that differ in their settings"
            " alone"
        )
    unpaired = _unpaired("a", *searches, dict(settings))
    unpaired += _unpaired(
        "b", searches[1], searches[0], {second: first for first, second in settings}
    )
    return Comparison(settings, differences, ratios, unpaired, _notes(a, b))


def _settings(a: Results, b: Results) -> list[tuple[str, str]]:
    names = [[setting.name for setting in side.spec.settings] for side in (a, b)]
    shared = [(name, name) for name in names[0] if name in names[1]]
    if shared:
        return shared
    if len(names[0]) == len(names[1]) == 1:
        return [(names[0][0], names[1][0])]
    raise InputError(
        f"no setting has the same name in both stores: {', '.join(names[0][:5])} and"
        f" {', '.join(names[1][:5])}; name"
        " the ones to compare alike, or give stores of one setting each"
    )


def _check_models(a: Results, b: Results) -> None:
    changed = [name for name, digest in a.digests.items() if b.digests.get(name, digest) != digest]
    if changed:
        raise InputError(
            f"generator {changed[0]!r} is not the same model in both stores: its digest differs;"
            " compare sweeps of the"
            " same generators"
        )


def _notes(a: Results, b: Results) -> list[str]:
    """Return what else differs than settings: code, versions, device."""
    runs = a.origin.get("run", {}), b.origin.get("run", {})
    names = [name for name in runs[0] if runs[0][name] != runs[1].get(name)]
    return [
        f"the stores differ in {name}: {str(runs[0][name])[:16]}, {str(runs[1].get(name))[:16]}"
        for name in names
    ]


def _by_setting(results: Results) -> dict[str, dict[Key, Searched]]:
    result: dict[str, dict[Key, Searched]] = {}
    columns = map(results.cells.column, ("number", "pictures_seed", "first", "pictures"))
    batches = {number: batch for number, *batch in zip(*columns, strict=True)}
    for s in results.searched:
        p, (seed, first, count) = s.picture, batches[s.cell]
        key = Key(
            p.source,
            seed,
            p.batch,
            p.maker,
            first,
            count,
            p.number,
            p.attack,
            s.alteration,
            s.candidate,
            s.seed,
        )
        result.setdefault(s.setting, {})[key] = s
    return result


def _own(key: Key, sides: Sides) -> bool:
    return sides[0][key].picture.own and key.maker == key.candidate


def _successes(facts: Facts, keys: Sequence[Key], sides: Sides) -> list[Difference]:
    """Return the differences in success of images under their maker."""
    measures: dict[str, Callable[[Searched], bool]] = {
        "arrived": lambda s: s.arrived,
        "certified": lambda s: s.certified,
    }
    result = []
    for measure, holds in measures.items():
        pairs = [
            (key.unseeded, holds(sides[0][key]), holds(sides[1][key]))
            for key in keys
            if _own(key, sides)
        ]
        result += [difference(facts, measure, pairs)] if pairs else []
    return result


def _accuracy(facts: Facts, keys: Sequence[Key], sides: Sides, candidates: int) -> list[Difference]:
    """Return the difference in closed-set accuracy, of own images that both searched under every
    candidate.
    """
    under: dict[Key, list[Key]] = {}
    for key in keys:
        if sides[0][key].picture.own:
            under.setdefault(key._replace(candidate=""), []).append(key)
    pairs = []
    for picture, some in under.items():
        if len(some) == candidates:
            of_a, of_b = (_nearest(some, side) == picture.maker for side in sides)
            pairs.append((picture.unseeded, of_a, of_b))
    return [difference(facts, "nearest_is_maker", pairs)] if pairs else []


def _nearest(keys: Sequence[Key], side: Side) -> str:
    """Return the candidate of the least residual, "" where every restart failed."""
    residuals = [(side[key].residual, key.candidate) for key in keys]
    return min(
        ((value, name) for value, name in residuals if value is not None), default=(math.inf, "")
    )[1]


def _efforts(facts: Facts, keys: Sequence[Key], sides: Sides) -> list[Ratio]:
    """Return the ratios of evaluations.

    Of all pairs, of own images, and of those that arrived in both.
    """
    left, right = sides
    run = [key for key in keys if left[key].evaluations > 0 and right[key].evaluations > 0]
    own = [key for key in run if _own(key, sides)]
    both = [key for key in own if left[key].arrived and right[key].arrived]
    groups = {"evaluations": run, "evaluations_own": own, "evaluations_both_arrived": both}
    return [
        ratio(
            facts,
            measure,
            [(key.unseeded, left[key].evaluations, right[key].evaluations) for key in some],
        )
        for measure, some in groups.items()
        if some
    ]


def _times(facts: Facts, keys: Sequence[Key], sides: Sides, a: Results, b: Results) -> list[Ratio]:
    """Return the ratio of seconds of cells of the same images."""
    seconds = [
        dict(zip(r.cells.column("number"), r.cells.column(SECONDS_MEASURE), strict=True))
        for r in (a, b)
    ]
    cells = dict.fromkeys((sides[0][key].cell, sides[1][key].cell) for key in keys)
    pairs = [(pair, seconds[0][pair[0]], seconds[1][pair[1]]) for pair in cells]
    pairs = [pair for pair in pairs if pair[1] > 0 and pair[2] > 0]
    return [ratio(facts, SECONDS_MEASURE, pairs)] if pairs else []


def _unpaired(
    name: str, side: Mapping[str, Side], other: Mapping[str, Side], partners: Mapping[str, str]
) -> list[Unpaired]:
    """Return what has no partner, summed over images."""
    counts: dict[Unpaired, int] = {}
    for setting, searches in side.items():
        theirs = other.get(partners[setting], {}) if setting in partners else {}
        reason = (
            "the other store has no such search"
            if setting in partners
            else "no setting to pair it with"
        )
        for key in searches:
            if key not in theirs:
                facts = key.source, key.maker, key.candidate, key.seed
                row = Unpaired(name, setting, key.alteration, key.attack, *facts, 0, reason)
                counts[row] = counts.get(row, 0) + 1
    return [row._replace(searches=count) for row, count in counts.items()]


def _words(row: Unpaired) -> str:
    images = f"{row.source} {row.maker}".strip()
    return (
        f"not paired: {row.searches} searches of {row.store.upper()}: {row.setting}, {images},"
        f" {row.alteration},"
        f" attack {row.attack}, under {row.candidate}, seed {row.seed}: {row.reason}"
    )
