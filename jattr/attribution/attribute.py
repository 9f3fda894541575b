"""`attribute`: which of the candidates made each image, with certificates."""

import dataclasses
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jattr.alterations.chain import Chain
from jattr.alterations.files import AlteredImages
from jattr.attribution.calibrate import calibration_config, check_calibration, condition_of, judged
from jattr.attribution.caveats import NO_CAVEAT, Caveat, judgement_with_caveat, with_caveat
from jattr.attribution.evidence import best_of, residuals_of, verdicts_of
from jattr.attribution.pilot import PilotStudies, PilotStudy
from jattr.attribution.racing import CUT_SHORT, make_inverters, search
from jattr.decision.calibration import Calibration
from jattr.decision.judgement import Judgement
from jattr.decision.scores import scores_of
from jattr.decision.verdict import DecisionConfig, Evidence, Verdict, by_judgement, not_calibrated
from jattr.errors import GeneratorError, ImageError
from jattr.generators.base import Generator
from jattr.images import to_float
from jattr.inversion.config import InvertConfig
from jattr.inversion.evaluate import make_images
from jattr.inversion.multistart import Search
from jattr.inversion.observation.base import Observation, check_pixels
from jattr.inversion.observation.make import make_observation

_PILOT_STUDIES: dict[str, PilotStudy] = {}  # of this process


@dataclass(frozen=True)
class Attribution:
    """What `attribute` found, for every image and candidate."""

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
    # [images][candidates], restarts that ran
    searches: tuple[tuple[tuple[Search, ...], ...], ...] = field(repr=False)
    noise: np.ndarray = field(repr=False)  # [candidates], the residual that the true latent leaves
    # [images, candidates], log10 residual after the first restarts: `calibrate`
    scores: np.ndarray = field(repr=False)
    alteration: Chain | None = None  # what was taken to have been done to the images
    # by a calibration, of images without a certificate
    judgements: tuple[Judgement | None, ...] = ()

    def reproduction(self, image: int, candidate: int) -> np.ndarray | None:
        """Return the candidate's best image [H, W, C] float32, not clipped; None if every restart
        failed.

        Of altered images it is the image as it was before: see `altered_reproduction`.
        """
        if not np.isfinite(self.residual[image, candidate]):
            return None
        gen = self.candidates[candidate]
        label = gen.label_argument(self.labels[image, candidate])
        return make_images(gen, self.latents[candidate][image][None], label)[0]

    def altered_reproduction(self, image: int, candidate: int) -> np.ndarray | None:
        """Return the candidate's best image as it looks after the alteration [H', W', C']
        float32.
        """
        made = self.reproduction(image, candidate)
        if made is None or self.alteration is None or not np.isfinite(made).all():
            return made
        pixels = self.candidates[candidate].to_bytes(made[None])
        return to_float(self.alteration.looks(pixels)[0])

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as JSON values: `candidates` and `images`, as in `result.json`,
        without latents.
        """
        from jattr.attribution.result_json import candidate_record, finding_record

        return {
            "candidates": [candidate_record(gen) for gen in self.candidates],
            "pictures": [finding_record(self, i) for i in range(len(self.verdicts))],
        }

    def _repr_html_(self) -> str:
        """Return a table for notebooks: the verdicts, the residuals, the winners' reproductions."""
        from jattr.report.notebook import attribution_table

        return attribution_table(self)


