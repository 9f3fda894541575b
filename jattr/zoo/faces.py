"""Procedural faces: what the bundled generators learnt, and images that no generator made.

A face is a flat vector of independent uniform numbers, `TRAITS` of them; drawing is a pure function
of it. Shapes are signed distances, blended over each other with edges one pixel wide. Nothing of
any photograph is in them.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jattr.images import to_byte

FACE_SIZE = 32
SKINS = (
    (0.98, 0.86, 0.76),
    (0.93, 0.75, 0.60),
    (0.80, 0.58, 0.43),
    (0.60, 0.40, 0.28),
    (0.38, 0.24, 0.17),
)
HAIRS = (
    (0.08, 0.07, 0.07),
    (0.25, 0.15, 0.09),
    (0.50, 0.30, 0.13),
    (0.85, 0.68, 0.36),
    (0.62, 0.24, 0.12),
    (0.75, 0.74, 0.73),
)
IRISES = (
    (0.18, 0.11, 0.07),
    (0.35, 0.25, 0.12),
    (0.22, 0.38, 0.24),
    (0.25, 0.42, 0.62),
    (0.40, 0.45, 0.50),
)
Point: TypeAlias = tuple[jax.Array | float, jax.Array | float]


class Face(NamedTuple):
    """Everything that is drawn, each uniform in [0, 1]; lengths are in half-widths of the image."""

    shift_x: jax.Array
    shift_y: jax.Array
    tilt: jax.Array
    scale: jax.Array
    head_width: jax.Array
    head_height: jax.Array
    jaw: jax.Array
    skin: jax.Array
    skin_warmth: jax.Array
    hair_colour: jax.Array
    hair_length: jax.Array
    hair_volume: jax.Array
    hairline: jax.Array
    parting: jax.Array
    fringe: jax.Array
    eye_height: jax.Array
    eye_distance: jax.Array
    eye_size: jax.Array
    eye_open: jax.Array
    iris_colour: jax.Array
    gaze_x: jax.Array
    gaze_y: jax.Array
    brow_height: jax.Array
    brow_tilt: jax.Array
    brow_weight: jax.Array
    nose_length: jax.Array
    nose_width: jax.Array
    mouth_height: jax.Array
    mouth_width: jax.Array
    smile: jax.Array
    mouth_open: jax.Array
    lip_colour: jax.Array
    beard: jax.Array
    blush: jax.Array
    light_x: jax.Array
    light_y: jax.Array
    light: jax.Array
    shirt_hue: jax.Array
    shirt_tone: jax.Array
    wall_hue: jax.Array
    wall_tone: jax.Array
    wall_slope: jax.Array
    wall_turn: jax.Array


TRAITS = len(Face._fields)


def render_faces(key: jax.Array, n: int, *, size: int = FACE_SIZE) -> np.ndarray:
    """Return n different faces, uint8 [n, size, size, 3]; the same for the same key and n.

    >>> import jax
    >>> render_faces(jax.random.key(0), 2).shape
    (2, 32, 32, 3)
    """
    traits = jax.random.uniform(key, (n, TRAITS))
    return np.concatenate([to_byte(np.asarray(_drawer(size)(part))) for part in _parts(traits)])


def draw_face(traits: jax.Array, *, size: int = FACE_SIZE) -> jax.Array:
    """Return the image [size, size, 3] float32 in [-1, 1] of traits [TRAITS], each in [0, 1]."""
    face = Face(*traits)
    axis = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (2.0 / size) - 1.0
    y, x = jnp.meshgrid(axis, axis, indexing="ij")
    blur = 2.0 / size
    image = _wall(face, x, y)
    x, y = _placed(face, x, y)
    image = _body(face, image, x, y, blur)
    image = _head(face, image, x, y, blur)
    image = _features(face, image, x, y, blur)
    image = _fringe(face, image, x, y, blur)
    return 2.0 * jnp.clip(image, 0.0, 1.0) - 1.0


@functools.lru_cache(maxsize=8)
def _drawer(size: int) -> Callable[[jax.Array], jax.Array]:
    return jax.jit(jax.vmap(lambda traits: draw_face(traits, size=size)))


def _parts(traits: jax.Array) -> list[jax.Array]:
    """Return traits in parts of at most 256, so that memory stays bounded."""
    return [traits[at : at + 256] for at in range(0, len(traits), 256)]


def _wall(face: Face, x: jax.Array, y: jax.Array) -> jax.Array:
    angle = 2.0 * jnp.pi * face.wall_turn
    slope = x * jnp.cos(angle) + y * jnp.sin(angle)
    tone = 0.25 + 0.6 * face.wall_tone + 0.22 * face.wall_slope * slope
    return tone[..., None] * _hue(face.wall_hue, 0.35)


def _placed(face: Face, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the pixels in the head's own coordinates."""
    x, y = x - _between(-0.14, 0.14, face.shift_x), y - _between(-0.08, 0.1, face.shift_y)
    angle = _between(-0.16, 0.16, face.tilt)
    scale = _between(0.92, 1.12, face.scale)
    return (x * jnp.cos(angle) + y * jnp.sin(angle)) / scale, (
        y * jnp.cos(angle) - x * jnp.sin(angle)
    ) / scale


