"""`attribute`: which of the candidates made each image, with certificates."""

import dataclasses
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import cast

import jax
import numpy as np
from jax.typing import ArrayLike

from jattr.alterations.chain import Chain
from jattr.alterations.files import AlteredImages
from jattr.attribution.alteration_search import (
    AUTO,
    NONE,
    Hypotheses,
    caveat_under,
    check_candidates,
    check_one,
    groups_of,
    hypotheses_of,
    join,
    parse_alternatives,
    without_alterations,
)
from jattr.attribution.calibrate import calibration_search, check_calibration, condition_of
from jattr.attribution.caveats import OwnLevels, caveat_of_samples
from jattr.attribution.evidence import best_of, evidence_of, residuals_of
from jattr.attribution.other_settings import (
    OtherSettings,
    check_other_settings,
    named_settings,
    open_images,
    try_other_settings,
    with_other_settings,
)
from jattr.attribution.pilot import PilotStudies, PilotStudy
from jattr.attribution.racing import CUT_SHORT, Racing, make_inverters, race
from jattr.attribution.result import Attribution, Explanation, best_explanation, merge
from jattr.attribution.second_look import SecondLook, look_again
from jattr.decision.calibration import Calibration
from jattr.decision.judgement import Judgement, judge
from jattr.decision.scores import FAIR, scores_of
from jattr.decision.verdict import (
    NO_CAVEAT,
    Caveat,
    DecisionConfig,
    Evidence,
    Verdict,
    decide,
    is_certified,
)
from jattr.distances.registry import DistanceLike
from jattr.errors import GeneratorError, ImageError, InputError, suggest
from jattr.generators.base import Generator
from jattr.generators.names import check_candidate_names
from jattr.images import LoadedImage, ValueRange, as_bytes
from jattr.images.values import check_value_range
from jattr.inversion.config import InvertConfig, as_search
from jattr.inversion.invert import check_generator, check_key
from jattr.inversion.multistart import OnRound, searches_of
from jattr.inversion.observation.base import Observation, check_pixels
from jattr.inversion.observation.make import make_observation
from jattr.inversion.settings import MultiStart
from jattr.inversion.warm_start import Given, Ridge
from jattr.runtime import jax_defaults

Arrays = np.ndarray | Sequence[np.ndarray]  # of images; or one array for each candidate
Alterations = str | Chain | Sequence[str | Chain]
Progress = Callable[[int, int], object]  # called with (done, total) searches
# of the evidence under every candidate, and what the image's file says
DecideFn = Callable[[Sequence[Evidence], Caveat], Verdict]
Decision = tuple[Verdict, Judgement | None]  # with what it rests on, where a calibration judges
OTHER_SETTINGS = OtherSettings()

# Pilot studies of this process. Each one's name is a digest of all that it depends on, the PRNG key
# included, so a study from here is the one that would be made anew: only time depends on it.
_PILOT_STUDIES: dict[str, PilotStudy] = {}


