"""The calibration: scores of images of known origin, by candidate and by condition.

It holds scores (see `scores`), not images, and everything that the judging of a new image depends
on. Scores are the calibration's; those of test images belong elsewhere: the two never share an
image or a seed.

A covariate such as an image's complexity has its place before this: any score function may make the
scores, as long as it was fitted on other images than these. Fitted on these, the conformal p-value
would no longer be exact.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from jattr.decision.likelihood import Likelihood, fit_evenly, fit_likelihood
from jattr.decision.restart_power import Restarts
from jattr.decision.scores import FAIR, check_scores
from jattr.errors import InputError

CALIBRATION_SCHEMA = 2
NONE = "none"  # no candidate's name: the posterior's last entry
OTHER = "other generator: "  # the kind of negatives that another candidate made
KINDS = f"photograph, renderer, {OTHER}NAME"  # of negatives; any text is legal


@dataclass(frozen=True)
class Sample:
    """The scores of one candidate's searches under one condition."""

    own: tuple[float, ...]  # of images that the candidate made; +inf where every restart failed
    negatives: Mapping[str, tuple[float, ...]]  # of others, by kind, at least one of each
    own_seed: int  # of the own images' latents, 0 or more
    # by kind, of those that were generated
    negative_seeds: Mapping[str, int] = field(default_factory=dict)
    # of the own images' searches, one by one; None: not recorded
    own_restarts: Restarts | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        check_scores(self.own, "own scores", least=0)
        for kind, scores in self.negatives.items():
            check_name(kind, "a kind of negatives")
            check_scores(scores, f"negatives, {kind}")
        unknown = sorted(set(self.negative_seeds) - set(self.negatives))
        if unknown:
            raise InputError(
                f"there are seeds of {unknown[0]!r} but no such negatives; name a kind of the"
                " negatives"
            )
        for seed in (self.own_seed, *self.negative_seeds.values()):
            if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
                raise InputError(f"a seed is {seed!r}; give a whole number, 0 or more")
        if self.own_restarts is not None:
            _check_restarts(self.own_restarts, self.own)

    @cached_property
    def likelihoods(self) -> dict[str, Likelihood]:
        """The likelihood ratio against each kind of negatives."""
        return {kind: fit_likelihood(self.own, scores) for kind, scores in self.negatives.items()}

    @cached_property
    def even_likelihood(self) -> Likelihood:
        """The likelihood ratio against all kinds in equal shares; there is at least one."""
        return fit_evenly(self.own, self.negatives)


@dataclass(frozen=True)
class Calibrated:
    """One candidate's calibration."""

    digest: str  # of the generator: SHA-256, 64 hexadecimal digits
    samples: Mapping[str, Sample]  # by condition: "clean", "jpeg 75", ...

    def __post_init__(self) -> None:
        """Check every field."""
        _check_digest(self.digest, "a candidate")
        for condition in self.samples:
            check_name(condition, "a condition")


