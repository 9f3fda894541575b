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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from jattr.alterations.resample import resize_matrix
from jattr.decision.description_length import ROUNDING_VARIANCE
from jattr.images.writing import lossless_bits

# Y, Cb and Cr of R, G and B (JFIF 1.02): what most coders of colours work in
YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
FILTERS = ("box", "bilinear", "bicubic", "lanczos")  # Pillow's, of enlargements


@dataclass(frozen=True, kw_only=True)
class GeneralCoders:
    """Which transforms there are."""

    neighbourhood: float = 1.0  # standard deviation, in frequencies, over which power is smoothed
    blocks: tuple[int, ...] = (4, 8, 16)  # their sides
    factors: tuple[float, ...] = (1.5, 2.0, 3.0, 4.0, 8.0)  # of enlargements
    least_side: int = 4  # of what is enlarged


class Spectra(NamedTuple):
    """What one transform made of an image's planes: a plane's rate is the sum of theirs."""

    powers: tuple[np.ndarray, ...]  # each [planes, ...], without that of rounding
    times: tuple[float, ...]  # how often each is coded


def general_bits(pixels: np.ndarray, variance: float = ROUNDING_VARIANCE) -> float:
    """Return the bits of an image by models of images in general, and as a file without loss.

    Args:
      pixels: uint8 [H, W, C].
      variance: r, of the error that is left, in rounding steps squared.
    """
    spectra = image_spectra(pixels)
    # What a coder without loss saves at r = 1/12 it is taken to save at any: flat areas, edges.
    saved = min(1.0, lossless_bits(pixels) / max(rate(spectra, ROUNDING_VARIANCE), 1.0))
    return saved * rate(spectra, variance)


def image_spectra(
    pixels: np.ndarray, coders: GeneralCoders = GeneralCoders()
) -> list[list[Spectra]]:
    """Return the spectra of an image by colours and transforms.

    Args:
      pixels: [H, W, C], in rounding steps.
      coders: the transforms.
    """
    height, width, channels = pixels.shape
    colours = pixels.reshape(-1, channels).astype(np.float64)
    centred = colours - colours.mean(0)
    bases = [np.linalg.eigh(centred.T @ centred)[1].T]  # the principal axes of the colours
    if channels == len(YCC):
        # not quite orthogonal: the rates err on the small side
        bases.append(YCC / np.linalg.norm(YCC, axis=1, keepdims=True))
    return [
        list(_transforms((basis @ centred.T).reshape(channels, height, width), coders))
        for basis in bases
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


def _transforms(planes: np.ndarray, coders: GeneralCoders) -> Iterator[Spectra]:
    """Yield the spectra of planes [planes, H, W] by each transform."""
    yield from _of_one_size(planes, coders)
    height, width = planes.shape[1:]
    for factor in coders.factors:
        if min(height, width) < factor * coders.least_side:
            continue
        both = (_enlargements(side, round(side / factor)) for side in (height, width))
        for down, right in zip(*both, strict=True):
            small = down.T @ planes @ right
            left = planes - down @ small @ right.T
            # white: an upper bound; it has none of the smaller planes' directions
            times = float(left[0].size - small[0].size)
            rest = _above(np.square(left).sum((1, 2)) / times)[:, None]
            for spectra in _of_one_size(small, coders):
                yield Spectra((*spectra.powers, rest), (*spectra.times, times))


def _of_one_size(planes: np.ndarray, coders: GeneralCoders) -> Iterator[Spectra]:
    """Yield the spectra of planes, and of their blocks."""
    power = dctn(planes, axes=(1, 2), norm="ortho") ** 2
    smoothed = gaussian_filter(power, coders.neighbourhood, mode="nearest", axes=(1, 2))
    yield Spectra((_above(smoothed),), (1.0,))
    for side in coders.blocks:
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
def _enlargements(side: int, small: int) -> tuple[np.ndarray, ...]:
    """Return orthonormal bases [side, small] of what enlargements make along an axis.

    Of all bases of one span that nearest to the enlargement, so that neighbours stay neighbours.
    """
    pixels, samples = np.arange(side), np.arange(small)
    # where pixels lie among the samples: by their middles, their corners, or the first of each
    middles = (pixels + 0.5) * small / side - 0.5
    corners = pixels * (small - 1) / (side - 1)
    firsts = pixels * small / side
    matrices = [resize_matrix(small, side, name).astype(np.float64) for name in FILTERS]
    matrices += [np.maximum(1.0 - np.abs(at[:, None] - samples), 0.0) for at in (corners, firsts)]
    matrices += [_cubic(np.abs(at[:, None] - samples)) for at in (middles, corners, firsts)]
    matrices += [_wavelets(side, small)] if side in (small * 2, small * 4, small * 8) else []
    bases = []
    for matrix in matrices:
        matrix = matrix / matrix.sum(1, keepdims=True)
        left, _, right = np.linalg.svd(matrix, full_matrices=False)
        bases.append(left @ right)
    return tuple(bases)


def _wavelets(side: int, small: int) -> np.ndarray:
    """Return Daubechies' scaling functions of four taps [side, small], some levels of them."""
    matrix = np.eye(small)
    while len(matrix) < side:
        root, doubled = 3.0**0.5, np.zeros((2 * len(matrix), len(matrix)))
        for at, tap in enumerate((1.0 + root, 3.0 + root, 3.0 - root, 1.0 - root)):
            rows = (2 * np.arange(len(matrix)) + at) % len(doubled)
            doubled[rows, np.arange(len(matrix))] += tap / (4.0 * 2.0**0.5)
        matrix = doubled @ matrix
    return matrix


def _cubic(x: np.ndarray) -> np.ndarray:
    """Return Keys' kernel with a = -3/4, as OpenCV and PyTorch have it, at distances x >= 0."""
    near = (1.25 * x - 2.25) * x**2 + 1.0
    far = ((-0.75 * x + 3.75) * x - 6.0) * x + 3.0
    return np.where(x <= 1.0, near, np.where(x < 2.0, far, 0.0))
