"""Attribution of every image of a sweep, and how often it is right.

Pure functions of a store's results.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from jattr.decision.certificate import ALPHA, Certificate
from jattr.decision.restart_power import Restarts
from jattr.decision.scores import scores_of
from jattr.decision.verdict import DecisionConfig, Evidence, decide
from jattr.inversion.problem import FLOOR
from jattr.sweep.report.estimates import by_image, share, too_few
from jattr.sweep.report.groups import Metric, grouped, metric
from jattr.sweep.report.tables import Results, Searched, SourceImage
from jattr.sweep.spec import NONE
from jattr.typing import Json, JsonObject

SEVERAL = "several"  # what is said where a class of models is named
SEPARATOR = " or "
# of searches: restarts up to one that arrived, whether one did
Ends: TypeAlias = tuple[tuple[int, bool], ...]


class Attributed(NamedTuple):
    """What is said of one image under one setting and seed, all candidates searched."""

    setting: str
    alteration: str
    attack: str
    seed: int
    source: str
    maker: str
    picture: int
    batch: str
    nearest: str  # the candidate of the least residual; "" where every restart failed
    log10_residual: float  # the least one; inf where every restart failed
    verdict: str  # by thresholds and certificates
    named: str  # candidates that the verdict names
    certified: bool  # whether a certificate of the maker holds; of foreign images, of any candidate
    margin: float | None

    @property
    def key(self) -> SourceImage:
        """The image."""
        return SourceImage(self.batch, self.source, self.maker, self.picture, self.attack)

    @property
    def own(self) -> bool:
        """Whether a candidate made it."""
        return self.key.own

    @property
    def right(self) -> bool:
        """Whether the nearest candidate made it."""
        return self.own and self.nearest == self.maker

    @property
    def said(self) -> str:
        """What the verdict comes to: a candidate's name, SEVERAL, or the kind of verdict that
        names none.
        """
        names = self.named.split(SEPARATOR) if self.named else []
        return SEVERAL if len(names) > 1 else names[0] if names else self.verdict


class Incomplete(NamedTuple):
    """An image that was not searched under every candidate, and so is not attributed."""

    setting: str
    alteration: str
    seed: int
    picture: SourceImage
    missing: tuple[str, ...]


class PilotStudied:
    """How searches of a candidate's own images went, as a pilot study tells it of one that is
    not among them.
    """

    def __init__(self, own: Sequence[Searched] = ()):
        """Take searches of images under their maker, not attacked."""
        floored = {
            s.picture: np.inf if s.residual is None else max(FLOOR, s.residual)
            for s in own
            if s.runs
        }
        self._residuals, self._largest = floored, sorted(floored.values(), reverse=True)[:2]
        self._ends = {s.picture: (s.used, s.arrived) for s in own if s.runs}
        self._all = tuple(sorted(self._ends.values()))
        # all but one that ended so: there are few ways to end
        self._others: dict[tuple[int, bool], Ends] = {}

    def without(self, picture: SourceImage) -> tuple[float | None, Ends]:
        """Return the largest residual, not below the floor, and (restarts, arrived) of each.

        (None, ()) without any.
        """
        left_out = picture._replace(attack=NONE)
        if left_out not in self._ends:
            return next(iter(self._largest), None), self._all
        end = self._ends[left_out]
        if end not in self._others:
            index = self._all.index(end)
            self._others[end] = self._all[:index] + self._all[index + 1 :]
        rest = self._largest[1:] if self._residuals[left_out] == self._largest[0] else self._largest
        return next(iter(rest), None), self._others[end]


def attributions(results: Results) -> tuple[list[Attributed], list[Incomplete]]:
    """Return what is said of every image that was searched under all candidates, and the others.

    What a candidate leaves of its own images when a search misses, and the restarts that "none"
    needs, are learnt from its other own images of the same setting, alteration and seed, not
    attacked: they stand for the pilot study of `jattr attribute`, and the image that is judged is
    not among them.
    """
    result: dict[tuple[Json, ...], dict[str, Searched]] = {}
    own: dict[tuple[Json, ...], list[Searched]] = {}
    for s in results.searched:
        result.setdefault((s.setting, s.alteration, s.seed, s.picture), {})[s.candidate] = s
        if s.picture.own and s.picture.maker == s.candidate and s.picture.attack == NONE:
            own.setdefault((s.setting, s.alteration, s.seed, s.candidate), []).append(s)
    studies = {key: PilotStudied(some) for key, some in own.items()}
    by_pixels = {setting.name: setting.config.distance is None for setting in results.spec.settings}
    done: list[Attributed] = []
    left: list[Incomplete] = []
    for (setting, alteration, seed, picture), under in result.items():
        missing = tuple(name for name in results.candidates if name not in under)
        if missing:
            left.append(Incomplete(setting, alteration, seed, picture, missing))
            continue
        config = DecisionConfig(thresholds=by_pixels[setting])
        pilot_studies = {
            name: studies.get((setting, alteration, seed, name), PilotStudied()) for name in under
        }
        done.append(_attributed(under, pilot_studies, results.digests, config))
    return done, left


def group_facts(row: Attributed) -> tuple[Json, ...]:
    """Return what `grouped` asks of a row."""
    return row.setting, row.alteration, row.attack, bool(row.maker), row.seed


def shares(results: Results, rows: Sequence[Attributed]) -> list[Metric]:
    """Return accuracy, and how often each verdict is given, by group.

    Closed set: of the candidates' own images, those whose nearest candidate made them.
    """
    several = len(results.candidates) > 1
    result = []
    for group, members in grouped(results.spec, rows, group_facts):
        for measure, mine, holds in MEASURES:
            picked = [row for row in members if row.own is mine]
            estimate = share(by_image((row.key, holds(row)) for row in picked))
            if measure == "closed_set_accuracy" and not several:
                estimate = too_few(estimate.n, "one candidate: there is nothing to confuse it with")
            result.append(metric(group, measure, estimate))
    return result


Holds = Callable[[Attributed], bool]
MEASURES: tuple[tuple[str, bool, Holds], ...] = (  # name, whether of own images, what is counted
    ("closed_set_accuracy", True, lambda row: row.right),
    ("certified", True, lambda row: row.certified),
    ("named_right", True, lambda row: row.said == row.maker),
    (
        "named_class",
        True,
        lambda row: row.said == SEVERAL and row.maker in row.named.split(SEPARATOR),
    ),
    (
        "named_wrong",
        True,
        lambda row: bool(row.named) and row.maker not in row.named.split(SEPARATOR),
    ),
    ("none_wrong", True, lambda row: row.verdict == "none"),
    ("undecided", True, lambda row: row.verdict in ("undecided", "failed")),
    ("false_attribution", False, lambda row: bool(row.named)),
    ("none_right", False, lambda row: row.verdict == "none"),
    ("undecided_foreign", False, lambda row: row.verdict in ("undecided", "failed")),
)


class Confusion(NamedTuple):
    """A cell of a confusion matrix that is not empty."""

    setting: str
    alteration: str
    attack: str
    seed: str
    by: str  # "nearest" or "verdict"
    truth: str
    said: str
    times: int  # that it was said
    n: int  # of this truth: images times repeats
    share: float
    standard_error: float  # of the share, over images


def confusion(results: Results, rows: Sequence[Attributed]) -> list[Confusion]:
    """Return who is said to have made whose images, by the least residual and by the verdict."""
    ways: dict[str, Callable[[Attributed], str]] = {
        "nearest": lambda row: row.nearest or "failed",
        "verdict": lambda row: row.said,
    }
    result = []
    for group, members in grouped(results.spec, rows, group_facts):
        truths: dict[str, list[Attributed]] = {}
        for row in members:
            truths.setdefault(row.key.truth, []).append(row)
        for by, say in ways.items():
            for truth, some in truths.items():
                for said in sorted({say(row) for row in some}):
                    estimate = share(by_image((row.key, say(row) == said) for row in some))
                    count = sum(say(row) == said for row in some)
                    error = estimate.standard_error or 0.0
                    result.append(
                        Confusion(
                            *group, by, truth, said, count, len(some), estimate.value or 0.0, error
                        )
                    )
    return result


def incomplete_shares(results: Results, left: Iterable[Incomplete]) -> list[Metric]:
    """Return how many images were not searched under every candidate, by group that has some."""

    def facts(row: Incomplete) -> tuple[Json, ...]:
        return row.setting, row.alteration, row.picture.attack, bool(row.picture.maker), row.seed

    why = "pictures that were not searched under every candidate; they are not attributed"
    return [
        metric(group, "not_attributed", too_few(len({row.picture for row in rows}), why))
        for group, rows in grouped(results.spec, left, facts)
    ]


def _attributed(
    under: Mapping[str, Searched],
    pilot_studies: Mapping[str, PilotStudied],
    digests: Mapping[str, str],
    config: DecisionConfig,
) -> Attributed:
    evidence = [
        _evidence(s, pilot_studies[name], digests.get(name, name), config)
        for name, s in under.items()
    ]
    verdict = decide(evidence, config)
    one = next(iter(under.values()))
    scores = scores_of([s.residual for s in under.values()])
    index = int(np.argmin(scores))
    finite = bool(np.isfinite(scores[index]))
    picture = one.picture
    certified = (
        under[picture.maker].certified if picture.own else any(s.certified for s in under.values())
    )
    return Attributed(
        setting=one.setting,
        alteration=one.alteration,
        attack=picture.attack,
        seed=one.seed,
        source=picture.source,
        maker=picture.maker,
        picture=picture.number,
        batch=picture.batch,
        nearest=list(under)[index] if finite else "",
        log10_residual=float(scores[index]),
        verdict=verdict.kind,
        named=SEPARATOR.join(verdict.candidates),
        certified=certified,
        margin=verdict.margin,
    )


def _evidence(s: Searched, own: PilotStudied, digest: str, config: DecisionConfig) -> Evidence:
    """Return what is known of an image under a candidate, own images of which stand for its
    pilot study.
    """
    miss, ends = own.without(s.picture)
    return Evidence(
        name=s.candidate,
        digest=digest,
        residual=s.residual,
        certificate=_certificate(s) if s.certified else None,
        restarts=len(s.runs),
        arrived=sum(run.status == "arrived" for run in s.runs),
        failed=sum(run.status == "failed" for run in s.runs),
        usual_miss=miss,
        restarts_needed=_needed(ends, config.miss_chance) if ends else None,
        bits=math.inf,  # stores have none: leads count by residuals alone
    )


@functools.lru_cache(maxsize=4096)
def _needed(ends: Ends, chance: float) -> int | None:
    used, arrived = zip(*ends, strict=True)
    return Restarts(used, arrived).needed(chance)


def _certificate(s: Searched) -> Certificate:
    """Return a certificate that holds.

    `decide` looks at nothing else of it than what is given here.
    """
    nothing = {
        "largest_deviation": 0.0,
        "unclipped": 0,
        "rank": 0,
        "excess": 0,
        "statistic": 0.0,
        "p_value": 1.0,
    }
    facts: JsonObject = {"rounding": "round", "identical_bytes": 1.0, "alpha": ALPHA, **nothing}
    alteration = "" if s.alteration == NONE else s.alteration
    return Certificate(holds=True, bit_exact=s.bit_exact, alteration=alteration, **facts)
