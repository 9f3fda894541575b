"""Traces of earlier losses in an image's samples: a JPEG's steps and blocks, and averaged chroma.

A file saved without loss may hold an image that had losses before. Compression by JPEG leaves DCT
coefficients near multiples of its quantiser's steps (Fan, de Queiroz, IEEE Trans. Image Processing
12, 2003) and, whatever its tables, more of them at 0 in its own 8x8 blocks than in any others.
JPEG, WebP, AVIF and HEIF mostly store chroma of half the size, and decoders fill it in by repeating
each sample, or by the weights 3/4 and 1/4 of the two next ones: then some differences of neighbours
are 0, and those one pixel beside them are not.
"""

import functools
from dataclasses import dataclass

import numpy as np

from jattr.alterations.jpeg import BLOCK, GREY, Jpeg, dct_matrix, to_ycc
from jattr.images.jpeg_file import SAMPLINGS


@dataclass(frozen=True, kw_only=True)
class TraceSettings:
    """When something is a trace. `scripts/bench_traces.py` measures what these numbers do."""

    # Steps of a quality. Above 97 they are as small as the roundings of decoding.
    best_quality: int = 97
    least_step: int = 4  # smaller ones show nothing
    least_coefficients: int = 30  # that are not 0 and have such steps
    # qualities above the coarsest that fits, among which the best fit is the one
    num_near: int = 10
    # mean square distance from multiples, over that of coefficients that know nothing of the step
    max_misfit: float = 0.35
    # times the least change: a compression that was carried out before changes no more than that
    repeated: float = 4.5
    max_blocks: int = 4096  # that are looked at, spread evenly: each costs time for each quality

    # Blocks. Decoding leaves a deviation of 0.35 in a coefficient that was 0.
    zero: float = 1.0
    # share of coefficients at 0 in the image's own blocks, above that in any shifted ones
    more_zeros: float = 0.08

    # Averaged chroma. Differences that should be 0 are so but for the roundings of decoding, which
    # leave a deviation of 0.35 in a sample: nearly all (a quantile) lie within three deviations.
    chroma_deviation: float = 0.35
    within: float = 3.0
    quantile: float = 0.95
    # share of the differences beside them that lie further out: of images as they were made 0.05
    beyond: float = 0.25
    # Interpolated chroma that is nearly flat shows less: differences that are 0 but for roundings,
    # of this deviation of a sample, and on average so many times as large beside them. Where
    # nothing was interpolated the most in 700 images with so little noise was 1.38.
    rounding: float = 0.42
    ratio: float = 1.45
    least_differences: int = 100


@dataclass(frozen=True)
class Traces:
    """What an image shows of its history."""

    jpeg: Jpeg | None = None  # a compression by libjpeg's tables of a quality
    blocks: bool = False  # its 8x8 blocks were coded, by whatever tables
    chroma: str = ""  # how its chroma was filled in, as a noun; "": it shows no sign of that

    @property
    def text(self) -> str:
        """The traces as a noun; "" where there are none."""
        return " and ".join(
            part
            for part in (
                "" if self.jpeg is None else f"a JPEG's coefficients ({self.jpeg.text})",
                "8x8 blocks" if self.blocks and self.jpeg is None else "",
                self.chroma,
            )
            if part
        )

    def unexplained(self, jpeg: Jpeg | None) -> str:
        """Return the traces, as a noun, that a compression does not leave; "" where there are none.

        Args:
          jpeg: the compression that the image is taken to have gone through last, if any.
        """
        if jpeg is None:
            return self.text
        earlier = ""
        if self.jpeg is not None and _is_coarser(self.jpeg, jpeg):
            earlier = f"an earlier, coarser compression ({self.jpeg.text})"
        averaged = jpeg.format.sampling[0] != (1, 1)
        return earlier or ("" if averaged else self.chroma)


NO_TRACES = Traces()


def traces_of(pixels: np.ndarray, settings: TraceSettings = TraceSettings()) -> Traces:
    """Return what an image uint8 [H, W, 1 | 3 | 4] shows of its history; alpha is not looked at."""
    samples = pixels[..., :3]
    return Traces(
        find_jpeg(samples, settings), find_blocks(samples, settings), find_chroma(samples, settings)
    )


