"""What libjpeg's encoder computes up to its quantised coefficients, written in NumPy from its
sources as test truth.

jccolor.c, jcprepct.c, jcsample.c, jfdctint.c ("islow", the default) and jcdctmgr.c of libjpeg 6b,
which libjpeg-turbo reproduces bit by bit.
"""

import numpy as np
import scipy.fft


def planes(pixels, sampling, *, rgb=False):
    """Component samples [rows, columns], integers, edges replicated to whole MCUs, chroma
    downsampled.
    """
    v, h = max(sampling)
    height, width = (
        -side % (8 * factor) for side, factor in zip(pixels.shape, (v, h), strict=False)
    )
    pixels = np.pad(pixels, ((0, height), (0, width), (0, 0)), "edge").astype(np.int64)
    if pixels.shape[2] == 1:
        return [pixels[:, :, 0]]
    if rgb:
        return list(np.moveaxis(pixels, 2, 0))
    weights = np.array(
        [[0.299, 0.587, 0.114], [-0.16874, -0.33126, 0.5], [0.5, -0.41869, -0.08131]]
    )
    fixed = np.floor(weights * 65536 + 0.5).astype(np.int64)
    fixed[1, :2], fixed[2, 1:] = (
        -np.floor(-weights[1, :2] * 65536 + 0.5),
        -np.floor(-weights[2, 1:] * 65536 + 0.5),
    )
    half = 1 << 15
    luma, blue, red = (
        np.moveaxis(pixels @ fixed.T + [half, (128 << 16) + half - 1, (128 << 16) + half - 1], 2, 0)
        >> 16
    )
    return [luma, downsample(blue, v, h), downsample(red, v, h)]


def downsample(plane, v, h):
    """Means over v x h samples, rounded.

    By a bias that alternates from column to column, 0, 1 or 1, 2, where libjpeg has a function of
    its own (2x1 and 2x2); else to nearest, halves upwards.
    """
    rows, columns = plane.shape
    sums = plane.reshape(rows // v, v, columns // h, h).sum((1, 3))
    odd = np.arange(columns // h) % 2
    bias = {(1, 2): odd, (2, 2): odd + 1}.get((v, h), v * h // 2)
    return (sums + bias) // (v * h)


def blocks_of(plane):
    rows, columns = plane.shape
    return plane.reshape(rows // 8, 8, columns // 8, 8).swapaxes(1, 2)


def integer_dct(blocks):
    """8 times the orthonormal DCT of [..., 8, 8] as jfdctint.c rounds it.

    Rows first, 2 more bits kept in between.
    """
    rows = _pass(blocks, lambda even: even << 2, 11)
    return _pass(rows.swapaxes(-1, -2), lambda even: (even + 2) >> 2, 15).swapaxes(-1, -2)


def _pass(x, scale, shift):
    def fix(value):
        return int(value * 8192 + 0.5)

    x = np.moveaxis(x, -1, 0)
    sums, differences = x[:4] + x[:3:-1], x[:4] - x[:3:-1]
    s10, s13, s11, s12 = sums[0] + sums[3], sums[0] - sums[3], sums[1] + sums[2], sums[1] - sums[2]
    d7, d6, d5, d4 = differences
    z = (s12 + s13) * fix(0.541196100)
    z5 = (d4 + d6 + d5 + d7) * fix(1.175875602)
    z1, z2 = -(d4 + d7) * fix(0.899976223), -(d5 + d6) * fix(2.562915447)
    z3, z4 = z5 - (d4 + d6) * fix(1.961570560), z5 - (d5 + d7) * fix(0.390180644)
    scaled = [
        d7 * fix(1.501321110) + z1 + z4,
        z + s13 * fix(0.765366865),
        d6 * fix(3.072711026) + z2 + z3,
        d5 * fix(2.053119869) + z2 + z4,
        z - s12 * fix(1.847759065),
        d4 * fix(0.298631336) + z1 + z3,
    ]
    f1, f2, f3, f5, f6, f7 = ((part + (1 << shift - 1)) >> shift for part in scaled)
    return np.stack([scale(s10 + s11), f1, f2, f3, scale(s10 - s11), f5, f6, f7], -1)


def float_dct(blocks):
    return 8 * scipy.fft.dctn(blocks.astype(float), axes=(-2, -1), norm="ortho")


def quantise(scaled, table):
    """Steps of 8 x table, halves away from zero."""
    step = 8 * table.astype(np.int64)
    return np.sign(scaled) * ((np.abs(scaled) + step // 2) // step)


def encode(pixels, format, dct=integer_dct):
    """Quantised coefficients, one array a component, whole MCUs.

    [block rows, block columns, 8, 8].
    """
    parts = planes(pixels, format.sampling, rgb=format.rgb)
    return [
        quantise(dct(blocks_of(part - 128)), table)
        for part, table in zip(parts, format.tables, strict=True)
    ]