@dataclass(frozen=True)
class Calibration:
    """Everything that is needed to judge a new image."""

    candidates: Mapping[str, Calibrated]  # by name
    settings_digest: str  # of the searches' settings: SHA-256
    versions: Mapping[str, str]  # of jattr, jax, the backend, ...

    def __post_init__(self) -> None:
        """Check every field."""
        if not self.candidates:
            raise InputError("the calibration has 0 candidates; calibrate at least one")
        _check_digest(self.settings_digest, "the settings")
        for name in self.candidates:
            check_name(name, "a candidate")
        if NONE in self.candidates:
            raise InputError(
                f"a candidate is called {NONE!r}, which stands for none of them; give it another"
                " name"
            )
        digests: dict[str, str] = {}
        for name, candidate in self.candidates.items():
            other = digests.setdefault(candidate.digest, name)
            if other != name:
                raise InputError(
                    f"{other!r} and {name!r} have one digest: they are one model; calibrate it once"
                )
        _check_kinds(self.candidates)
        for name, version in self.versions.items():
            check_name(name, "a version's name")
            check_name(version, f"the version of {name}")

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions under which every candidate was calibrated, in the first one's order."""
        first, *rest = self.candidates.values()
        return tuple(name for name in first.samples if all(name in other.samples for other in rest))

    def check_usable(
        self, digests: Mapping[str, str], settings_digest: str, versions: Mapping[str, str]
    ) -> None:
        """Raise one InputError that lists every difference of a run from the calibrated one.

        Args:
          digests: of the run's candidates, by name; the calibration may know more.
          settings_digest: of the run's settings.
          versions: of the run.
        """
        names = {candidate.digest: name for name, candidate in self.candidates.items()}
        differences = []
        for name, digest in digests.items():
            if digest in names and names[digest] != name:
                differences.append(f"{name} is calibrated under the name {names[digest]}")
            elif digest not in names and name in self.candidates:
                differences.append(
                    f"{name} is another model: {digest[:12]}, calibrated"
                    f" {self.candidates[name].digest[:12]}"
                )
            elif digest not in names:
                differences.append(f"{name} is not calibrated")
        if settings_digest != self.settings_digest:
            differences.append(
                f"the settings are others: {settings_digest[:12]}, calibrated"
                f" {self.settings_digest[:12]}"
            )
        for name in sorted(set(versions) | set(self.versions)):
            current, calibrated = versions.get(name, "none"), self.versions.get(name, "none")
            if current != calibrated:
                differences.append(f"{name} is {current}, calibrated with {calibrated}")
        if differences:
            raise InputError(
                f"the calibration is not of this run: {'; '.join(differences)}; calibrate again or"
                " run as then"
            )

    def sample(self, name: str, condition: str) -> Sample:
        """Return the scores of one candidate under one condition.

        Raises:
          InputError: an unknown candidate or condition; the message names those there are.
        """
        if name not in self.candidates:
            raise InputError(
                f"{name!r} is not calibrated; calibrated are {', '.join(self.candidates)}"
            )
        samples = self.candidates[name].samples
        if condition not in samples:
            conditions = ", ".join(samples) or "no conditions"
            raise InputError(
                f"{name} is not calibrated for {condition!r}; there are {conditions}; calibrate"
                " that condition"
            )
        return samples[condition]


def check_name(value: object, what: str) -> None:
    """Raise an InputError unless a name is one line of text that is not empty.

    `what` it names goes into the message.
    """
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise InputError(f"{what} is {value!r}; give a line of text that is not empty")


def _check_restarts(restarts: Restarts, own: tuple[float, ...]) -> None:
    if len(restarts.used) != len(own):
        raise InputError(
            f"there are restarts of {len(restarts.used)} own images and scores of {len(own)}; give"
            " as many of both"
        )
    if restarts.most > FAIR:
        raise InputError(
            f"an own image has {restarts.most} restarts; scores are taken after {FAIR}: give at"
            " most that"
        )
    for number, (score, arrived) in enumerate(zip(own, restarts.arrived, strict=True)):
        if arrived and not math.isfinite(score):
            raise InputError(
                f"own image {number} arrived, yet its score says that every restart failed; give"
                " the score it arrived at, or arrived as false"
            )


def _check_kinds(candidates: Mapping[str, Calibrated]) -> None:
    """Check that candidates of one condition have the same kinds of negatives.

    Each other's images are left out.
    """
    first: dict[str, tuple[str, set[str]]] = {}
    for name, candidate in candidates.items():
        for condition, sample in candidate.samples.items():
            kinds = {kind for kind in sample.negatives if not kind.startswith(OTHER)}
            other, other_kinds = first.setdefault(condition, (name, kinds))
            if kinds != other_kinds:
                missing = min(kinds ^ other_kinds)
                has, lacks = (name, other) if missing in kinds else (other, name)
                raise InputError(
                    f"{condition}: {has} has negatives of the kind {missing!r}, {lacks} has none;"
                    " calibrate all candidates on the same kinds"
                )


def _check_digest(value: object, what: str) -> None:
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise InputError(
            f"the digest of {what} is {value!r}; give 64 lower-case hexadecimal digits"
        )