@jax_defaults()
def attribute(
    images: Arrays | AlteredImages | LoadedImage | Sequence[LoadedImage],
    candidates: Sequence[Generator],
    *,
    search: MultiStart | InvertConfig | None = None,
    racing: Racing | None = None,
    other_settings: OtherSettings | None = OTHER_SETTINGS,
    alterations: Alterations | None = None,
    distance: DistanceLike | None = None,
    policy: DecisionConfig | DecideFn | None = None,
    calibration: Calibration | None = None,
    key: jax.Array | None = None,
    latents0: Mapping[str, ArrayLike] | None = None,
    second_look: SecondLook | bool | None = True,
    progress: Progress | None = None,
    on_round: OnRound | None = None,
    value_range: ValueRange | None = None,
) -> Attribution:
    """Return which of the candidates made each image.

    Args:
      images: from `load_image`, one or several. Or uint8 [n, H, W, C] (or floats in [-1, 1],
        rounded to bytes); or one such array for each candidate, the same images in the candidates'
        shapes. Or `AlteredImages`, with what was done to them. Arrays do not say what their file
        does: of pixels that lost something without a trace "none" can be said though a candidate
        made them.
      candidates: the models.
      search: settings of the inversion.
      racing: when a candidate stops searching what it cannot win any more.
      other_settings: how images that nobody seems to have made are tried under other settings of
        style-based candidates; None: they are not, and "none" is said of those searched alone.
      alterations: what may have been done to the images: "auto" (a JPEG file's own compression,
        else nothing), "none", a chain or its text, or several of these, of which the best
        explanation of each image is kept. None: "auto".
      distance: what is searched by: a `Distance`, a text that `load_distance` reads, or a function
        of two images that returns a number; None: that of `search`, or pixels.
      policy: of the decision: thresholds of verdicts without certificate, error rates. Or a
        function from evidence and caveat to a `Verdict`, which takes the place of `decide`;
        `verify` calls it again.
      calibration: of these candidates and settings; images without a certificate are judged by it
        at `policy.alpha`, where it has their alteration.
      key: PRNG key; None: from `search.seed`.
      latents0: of candidates by their names, where their restarts begin: [images, restarts,
        *latent_shape], or [images, *latent_shape] for one restart of each image. Further restarts,
        and those of other candidates, begin where they would without.
      second_look: what usual alterations are tried of images that no candidate explains as they
        are; True: those of `SecondLook()`; False or None: none. Nothing is tried where alterations
        are named (other than "auto"), with a distance, with a `policy` of the caller's own, and
        with candidates of several sizes.
      progress: called with (done, total) searches of image and candidate.
      on_round: called with a `Round` after every round of restarts of every candidate.
      value_range: of float images, (-1, 1) or (0, 1). None: they are in [-1, 1], and images without
        a negative number are refused: most of them are in [0, 1].

    Raises:
      GeneratorError: no candidates, or two whose names are one, or look alike.
      ImageError: an image that does not fit the candidates under any alteration, or that has values
        of another range.
      InputError: a calibration of other models, settings or versions; settings that contradict each
        other.
    """
    search, key = _with_distance(as_search(search), distance), check_key(key)
    _check_candidates(candidates)
    candidates = tuple(search.view(gen) for gen in candidates)
    starts = _starts(latents0, candidates, search, calibration)
    loaded = _loaded(images)
    if loaded is None and not isinstance(images, AlteredImages):
        images = _bytes_of(cast("Arrays", images), value_range)
    else:
        check_value_range(value_range, floats=False)
    if isinstance(images, AlteredImages) and alterations is not None:
        raise InputError(
            f"the images are altered by {images.chain.text!r} and alterations are given; give one"
        )
    named = isinstance(images, AlteredImages) or alterations not in (None, AUTO, [AUTO], (AUTO,))
    usual = second_look_of(second_look, search, policy)
    usual = None if named else usual
    if loaded is None and alterations in (None, AUTO, NONE):
        attribution = attribute_observed(
            cast("Arrays | AlteredImages", images),
            candidates,
            search=search,
            policy=policy,
            calibration=calibration,
            key=key,
            progress=progress,
            racing=racing,
            other_settings=other_settings,
            on_round=on_round,
            latents0=starts,
        )
        if usual is None or isinstance(images, (list, tuple)):
            return attribution
        pixels = check_pixels(candidates[0], images)
        return _look_again(
            _unnamed(pixels),
            attribution,
            candidates,
            usual,
            search=search,
            policy=policy,
            key=key,
            racing=racing,
        )
    if loaded is None:
        loaded = _unnamed(images)
    _check_names(candidates)
    alternatives = parse_alternatives(AUTO if alterations is None else alterations)
    if search.distance is not None:
        alternatives = without_alterations(alternatives)
    check_candidates(alternatives, candidates, resize=False)
    if calibration is not None:
        check_one(alternatives)
    hypotheses = [hypotheses_of(image, alternatives, candidates, search=search) for image in loaded]
    return attribute_hypotheses(
        hypotheses,
        candidates,
        search=search,
        policy=policy,
        calibration=calibration,
        key=key,
        progress=progress,
        racing=racing,
        other_settings=other_settings,
        second_look=usual,
        on_round=on_round,
        latents0=starts,
    )


def second_look_of(
    given: SecondLook | bool | None,
    search: MultiStart,
    policy: DecisionConfig | DecideFn | None,
) -> SecondLook | None:
    """Return the second look of a call whose alterations nobody named; None: there is none.

    Raises:
      InputError: it is none.
    """
    if given is None or isinstance(given, bool):
        given = SecondLook() if given else None
    elif not isinstance(given, SecondLook):
        raise InputError(
            f"second_look is {given!r}; it is a jattr.SecondLook(...), True, False or None"
        )
    own = policy is None or isinstance(policy, DecisionConfig)
    return given if own and search.distance is None else None