def find_jpeg(pixels: np.ndarray, settings: TraceSettings = TraceSettings()) -> Jpeg | None:
    """Return the compression of which an image uint8 [H, W, C] shows traces, else None.

    Of tables only libjpeg's are looked for; where several fit, the coarsest is the one.
    """
    channels = pixels.shape[2]
    if channels not in (1, 3):
        return None
    samplings = [GREY] if channels == 1 else list(SAMPLINGS)
    # Unquantised luma, only of blocks that are whole and not cut off at 0 or 255.
    finest = Jpeg.of_quality(100, samplings[0])
    whole = _inside(pixels.shape) & ~finest.cut_off(pixels[None])[0, : _num_luma(pixels.shape)]
    raw = finest.unquantised(pixels[None])[0, : len(whole)][whole].reshape(-1, BLOCK * BLOCK)
    raw = raw[:: -(-max(1, len(raw)) // settings.max_blocks)]
    # Luma's table: the coarsest quality that fits, and among those just above the best fit.
    tables = _luma_tables(settings.best_quality)
    fits = np.array([_misfit(raw, table, settings) for table in tables])
    if not (fits <= settings.max_misfit).any():
        return None
    coarsest = int(np.argmax(fits <= settings.max_misfit))
    quality = 1 + coarsest + int(fits[coarsest : coarsest + settings.num_near].argmin())
    return _with_sampling(pixels, quality, samplings, settings)


def _with_sampling(
    pixels: np.ndarray, quality: int, samplings: list[str], settings: TraceSettings
) -> Jpeg:
    """Return the compression of a quality whose sampling of chroma is the image's.

    The coarsest that changes the image no more than the best one.
    """
    candidates = [Jpeg.of_quality(quality, kind, decoded=True) for kind in samplings]
    changes = np.array([_changes(pixels, jpeg) for jpeg in candidates])
    # Where chroma is averaged over pairs decoders interpolate, which averaging does not undo.
    averaged = [jpeg.format.sampling[0] in ((1, 2), (2, 1), (2, 2)) for jpeg in candidates]
    allowed = np.where(averaged, settings.repeated, 1.0) * changes.min() + 1e-3
    fitting = np.flatnonzero(changes <= allowed)
    areas = np.array([np.prod(jpeg.format.sampling[0]) for jpeg in candidates])
    coarsest = fitting[areas[fitting] == areas[fitting].max()]
    return candidates[int(coarsest[changes[coarsest].argmin()])]


def find_blocks(pixels: np.ndarray, settings: TraceSettings = TraceSettings()) -> bool:
    """Return whether an image uint8 [H, W, 1 | 3] was coded in 8x8 blocks.

    A quantiser makes many coefficients 0, but only in the blocks that it coded.
    """
    luma = _planes(pixels)[0]
    cut = ((pixels == 0) | (pixels == 255)).any(-1)
    shares = np.array(
        [
            [_zeros(luma[down:, across:], cut[down:, across:], settings) for across in range(BLOCK)]
            for down in range(BLOCK)
        ]
    )
    own, shifted = shares[0, 0], np.delete(shares.ravel(), 0)
    if not np.isfinite(own) or not np.isfinite(shifted).any():
        return False
    return bool(own >= np.nanmax(shifted) + settings.more_zeros)


def find_chroma(pixels: np.ndarray, settings: TraceSettings = TraceSettings()) -> str:
    """Return how an image's chroma was filled in from fewer samples, as a noun; "" if it was not.

    Args:
      pixels: uint8 [H, W, 1 | 3].
      settings: when something is a trace.
    """
    if pixels.shape[2] != 3:
        return ""
    chroma, cut = np.stack(_planes(pixels)[1:]), ((pixels == 0) | (pixels == 255)).any(-1)
    for kernel in _KERNELS:
        for turned in (False, True):
            planes = chroma.swapaxes(1, 2) if turned else chroma
            if _is_filled(planes, cut.T if turned else cut, kernel, settings):
                way = "vertically" if turned else "horizontally"
                return f"chroma that was {kernel.name} from one sample in {kernel.period} {way}"
    return ""


@dataclass(frozen=True)
class _Kernel:
    """A difference of neighbours that is 0 in samples that were filled in, by where it begins."""

    name: str
    weights: tuple[int, ...]  # of samples side by side
    period: int
    inside: tuple[int, ...]  # beginnings, modulo the period, where the difference is 0


_KERNELS = (
    # of samples a, b, c: (a + 3b)/4, (3b + c)/4 stand side by side. 3x - w - 3y + z of four of them
    # is 0 where the pair x, y belongs to one sample.
    _Kernel("interpolated", (-1, 3, -3, 1), 2, (1,)),
    _Kernel("repeated", (1, -1), 2, (0,)),
    _Kernel("repeated", (1, -1), 4, (0, 1, 2)),
)


def _is_filled(
    planes: np.ndarray, cut: np.ndarray, kernel: _Kernel, settings: TraceSettings
) -> bool:
    """Return whether planes [2, H, W] were filled in along their rows; `cut` [H, W] are clipped."""
    length, weights = len(kernel.weights), np.array(kernel.weights)
    count = planes.shape[2] - length + 1
    if count < kernel.period:
        return False
    pieces = [planes[:, :, at : at + count] for at in range(length)]
    difference = sum(weight * piece for weight, piece in zip(weights, pieces, strict=True))
    usable = ~np.any([cut[:, at : at + count] for at in range(length)], axis=0)
    inside = np.isin(np.arange(count) % kernel.period, kernel.inside)
    zero, beside = (
        np.abs(difference[:, :, where][:, usable[:, where]]) for where in (inside, ~inside)
    )
    if min(zero.shape[1], beside.shape[1]) < settings.least_differences:
        return False
    # Nearly all are 0 in both planes, and in one of them many are not where they need not be.
    limits = np.quantile(zero, settings.quantile, axis=1)
    most = settings.within * settings.chroma_deviation * float(np.sqrt(np.square(weights).sum()))
    shares = (beside > limits[:, None]).mean(1)
    if limits.max() <= most and shares.max() >= settings.beyond:
        return True
    # An edge makes both kinds of differences large here, but only one kind of a repetition's.
    deviation = np.sqrt(np.square(zero).mean(1) / np.square(weights).sum())
    ratios = beside.mean(1) / np.maximum(zero.mean(1), 1e-9)
    averages = kernel.name == "interpolated" and deviation.max() <= settings.rounding
    return bool(averages and ratios.max() >= settings.ratio)


def _planes(pixels: np.ndarray) -> list[np.ndarray]:
    """Return luma, and both chroma planes of three channels, [H, W] about 0, not rounded."""
    values = pixels.astype(np.float64)
    if pixels.shape[2] == 1:
        return [values[..., 0] - 128.0]
    return list(np.moveaxis(values @ to_ycc() - [128.0, 0.0, 0.0], -1, 0))


def _zeros(luma: np.ndarray, cut: np.ndarray, settings: TraceSettings) -> float:
    """Return the share of coefficients at 0 in whole blocks; NaN where there are no such blocks."""
    rows, columns = (side // BLOCK for side in luma.shape)
    if not rows * columns:
        return np.nan
    square = (rows, BLOCK, columns, BLOCK)
    whole = slice(rows * BLOCK), slice(columns * BLOCK)
    blocks = luma[whole].reshape(square).swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)
    usable = ~cut[whole].reshape(square).any((1, 3)).ravel()
    blocks = blocks[usable]
    if not len(blocks):
        return np.nan
    blocks = blocks[:: -(-len(blocks) // settings.max_blocks)]
    dct = dct_matrix()
    coefficients = (dct @ blocks @ dct.T).reshape(len(blocks), -1)[:, 1:]
    return float((np.abs(coefficients) <= settings.zero).mean())


def _is_coarser(one: Jpeg, other: Jpeg) -> bool:
    """Return whether luma's steps are larger, and not only by a rounding of the table."""
    steps, others = one.format.tables[0].astype(float), other.format.tables[0].astype(float)
    return bool(np.median(steps) > np.median(others) + 1 and (steps >= others).mean() > 0.5)


def _changes(pixels: np.ndarray, jpeg: Jpeg) -> float:
    """Return how much a compression changes an image: least if it is the one it went through."""
    return float(np.square(jpeg.discrete(pixels[None])[0].astype(np.float64) - pixels).mean())


@functools.lru_cache(maxsize=4)
def _luma_tables(best: int) -> np.ndarray:
    """Return libjpeg's tables of luma at qualities 1 to `best` [best, 64]."""
    tables = [Jpeg.of_quality(quality, GREY).format.tables[0] for quality in range(1, best + 1)]
    return np.stack(tables).reshape(best, -1).astype(np.float64)


def _num_luma(shape: tuple[int, ...]) -> int:
    return -(-shape[0] // BLOCK) * -(-shape[1] // BLOCK) * BLOCK * BLOCK


def _inside(shape: tuple[int, ...]) -> np.ndarray:
    """Return which luma coefficients [N] are of blocks that lie wholly within the image."""
    rows, columns = -(-shape[0] // BLOCK), -(-shape[1] // BLOCK)
    blocks = np.ones((rows, columns), bool)
    blocks[shape[0] // BLOCK :] = False
    blocks[:, shape[1] // BLOCK :] = False
    return np.repeat(blocks.ravel(), BLOCK * BLOCK)


def _misfit(raw: np.ndarray, table: np.ndarray, settings: TraceSettings) -> float:
    """Return how far coefficients [blocks, 64] lie from multiples of their steps [64].

    As a share of what coefficients leave that know nothing of the steps; inf where too few can
    tell.
    """
    multiples = np.round(raw / table)
    informative = (multiples != 0) & (table >= settings.least_step)
    if informative.sum() < settings.least_coefficients:
        return np.inf
    # 1/12 is the mean square distance, in steps, where the values know nothing of the step.
    distance = ((raw - multiples * table) / table)[informative]
    return float(np.mean(np.square(distance)) * 12.0)
