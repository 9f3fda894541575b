"""What inversion says of an image, for evidence: the one place of the ledger that needs jax."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jattr.alterations.chain import Chain
from jattr.alterations.files import AlteredImages
from jattr.alterations.geometry import only_tagged
from jattr.alterations.history import Traces, traces_of
from jattr.attribution.alteration_search import (
    AUTO,
    altered_image,
    by_traces,
    parse_alternatives,
    parse_for_file,
)
from jattr.attribution.attribute import attribute_observed
from jattr.attribution.caveats import OwnLevels, caveat_of
from jattr.attribution.certify import certify, certify_image
from jattr.attribution.other_settings import OtherSettings, view_flags
from jattr.attribution.pilot import PilotStudy
from jattr.attribution.result import Attribution as JattrAttribution
from jattr.attribution.second_look import SecondLook, look_again
from jattr.decision.verdict import DecisionConfig
from jattr.errors import ImageError, InputError
from jattr.generators.base import Generator
from jattr.images import LoadedImage, fit, to_float
from jattr.images.reading import decode
from jattr.inversion.config import InvertConfig, as_search
from jattr.inversion.evaluate import make_images
from jattr.inversion.observation.base import Observation
from jattr.inversion.observation.make import make_observation
from jattr.inversion.settings import MultiStart
from jattr.ledger.commitments import latent_value
from jattr.ledger.evidence.bundle import Attribution

MAX_DIFFERENCE = (
    1e-4  # mean squared difference, [-1, 1] units: twenty times what rounding to bytes leaves
)
# times the sides of what a generator makes, or of the image: as far as an alteration may go between
MAX_GROWTH = 4
MAX_REASON = 2_000  # characters
FITS = {"made-by": "fits", "none": "does-not-fit"}  # by kind of verdict; else undecided

PilotStudyStore = MutableMapping[str, PilotStudy]


def invert_image(
    data: bytes,
    gen: Generator,
    *,
    alteration: str = AUTO,
    config: InvertConfig | None = None,
    pilot_studies: PilotStudyStore | None = None,
) -> Attribution:
    """Search for the latent of an image under one generator.

    Args:
      data: the file, PNG, JPEG or WebP. The compression of a JPEG file is modelled as the file
        states it.
      gen: the generator.
      alteration: "auto" (the file's own compression; where the file asks to be shown turned, also
        that this was only added to it), "none", or a chain as `parse_chain` reads it.
      config: of the searches.
      pilot_studies: earlier ones, as `attribute_observed` takes them.

    Raises:
      ImageError: the image cannot be read, or the generator makes no images of its size.
    """
    image = _loaded(data)
    tagged = only_tagged(image.orientation, jpeg=image.jpeg) if alteration == AUTO else ""
    traces = traces_of(image.pixels)
    guessed = by_traces(parse_alternatives(alteration), image, traces, [gen], resize=False)
    texts = [alteration, *([tagged] if tagged else []), *(each.text for each in guessed)]
    return first_fit(
        texts,
        lambda text: _invert(data, image, gen, text, traces, texts, config, pilot_studies),
    )


def _loaded(data: bytes) -> LoadedImage:
    """Return what the bytes of an image file hold."""
    return LoadedImage(path="", sha256=hashlib.sha256(data).hexdigest(), **vars(decode(data)))


def _invert(
    data: bytes,
    image: LoadedImage,
    gen: Generator,
    alteration: str,
    traces: Traces,
    tried: Sequence[str],
    config: InvertConfig | None,
    pilot_studies: PilotStudyStore | None,
) -> Attribution:
    """Search under one alteration of those that are tried."""
    images = _observed(data, image, gen, alteration)
    chain = images.chain if isinstance(images, AlteredImages) else None
    modelled = [Chain((traces.jpeg,))] if traces.jpeg and traces.jpeg.text in tried else []
    caveats = [
        caveat_of(
            image,
            chain,
            [gen.image_shape],
            traces=traces,
            tried=modelled,
            own_levels=OwnLevels([gen]),
        )
    ]
    # A denial says that the model did not make the image, under any settings of its program.
    attribution = attribute_observed(
        images,
        [gen],
        search=config,
        pilot_studies=pilot_studies,
        caveats=caveats,
        other_settings=OtherSettings(beside_named=True),
    )
    if alteration == AUTO:
        attribution = _look_again(data, image, gen, attribution, config, pilot_studies)
        chain = attribution.alterations[0]
    verdict, evidence = attribution.verdicts[0], attribution.evidence[0][0]
    residual, label = attribution.residual[0, 0], int(attribution.labels[0, 0])
    fit, certificate = FITS.get(verdict.kind, "undecided"), verdict.certificate is not None
    reason = f"{verdict.text}: {verdict.reason}"
    if verdict.candidates and gen.name not in verdict.candidates:
        # Evidence is about one view of the model: under this one nothing fits.
        fit, certificate = "undecided", False
        views = [view for view in attribution.candidates if view.name in verdict.candidates]
        reason += f"; name these settings: {', or '.join(map(view_flags, views))}"
    latent = None
    if np.isfinite(residual):
        latent = latent_value(attribution.latents[0][0], gen.space, label if label >= 0 else None)
    return Attribution(
        fit=fit,
        certificate=certificate,
        alteration=None if chain is None else chain.text,
        latent=latent,
        residual=f"{residual:.6g}" if np.isfinite(residual) else None,
        restarts=evidence.restarts,
        miss_bound=None if evidence.miss_bound is None else f"{evidence.miss_bound:.3g}",
        reason=" ".join(reason.split())[:MAX_REASON],
    )


def _look_again(
    data: bytes,
    image: LoadedImage,
    gen: Generator,
    attribution: JattrAttribution,
    config: InvertConfig | None,
    pilot_studies: PilotStudyStore | None,
) -> JattrAttribution:
    """Return the attribution after usual alterations were tried of an image that does not fit.

    So a model's own image that was saved or edited in such a way supports no denial.
    """
    search = as_search(config)

    def explain(_: int, alteration: str, makers: Sequence[Generator]) -> JattrAttribution:
        del makers
        images = _observed(data, image, gen, alteration)
        chain = images.chain if isinstance(images, AlteredImages) else None
        return attribute_observed(
            images,
            [gen],
            search=config,
            pilot_studies=pilot_studies,
            caveats=[caveat_of(image, chain, [gen.image_shape])],
            other_settings=None,
        )

    return look_again(
        [image],
        attribution,
        [gen],
        explain,
        settings=SecondLook(),
        search=search,
        policy=DecisionConfig(thresholds=search.distance is None),
        key=jax.random.key(search.seed),
    )


def invert_alternatives(
    data: bytes,
    gen: Generator,
    alterations: Sequence[str],
    *,
    config: InvertConfig | None = None,
    pilot_studies: PilotStudyStore | None = None,
) -> Attribution:
    """Search under one alteration after the other until one fits.

    What fits under none does not fit; if one of them leaves it undecided, it is undecided.

    Args:
      data: the file.
      gen: the generator.
      alterations: as `invert_image` takes them; those that do not lead to this image's size are
        left out, which the reason states.
      config: of the searches.
      pilot_studies: earlier ones, as `attribute_observed` takes them.

    Raises:
      ImageError: the image cannot be read, or no alteration leads to its size.
    """
    return first_fit(
        dict.fromkeys(alterations),
        lambda text: invert_image(
            data, gen, alteration=text, config=config, pilot_studies=pilot_studies
        ),
    )


def first_fit(alterations: Iterable[str], invert: Callable[[str], Attribution]) -> Attribution:
    """Return the first search that ends with a fit; else an undecided one; else the first.

    `attribute` compares all of them; here one fit is an answer, and further searches are saved.

    Raises:
      ImageError: no alteration leads to the image's size.
    """
    attributions: list[Attribution] = []
    unfit: dict[str, ImageError] = {}
    for alteration in alterations:
        try:
            attribution = invert(alteration)
        except ImageError as error:
            unfit[alteration] = error
            continue
        if attribution.fit == "fits":
            return attribution
        attributions.append(attribution)
    if not attributions:
        raise next(iter(unfit.values()))
    stated = next((each for each in attributions if each.fit == "undecided"), attributions[0])
    others = [
        f"{each.alteration or 'unaltered'} ({each.fit})"
        for each in attributions
        if each is not stated
    ]
    others += [f"{alteration} (not tried: it does not lead to this image)" for alteration in unfit]
    reason = f"{stated.reason} Besides: {', '.join(others)}." if others else stated.reason
    return dataclasses.replace(stated, reason=reason[:MAX_REASON])


def observed(data: bytes, gen: Generator, alteration: str) -> np.ndarray | AlteredImages:
    """Return an image as `attribute` takes it: bytes [1, H, W, C], or with what was done to them.

    Raises:
      ImageError: it cannot be read, or is not of the size that the generator and the alteration
        lead to.
    """
    return _observed(data, _loaded(data), gen, alteration)


def _observed(
    data: bytes, image: LoadedImage, gen: Generator, alteration: str
) -> np.ndarray | AlteredImages:
    """Return an image under one alteration.

    By the rules of evidence: the compression of a JPEG file counts under every alteration but
    "none"; where it was not named and cannot be read, the decoder's pixels are taken; and a chain,
    which may be a stranger's, makes no image far larger than it needs.
    """
    altered = altered_image(
        parse_for_file(alteration, jpeg=image.jpeg),
        image,
        [gen],
        data=data,
        max_growth=MAX_GROWTH,
        read_damaged=True,
    )
    return fit(image.pixels, gen.image_shape)[None] if altered is None else altered


def takes(gen: Generator, z: np.ndarray, label: int | None) -> bool:
    """Whether a generator takes such a latent with such a label."""
    legal = label is not None and label < gen.num_classes if gen.num_classes else label is None
    return legal and z.shape == tuple(gen.latent_shape)


def reproduces(gen: Generator, z: np.ndarray, label: int | None, pixels: np.ndarray) -> bool:
    """Whether a generator reproduces an image uint8 [H, W, C] from a latent as the certificate test
    demands.

    The test needs a Jacobian; where every byte is equal, or the images differ at a glance, it is
    not needed.
    """
    if pixels.shape != gen.image_shape or not takes(gen, z, label):
        return False
    image = make_images(gen, z[None], None if label is None else np.array([label], np.int32))[0]
    if (gen.to_bytes(image) == pixels).all():
        return True
    if not float(np.mean(np.square(np.clip(image, -1, 1) - to_float(pixels)))) <= MAX_DIFFERENCE:
        return False
    return bool(
        certify_image(
            gen, z, pixels, label=-1 if label is None else label, rounding=gen.rounding
        ).holds
    )


@dataclass(frozen=True)
class ObservedImage:
    """An image as searches of one generator compare with it, under what was done to it."""

    gen: Generator
    observation: Observation  # as `make_observation` gives it
    alteration: str | None  # the chain, spelt in the one way; None: nothing was done to it

    def residual(self, z: np.ndarray, label: int | None) -> float:
        """Return the mean squared residual that a latent leaves, as `attribute` states it."""
        labels = None if label is None else np.array([label], np.int32)
        return float(self.observation.residuals(z[None], labels)[0])

    def explains(self, z: np.ndarray, label: int | None) -> bool:
        """Return whether the image of a latent, altered so, passes the certificate test."""
        if not takes(self.gen, z, label):
            return False
        if not self.residual(z, label) < self.observation.traits.near:
            return False
        if self.alteration is None:
            return reproduces(self.gen, z, label, self.observation.pixels[0])
        test = certify(self.observation, 0, z, -1 if label is None else label)
        return self.observation.certifiable and bool(test.holds)


def observe_image(data: bytes, gen: Generator, alteration: str | None) -> ObservedImage:
    """Return an image as searches compare with it.

    Args:
      data: the file.
      gen: the generator.
      alteration: a chain, as `Attribution` has it.

    Raises:
      ImageError: the image cannot be read, or is not of the size that the generator and the
        alteration lead to.
      InputError: there is no such alteration.
    """
    images = observed(data, gen, alteration or "none")
    chain = None if isinstance(images, np.ndarray) else images.chain.text
    return ObservedImage(gen, make_observation(gen, images, MultiStart()), chain)


def viewed(gen: Generator, settings: Mapping[str, Any]) -> Generator:
    """Return a generator in the space and under the settings of its MODEL leaf.

    Raises:
      InputError: it does not have them.
    """
    given = {name: settings[name] for name in ("cutoff", "noise") if settings.get(name) is not None}
    legal_noise = given.get("noise", "none") in ("const", "none", "search")
    if type(given.get("cutoff", 0)) is not int or not legal_noise:
        raise InputError(
            "the cutoff or the noise of the MODEL leaf is none that an image can be made again with"
        )
    if settings.get("psi") is not None:
        try:
            given["psi"] = float(settings["psi"])
        except (TypeError, ValueError) as error:
            raise InputError("the psi of the MODEL leaf is no number") from error
    return gen.view(str(settings.get("space", "z")), **given)
