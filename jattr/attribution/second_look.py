"""A second look at images that no candidate explains as they are: was one saved or edited as usual?

Programs save images in other ways than a card says (stretched, with red and blue exchanged), and
people mirror them or paste marks on them. Before "none" is said these are tried, where nobody has
named an alteration:

1. Screening: each alteration is undone on the pixels and every candidate takes a few steps from a
   regressed start, through the program that searches unaltered images. Pairs of an alteration and
   a candidate that are far away drop out, the others go on (successive halving: Jamieson,
   Talwalkar, arXiv 1502.07943).
2. What comes near is searched in full under that alteration by name, with its certificate.

Many alterations are tried after looking, so only a certificate gives a name, and its evidence must
suffice without the bits in which the alteration was chosen. What comes near without one is
"undecided". A screening is brief: that nothing came near is not that nothing is there.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import numpy as np

from jattr.alterations.chain import Chain
from jattr.alterations.registry import parse_chain
from jattr.alterations.saving import Stretch
from jattr.attribution.pilot import candidate_key
from jattr.attribution.result import Attribution, Explanation, merge
from jattr.attribution.usual_alterations import (
    COVER,
    FRAME,
    STRETCH,
    AsItIs,
    Guess,
    Look,
    Marks,
    looks_wrapped,
    make_guess,
)
from jattr.decision.looked import END_BITS, Looked, after_second_look
from jattr.decision.verdict import DecisionConfig, within
from jattr.errors import ImageError, InputError
from jattr.generators.base import Generator
from jattr.images import LoadedImage
from jattr.images.fitting import with_channels
from jattr.inversion.evaluate import make_images
from jattr.inversion.multistart import OneStageSearch
from jattr.inversion.observation.base import Observation
from jattr.inversion.observation.undone import UndoneObservation
from jattr.inversion.scheduler import Scheduler
from jattr.inversion.settings import MultiStart
from jattr.inversion.two_stage import make_inverter
from jattr.inversion.warm_start import Given, Ridge
from jattr.solvers.base import check_fields

ONE_PIXEL = ("shift:1:0", "shift:-1:0", "shift:0:1", "shift:0:-1")
USUAL = (
    "bgr",
    "flip:horizontal",
    "flip:vertical",
    "turn:90",
    "turn:180",
    "turn:270",
    "invert",
    *ONE_PIXEL,
    STRETCH,
    "clip-low",
    "wrap:127.5:255",
    FRAME,
    COVER,
)

# ways of saving that leave an image near: another rounding, a little more contrast
CLOSE = (STRETCH, "truncate", "round")


@dataclass(frozen=True, kw_only=True)
class SecondLook:
    """What a second look tries, and what it spends."""

    # as `make_guess` takes them
    alterations: tuple[str, ...] = field(default_factory=lambda: USUAL)
    # steps of each round of the screening, of gradient methods and of those with whole Jacobians;
    # 0: the regressed start is compared
    gradient_steps: tuple[int, ...] = (0, 20, 20, 20)
    dense_steps: tuple[int, ...] = (0, 4, 4, 4)
    # pairs of an alteration and a candidate that go on after each round but the last, an image
    survivors: tuple[int, ...] = (10, 4, 2)
    # mean square, [-1, 1] units: what the screening leaves at most of an image that is near, and
    # at most this share of what is left of it as it is
    near: float = within(8)
    share: float = 0.5
    full_searches: int = 3  # most, of an image, each under one alteration
    # tried in full where a candidate comes near an image as it is, without a certificate
    close: tuple[str, ...] = field(default_factory=lambda: CLOSE)
    # of the differences of neighbours, what they are modulo 256 in an image that looks wrapped
    wrapped: float = 0.8
    marks: Marks = field(default_factory=Marks)
    max_numbers: int = 1 << 26  # of all images at once, undone in every way for every candidate

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        if not isinstance(self.alterations, tuple):
            raise InputError(f"alterations of SecondLook is {self.alterations!r}; give a tuple")
        if not isinstance(self.close, tuple):
            raise InputError(f"close of SecondLook is {self.close!r}; give a tuple")
        for text in self.alterations:
            make_guess(text, self.marks)
        for text in self.close:
            parse_chain(text)
        check_fields(self, may_be_0=("full_searches", "gradient_steps", "dense_steps"))
        rounds = {len(self.gradient_steps), len(self.dense_steps), len(self.survivors) + 1}
        if len(rounds) > 1:
            raise InputError(
                "SecondLook has gradient_steps, dense_steps and survivors of"
                f" {len(self.gradient_steps)}, {len(self.dense_steps)} and {len(self.survivors)}"
                " rounds; steps are of one round more than survivors"
            )


class Screening(NamedTuple):
    """What the screening of one image came to."""

    alterations: tuple[str, ...]  # that were tried: those that lead to the candidates' shape
    near: list["Near"]  # the nearest first


class Near(NamedTuple):
    """An alteration under which a candidate came near an image."""

    text: str  # of the guess
    candidate: str  # its name
    misfit: float  # mean square, [-1, 1] units
    chains: tuple[str, ...]  # to be searched in full, the likeliest first


# of an image's index, alterations and the candidates that came near: the full searches of it
ExplainFn = Callable[[int, str, Sequence[Generator]], Attribution]


def look_again(
    images: Sequence[LoadedImage],
    attribution: Attribution,
    candidates: Sequence[Generator],
    explain: ExplainFn,
    *,
    settings: SecondLook,
    search: MultiStart,
    policy: DecisionConfig,
    key: jax.Array,
) -> Attribution:
    """Return an attribution in which images that nothing explained were looked at again.

    Args:
      images: those of the attribution, in its order.
      attribution: of the images as they are.
      candidates: as they were given; the attribution may have further views of them.
      explain: searches an image in full under an alteration.
      settings: of this stage.
      search: of the inversion.
      policy: of the decision; without thresholds for pixels nothing is done.
      key: of the random choices, that of the attribution.
    """
    shapes = {gen.image_shape for gen in candidates}
    open_ = [
        i
        for i, verdict in enumerate(attribution.verdicts)
        if verdict.kind in ("none", "undecided") and verdict.certificate is None
    ]
    if not open_ or len(shapes) > 1 or not policy.thresholds:
        return attribution
    pixels = {i: _fitted(images[i], next(iter(shapes))) for i in open_}
    usable = {i: array for i, array in pixels.items() if array is not None}
    if not usable:
        return attribution
    screenings: dict[int, Screening] = {}
    for part in _parts(usable, len(candidates), settings):
        screenings |= screen(part, candidates, settings, search, key)
    explanations = [Explanation(attribution, i) for i in range(len(attribution.verdicts))]
    looked: list[Looked | None] = [None] * len(explanations)
    tried = list(attribution.tried)
    for i in usable:
        explanations[i], looked[i], tried[i] = _again(
            images[i], explanations[i], candidates, screenings[i], explain, settings
        )
    merged = merge(explanations)
    verdicts = tuple(map(after_second_look, merged.verdicts, looked))
    return dataclasses.replace(merged, verdicts=verdicts, tried=tuple(tried), looked=tuple(looked))


def _parts(
    images: dict[int, np.ndarray], candidates: int, settings: SecondLook
) -> Iterator[dict[int, np.ndarray]]:
    """Yield as many images at once as memory allows, at least one."""
    each = next(iter(images.values())).size * (len(settings.alterations) + 1) * candidates
    count = max(1, settings.max_numbers // each)
    indices = list(images)
    for at in range(0, len(indices), count):
        yield {i: images[i] for i in indices[at : at + count]}


def _fitted(image: LoadedImage, shape: tuple[int, int, int]) -> np.ndarray | None:
    """Return an image with the candidates' channels; None: it is of another size."""
    height, width = image.pixels.shape[:2]
    if (height, width) not in (shape[:2], shape[1::-1]):
        return None
    return with_channels(image.pixels, shape[2])


