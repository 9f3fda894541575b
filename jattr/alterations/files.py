"""`AlteredImages`: images with what was done to them, from files or from arrays."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jattr.alterations.chain import Chain
from jattr.alterations.jpeg import read_jpeg
from jattr.errors import ImageError, InputError
from jattr.images.reading import decode
from jattr.runtime import jax_defaults


@dataclass(frozen=True, eq=False)
class AlteredImages:
    """Images that share one alteration."""

    pixels: np.ndarray  # uint8 [n, H, W, C], as they look
    chain: Chain
    # [n, N], a JPEG's coefficients; None where the last step is none
    quantised: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check types and numbers.

        Raises:
          ImageError: they do not fit each other.
        """
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or not len(self.pixels):
            raise ImageError(
                f"images are {self.pixels.dtype} {self.pixels.shape}; give uint8 [n, H, W, C]"
            )
        jpeg = self.chain.jpeg
        if jpeg is None and self.quantised is None:
            return
        if jpeg is None or self.quantised is None:
            raise ImageError(
                "coefficients belong to a chain that ends with jpeg, and only to that; use"
                " from_jpeg"
            )
        shape = (len(self.pixels), len(jpeg.groups(self.pixels.shape[1:])))
        if self.quantised.shape != shape:
            raise ImageError(
                f"coefficients are {self.quantised.shape}; these images and tables have {shape}"
            )


@jax_defaults()
def from_jpeg(files: Sequence[bytes], before: Chain | None = None) -> AlteredImages:
    """Return JPEG files of one size, with one set of tables, as altered images.

    Args:
      files: their bytes. What EXIF says to show turned is modelled as stored so: the pixels are
        upright.
      before: what was done before the compression; None: nothing.

    Raises:
      ImageError: a file that jattr does not read, or of another size or with other tables than the
        first.
    """
    if not files:
        raise ImageError("there are 0 JPEG files; give at least one")
    read = [read_jpeg(data) for data in files]
    first = read[0][1]
    pixels = [decode(data).pixels for data in files]
    for number, (_, jpeg) in enumerate(read, 1):
        if jpeg != first or pixels[number - 1].shape != pixels[0].shape:
            raise ImageError(
                f"JPEG {number} of {len(files)} has another size or other tables than the first, or"
                " is stored turned in another way; give it apart"
            )
    chain = Chain((*(() if before is None else before.steps), first))
    return AlteredImages(np.stack(pixels), chain, np.stack([quantised for quantised, _ in read]))


@jax_defaults()
def from_decoded(pixels: np.ndarray, chain: Chain) -> AlteredImages:
    """Return images uint8 [n, H, W, C] that were decoded from JPEG files and saved without loss.

    Args:
      pixels: as they are now.
      chain: what was done to them; it ends with the compression.

    Raises:
      ImageError: the chain does not, or has other channels.
    """
    if chain.jpeg is None:
        raise ImageError(
            f"{chain.text or 'no alteration'} does not end with a compression; use AlteredImages"
        )
    jpeg = dataclasses.replace(chain.jpeg, decoded=True)
    try:
        jpeg.out_shape(pixels.shape[1:])
    except InputError as error:
        raise ImageError(str(error)) from None
    return AlteredImages(pixels, Chain((*chain.before, jpeg)), jpeg.requantised(pixels))


@jax_defaults()
def alter(
    pixels: np.ndarray, chain: Chain, draws: Sequence[Sequence[int]] | None = None
) -> AlteredImages:
    """Return images uint8 [n, H, W, C] with a chain carried out on them as programs do it.

    Args:
      pixels: the images.
      chain: the steps.
      draws: of each image the numbers, each at least 0, by which its random choices are drawn
        besides the steps' own seeds; None: by these seeds alone, so every array of one shape gets
        the same noise.
    """
    if draws is None or chain.proves:
        altered = chain.discrete(pixels)
    else:
        each = zip(pixels, draws, strict=True)
        altered = np.concatenate(
            [chain.drawn(*numbers).discrete(image[None]) for image, numbers in each]
        )
    if chain.jpeg is None:
        return AlteredImages(altered, chain)
    if chain.jpeg.decoded:
        return from_decoded(chain.jpeg.discrete(altered), chain)
    files = [chain.jpeg.encode(image) for image in altered]
    quantised = np.stack([read_jpeg(data)[0] for data in files])
    return AlteredImages(np.stack([decode(data).pixels for data in files]), chain, quantised)
