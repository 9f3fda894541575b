"""`Attribution`: what the searches and the decision say of every image and candidate."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from jattr.alterations.chain import Chain
from jattr.decision.judgement import Judgement
from jattr.decision.looked import Looked
from jattr.decision.verdict import Caveat, DecisionConfig, Evidence, Verdict
from jattr.generators.base import Generator
from jattr.images import to_float
from jattr.inversion.evaluate import make_images
from jattr.inversion.multistart import Search


@dataclass(frozen=True)
class Attribution:
    """What `attribute` returns, for every image and candidate."""

    candidates: tuple[Generator, ...] = field(repr=False)
    verdicts: tuple[Verdict, ...]  # one an image
    # [images, candidates], mean squared, [-1, 1] units, or the distance's; inf: all failed
    residual: np.ndarray
    # by candidate, [images, *latent_shape] float32, the best
    latents: tuple[np.ndarray, ...] = field(repr=False)
    labels: np.ndarray = field(repr=False)  # [images, candidates] int32; -1 if unconditional
    evidence: tuple[tuple[Evidence, ...], ...] = field(repr=False)  # [images][candidates]
    # [images, candidates], largest |z|; a uniform prior's support ends at 1
    support: np.ndarray = field(repr=False)
    # [images][candidates], the restarts that ran
    searches: tuple[tuple[tuple[Search, ...], ...], ...] = field(repr=False)
    # [images, candidates], the residual that the true latent leaves
    noise: np.ndarray = field(repr=False)
    # [images, candidates], log10 residual after the first restarts: what `calibrate` collects
    scores: np.ndarray = field(repr=False)
    # of each image what was taken to have been done to it; None: nothing
    alterations: tuple[Chain | None, ...]
    # of each image by a calibration; None: it has a certificate, or no calibration judges it
    judgements: tuple[Judgement | None, ...]
    # by what the verdicts were decided: thresholds, or a function of evidence and caveat
    policy: DecisionConfig | Callable[[Sequence[Evidence], Caveat], Verdict] = field(
        default_factory=DecisionConfig, repr=False
    )
    # of each image what was tried, in words: settings, alterations, restarts; () where not stated
    tried: tuple[tuple[str, ...], ...] = ()
    # of each image the candidates that come near it, or may, under other settings than those above
    near: tuple[tuple["Near", ...], ...] = ()
    named: str = ""  # settings that somebody named, so that no others were tried
    # of each image what a second look came to; None: there was none; () where not stated
    looked: tuple[Looked | None, ...] = ()

    def reproduction(self, image: int, candidate: int) -> np.ndarray | None:
        """Return the candidate's best image [H, W, C] float32, not clipped; None if all failed.

        Of altered images it is the image as it was before: see `altered_reproduction`.
        """
        if not np.isfinite(self.residual[image, candidate]):
            return None
        gen = self.candidates[candidate]
        label = gen.label_argument(self.labels[image, candidate])
        return make_images(gen, self.latents[candidate][image][None], label)[0]

    def altered_reproduction(self, image: int, candidate: int) -> np.ndarray | None:
        """Return the candidate's best image after the alteration [H', W', C'] float32."""
        reproduction, chain = self.reproduction(image, candidate), self.alterations[image]
        if reproduction is None or chain is None or not np.isfinite(reproduction).all():
            return reproduction
        to_bytes = self.candidates[candidate].to_bytes
        pixels = chain.discrete_of_values(reproduction[None], to_bytes)
        return to_float((pixels if chain.jpeg is None else chain.jpeg.discrete(pixels))[0])


class Near(NamedTuple):
    """A candidate that comes near an image under other settings than were searched first."""

    candidate: str
    # what the search in its widest view leaves, mean squared; None: that was not tried
    residual: float | None


class Column(NamedTuple):
    """A further view of a candidate's model, searched for some of an attribution's images."""

    gen: Generator  # under a name of its own
    images: tuple[int, ...]  # their indices
    evidence: tuple[Evidence, ...]  # one an image, as all that follows
    residual: np.ndarray
    latents: np.ndarray  # [n, *latent_shape] float32
    labels: np.ndarray
    support: np.ndarray
    searches: tuple[tuple[Search, ...], ...]
    noise: float


def with_column(attribution: Attribution, column: Column) -> Attribution:
    """Return an attribution with a further column; other images have no latent in it."""
    gen, count, rows = column.gen, len(attribution.verdicts), list(column.images)

    def filled(values: np.ndarray, empty: float) -> np.ndarray:
        whole = np.full((count, *values.shape[1:]), empty, values.dtype)
        whole[rows] = values
        return whole

    def joined(name: str, values: np.ndarray) -> np.ndarray:
        return np.concatenate([getattr(attribution, name), values[:, None]], axis=1)

    evidence = [_no_evidence(gen)] * count
    searches: list[tuple[Search, ...]] = [()] * count
    for row, of_image, runs in zip(rows, column.evidence, column.searches, strict=True):
        evidence[row], searches[row] = of_image, runs
    return dataclasses.replace(
        attribution,
        candidates=(*attribution.candidates, gen),
        residual=joined("residual", filled(column.residual, np.inf)),
        latents=(*attribution.latents, filled(column.latents, 0.0)),
        labels=joined("labels", filled(column.labels, -1)),
        evidence=tuple(
            (*row, new) for row, new in zip(attribution.evidence, evidence, strict=True)
        ),
        support=joined("support", filled(column.support, np.nan)),
        searches=tuple(
            (*row, new) for row, new in zip(attribution.searches, searches, strict=True)
        ),
        noise=joined("noise", np.full(count, column.noise)),
        scores=joined("scores", np.full(count, np.inf)),
    )


def _no_evidence(gen: Generator) -> Evidence:
    """Return the evidence of an image that was not searched for in a column."""
    settings = "" if gen.settings is None else f"{gen.space}, {gen.settings}"
    return Evidence(gen.name, gen.digest, None, None, 0, 0, 0, settings=settings)


class Explanation(NamedTuple):
    """An image in an attribution that took it as altered in one way."""

    attribution: Attribution
    image: int  # its index there


def best_explanation(explanations: Sequence[Explanation]) -> Explanation:
    """Return the explanation with a certificate of the largest p-value; without any, the closest.

    The closest one has the least residual as a multiple of what the true latent would leave under
    its alteration. "None" is said only if every explanation says it.
    """

    def rank(explanation: Explanation) -> tuple[bool, float, bool, float]:
        attribution, i = explanation
        certificate = attribution.verdicts[i].certificate
        return (
            certificate is not None,
            0.0 if certificate is None else certificate.p_value,
            attribution.verdicts[i].kind in ("made-by", "undecided"),
            -float(np.min(attribution.residual[i] / attribution.noise[i])),
        )

    return max(explanations, key=rank)


def merge(explanations: Sequence[Explanation]) -> Attribution:
    """Return one attribution of images that were explained apart, in the order given."""
    every = _with_same_columns([attribution for attribution, _ in explanations])
    explanations = [Explanation(same, i) for same, (_, i) in zip(every, explanations, strict=True)]
    first = every[0]

    def rows(name: str) -> np.ndarray:
        return np.stack([getattr(attribution, name)[i] for attribution, i in explanations])

    return dataclasses.replace(
        first,
        verdicts=tuple(a.verdicts[i] for a, i in explanations),
        residual=rows("residual"),
        latents=tuple(
            np.stack([a.latents[c][i] for a, i in explanations])
            for c in range(len(first.candidates))
        ),
        labels=rows("labels"),
        evidence=tuple(a.evidence[i] for a, i in explanations),
        support=rows("support"),
        searches=tuple(a.searches[i] for a, i in explanations),
        noise=rows("noise"),
        scores=rows("scores"),
        alterations=tuple(a.alterations[i] for a, i in explanations),
        judgements=tuple(a.judgements[i] for a, i in explanations),
        tried=tuple(a.tried[i] if a.tried else () for a, i in explanations),
        near=tuple(a.near[i] if a.near else () for a, i in explanations),
        looked=tuple(a.looked[i] if a.looked else None for a, i in explanations),
    )


def _with_same_columns(attributions: Sequence[Attribution]) -> list[Attribution]:
    """Return attributions with all columns of any of them, in one order."""
    columns: dict[str, tuple[Generator, float]] = {}
    for attribution in attributions:
        for c, gen in enumerate(attribution.candidates):
            columns.setdefault(gen.name, (gen, float(attribution.noise[0, c])))
    return [_with_columns(attribution, columns) for attribution in attributions]


def _with_columns(
    attribution: Attribution, columns: Mapping[str, tuple[Generator, float]]
) -> Attribution:
    """Return an attribution with these columns; those that it lacks are empty."""
    names = [gen.name for gen in attribution.candidates]
    if names == list(columns):
        return attribution
    for name, (gen, noise) in columns.items():
        if name not in names:
            empty = np.zeros(0)
            latents = np.zeros((0, *gen.latent_shape), np.float32)
            labels = np.zeros(0, np.int32)
            column = Column(gen, (), (), empty, latents, labels, empty, (), noise)
            attribution = with_column(attribution, column)
    names = [gen.name for gen in attribution.candidates]
    order = [names.index(name) for name in columns]

    def sorted_rows(rows: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
        return tuple(tuple(row[c] for c in order) for row in rows)

    return dataclasses.replace(
        attribution,
        candidates=tuple(attribution.candidates[c] for c in order),
        latents=tuple(attribution.latents[c] for c in order),
        evidence=sorted_rows(attribution.evidence),
        searches=sorted_rows(attribution.searches),
        **{
            name: getattr(attribution, name)[:, order]
            for name in ("residual", "labels", "support", "noise", "scores")
        },
    )