def _again(
    image: LoadedImage,
    first: Explanation,
    candidates: Sequence[Generator],
    screening: Screening,
    explain: ExplainFn,
    settings: SecondLook,
) -> tuple[Explanation, Looked, tuple[str, ...]]:
    """Return how an image is explained after the second look, what that saw, and what was tried."""
    (attribution, i), near = first, screening.near
    tried = [*attribution.tried[i], *(f"{text}: screened" for text in screening.alterations)]
    looked = Looked(screening.alterations)
    hints: list[str] = []
    # Full searches, the nearest first; the first certificate that suffices ends them.
    chains = [(one, text) for one in near for text in one.chains]
    for one, text in chains[: settings.full_searches]:
        chain = _for_file(text, image)
        if chain is None:
            continue
        hints.append(chain)
        makers = [gen for gen in candidates if gen.name == one.candidate]
        try:
            found = explain(i, chain, makers)
        except (ImageError, InputError):
            continue
        tried += found.tried[0]
        verdict, alteration = found.verdicts[0], found.alterations[0]
        if verdict.certificate is None or alteration is None:
            continue
        models = len({gen.digest for gen in candidates})
        bits = choice_bits(alteration, looked.alterations, models, image.pixels.shape)
        chosen = dataclasses.replace(looked, chosen=alteration.text, bits=bits)
        if after_second_look(verdict, chosen).certificate is not None:
            return Explanation(found, 0), chosen, tuple(dict.fromkeys(tried))
    if not near and looks_wrapped(image.pixels, settings.wrapped):
        looked = dataclasses.replace(looked, wrapped=True)
    if near and near[0].text != AsItIs().text:
        what = (
            "with a part of it left out" if near[0].text in (COVER, FRAME) else f"as {near[0].text}"
        )
        looked = dataclasses.replace(
            looked,
            near=what,
            candidate=near[0].candidate,
            misfit=near[0].misfit,
            hint=hints[0] if hints else "",
        )
    return first, looked, tuple(dict.fromkeys(tried))