@jax_defaults()
def attribute_hypotheses(
    hypotheses: Sequence[Hypotheses],
    candidates: Sequence[Generator],
    *,
    search: MultiStart,
    policy: DecisionConfig | DecideFn | None = None,
    calibration: Calibration | None = None,
    key: jax.Array | None = None,
    progress: Progress | None = None,
    pilot_studies: MutableMapping[str, PilotStudy] | None = None,
    racing: Racing | None = None,
    other_settings: OtherSettings | None = OTHER_SETTINGS,
    on_round: OnRound | None = None,
    latents0: Mapping[str, Given] | None = None,
    second_look: SecondLook | None = None,
) -> Attribution:
    """Return which candidate made each image, under the alternative that explains it best.

    Args as `attribute` and `attribute_observed` take them, but for the images: `hypotheses_of`; and
    for `second_look`, which is taken of all of them: None where somebody named what was done.
    """
    explanations: list[list[Explanation]] = [[] for _ in hypotheses]
    total = len(candidates) * sum(len(each.altered) for each in hypotheses)
    done, own_levels = 0, OwnLevels(candidates)
    for members in groups_of(hypotheses):
        rows = [index for index, _ in members]
        images, chain = _stacked([(hypotheses[index], altered) for index, altered in members])
        attribution = attribute_observed(
            images,
            candidates,
            search=search,
            policy=policy,
            calibration=calibration,
            key=key,
            progress=_shifted(progress, done, total),
            pilot_studies=pilot_studies,
            racing=racing,
            other_settings=other_settings,
            on_round=on_round,
            latents0={name: _of_images(given, rows) for name, given in (latents0 or {}).items()},
            caveats=[caveat_under(hypotheses[index], chain, own_levels) for index, _ in members],
        )
        done += len(members) * len(candidates)
        for i, (index, _) in enumerate(members):
            explanations[index].append(Explanation(attribution, i))
    attribution = merge([best_explanation(each) for each in explanations])
    # of every alternative, not of the best alone
    tried = [dict.fromkeys(text for a, i in each for text in a.tried[i]) for each in explanations]
    attribution = dataclasses.replace(attribution, tried=tuple(map(tuple, tried)))
    if second_look is None:
        return attribution
    return _look_again(
        [each.image for each in hypotheses],
        attribution,
        candidates,
        second_look,
        search=search,
        policy=policy,
        key=key,
        racing=racing,
        pilot_studies=pilot_studies,
    )


def _look_again(
    images: Sequence[LoadedImage],
    attribution: Attribution,
    candidates: Sequence[Generator],
    second_look: SecondLook,
    *,
    search: MultiStart,
    policy: DecisionConfig | DecideFn | None,
    key: jax.Array | None,
    racing: Racing | None,
    pilot_studies: MutableMapping[str, PilotStudy] | None = None,
) -> Attribution:
    """Return an attribution whose images without an explanation were looked at again."""

    def explain(i: int, alteration: str, makers: Sequence[Generator]) -> Attribution:
        alternatives = parse_alternatives(alteration)
        hypotheses = hypotheses_of(images[i], alternatives, makers, search=search)
        return attribute_hypotheses(
            [hypotheses],
            candidates,
            search=search,
            policy=policy,
            key=key,
            racing=racing,
            pilot_studies=pilot_studies,
            other_settings=None,
        )

    return look_again(
        images,
        attribution,
        candidates,
        explain,
        settings=second_look,
        search=search,
        policy=policy if isinstance(policy, DecisionConfig) else DecisionConfig(),
        key=jax.random.key(search.seed) if key is None else key,
    )


def _starts(
    latents0: Mapping[str, ArrayLike] | None,
    candidates: Sequence[Generator],
    search: MultiStart,
    calibration: Calibration | None,
) -> Mapping[str, Given]:
    """Return starts of the caller's own by the candidates' names.

    Raises:
      InputError: of a candidate that there is not, beside a warm start, or beside a calibration.
    """
    if latents0 is None:
        return {}
    names = [gen.name for gen in candidates]
    if not isinstance(latents0, Mapping):
        raise InputError(
            f"latents0 is of type {type(latents0).__name__}; it is a dict of latents by names of"
            f" candidates: {', '.join(names)}"
        )
    for name in latents0:
        if name not in names:
            raise InputError(f"latents0 names the candidate {name!r}; {suggest(name, names)}")
    if search.warm_start != Ridge():
        raise InputError("latents0 and search.warm_start are given; give one of them")
    if calibration is not None:
        raise InputError(
            "latents0 and a calibration are given, whose own images were searched without; leave"
            " one of them away"
        )
    return {name: Given(np.asarray(latents)) for name, latents in latents0.items()}


