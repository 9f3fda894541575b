"""What inversion says of an image, for evidence: the one place of the ledger that needs jax."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jattr.attribution.caveats import caveat_of
from jattr.errors import ImageError, InputError
from jattr.images import to_float
from jattr.images.reading import Decoded, decode
from jattr.ledger.commitments import latent_value
from jattr.ledger.evidence.bundle import Attribution

AUTO = "auto"
FAR = 1e-4  # mean squared difference, [-1, 1] units: twenty times what rounding to bytes leaves
# times the sides of what a generator makes, or of the image: as far as an alteration may go between
LARGER = 4
JPEG_START = b"\xff\xd8\xff"


def invert_image(
    data: bytes, gen: Any, *, alteration: str = AUTO, config: Any = None, pilot_studies: Any = None
) -> Attribution:
    """Search for the latent of an image under one generator.

    Args:
      data: the file, PNG, JPEG or WebP. The compression of a JPEG file is modelled as the file
        states it.
      gen: the generator.
      alteration: "auto" (the file's own compression; where the file asks to be shown turned, also
        that this was only added to it), "none", or a chain as `parse_chain` reads it.
      config: `InvertConfig`.
      pilot_studies: known ones, as `attribute` takes them.

    Raises:
      ImageError: the image cannot be read, or the generator makes no images of its size.
    """
    from jattr.alterations.geometry import only_tagged

    decoded = decode(data)
    tagged = only_tagged(decoded.orientation, jpeg=decoded.jpeg) if alteration == AUTO else ""
    texts = [alteration, tagged] if tagged else [alteration]
    return _first(texts, lambda text: _invert(data, decoded, gen, text, config, pilot_studies))


def _invert(
    data: bytes, decoded: Decoded, gen: Any, alteration: str, config: Any, pilot_studies: Any
) -> Attribution:
    """Search under one alteration."""
    from jattr.attribution.attribute import attribute

    images = _observed(data, decoded.pixels, gen, alteration)
    chain = None if isinstance(images, np.ndarray) else images.chain
    caveats = [caveat_of(decoded, chain, [gen.image_shape])]
    att = attribute(images, [gen], config=config, pilot_studies=pilot_studies, caveats=caveats)
    verdict, evidence = att.verdicts[0], att.evidence[0][0]
    fit = {"made-by": "fits", "none": "does-not-fit"}.get(verdict.kind, "undecided")
    label = int(att.labels[0, 0])
    ended = bool(np.isfinite(att.residual[0, 0]))
    latent = (
        latent_value(att.latents[0][0], gen.space, label if label >= 0 else None) if ended else None
    )
    return Attribution(
        fit=fit,
        certificate=verdict.certificate is not None,
        alteration=None if att.alteration is None else att.alteration.text,
        latent=latent,
        residual=f"{att.residual[0, 0]:.6g}" if ended else None,
        restarts=evidence.restarts,
        miss_bound=None if evidence.miss_bound is None else f"{evidence.miss_bound:.3g}",
        reason=" ".join(f"{verdict.text}: {verdict.reason}".split())[:2000],
    )


def invert_alternatives(
    data: bytes,
    gen: Any,
    alterations: Sequence[str],
    *,
    config: Any = None,
    pilot_studies: Any = None,
) -> Attribution:
    """Search under one alteration after the other until one fits.

    What fits under none does not fit; if one of them leaves it undecided, it is undecided.

    Args:
      data: the file.
      gen: the generator.
      alterations: as `invert_image` takes them; those that do not lead to this image's size are
        left out, which the reason states.
      config: `InvertConfig`.
      pilot_studies: known ones, as `attribute` takes them.

    Raises:
      ImageError: the image cannot be read, or no alteration leads to its size.
    """
    return _first(
        dict.fromkeys(alterations),
        lambda text: invert_image(
            data, gen, alteration=text, config=config, pilot_studies=pilot_studies
        ),
    )


def _first(alterations: Iterable[str], invert: Callable[[str], Attribution]) -> Attribution:
    """Return the first search that ends with a fit; else one that leaves it undecided; else the
    first.

    Raises:
      ImageError: no alteration leads to the image's size.
    """
    found: list[Attribution] = []
    unfit: dict[str, ImageError] = {}
    for alteration in alterations:
        try:
            one = invert(alteration)
        except ImageError as error:
            unfit[alteration] = error
            continue
        if one.fit == "fits":
            return one
        found.append(one)
    if not found:
        raise next(iter(unfit.values()))
    said = next((one for one in found if one.fit == "undecided"), found[0])
    others = [f"{one.alteration or 'unaltered'} ({one.fit})" for one in found if one is not said]
    others += [f"{alteration} (not tried: it does not lead to this image)" for alteration in unfit]
    reason = f"{said.reason} Besides: {', '.join(others)}." if others else said.reason
    return dataclasses.replace(said, reason=reason[:2000])


def observed(data: bytes, gen: Any, alteration: str) -> Any:
    """Return an image as `attribute` takes it: bytes [1, H, W, C], or with what was done to them.

    Raises:
      ImageError: it cannot be read, or is not of the size that the generator and the alteration
        lead to.
    """
    return _observed(data, decode(data).pixels, gen, alteration)


def _observed(data: bytes, pixels: np.ndarray, gen: Any, alteration: str) -> Any:
    from jattr.alterations.files import AlteredImages, from_decoded, from_jpeg
    from jattr.alterations.registry import parse_chain
    from jattr.images import fit
    from jattr.images.fitting import with_channels
    from jattr.inversion.nuisance_fit import fit_factors

    parts = [] if alteration in (AUTO, "none") else alteration.split(",")
    if data.startswith(JPEG_START) and alteration != "none":
        before = parse_chain(
            ",".join(part for part in parts if not part.strip().startswith("jpeg"))
        )
        _check_sizes(before, gen, pixels)
        try:
            if before.free:
                seen = with_channels(pixels, before.out_shape(gen.image_shape)[2])
                before = fit_factors(seen, before, [gen])
            altered = from_jpeg([data], before)
            if altered.chain.out_shape(gen.image_shape)[:2] == pixels.shape[:2]:
                return altered
        except InputError:
            pass  # a kind of JPEG whose coefficients are not read: its pixels are
        if alteration == AUTO:
            return fit(pixels, gen.image_shape)[None]
        raise ImageError(
            f"the image is no {alteration} of what {gen.name} makes; name what was done to it"
        )
    chain = parse_chain(",".join(parts))
    _check_sizes(chain, gen, pixels)
    if not chain.steps:
        return fit(pixels, gen.image_shape)[None]
    shape = chain.out_shape(gen.image_shape)
    if shape[:2] != pixels.shape[:2]:
        raise ImageError(
            f"the image has {pixels.shape[:2]} pixels; after {alteration} it would have {shape[:2]}"
        )
    taken = with_channels(pixels, shape[2])[None]
    if chain.free:
        chain = fit_factors(taken[0], chain, [gen])
    return AlteredImages(taken, chain) if chain.jpeg is None else from_decoded(taken, chain)


def _check_sizes(chain: Any, gen: Any, pixels: np.ndarray) -> None:
    """Check that no step makes an image far larger than what goes in and comes out: the chain
    may be a stranger's.
    """
    shape, most = gen.image_shape, LARGER * max(*gen.image_shape[:2], *pixels.shape[:2])
    for step in chain.steps:
        shape = step.out_shape(shape)
        if max(shape[:2]) > most:
            raise ImageError(
                f"{step.text} leads to {shape[1]} x {shape[0]} pixels; sides of at most {most} are"
                " taken"
            )


def takes(gen: Any, z: np.ndarray, label: int | None) -> bool:
    """Whether a generator takes such a latent with such a label."""
    legal = label is not None and label < gen.num_classes if gen.num_classes else label is None
    return legal and z.shape == tuple(gen.latent_shape)


def reproduces(gen: Any, z: np.ndarray, label: int | None, pixels: np.ndarray) -> bool:
    """Whether a generator reproduces an image uint8 [H, W, C] from a latent as the certificate test
    demands.

    The test needs a Jacobian; where every byte is equal, or the images differ at a glance, it is
    not needed.
    """
    from jattr.attribution.certify import certify_image
    from jattr.inversion.evaluate import make_images

    if pixels.shape != gen.image_shape or not takes(gen, z, label):
        return False
    made = make_images(gen, z[None], None if label is None else np.array([label], np.int32))[0]
    if (gen.to_bytes(made) == pixels).all():
        return True
    if not float(np.mean(np.square(np.clip(made, -1, 1) - to_float(pixels)))) <= FAR:
        return False
    return bool(
        certify_image(
            gen, z, pixels, label=-1 if label is None else label, rounding=gen.rounding
        ).holds
    )


@dataclass(frozen=True)
class Seen:
    """An image as searches of one generator see it, under what was done to it."""

    gen: Any
    observation: Any  # as `make_observation` gives it
    alteration: str | None  # the chain, spelt in the one way; None: nothing was done to it

    def residual(self, z: np.ndarray, label: int | None) -> float:
        """Return the mean squared residual that a latent leaves, [-1, 1] units, as `attribute`
        states it.
        """
        labels = None if label is None else np.array([label], np.int32)
        return float(self.observation.residuals(z[None], labels)[0])

    def explains(self, z: np.ndarray, label: int | None) -> bool:
        """Whether the image of a latent, altered so, is the accused one, by the certificate
        test.
        """
        from jattr.attribution.certify import certify

        if not takes(self.gen, z, label):
            return False
        if not self.residual(z, label) < self.observation.traits.near:
            return False
        if self.alteration is None:
            return reproduces(self.gen, z, label, self.observation.pixels[0])
        test = certify(self.observation, 0, z, -1 if label is None else label)
        return self.observation.certifiable and bool(test.holds)


def seen_by(data: bytes, gen: Any, alteration: str | None) -> Seen:
    """Return an image as searches see it.

    Args:
      data: the file.
      gen: the generator.
      alteration: a chain, as `Attribution` has it.

    Raises:
      ImageError: the image cannot be read, or is not of the size that the generator and the
        alteration lead to.
      InputError: there is no such alteration.
    """
    from jattr.inversion.config import InvertConfig
    from jattr.inversion.observation.make import make_observation

    images = observed(data, gen, alteration or "none")
    chain = None if isinstance(images, np.ndarray) else images.chain.text
    return Seen(gen, make_observation(gen, images, InvertConfig()), chain)


def viewed(gen: Any, settings: dict[str, Any]) -> Any:
    """Return a generator in the space and under the settings of its MODEL leaf.

    Raises:
      InputError: it does not have them.
    """
    given = {name: settings[name] for name in ("cutoff", "noise") if settings.get(name) is not None}
    if type(given.get("cutoff", 0)) is not int or given.get("noise", "none") not in (
        "const",
        "none",
        "search",
    ):
        raise InputError(
            "the cutoff or the noise of the MODEL leaf is none that an image can be made again with"
        )
    if settings.get("psi") is not None:
        try:
            given["psi"] = float(settings["psi"])
        except (TypeError, ValueError) as error:
            raise InputError("the psi of the MODEL leaf is no number") from error
    return gen.view(str(settings.get("space", "z")), **given)