def choice_bits(
    chain: Chain, alterations: Sequence[str], candidates: int, shape: tuple[int, ...]
) -> float:
    """Return the bits in which an alteration and its candidate were chosen.

    A cover is one of all rectangles besides, and an end of a stretch that was fitted a number.

    Args:
      chain: that was chosen.
      alterations: that were tried; counted as no fewer than the usual ones.
      candidates: their number, views of one counted once.
      shape: of the image.

    >>> choice_bits(parse_chain("flip"), USUAL, 10, (32, 32, 3))
    7.6
    >>> choice_bits(parse_chain("cover:3x3+0+0"), USUAL, 10, (32, 32, 3))
    25.7
    >>> choice_bits(parse_chain("stretch:20:200"), USUAL, 10, (32, 32, 3))
    39.6
    """
    height, width = shape[:2]
    rectangles = height * (height + 1) / 2 * (width * (width + 1) / 2)
    kinds = max(len(alterations), len(USUAL)) + len(CLOSE)
    covers = sum(step.hides for step in chain.steps)
    ends = sum(2 for step in chain.steps if isinstance(step, Stretch) and step.text != STRETCH)
    bits = math.log2(kinds * max(candidates, 1)) + covers * math.log2(rectangles) + ends * END_BITS
    return round(bits, 1)


def _for_file(text: str, image: LoadedImage) -> str | None:
    """Return an alteration of an image, with its file's compression; None: it cannot have both."""
    if not image.jpeg:
        return text
    return None if any(step.hides for step in parse_chain(text).steps) else f"{text},jpeg"