def attribute(
    images: Any,
    generators: Sequence[Generator],
    *,
    config: InvertConfig | None = None,
    decision: DecisionConfig | None = None,
    key: Any = None,
    progress: Any = None,
    pilot_studies: MutableMapping[str, PilotStudy] | None = None,
    calibration: Calibration | None = None,
    caveats: Sequence[Caveat] | None = None,
) -> Attribution:
    """Return which of the generators made each image.

    Args:
      images: uint8 [n, H, W, C] (or floats in [-1, 1], rounded to bytes); or one such array for
        each candidate, the same images in the candidates' shapes. Or `AlteredPictures`, with what
        was done to them.
      generators: the candidates.
      config: of the inversion.
      decision: thresholds of verdicts without certificate.
      key: PRNG key; None: from `config.seed`.
      progress: called with (done, total) searches of image and candidate.
      pilot_studies: known ones by name, and where new ones are put; None: those of this process.
      calibration: of these candidates and settings; images without a certificate are judged by it
        at `decision.alpha`, where it has their alteration.
      caveats: of each image, what its file says that the arrays do not: `caveat_of`; None: they are
        as they were made, but for the alteration.

    Raises:
      GeneratorError: no candidates, or two with one name.
      ImageError: images that do not have the candidates' shape, or doubts of another number of
        them.
      InputError: a calibration of other models, settings or versions.
    """
    config, decision = config or InvertConfig(), decision or DecisionConfig()
    generators = tuple(config.view(gen) for gen in generators)
    _check_names(generators)
    if calibration is not None:
        config = calibration_config(config)
        check_calibration(calibration, generators, config)
    observation = _observations(images, generators, config)
    if config.distance is not None:
        decision = dataclasses.replace(decision, thresholds=False)
    key = jax.random.key(config.seed) if key is None else key
    inverters = make_inverters(observation, config, key)
    studies = PilotStudies(config, key, _PILOT_STUDIES if pilot_studies is None else pilot_studies)
    cut = search(list(dict.fromkeys(inverters)), config, decision, studies, progress)
    residuals = {inverter: residuals_of(inverter) for inverter in dict.fromkeys(inverters)}
    evidence, verdicts = verdicts_of(generators, inverters, residuals, studies, decision)
    scores = np.stack([scores_of(inverter.fair) for inverter in inverters], axis=1)
    chain = images.chain if isinstance(images, AlteredImages) else None
    caveats = _caveats(caveats, len(verdicts))
    verdicts = [
        with_caveat(verdict, caveat) for verdict, caveat in zip(verdicts, caveats, strict=True)
    ]
    judgements: list[Judgement | None] = [None] * len(verdicts)
    if calibration is not None:
        condition = condition_of(chain)
        unlike = "" if condition in calibration.conditions else condition
        apart = [
            d.apart or unlike or (CUT_SHORT if short else "")
            for d, short in zip(caveats, cut, strict=True)
        ]
        found = judged(
            calibration, generators, scores, verdicts, evidence, condition, decision.alpha, apart
        )
        judgements = [
            None if j is None else judgement_with_caveat(j, d)
            for j, d in zip(found, caveats, strict=True)
        ]
        verdicts = [
            _calibrated(v, j, why) for v, j, why in zip(verdicts, judgements, apart, strict=True)
        ]
    best = [best_of(inverter) for inverter in inverters]
    return Attribution(
        candidates=generators,
        verdicts=tuple(verdicts),
        residual=np.stack([residuals[inverter] for inverter in inverters], axis=1),
        latents=tuple(each.latents for each in best),
        labels=np.stack([each.labels for each in best], axis=1),
        evidence=tuple(evidence),
        support=np.stack([each.support for each in best], axis=1),
        searches=tuple(
            tuple(inverter.searches(i) for inverter in inverters) for i in range(len(verdicts))
        ),
        noise=np.array([inverter.observation.noise for inverter in inverters]),
        alteration=chain,
        scores=scores,
        judgements=tuple(judgements),
    )


def _calibrated(verdict: Verdict, judgement: Judgement | None, apart: str) -> Verdict:
    """Return the verdict that a calibration leaves: its judgement's, if there is one; else that
    says why not.
    """
    if judgement is not None:
        return by_judgement(verdict, judgement)
    return verdict if verdict.certificate is not None else not_calibrated(verdict, apart)


def _caveats(caveats: Sequence[Caveat] | None, images: int) -> list[Caveat]:
    """Return a doubt for each image."""
    given = [NO_CAVEAT] * images if caveats is None else list(caveats)
    if len(given) != images:
        raise ImageError(
            f"there are {len(given)} doubts of {images} images; give one for each, or none at all"
        )
    return given


def _check_names(generators: tuple[Generator, ...]) -> None:
    if not generators:
        raise GeneratorError("there are 0 candidates; give at least one generator")
    names = [gen.name for gen in generators]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GeneratorError(f"two candidates are called {twice[0]!r}; give each its own name")


def _observations(
    images: Any, generators: tuple[Generator, ...], config: InvertConfig
) -> list[Observation]:
    """Return the images as the searches of each candidate see them."""
    if isinstance(images, AlteredImages):
        return [make_observation(gen, images, config) for gen in generators]
    arrays = list(images) if isinstance(images, (list, tuple)) else [images] * len(generators)
    if len(arrays) != len(generators):
        raise ImageError(
            f"there are {len(arrays)} arrays of images for {len(generators)} candidates; give one"
            " for each"
        )
    pixels = [check_pixels(gen, array) for gen, array in zip(generators, arrays, strict=True)]
    if len({len(p) for p in pixels}) > 1:
        raise ImageError(
            "the arrays hold different numbers of images; give the same images for every candidate"
        )
    return [
        make_observation(gen, mine, config) for gen, mine in zip(generators, pixels, strict=True)
    ]
