"""Transform coders: the bits of an image by models that know nothing of who made it.

The rate of a Gaussian process at distortion r (Cover and Thomas, Elements of Information Theory,
section 10.3), in each plane of colour by the transform that makes it least:

* the cosine transform of the whole plane, its power smoothed over neighbouring frequencies;
* that of blocks, as JPEG and other programs cut images: the mean power over the blocks;
* one of these of a smaller plane, and what an enlargement of that leaves.

The spectra are the image's own and cost nothing here, so the rates err on the small side, as those
of the better colours, blocks and enlargements do, whose choice costs nothing either.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

ROUNDING_VARIANCE = 1.0 / 12.0  # of an error that is uniform within half a step, in steps squared
NEIGHBOURHOOD = 1.0  # standard deviation, in frequencies, over which a spectrum is smoothed
BLOCKS = (4, 8, 16)  # their sides
FACTORS = (1.5, 2.0, 3.0, 4.0, 8.0)  # of enlargements
LEAST_SIDE = 4  # of what is enlarged
# Y, Cb and Cr of R, G and B (JFIF 1.02): what most coders of colours work in
YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
# of interpolations, at the distance x in samples: Keys, Cubic Convolution Interpolation, 1981, with
# a = -1/2; Duchon, Lanczos Filtering, 1979
KERNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "nearest": lambda x: ((x > -0.5) & (x <= 0.5)) * 1.0,
    "bilinear": lambda x: np.maximum(1.0 - np.abs(x), 0.0),
    "bicubic": lambda x: _cubic(np.abs(x)),
    "lanczos": lambda x: (np.abs(x) < 3.0) * np.sinc(x) * np.sinc(x / 3.0),
}


class Spectra(NamedTuple):
    """What one transform made of an image's planes: a plane's rate is the sum of theirs."""

    powers: tuple[np.ndarray, ...]  # each [planes, ...], without that of rounding
    times: tuple[float, ...]  # how often each is coded


def image_spectra(pixels: np.ndarray) -> list[list[Spectra]]:
    """Return the spectra of an image by colours and transforms.

    Args:
      pixels: [H, W, C], in rounding steps.
    """
    height, width, channels = pixels.shape
    colours = pixels.reshape(-1, channels).astype(np.float64)
    centred = colours - colours.mean(0)
    bases = [np.linalg.eigh(centred.T @ centred)[1].T]  # the principal axes of the colours
    if channels == len(YCC):
        # not quite orthogonal: the rates err on the small side
        bases.append(YCC / np.linalg.norm(YCC, axis=1, keepdims=True))
    return [
        list(_transforms((basis @ centred.T).reshape(channels, height, width))) for basis in bases
    ]


def rate(spectra: list[list[Spectra]], variance: float) -> float:
    """Return the bits of an image by its spectra, up to an error of a variance.

    Args:
      spectra: as `image_spectra` returns them.
      variance: of the error that is left, in rounding steps squared.
    """
    return min(
        float(np.min([_rates(each, variance) for each in transforms], axis=0).sum())
        for transforms in spectra
    )


def _rates(spectra: Spectra, variance: float) -> np.ndarray:
    """Return the bits [planes], with S + r for S: frequencies of noise alone cost nothing."""
    each = [
        times * 0.5 * np.log2(1.0 + power / variance).reshape(len(power), -1).sum(1)
        for power, times in zip(spectra.powers, spectra.times, strict=True)
    ]
    return np.asarray(np.sum(each, axis=0))


def _transforms(planes: np.ndarray) -> Iterator[Spectra]:
    """Yield the spectra of planes [planes, H, W] by each transform."""
    yield from _of_one_size(planes)
    height, width = planes.shape[1:]
    for kernel, factor in itertools.product(KERNELS, FACTORS):
        if min(height, width) < factor * LEAST_SIDE:
            continue
        down, right = (_enlarged(side, round(side / factor), kernel) for side in (height, width))
        small = down.T @ planes @ right
        left = planes - down @ small @ right.T
        # white: an upper bound; it has none of the smaller planes' directions
        times = float(left[0].size - small[0].size)
        rest = _above(np.square(left).sum((1, 2)) / times)[:, None]
        for spectra in _of_one_size(small):
            yield Spectra((*spectra.powers, rest), (*spectra.times, times))


def _of_one_size(planes: np.ndarray) -> Iterator[Spectra]:
    """Yield the spectra of planes, and of their blocks."""
    power = dctn(planes, axes=(1, 2), norm="ortho") ** 2
    smoothed = gaussian_filter(power, NEIGHBOURHOOD, mode="nearest", axes=(1, 2))
    yield Spectra((_above(smoothed),), (1.0,))
    for side in BLOCKS:
        rows, columns = planes.shape[1] // side, planes.shape[2] // side
        if min(rows, columns) > 1:
            blocks = planes[:, : rows * side, : columns * side]
            blocks = blocks.reshape(-1, rows, side, columns, side)
            power = dctn(blocks, axes=(2, 4), norm="ortho") ** 2
            yield Spectra((_above(power.mean((1, 3))),), (planes[0].size / side**2,))


def _above(power: np.ndarray) -> np.ndarray:
    """Return a power without that of rounding."""
    return np.asarray(np.maximum(power - ROUNDING_VARIANCE, 0.0))


@functools.lru_cache(maxsize=64)
def _enlarged(side: int, small: int, kernel: str) -> np.ndarray:
    """Return an orthonormal basis [side, small] of what an enlargement makes along an axis.

    Of all such bases that nearest to the enlargement, so that neighbours stay neighbours.
    """
    at = (np.arange(side) + 0.5) * small / side - 0.5
    weights = KERNELS[kernel](at[:, None] - np.arange(small)[None])
    weights = weights / weights.sum(1, keepdims=True)
    left, _, right = np.linalg.svd(weights, full_matrices=False)
    return np.asarray(left @ right)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Return Keys' kernel at distances x >= 0."""
    near = 1.5 * x**3 - 2.5 * x**2 + 1.0
    far = -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    return np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))