def _of_images(given: Given, rows: Sequence[int]) -> Given:
    """Return the starts of some images."""
    if max(rows, default=0) >= len(given.latents):
        raise InputError(
            f"latents0 holds starts of {len(given.latents)} images; it holds those of all"
        )
    return Given(given.latents[list(rows)])


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Return what reports the progress of a part of the searches as that of all."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)


def _stacked(
    members: Sequence[tuple[Hypotheses, AlteredImages | None]],
) -> tuple[Arrays | AlteredImages, Chain | None]:
    """Return images of one group as one set, and what was done to them."""
    altered = [images for _, images in members if images is not None]
    if altered:
        images = join(altered)
        return images, images.chain
    by_candidate = zip(*(hypothesis.fitted for hypothesis, _ in members), strict=True)
    return [np.stack([image.pixels for image in fitted]) for fitted in by_candidate], None


def _with_distance(search: MultiStart, distance: DistanceLike | None) -> MultiStart:
    if distance is None:
        return search
    if search.distance not in (None, distance):
        raise InputError(
            f"distance is {distance!r} and search.distance {search.distance!r}; give one of them"
        )
    return dataclasses.replace(search, distance=distance)


def _loaded(images: object) -> list[LoadedImage] | None:
    """Return the images if they come from files."""
    if isinstance(images, LoadedImage):
        return [images]
    if isinstance(images, (list, tuple)) and images and isinstance(images[0], LoadedImage):
        return list(images)
    return None


def _bytes_of(images: Arrays, value_range: ValueRange | None) -> Arrays:
    """Return arrays of images, uint8 or floats, as bytes; their shapes are checked later."""
    if isinstance(images, (list, tuple)):
        return [as_bytes(each, value_range) for each in images]
    return as_bytes(images, value_range)


def _unnamed(images: object) -> list[LoadedImage]:
    """Return images of one array as if they came from lossless files."""
    if isinstance(images, (list, tuple)):
        raise InputError("alterations need one array of images; give that, or leave them away")
    pixels = np.asarray(images)
    if pixels.dtype != np.uint8 or pixels.ndim != 4:
        raise ImageError(f"images are {pixels.dtype} {pixels.shape}; give uint8 [n, H, W, C]")
    return [LoadedImage(f"image {index}", image, "") for index, image in enumerate(pixels)]