def _body(face: Face, image: jax.Array, x: jax.Array, y: jax.Array, blur: float) -> jax.Array:
    """Draw the hair behind the head, shoulders and neck."""
    volume = _between(0.04, 0.2, face.hair_volume)
    length = _between(0.1, 1.1, face.hair_length)
    width = _head_width(face) + volume
    crown = _ellipse(x, y + 0.14, width, _head_height(face) + volume - 0.06)
    fall = _box(x, y - length / 2, width * 0.98, length / 2 + 0.02)
    image = _over(image, _hair(face) * 0.78, jnp.minimum(crown, fall), blur)
    shirt = _between(0.2, 0.85, face.shirt_tone) * _hue(face.shirt_hue, 0.75)
    image = _over(image, shirt, _ellipse(x, y - 1.25, 0.86, 0.5), blur)
    return _over(image, _skin(face) * 0.82, _box(x, y - 0.72, 0.22, 0.2), blur)


def _head(face: Face, image: jax.Array, x: jax.Array, y: jax.Array, blur: float) -> jax.Array:
    """Draw ears and head, lit from one side."""
    width, height = _head_width(face), _head_height(face)
    skin = _skin(face)
    for side in (-1.0, 1.0):
        image = _over(image, skin * 0.86, _ellipse(x - side * width, y - 0.02, 0.09, 0.15), blur)
    chin = 1.0 - _between(0.0, 0.32, face.jaw) * jnp.clip(y / height, 0.0, 1.0)
    inside = _ellipse(x / chin, y, width, height)
    light = (
        _between(-0.9, 0.9, face.light_x) * x / width
        + _between(-0.9, 0.3, face.light_y) * y / height
    )
    shade = 1.0 + _between(0.06, 0.26, face.light) * light
    round_off = 1.0 - 0.16 * jnp.clip((x / width) ** 2 + (y / height) ** 2, 0.0, 1.0) ** 2
    image = _over(image, skin * (shade * round_off)[..., None], inside, blur)
    shadow = _hair(face) * 0.6 + skin * 0.3
    stubble = jnp.clip(1.6 * face.beard - 0.75, 0.0, 0.85)
    area = jnp.maximum(
        inside + 0.02, _between(0.18, 0.3, face.mouth_height) - y + 0.25 * (x / width) ** 2
    )
    return _over(image, shadow, area, 3.0 * blur, stubble)