class _Screened(NamedTuple):
    """One candidate's screening."""

    gen: Generator
    observation: UndoneObservation
    stage: OneStageSearch
    look: Look


def screen(
    images: dict[int, np.ndarray],
    candidates: Sequence[Generator],
    settings: SecondLook,
    search: MultiStart,
    key: jax.Array,
) -> dict[int, Screening]:
    """Return of each image the alterations tried, and those under which a candidate comes near.

    Args:
      images: uint8 [H, W, C] by index, of the candidates' size or turned.
      candidates: of one image shape.
      settings: of the screening.
      search: of the inversion.
      key: of the random choices.
    """
    guesses: list[Guess] = [
        AsItIs(),
        *(make_guess(text, settings.marks) for text in settings.alterations),
    ]
    rows = _rows(images, guesses, candidates[0].image_shape)
    scheduler = Scheduler()
    distinct = {(gen.digest, gen.space, gen.settings): gen for gen in candidates}
    screened = [
        _begin(gen, images, guesses, rows, search, key, scheduler) for gen in distinct.values()
    ]
    # misfit [rows, candidates] in units of the images, of the latest reproductions
    misfits = np.full((len(rows), len(screened)), np.inf)
    going = np.ones(misfits.shape, bool)
    for number in range(len(settings.gradient_steps)):
        for c, one in enumerate(screened):
            own = [row for row in range(len(rows)) if going[row, c]]
            _race(one, images, guesses, rows, own, settings, number, misfits[:, c])
        if number < len(settings.survivors):
            going = _survivors(misfits, rows, settings.survivors[number])
    return {
        image: Screening(
            tuple(guesses[g].text for of, g in rows if of == image and g),
            _near(image, pixels, guesses, rows, misfits, screened, settings),
        )
        for image, pixels in images.items()
    }


def _rows(
    images: dict[int, np.ndarray], guesses: Sequence[Guess], shape: tuple[int, int, int]
) -> list[tuple[int, int]]:
    """Return image and guess of each row, those that lead to the candidates' shape."""
    look = Look("round", np.zeros(shape, np.float32), 0.5)
    rows = []
    for image, pixels in images.items():
        for g, guess in enumerate(guesses):
            try:
                before, _ = guess.begin(pixels, look)
            except (InputError, ValueError):
                continue
            if before.shape == shape:
                rows.append((image, g))
    return rows


def _begin(
    gen: Generator,
    images: dict[int, np.ndarray],
    guesses: Sequence[Guess],
    rows: Sequence[tuple[int, int]],
    search: MultiStart,
    key: jax.Array,
    scheduler: Scheduler,
) -> _Screened:
    """Return one candidate's searches, at their regressed starts."""
    own_key = candidate_key(key, gen)
    single = dataclasses.replace(search, restarts=1)
    if isinstance(search.warm_start, Given):  # of the images as they are
        single = dataclasses.replace(single, warm_start=Ridge())
    # the pool of prior samples that searches of few images have
    some = np.zeros((1, *gen.image_shape), np.uint8)
    pool = make_inverter(Observation(gen, some), single, own_key, scheduler=scheduler).pool
    look = _look(gen, pool.features, pool.factor)
    begun = [guesses[g].begin(images[image], look) for image, g in rows]
    observation = UndoneObservation.of(
        Observation(gen, some, thresholds=search.observing.thresholds),
        np.stack([before for before, _ in begun]),
        [target for _, target in begun],
    )
    inverter = make_inverter(observation, single, own_key, pool=pool, scheduler=scheduler)
    return _Screened(gen, observation, inverter.first, look)


