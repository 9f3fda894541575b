"""A perceptual hash: 256 bits that editing an image changes little.

Whole numbers only, so that it is the same on every machine to the last bit. The luma, averaged over
32 x 32 equal areas, is turned into its discrete cosine transform; each bit is the sign of one of
the 16 x 16 frequencies 1 to 16 down and 1 to 16 across. `docs/formats.md` has the definition in
full, vectors, and how often images of one source and of different ones come near each other.

Nobody has to forge SHA-256 to fool it: near hashes are found on purpose, and a crop or a shift is
out of its reach (turns and mirrors are compared one by one). It finds candidates; what they are is
for the eye and for regeneration to say.
"""

import numpy as np

from jattr.errors import LedgerError

HASH_BYTES = 32
HASH_BITS = 8 * HASH_BYTES
CELLS = 32  # areas a side
FREQUENCIES = 16  # a side
NEAR_BITS = 32  # bits: images whose hashes differ in at most that many are near each other
FEATURELESS = bytes(HASH_BYTES)  # the hash of images that have too little in them to be told apart
LEAST_SEEN = 64  # frequencies that must be stronger than a grey level, else an image is featureless
MAX_HASHED_SIDE = 65_535
BAND = 64  # rows taken at once, to save memory
LUMA = (299, 587, 114)  # thousandths of R, G, B
ONE = 8192  # what the cosines below are multiples of: cos(k pi / 64), k = 0 to 32
COSINES = (
    8192,
    8182,
    8153,
    8103,
    8035,
    7946,
    7839,
    7713,
    7568,
    7405,
    7225,
    7027,
    6811,
    6580,
    6333,
    6070,
    5793,
    5501,
    5197,
    4880,
    4551,
    4212,
    3862,
    3503,
    3135,
    2760,
    2378,
    1990,
    1598,
    1202,
    803,
    402,
    0,
)


def perceptual_hash(pixels: np.ndarray) -> bytes:
    """Return the hash, 32 bytes, of an image uint8 [H, W, C].

    C = 1 is greyscale, 3 RGB, 4 RGB with straight alpha, whose transparent parts are taken as seen
    over grey 128. A featureless image (constant, a gradient along an axis) has the hash
    FEATURELESS.

    Raises:
      LedgerError: another type or shape.

    >>> pixels = np.arange(300, dtype=np.uint16).reshape(10, 10, 3).astype(np.uint8)
    >>> perceptual_hash(pixels).hex()[:16]
    '6673998c66736673'
    """
    strengths = _frequencies(_cells(np.asarray(pixels)))
    grey_level = 1000 * ONE**2 * CELLS // 2
    if (np.abs(strengths) >= grey_level).sum() < LEAST_SEEN:
        return FEATURELESS
    return np.packbits(strengths > 0).tobytes()


def turned_hashes(pixels: np.ndarray) -> tuple[bytes, ...]:
    """Return the hash of an image uint8 [H, W, C], and those of its seven turns and mirrors."""
    turns = [
        np.rot90(image, quarter) for image in (pixels, pixels[:, ::-1]) for quarter in range(4)
    ]
    return tuple(perceptual_hash(np.ascontiguousarray(image)) for image in turns)


def is_featureless(image: bytes | np.ndarray) -> bool:
    """Return whether an image, given itself or by its hash, has too little in it to be near any."""
    image_hash = image if isinstance(image, bytes) else perceptual_hash(image)
    return image_hash == FEATURELESS


def distance(a: bytes, b: bytes) -> int:
    """Return in how many of 256 bits two hashes differ; of unrelated images about 128.

    Raises:
      LedgerError: one is not 32 bytes long.

    >>> distance(bytes(32), bytes(31) + b"\\x05")
    2
    """
    if not len(a) == len(b) == HASH_BYTES:
        raise LedgerError(
            f"hashes of {len(a)} and {len(b)} bytes; a perceptual hash has {HASH_BYTES}"
        )
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()


def near(a: bytes, b: bytes) -> bool:
    """Return whether two hashes differ in at most NEAR_BITS bits, and neither is featureless."""
    return distance(a, b) <= NEAR_BITS and not (is_featureless(a) or is_featureless(b))


def _cells(pixels: np.ndarray) -> np.ndarray:
    """Return the mean luma [32, 32] of equal areas, thousandths of a grey level, rounded down."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise LedgerError(
            f"the image is {pixels.dtype} {pixels.shape}; give uint8 [H, W, 1, 3 or 4]"
        )
    height, width, channels = pixels.shape
    if not 0 < min(height, width) <= max(height, width) <= MAX_HASHED_SIDE:
        raise LedgerError(
            f"the image has {height} x {width} pixels; give sides from 1 to {MAX_HASHED_SIDE}"
        )
    # Columns first, a band of rows at a time; then rows. Alpha has left a factor of 255.
    bands = [_areas(_luma(pixels[row : row + BAND]).T) for row in range(0, height, BAND)]
    scale = 255 if channels == 4 else 1
    return _areas(np.concatenate(bands, axis=1).T) // (height * width * scale)


def _luma(pixels: np.ndarray) -> np.ndarray:
    """Return the luma [H, W], thousandths of a grey level; with alpha, 255 times that."""
    planes = np.moveaxis(pixels.astype(np.int32), 2, 0)
    if len(planes) == 1:
        return 1000 * planes[0]
    luma = LUMA[0] * planes[0] + LUMA[1] * planes[1] + LUMA[2] * planes[2]
    if len(planes) == 4:
        return luma * planes[3] + 128_000 * (255 - planes[3])  # over grey 128
    return luma


def _areas(values: np.ndarray) -> np.ndarray:
    """Return the integrals [32, n] of values [m, n] over 32 equal parts of their rows.

    A value counts as 32 long, so that every integral is a whole number.
    """
    # Where the parts end: in whole rows and 32nds of the next one.
    whole, part = np.divmod(np.arange(CELLS + 1) * len(values), CELLS)
    # The integral up to each edge, of whole rows and of the one begun; its differences.
    sums = np.zeros((len(values) + 1, values.shape[1]), np.int64)
    np.cumsum(values, axis=0, out=sums[1:])
    begun = part[:, None] * values[np.minimum(whole, len(values) - 1)]  # nothing at the last edge
    return np.diff(CELLS * sums[whole] + begun, axis=0)


def _frequencies(cells: np.ndarray) -> np.ndarray:
    """Return the strengths [16, 16] of frequencies 1 to 16, down and across.

    They are 8192^2 times the plain cosine sums.
    """
    # cos(k (2 i + 1) pi / 64) of the discrete cosine transform: first the angle, in pi / 64, ...
    steps = np.arange(1, FREQUENCIES + 1)[:, None] * (2 * np.arange(CELLS) + 1) % 128
    # ... then a table of the whole circle, from its first quarter by symmetry.
    quarter = np.array(COSINES, np.int64)
    half = np.concatenate([quarter, -quarter[-2::-1]])  # 0 to pi
    table = np.concatenate([half, half[-2:0:-1]])[steps]  # [16, 32]
    strengths: np.ndarray = table @ cells @ table.T
    return strengths