def _features(face: Face, image: jax.Array, x: jax.Array, y: jax.Array, blur: float) -> jax.Array:
    """Draw cheeks, nose, mouth, eyes and brows."""
    skin = _skin(face)
    spacing = _between(0.19, 0.27, face.eye_distance)
    level = _between(-0.16, -0.04, face.eye_height)
    for side in (-1.0, 1.0):
        cheek = _ellipse(x - side * 0.3, y - 0.17, 0.13, 0.1)
        image = _over(
            image, skin * jnp.array([1.02, 0.78, 0.76]), cheek, 4.0 * blur, 0.65 * face.blush
        )
    tip = level + _between(0.26, 0.36, face.nose_length)
    wide = _between(0.05, 0.11, face.nose_width)
    lit = jnp.sign(face.light_x - 0.5)
    bridge = _segment(x, y, (lit * -0.03, level + 0.08), (lit * -0.05, tip), 0.02)
    image = _over(image, skin * 0.8, bridge, 1.5 * blur, 0.7)
    image = _over(image, skin * 0.66, _ellipse(x, y - tip, wide, 0.035), blur, 0.85)
    image = _mouth(face, image, x, y, blur, tip)
    rise = _between(-0.07, 0.07, face.brow_tilt)
    top = level - _between(0.13, 0.2, face.brow_height)
    for side in (-1.0, 1.0):
        image = _eye(face, image, x - side * spacing, y - level, blur)
        ends = (side * (spacing - 0.11), top + rise), (side * (spacing + 0.13), top - rise + 0.02)
        brow = _segment(x, y, *ends, _between(0.012, 0.04, face.brow_weight))
        image = _over(image, _hair(face) * 0.75, brow, blur, 0.9)
    return image


def _eye(face: Face, image: jax.Array, x: jax.Array, y: jax.Array, blur: float) -> jax.Array:
    wide = _between(0.1, 0.14, face.eye_size)
    high = wide * _between(0.42, 0.85, face.eye_open)
    white = _ellipse(x, y, wide, high)
    image = _over(
        image, _skin(face) * 0.62, _ellipse(x, y + 0.02, wide * 1.12, high * 1.1), blur, 0.7
    )
    image = _over(image, jnp.array([0.95, 0.95, 0.93]), white, blur)
    gaze_x = x - _between(-0.035, 0.035, face.gaze_x)
    gaze_y = y - _between(-0.015, 0.02, face.gaze_y)
    iris = jnp.maximum(_ellipse(gaze_x, gaze_y, 0.068, 0.068), white)
    image = _over(image, _palette(IRISES, face.iris_colour), iris, blur)
    pupil = jnp.maximum(_ellipse(gaze_x, gaze_y, 0.028, 0.028), white)
    return _over(image, jnp.full(3, 0.04), pupil, blur)


def _mouth(
    face: Face, image: jax.Array, x: jax.Array, y: jax.Array, blur: float, nose: jax.Array
) -> jax.Array:
    level = nose + _between(0.13, 0.2, face.mouth_height)
    wide = _between(0.13, 0.23, face.mouth_width)
    bend = _between(-0.05, 0.12, face.smile)
    curved = y - level - bend * (1.0 - (x / wide) ** 2) + bend / 2
    high = _between(0.025, 0.05, face.lip_colour) + 0.06 * jnp.clip(
        2.0 * face.mouth_open - 1.0, 0.0, 1.0
    )
    lips = _skin(face) * jnp.stack(
        [0.95, _between(0.45, 0.72, face.lip_colour), _between(0.5, 0.72, face.lip_colour)]
    )
    image = _over(image, lips, _ellipse(x, curved, wide, high), blur)
    gap = 0.006 + 0.05 * jnp.clip(2.0 * face.mouth_open - 1.0, 0.0, 1.0)
    return _over(
        image, jnp.array([0.28, 0.08, 0.08]), _ellipse(x, curved, wide * 0.86, gap), blur, 0.85
    )