def _look(gen: Generator, features: np.ndarray, factor: int) -> Look:
    """Return how a candidate's images look, by its pool's features [n, F]."""
    height, width, channels = gen.image_shape
    if not features.size:
        return Look(gen.byte_rule, np.zeros(gen.image_shape, np.float32), 0.5)
    mean = features.mean(0).reshape(height // factor, width // factor, channels)
    mean = mean.repeat(factor, 0).repeat(factor, 1)
    rest = ((0, height - mean.shape[0]), (0, width - mean.shape[1]), (0, 0))
    return Look(gen.byte_rule, np.pad(mean, rest, "edge"), float(features.std(1).mean()))


def _race(
    one: _Screened,
    images: dict[int, np.ndarray],
    guesses: Sequence[Guess],
    rows: Sequence[tuple[int, int]],
    own: Sequence[int],
    settings: SecondLook,
    number: int,
    misfits: np.ndarray,
) -> None:
    """Search some rows of a candidate for a round of steps, and note what is left of them."""
    if not own:
        return
    stage, results = one.stage, one.stage.results
    method = stage.strategy.method
    steps = (settings.dense_steps if method.dense else settings.gradient_steps)[number]
    if steps:
        stage.search([(row, 0) for row in own], method, most=steps)
    else:
        results.loss[own, 0] = stage.measure([(row, 0) for row in own])
    adapting = [row for row in own if guesses[rows[row][1]].adapts]
    for row in own:
        misfits[row] = results.loss[row, 0] * guesses[rows[row][1]].scale ** 2
    if not adapting:
        return
    labels = stage.gen.label_argument(results.label[adapting, 0])
    reproductions = make_images(stage.gen, results.z[adapting, 0], labels)
    for row, reproduction in zip(adapting, reproductions, strict=True):
        image, g = rows[row]
        if not np.isfinite(reproduction).all():
            misfits[row] = np.inf
            continue
        misfits[row] = guesses[g].misfit(images[image], reproduction, one.look)
        one.observation.revise(row, guesses[g].adapt(images[image], reproduction, one.look))
        results.loss[row, 0] = np.inf  # of another target


def _survivors(misfits: np.ndarray, rows: Sequence[tuple[int, int]], count: int) -> np.ndarray:
    """Return which pairs [rows, candidates] go on: each image's best, and the best as it is."""
    going = np.zeros(misfits.shape, bool)
    for image in dict.fromkeys(image for image, _ in rows):
        own = [row for row, (of, _) in enumerate(rows) if of == image]
        order = np.argsort(misfits[own], axis=None)
        best = [np.unravel_index(at, misfits[own].shape) for at in order[:count]]
        for at, c in best:
            going[own[int(at)], int(c)] = True
        as_it_is = [row for row in own if rows[row][1] == 0]
        for row in as_it_is:
            going[row, int(np.argmin(misfits[row]))] = True
    return going


def _near(
    image: int,
    pixels: np.ndarray,
    guesses: Sequence[Guess],
    rows: Sequence[tuple[int, int]],
    misfits: np.ndarray,
    screened: Sequence[_Screened],
    settings: SecondLook,
) -> list[Near]:
    """Return the alterations under which an image is near a candidate, the nearest first."""
    own = {g: row for row, (of, g) in enumerate(rows) if of == image}
    as_it_is = float(misfits[own[0]].min()) if 0 in own else np.inf
    limit = min(settings.near, settings.share * as_it_is)
    near = []
    for g, row in own.items():
        c = int(np.argmin(misfits[row]))
        one = screened[c]
        if g == 0 and misfits[row, c] < settings.near:
            chains = tuple(text for text in settings.close if text != one.gen.rounding)
            near.append(Near(guesses[g].text, one.gen.name, float(misfits[row, c]), chains))
        if g == 0 or not misfits[row, c] < limit:
            continue
        results = one.stage.results
        label = one.stage.gen.label_argument(results.label[[row], 0])
        reproduction = make_images(one.stage.gen, results.z[[row], 0], label)[0]
        chains = guesses[g].chains(pixels, reproduction, one.look)
        near.append(Near(guesses[g].text, one.gen.name, float(misfits[row, c]), chains))
    return sorted(near, key=lambda one: one.misfit)
