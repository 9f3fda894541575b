"""Groups: what is averaged over.

One setting, alteration, attack and seed, or all seeds of a setting together.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from jattr.sweep.report.estimates import Estimate
from jattr.sweep.spec import Spec
from jattr.typing import Json

ALL = "all"  # the seed of a group of several
Row = TypeVar("Row")


class Group(NamedTuple):
    """What the searches of a group have in common."""

    setting: str
    alteration: str
    attack: str
    seed: str  # a number, or ALL


class Metric(NamedTuple):
    """One number of a group."""

    setting: str
    alteration: str
    attack: str
    seed: str
    measure: str
    n: int  # images
    value: float | None
    standard_error: float | None
    low: float | None  # 95 % interval
    high: float | None
    note: str


def metric(group: Group, measure: str, estimate: Estimate) -> Metric:
    """Return an estimate as a row."""
    e = estimate
    return Metric(*group, measure, e.n, e.value, e.standard_error, e.low, e.high, e.note)


def seeds_of(spec: Spec) -> list[str]:
    """Return the seeds of groups in order: each one, and all together where there are several."""
    seeds = [str(seed) for seed in spec.seeds]
    return [*seeds, ALL] if len(seeds) > 1 else seeds


def overall(spec: Spec) -> str:
    """Return the seed of the groups that have every seed: ALL, or the only one."""
    return seeds_of(spec)[-1]


def grouped(
    spec: Spec, rows: Iterable[Row], facts: Callable[[Row], tuple[Json, ...]]
) -> Iterator[tuple[Group, list[Row]]]:
    """Return the rows of every group that has some, in the order of the plan.

    Args:
      spec: its settings, alterations, attacks and seeds order the groups.
      rows: of searches or of images.
      facts: of a row: (setting, alteration, attack, whether a generator made the image, seed). What
        no generator made is never attacked, so it is in the groups of every attack.
    """
    result: dict[Group, list[Row]] = {}
    for row in rows:
        setting, alteration, attack, made, seed = facts(row)
        attacks: Sequence[str] = (attack,) if made else spec.attacks
        for name in attacks:
            for which in (str(seed), ALL) if len(spec.seeds) > 1 else (str(seed),):
                result.setdefault(Group(setting, alteration, name, which), []).append(row)
    for way in spec.settings:
        for alteration in spec.alterations:
            for attack in spec.attacks:
                for which in seeds_of(spec):
                    group = Group(way.name, alteration, attack, which)
                    if group in result:
                        yield group, result[group]