@jax_defaults()
def attribute_observed(
    images: Arrays | AlteredImages,
    candidates: Sequence[Generator],
    *,
    search: MultiStart | InvertConfig | None = None,
    policy: DecisionConfig | DecideFn | None = None,
    calibration: Calibration | None = None,
    key: jax.Array | None = None,
    progress: Progress | None = None,
    pilot_studies: MutableMapping[str, PilotStudy] | None = None,
    caveats: Sequence[Caveat] | None = None,
    racing: Racing | None = None,
    other_settings: OtherSettings | None = OTHER_SETTINGS,
    on_round: OnRound | None = None,
    latents0: Mapping[str, Given] | None = None,
) -> Attribution:
    """Return which candidate made each image, of images that are all taken in one way.

    Args:
      images: arrays or `AlteredImages`, as `attribute` takes them.
      candidates: the models.
      search: settings of the inversion.
      policy: of the decision.
      calibration: of these candidates and settings.
      key: PRNG key; None: from `search.seed`.
      progress: called with (done, total) searches of image and candidate.
      pilot_studies: earlier ones by name, and where new ones are put; None: those of this process.
      caveats: of each image, what its file says that the arrays do not: `caveat_of`; None: what
        their samples show.
      racing: when a candidate stops searching what it cannot win any more.
      other_settings: as `attribute` takes it.
      on_round: called with a `Round` after every round of restarts of every candidate.
      latents0: where restarts begin, by the names of candidates.

    Raises:
      GeneratorError: no candidates, or two whose names are one, or look alike.
      ImageError: images that do not have the candidates' shape, or caveats of another number of
        them.
      InputError: a calibration of other models, settings or versions.
    """
    search, racing = as_search(search), Racing() if racing is None else racing
    if not isinstance(racing, Racing):
        raise InputError(f"racing is {racing!r}; it is a jattr.Racing(...) or None")
    if calibration is not None and not isinstance(calibration, Calibration):
        raise InputError(
            f"calibration is of type {type(calibration).__name__}; it is a Calibration, as"
            " jattr.calibrate returns, or None"
        )
    check_other_settings(other_settings)
    decide_fn, policy = _decision(policy, calibration)
    candidates = tuple(search.view(gen) for gen in candidates)
    _check_names(candidates)
    if calibration is not None:
        search = calibration_search(search)
        check_calibration(calibration, candidates, search)
        if racing.fair != FAIR:
            raise InputError(
                f"racing.fair is {racing.fair} and a calibration is given: calibrations are made"
                f" after {FAIR} restarts; leave one of them away"
            )
    observations = _observations(images, candidates, search)
    if search.distance is not None:
        policy = dataclasses.replace(policy, thresholds=False)
    key = jax.random.key(search.seed) if key is None else key
    # 1. Search every candidate's latents, the candidates against each other.
    inverters = make_inverters(observations, search, key, latents0)
    distinct = list(dict.fromkeys(inverters))
    store = _PILOT_STUDIES if pilot_studies is None else pilot_studies
    studies = PilotStudies(search, key, store, racing.pilot_images)
    cut_short = race(distinct, search, policy, studies, progress, racing, on_round)
    # 2. Evidence: residuals at full precision, certificates, usual misses where they count.
    residuals = {inverter: residuals_of(inverter) for inverter in distinct}
    evidence = evidence_of(candidates, inverters, residuals, studies, policy)
    scores = np.stack([scores_of(inverter.fair) for inverter in inverters], axis=1)
    # 3. Decide, once for each image.
    chain = images.chain if isinstance(images, AlteredImages) else None
    if caveats is None:
        own_levels, pixels = OwnLevels(candidates), observations[0].pixels
        caveats = [caveat_of_samples(image, chain, own_levels) for image in pixels]
    caveats = _caveats(caveats, len(evidence))

    def decided(i: int, row: Sequence[Evidence], caveat: Caveat) -> Decision:
        if decide_fn:
            return decide_fn(row, caveat), None
        condition = condition_of(chain)
        return _decide(
            row, scores[i].tolist(), policy, caveat, calibration, condition, cut_short=cut_short[i]
        )

    decisions = [decided(i, row, caveats[i]) for i, row in enumerate(evidence)]
    best = [best_of(inverter) for inverter in inverters]
    noise = np.array([inverter.observation.noise for inverter in inverters])
    found = Attribution(
        candidates=candidates,
        verdicts=tuple(verdict for verdict, _ in decisions),
        residual=np.stack([residuals[inverter] for inverter in inverters], axis=1),
        latents=tuple(each.latents for each in best),
        labels=np.stack([each.labels for each in best], axis=1),
        evidence=tuple(evidence),
        support=np.stack([each.support for each in best], axis=1),
        searches=tuple(
            tuple(searches_of(inverter, i) for inverter in inverters) for i in range(len(evidence))
        ),
        noise=np.tile(noise, (len(evidence), 1)),
        scores=scores,
        alterations=(chain,) * len(evidence),
        judgements=tuple(judgement for _, judgement in decisions),
        policy=decide_fn or policy,
        tried=tuple((tried_text(chain, row),) for row in evidence),
    )
    if decide_fn is not None or other_settings is None:
        return found
    # 4. Before "none" is said, a style-based candidate's other settings are tried.
    if named_settings(search) and not other_settings.beside_named:
        found = dataclasses.replace(found, named=named_settings(search))
        open_ = open_images(found, policy)
    else:
        arrays = [observation.pixels for observation in observations]
        found, open_ = try_other_settings(
            found,
            images if isinstance(images, AlteredImages) else arrays,
            search=search,
            key=key,
            policy=policy,
            racing=racing,
            store=store,
            settings=other_settings,
        )
    # 5. Decide on those images anew, with what that has brought.
    verdicts, judgements = list(found.verdicts), list(found.judgements)
    for i in open_:
        near = found.near[i] if found.near else ()
        caveat = with_other_settings(caveats[i], near, candidates, found.named)
        verdicts[i], judgements[i] = decided(i, found.evidence[i], caveat)
    return dataclasses.replace(found, verdicts=tuple(verdicts), judgements=tuple(judgements))


def tried_text(chain: Chain | None, evidence: Sequence[Evidence]) -> str:
    """Return in words under which alteration an image was searched, and how often.

    >>> tried_text(None, [])
    'as it is'
    """
    what = "as it is" if chain is None or not chain.steps else chain.text
    restarts = sorted({e.restarts for e in evidence})
    if not restarts:
        return what
    count = "-".join(str(number) for number in dict.fromkeys((restarts[0], restarts[-1])))
    each = f" of each of {len(evidence)} candidates" if len(evidence) > 1 else ""
    return f"{what}: {count} restart{'' if count == '1' else 's'}{each}"


