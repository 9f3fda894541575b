"""`Attribution`: what the searches and the decision say of every image and candidate."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jattr.alterations.chain import Chain
from jattr.decision.judgement import Judgement
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
    first = explanations[0].attribution

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
    )
