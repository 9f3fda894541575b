"""Alterations that are looked for where nobody named one: how each is guessed, and undone.

A guess undoes an alteration on the pixels, so that the candidate's own program searches what is
left. What a guess cannot know beforehand (by how much an image was stretched, where a mark is) it
adapts to the reproduction that a few steps have reached.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from jattr.alterations.chain import Chain
from jattr.alterations.registry import parse_chain
from jattr.errors import InputError
from jattr.inversion.observation.undone import ignoring, undone_bytes, undone_map
from jattr.inversion.problem import Target, deviation
from jattr.solvers.base import check_fields

COVER, FRAME, STRETCH = "cover", "frame", "stretch"
MIDDLE = 127.5  # bytes in one unit of values


class Look(NamedTuple):
    """What guesses go by besides the image: how a candidate's images look."""

    rule: str  # by which its values become bytes
    mean: np.ndarray  # [H, W, C], mean image, [-1, 1] units
    spread: float  # of the numbers of an image about their own mean, [-1, 1] units


@dataclass(frozen=True, kw_only=True)
class Marks:
    """How marks that were pasted on an image are told from what a candidate cannot make."""

    dropped: float = 0.06  # share of pixels left out while a mark is looked for
    most: float = 0.12  # share of pixels that rectangles may cover
    rectangles: int = 4  # most
    # times the root mean square of the rest, and bytes: a pixel farther off belongs to a mark
    outlier: float = 5.0
    least: float = 2.0
    grown: int = 1  # pixels by which outliers are grown before they are joined to rectangles

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self, may_be_0=("grown",))