def _fringe(face: Face, image: jax.Array, x: jax.Array, y: jax.Array, blur: float) -> jax.Array:
    """Draw the hair over the forehead."""
    volume = _between(0.04, 0.2, face.hair_volume)
    cap = _ellipse(x, y + 0.14, _head_width(face) + volume * 0.7, _head_height(face) + volume - 0.1)
    parting = _between(-0.35, 0.35, face.parting)
    line = _between(-0.58, -0.3, face.hairline) + _between(-0.15, 0.5, face.fringe) * jnp.square(
        x - parting
    )
    gloss = 1.0 + 0.25 * jnp.exp(-40.0 * jnp.square(y + 0.62 + 0.3 * jnp.square(x)))
    return _over(image, _hair(face) * gloss[..., None], jnp.maximum(cap, y - line), blur)


def _head_width(face: Face) -> jax.Array:
    return _between(0.43, 0.56, face.head_width)


def _head_height(face: Face) -> jax.Array:
    return _between(0.6, 0.74, face.head_height)


def _skin(face: Face) -> jax.Array:
    return _palette(SKINS, face.skin) * (
        1.0 + _between(-0.06, 0.06, face.skin_warmth) * jnp.array([1.0, 0.0, -1.0])
    )


def _hair(face: Face) -> jax.Array:
    return _palette(HAIRS, face.hair_colour)


def _between(low: float, high: float, at: jax.Array) -> jax.Array:
    return low + (high - low) * at


def _palette(colours: tuple[tuple[float, ...], ...], at: jax.Array) -> jax.Array:
    """Return the colour [3] at [0, 1] along a row of them."""
    table = jnp.asarray(colours)
    position = at * (len(colours) - 1)
    low = jnp.clip(jnp.floor(position), 0, len(colours) - 2)
    index = low.astype(jnp.int32)
    return table[index] + (position - low) * (table[index + 1] - table[index])


def _hue(hue: jax.Array, strength: float) -> jax.Array:
    """Return a colour [3] of this hue, brightest channel 1."""
    wheel = 0.5 + 0.5 * jnp.cos(2.0 * jnp.pi * (hue + jnp.array([0.0, 1.0 / 3.0, 2.0 / 3.0])))
    return 1.0 - strength * (1.0 - wheel)


def _ellipse(
    x: jax.Array, y: jax.Array, wide: jax.Array | float, high: jax.Array | float
) -> jax.Array:
    """Return about the signed distance from an ellipse, negative inside."""
    # f = |(x / a, y / b)| - 1 over the length of its gradient: the distance to first order.
    level = jnp.sqrt((x / wide) ** 2 + (y / high) ** 2 + 1e-9)
    slope = jnp.sqrt((x / jnp.square(wide)) ** 2 + (y / jnp.square(high)) ** 2 + 1e-9) / level
    return (level - 1.0) / slope


def _box(x: jax.Array, y: jax.Array, wide: jax.Array | float, high: jax.Array | float) -> jax.Array:
    return jnp.maximum(jnp.abs(x) - wide, jnp.abs(y) - high)


def _segment(
    x: jax.Array, y: jax.Array, start: Point, end: Point, thick: jax.Array | float
) -> jax.Array:
    """Return the signed distance from a line with round ends."""
    ax, ay = end[0] - start[0], end[1] - start[1]
    along = jnp.clip(((x - start[0]) * ax + (y - start[1]) * ay) / (ax**2 + ay**2), 0.0, 1.0)
    return jnp.hypot(x - start[0] - along * ax, y - start[1] - along * ay) - thick


def _over(
    image: jax.Array,
    colour: jax.Array,
    distance: jax.Array,
    blur: float,
    opacity: jax.Array | float = 1.0,
) -> jax.Array:
    """Return the image with a colour where the distance is negative, its edge `blur` wide."""
    cover = (opacity * jnp.clip(0.5 - distance / blur, 0.0, 1.0))[..., None]
    return image + cover * (colour - image)