def _decision(
    policy: DecisionConfig | DecideFn | None, calibration: Calibration | None
) -> tuple[DecideFn | None, DecisionConfig]:
    """Return the caller's own function, if any, and the settings of the decision.

    Raises:
      InputError: it is neither, or a function beside a calibration.
    """
    if policy is None or isinstance(policy, DecisionConfig):
        return None, policy or DecisionConfig()
    if not callable(policy):
        raise InputError(
            f"policy is {policy!r}; it is a DecisionConfig, or a function of (evidence, caveat)"
            " that returns a Verdict"
        )
    if calibration is not None:
        raise InputError("policy is a function and a calibration is given; give one of them")

    def checked(evidence: Sequence[Evidence], caveat: Caveat) -> Verdict:
        verdict = policy(evidence, caveat)
        if not isinstance(verdict, Verdict):
            raise InputError(f"policy returns {verdict!r}; it returns a jattr.decision Verdict")
        return verdict

    return checked, DecisionConfig()


def _decide(
    evidence: Sequence[Evidence],
    scores: Sequence[float],
    policy: DecisionConfig,
    caveat: Caveat,
    calibration: Calibration | None,
    condition: str,
    *,
    cut_short: bool,
) -> Decision:
    """Return the verdict on one image, and the calibration's judgement that it rests on, if any.

    Args:
      evidence: of the image under every candidate.
      scores: under every candidate.
      policy: of the decision.
      caveat: what the image's file says.
      calibration: of the candidates, or None.
      condition: what was done to the image.
      cut_short: whether some candidate's search was ended by another's.
    """
    if calibration is None:
        return decide(evidence, policy, caveat), None
    # A calibration speaks of images that were treated as its own were, and searched as they were.
    uncalibrated = caveat.uncalibrated
    if not uncalibrated and condition not in calibration.conditions:
        uncalibrated = condition
    if not uncalibrated and cut_short:
        uncalibrated = CUT_SHORT
    # Further columns are of other settings than the calibration's.
    judgement, own = None, evidence[: len(scores)]
    if not uncalibrated and not is_certified(evidence):
        judgement = judge(
            calibration,
            {e.name: score for e, score in zip(own, scores, strict=True)},
            condition,
            policy.alpha,
            restarts={e.name: e.restarts for e in own},
            caveat=caveat.text,
        )
    verdict = decide(evidence, policy, caveat, judgement=judgement, uncalibrated=uncalibrated)
    return verdict, judgement


def _caveats(caveats: Sequence[Caveat] | None, images: int) -> list[Caveat]:
    """Return a caveat for each image."""
    if caveats is None:
        return [NO_CAVEAT] * images
    if len(caveats) != images:
        raise ImageError(
            f"there are {len(caveats)} caveats of {images} images; give one for each, or none"
        )
    return list(caveats)


def _check_candidates(candidates: Sequence[Generator]) -> None:
    if isinstance(candidates, (Generator, str)):
        raise InputError(
            f"candidates is of type {type(candidates).__name__}; it is a list of generators"
        )
    for gen in candidates:
        check_generator(gen)


def _check_names(candidates: Sequence[Generator]) -> None:
    if not candidates:
        raise GeneratorError("there are 0 candidates; give at least one generator")
    check_candidate_names([gen.name for gen in candidates])


def _observations(
    images: Arrays | AlteredImages, candidates: Sequence[Generator], search: MultiStart
) -> list[Observation]:
    """Return the images as each candidate's searches compare with them."""
    if isinstance(images, AlteredImages):
        return [make_observation(gen, images, search) for gen in candidates]
    arrays = list(images) if isinstance(images, (list, tuple)) else [images] * len(candidates)
    if len(arrays) != len(candidates):
        raise ImageError(
            f"there are {len(arrays)} arrays of images for {len(candidates)} candidates; give one"
            " for each, or one array for all: np.stack(images)"
        )
    pixels = [check_pixels(gen, array) for gen, array in zip(candidates, arrays, strict=True)]
    if len({len(p) for p in pixels}) > 1:
        raise ImageError(
            "the arrays hold different numbers of images; give the same images for every candidate"
        )
    return [make_observation(gen, p, search) for gen, p in zip(candidates, pixels, strict=True)]