class Guess(Protocol):
    """One alteration that is looked for."""

    @property
    def text(self) -> str:
        """As it is called in what was tried."""

    @property
    def scale(self) -> float:
        """Bytes of the image in one byte of what is undone, where that is known before."""

    @property
    def adapts(self) -> bool:
        """Whether it changes with the reproduction."""

    def begin(self, pixels: np.ndarray, look: Look) -> tuple[np.ndarray, Target]:
        """Return an image [H, W, C] undone: as bytes, and as what is searched.

        Raises:
          InputError: the image cannot have been altered so.
        """

    def adapt(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> Target:
        """Return what is searched next, by a reproduction [H, W, C], [-1, 1] units."""

    def misfit(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> float:
        """Return what the reproduction leaves, mean square in units of the image."""

    def chains(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> tuple[str, ...]:
        """Return the alterations to search under, the likeliest first; none where none is legal."""


def misfit_of(reproduction: np.ndarray, target: Target, scale: float = 1.0) -> float:
    """Return the mean square that a reproduction [H, W, C] leaves of a target, scaled."""
    deviations = deviation(np.clip(reproduction, -1.0, 1.0), target)
    return float(np.mean(np.square(deviations, dtype=np.float64))) * scale**2


class _Fixed:
    """What guesses that do not adapt have in common."""

    @property
    def scale(self) -> float:
        """One."""
        return 1.0

    @property
    def adapts(self) -> bool:
        """No."""
        return False

    def begin(self, pixels: np.ndarray, look: Look) -> tuple[np.ndarray, Target]:
        raise NotImplementedError

    def adapt(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> Target:
        """Return the same target."""
        del reproduction
        return self.begin(pixels, look)[1]

    def misfit(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> float:
        """Return what is left of the target."""
        return misfit_of(reproduction, self.begin(pixels, look)[1], self.scale)


@dataclass(frozen=True)
class AsItIs(_Fixed):
    """Nothing: what the others are compared with."""

    text: str = "as it is"

    def begin(self, pixels: np.ndarray, look: Look) -> tuple[np.ndarray, Target]:
        """Return the image."""
        return pixels, undone_bytes(pixels, look.rule)

    def chains(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> tuple[str, ...]:
        """Return none."""
        return ()


@dataclass(frozen=True)
class Undone(_Fixed):
    """Bytes that only changed places, or with each other: the image is put back."""

    chain: Chain

    @property
    def text(self) -> str:
        """The chain."""
        return self.chain.text

    def begin(self, pixels: np.ndarray, look: Look) -> tuple[np.ndarray, Target]:
        """Return the image put back."""
        inverse = self.chain.inverse
        assert inverse is not None
        inverse.out_shape(pixels.shape)
        before = inverse.discrete(pixels[None])[0]
        return before, undone_bytes(before, look.rule)

    def chains(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> tuple[str, ...]:
        """Return the chain."""
        del pixels, reproduction, look
        return (self.chain.text,)


@dataclass(frozen=True)
class Moved(_Fixed):
    """A move by whole pixels, whatever came in: the lines that did are ignored."""

    down: int
    right: int

    @property
    def text(self) -> str:
        """As `shift:1:0`."""
        return f"shift:{self.down}:{self.right}"

    def begin(self, pixels: np.ndarray, look: Look) -> tuple[np.ndarray, Target]:
        """Return the image moved back, without the lines that came in."""
        before = np.roll(pixels, (-self.down, -self.right), (0, 1))
        entered = np.roll(self._entered(pixels), (-self.down, -self.right), (0, 1))
        target = ignoring(undone_bytes(before, look.rule), entered)
        return _filled(before, entered), target

    def _entered(self, pixels: np.ndarray) -> np.ndarray:
        """Return which pixels [H, W] came in."""
        inside = np.ones(pixels.shape[:2], np.uint8)[None, ..., None]
        kept = parse_chain(f"{self.text}:0").discrete(inside)
        return np.asarray(kept[0, ..., 0] == 0)

    def chains(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> tuple[str, ...]:
        """Return the move with what the lines hold: the edge, one byte, or what left."""
        del reproduction, look
        line = pixels[self._entered(pixels)]
        # the edge repeated: the lines that came in equal their neighbours
        again = np.roll(pixels, (-self.down, -self.right), (0, 1))
        if np.array_equal(parse_chain(self.text).discrete(again[None])[0], pixels):
            return (self.text,)
        if (line == line.flat[0]).all():
            return (f"{self.text}:{line.flat[0]}",)
        covered = self._covers(*pixels.shape[:2])
        return f"{self.text}:wrap", f"{self.text}:wrap,{covered}"

    def _covers(self, height: int, width: int) -> str:
        """Return what covers the lines that came in."""
        covers = []
        if self.down:
            top = 0 if self.down > 0 else height + self.down
            covers.append(f"cover:{abs(self.down)}x{width}+{top}+0")
        if self.right:
            left = 0 if self.right > 0 else width + self.right
            covers.append(f"cover:{height}x{abs(self.right)}+0+{left}")
        return ",".join(covers)


@dataclass(frozen=True)
class Framed(_Fixed):
    """The outermost pixels painted over."""

    size: int = 1

    @property
    def text(self) -> str:
        """As `frame`."""
        return FRAME

    def begin(self, pixels: np.ndarray, look: Look) -> tuple[np.ndarray, Target]:
        """Return the image without the outermost pixels."""
        frame = np.ones(pixels.shape[:2], bool)
        frame[self.size : -self.size, self.size : -self.size] = False
        return _filled(pixels, frame), ignoring(undone_bytes(pixels, look.rule), frame)

    def chains(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> tuple[str, ...]:
        """Return covers of the four sides."""
        del reproduction, look
        (height, width), size = pixels.shape[:2], self.size
        sides = (
            f"cover:{size}x{width}+0+0",
            f"cover:{size}x{width}+{height - size}+0",
            f"cover:{height}x{size}+0+0",
            f"cover:{height}x{size}+0+{width - size}",
        )
        return (",".join(sides),)


@dataclass(frozen=True)
class Saved(_Fixed):
    """A known linear map of values: of `clip-low`, or of `stretch` with its ends."""

    chain: Chain  # of one step

    @property
    def text(self) -> str:
        """The chain."""
        return self.chain.text

    @property
    def map(self) -> tuple[float, float]:
        """Gain and offset, in bytes."""
        gain, offset = self.chain.steps[0].parameters((1, 1, 1))
        return float(gain), float(offset)

    @property
    def scale(self) -> float:
        """The gain."""
        return abs(self.map[0])

    def begin(self, pixels: np.ndarray, look: Look) -> tuple[np.ndarray, Target]:
        """Return the image mapped back."""
        del look
        target = undone_map(pixels, *self.map)
        return _as_bytes(target.center), target

    def chains(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> tuple[str, ...]:
        """Return the chain."""
        del pixels, reproduction, look
        return (self.chain.text,)


@dataclass(frozen=True)
class Stretched:
    """A linear map of unknown gain and offset: regressed on each reproduction."""

    text: str = STRETCH
    scale: float = 1.0
    adapts: bool = True
    gains: tuple[float, float] = (0.2, 5.0)

    def begin(self, pixels: np.ndarray, look: Look) -> tuple[np.ndarray, Target]:
        """Return the image with the mean and spread of the candidate's."""
        values = pixels / MIDDLE - 1.0
        gain = float(np.clip(values.std() / max(look.spread, 1e-3), *self.gains))
        offset = float(pixels.mean() - gain * MIDDLE * (look.mean.mean() + 1.0))
        target = undone_map(pixels, gain, offset)
        return _as_bytes(target.center), target

    def _map(self, pixels: np.ndarray, reproduction: np.ndarray) -> tuple[float, float]:
        """Return gain and offset, in bytes, by least squares over bytes that are not clipped."""
        inside = (pixels > 0) & (pixels < 255)
        x = (reproduction[inside].astype(np.float64) + 1.0) * MIDDLE
        y = pixels[inside].astype(np.float64)
        if x.size < 2 or not x.var() > 1e-6:
            return 1.0, 0.0
        gain = float(np.clip(np.cov(x, y)[0, 1] / x.var(ddof=1), *self.gains))
        return gain, float(y.mean() - gain * x.mean())

    def adapt(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> Target:
        """Return the image mapped back."""
        del look
        return undone_map(pixels, *self._map(pixels, reproduction))

    def misfit(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> float:
        """Return what is left under the best map."""
        del look
        gain, offset = self._map(pixels, reproduction)
        return misfit_of(reproduction, undone_map(pixels, gain, offset), gain)

    def chains(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> tuple[str, ...]:
        """Return the stretch to the image's own ends, where it has both; and to any."""
        del reproduction, look
        own = (STRETCH,) if pixels.min() == 0 and pixels.max() == 255 else ()
        return (*own, f"{STRETCH}:?:?")


@dataclass(frozen=True)
class Wrapped:
    """Values modulo 256: each byte is taken to be in the turn that is nearest to a reproduction."""

    chain: Chain  # of one step
    scale: float = 1.0
    adapts: bool = True

    @property
    def text(self) -> str:
        """The chain."""
        return self.chain.text

    def begin(self, pixels: np.ndarray, look: Look) -> tuple[np.ndarray, Target]:
        """Return the image unwrapped towards the candidate's mean image."""
        target = self.adapt(pixels, look.mean, look)
        return _as_bytes(target.center), target

    def _map(self) -> tuple[float, float]:
        gain, offset = self.chain.steps[0].parameters((1, 1, 1))
        return float(gain), float(offset)

    def adapt(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> Target:
        """Return the image unwrapped towards a reproduction."""
        del look
        gain, offset = self._map()
        expected = (np.clip(reproduction, -1.2, 1.2) + 1.0) * MIDDLE * gain + offset
        turns = np.round((expected - pixels) / 256.0)
        values = pixels + 256.0 * turns
        # cut off towards 0: values lie half a byte beyond
        values = values + np.where(values > 0, 0.5, np.where(values < 0, -0.5, 0.0))
        center = ((values - offset) / gain / MIDDLE - 1.0).astype(np.float32)
        nowhere = np.zeros(center.shape, bool)
        zeros = np.zeros(center.shape, np.float32)
        return Target._make([center, nowhere, nowhere.copy(), zeros])

    def misfit(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> float:
        """Return what is left where every byte is in the nearest turn."""
        return misfit_of(reproduction, self.adapt(pixels, reproduction, look), self._map()[0])

    def chains(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> tuple[str, ...]:
        """Return the chain."""
        del pixels, reproduction, look
        return (self.chain.text,)


@dataclass(frozen=True)
class Covered:
    """A mark that was pasted on: the worst few pixels, in contiguous regions, are left out."""

    marks: Marks
    text: str = COVER
    scale: float = 1.0
    adapts: bool = True

    def begin(self, pixels: np.ndarray, look: Look) -> tuple[np.ndarray, Target]:
        """Return the image."""
        return pixels, undone_bytes(pixels, look.rule)

    def _deviations(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> np.ndarray:
        """Return the largest deviation of each pixel's channels [H, W], [-1, 1] units."""
        target = undone_bytes(pixels, look.rule)
        return np.abs(deviation(np.clip(reproduction, -1.0, 1.0), target)).max(-1)

    def _dropped(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> np.ndarray:
        """Return the worst pixels [H, W]; neighbours count, so that they are contiguous."""
        deviations = self._deviations(pixels, reproduction, look)
        worst = ndimage.uniform_filter(deviations, 3, mode="nearest")
        return np.asarray(worst > np.quantile(worst, 1.0 - self.marks.dropped))

    def adapt(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> Target:
        """Return the image without the worst pixels."""
        target = undone_bytes(pixels, look.rule)
        return ignoring(target, self._dropped(pixels, reproduction, look))

    def misfit(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> float:
        """Return what is left of the other pixels."""
        return misfit_of(reproduction, self.adapt(pixels, reproduction, look))

    def chains(self, pixels: np.ndarray, reproduction: np.ndarray, look: Look) -> tuple[str, ...]:
        """Return covers of the outliers, where these are few rectangles."""
        marks = self.marks
        deviations = self._deviations(pixels, reproduction, look)
        kept = deviations[~self._dropped(pixels, reproduction, look)]
        usual = float(np.sqrt(np.mean(np.square(kept))))
        outliers = deviations > max(marks.outlier * usual, marks.least / MIDDLE)
        boxes = rectangles_around(outliers, marks.grown)
        area = np.zeros(outliers.shape, bool)
        for box in boxes:
            area[box] = True
        if not boxes or len(boxes) > marks.rectangles or area.mean() > marks.most:
            return ()
        return (
            ",".join(
                f"cover:{rows.stop - rows.start}x{columns.stop - columns.start}"
                f"+{rows.start}+{columns.start}"
                for rows, columns in boxes
            ),
        )


def _filled(pixels: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return an image [H, W, C] whose missing pixels, bool [H, W], are their nearest others."""
    rows, columns = ndimage.distance_transform_edt(
        missing, return_distances=False, return_indices=True
    )
    return np.asarray(pixels[rows, columns])


def looks_wrapped(pixels: np.ndarray, share: float) -> bool:
    """Return whether neighbours [H, W, C] are nearer modulo 256 than they are, by far.

    Args:
      pixels: the image.
      share: of their differences, which those modulo 256 are at most.
    """
    plain = wrapped = 0.0
    for axis in (0, 1):
        difference = np.abs(np.diff(pixels.astype(np.int64), axis=axis))
        plain += float(difference.sum())
        wrapped += float(np.minimum(difference, 256 - difference).sum())
    return wrapped < share * plain


def rectangles_around(outliers: np.ndarray, grown: int) -> list[tuple[slice, slice]]:
    """Return the rectangles around regions of outliers, bool [H, W], that grow into each other.

    Rectangles that overlap are joined.
    """
    structure = np.ones((3, 3), bool)
    regions = ndimage.binary_dilation(outliers, structure, iterations=grown) if grown else outliers
    labels, count = ndimage.label(regions, structure)
    boxes = [
        box for box in ndimage.find_objects(np.where(outliers, labels, 0), count) if box is not None
    ]
    joined = True
    while joined:
        joined = False
        for a in range(len(boxes)):
            for b in range(a + 1, len(boxes)):
                if _overlap(boxes[a], boxes[b]):
                    boxes[a] = _around(boxes[a], boxes.pop(b))
                    joined = True
                    break
            if joined:
                break
    return [(rows, columns) for rows, columns in boxes]


def _overlap(a: tuple[slice, ...], b: tuple[slice, ...]) -> bool:
    return all(p.start < q.stop and q.start < p.stop for p, q in zip(a, b, strict=True))


def _around(a: tuple[slice, ...], b: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(min(p.start, q.start), max(p.stop, q.stop)) for p, q in zip(a, b, strict=True)
    )


def _as_bytes(values: ArrayLike) -> np.ndarray:
    """Return values, [-1, 1] units, as the nearest bytes."""
    return np.clip(np.round((np.asarray(values) + 1.0) * MIDDLE), 0, 255).astype(np.uint8)


def make_guess(text: str, marks: Marks) -> Guess:
    """Return how an alteration is guessed.

    Args:
      text: `cover`, `frame`, `stretch`; a `shift` without what comes in; or a chain that can be
        undone, as `bgr` or `flip,turn:90`, or one of a single step that saves values.
      marks: of `cover`.

    Raises:
      InputError: there is no such alteration, or none that can be undone.
    """
    named: dict[str, Callable[[], Guess]] = {
        COVER: lambda: Covered(marks),
        FRAME: Framed,
        STRETCH: Stretched,
    }
    if text in named:
        return named[text]()
    chain = parse_chain(text)
    first = chain.steps[0] if chain.steps else None
    if chain.steps and chain.inverse is not None:
        return Undone(chain)
    if len(chain.steps) == 1 and first is not None and not chain.free:
        if first.name == "shift" and text.count(":") == 2:
            return Moved(*map(int, text.split(":")[1:]))
        if first.name == "wrap":
            return Wrapped(chain)
        if first.saves:
            return Saved(chain)
    raise InputError(
        f"a second look cannot undo {text!r}; it takes {COVER}, {FRAME}, {STRETCH},"
        " shift:DOWN:RIGHT, clip-low, wrap, and chains of flip, turn, bgr, channels, invert,"
        " shift:DOWN:RIGHT:wrap"
    )
