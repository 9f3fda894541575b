"""Decoders that reproduce what they did not make: are they ever named?

    JATTR_REFERENCE=REF python scripts/bench_expressive.py --photographs 200 --faces 50
    JATTR_REFERENCE=REF python scripts/bench_expressive.py --only bilinear dct60 --photographs 20

Each decoder is a candidate beside one that reproduces nothing, so that every lead is as large as
can be; its searches begin at the least-squares latent of the image, so that none is missed. The
images: photographs as they are, enlarged by the filters of the decoders in floats, blurred, cut
to low frequencies; and the renderer's faces. Besides, images of the decoder's own prior. Prints for
each decoder and kind of image how many are named, with a certificate and without, how many reach
the floor of rounding, and the bits.
"""

import argparse
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from bench_json import add_json_option, write_json
from PIL import Image
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter, gaussian_filter1d

import jattr
from jattr.generators.base import Generator
from jattr.images import to_byte, to_float
from jattr.zoo.faces import render_faces

SIDE = 32
SHAPE = (SIDE, SIDE, 3)
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# R, G and B of Y, Cb and Cr less their middles, as JPEG files have them (JFIF 1.02)
FROM_YCC = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])
# cosines of Y, and of Cb and Cr, of the decoders of blocks
BLOCKS = {"blocks3": (3, 1), "blocks10": (10, 3), "blocks20": (20, 6), "blocks28": (28, 10)}
FOR_MOMENTS = 40  # photographs from which a decoder's prior has its scales: none that is accused


def enlarging(name: str, side: int) -> np.ndarray:
    """Return the matrix [SIDE, side] of an enlargement along one axis."""
    columns = []
    for unit in np.eye(side, dtype=np.float32):
        column = Image.fromarray(np.repeat(unit[:, None], 2, 1), "F")
        columns.append(np.asarray(column.resize((2, SIDE), FILTERS[name]))[:, 0])
    return np.stack(columns, 1).astype(np.float64)


def low_frequencies(share: float) -> np.ndarray:
    """Return the lowest cosines along one axis [SIDE, k], so that k^2 are a share of all."""
    count = round(SIDE * share**0.5)
    return np.asarray(idctn(np.eye(SIDE), axes=[0], norm="ortho"))[:, :count]


def blobs() -> np.ndarray:
    """Return Gaussians along one axis [SIDE, k], wider than they are apart."""
    centres = np.arange(0, SIDE, 1.5)
    return np.exp(-0.5 * ((np.arange(SIDE)[:, None] - centres) / 1.2) ** 2)


def wavelets() -> np.ndarray:
    """Return two levels of Daubechies' scaling functions along one axis [SIDE, SIDE / 2]."""
    root = 3.0**0.5
    taps = np.array([1 + root, 3 + root, 3 - root, 1 - root]) / (4 * 2**0.5)
    matrix = np.zeros((SIDE, SIDE // 2))
    for column in range(SIDE // 2):
        for tap, value in enumerate(taps):
            matrix[(2 * column + tap) % SIDE, column] += value
    return matrix


# along one axis, the same for each channel
BASES: dict[str, Callable[[], np.ndarray]] = {
    "bilinear": lambda: enlarging("bilinear", SIDE // 2),
    "dct60": lambda: low_frequencies(0.6),
    "dct25": lambda: low_frequencies(0.25),
    "lanczos": lambda: enlarging("lanczos", SIDE // 2),
    "nearest": lambda: enlarging("nearest", SIDE // 2),
    "bilinear4": lambda: enlarging("bilinear", SIDE // 4),
    "lanczos4": lambda: enlarging("lanczos", SIDE // 4),
    "blobs": blobs,
    "wavelets": wavelets,
}


def block_order(count: int) -> list[tuple[int, int]]:
    """Return the lowest frequencies of an 8x8 block, as JPEG orders them by diagonals."""
    return sorted(np.ndindex(8, 8), key=lambda at: (sum(at), at))[:count]  # type: ignore[arg-type]


def block_frequencies(luma: int, chroma: int) -> np.ndarray:
    """Return the columns [SIDE SIDE 3, k] of the lowest cosines of 8x8 blocks of Y, Cb and Cr."""
    cosines = np.asarray(idctn(np.eye(8), axes=[0], norm="ortho"))
    columns = []
    for channel, count in enumerate((luma, chroma, chroma)):
        for down, right in block_order(count):
            block = np.outer(cosines[:, down], cosines[:, right])
            for top, left in np.ndindex(SIDE // 8, SIDE // 8):
                plane = np.zeros((SIDE, SIDE, 1))
                plane[8 * top : 8 * top + 8, 8 * left : 8 * left + 8, 0] = block
                columns.append((plane * FROM_YCC[:, channel]).ravel())
    return np.stack(columns, 1)


def block_coded(images: np.ndarray, luma: int, chroma: int) -> np.ndarray:
    """Return images [n, SIDE, SIDE, 3] with the lowest cosines of their blocks, in floats."""
    ycc = images @ np.linalg.inv(FROM_YCC).T
    shape = (-1, SIDE // 8, 8, SIDE // 8, 8, 3)
    cosines = dctn(ycc.reshape(shape), axes=(2, 4), norm="ortho")
    kept = np.zeros((8, 8, 3))
    for channel, count in enumerate((luma, chroma, chroma)):
        for down, right in block_order(count):
            kept[down, right, channel] = 1.0
    left = idctn(cosines * kept[None, None, :, None], axes=(2, 4), norm="ortho")
    return left.reshape(images.shape) @ FROM_YCC.T


def jpeg_decoded(images: np.ndarray, quality: int) -> np.ndarray:
    """Return images [n, SIDE, SIDE, 3] as a JPEG file without subsampling leaves them."""
    decoded = []
    for image in bytes_of(images):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=0)
        decoded.append(np.asarray(Image.open(file).convert("RGB"), np.float64))
    return np.stack(decoded)


def separable(axis: np.ndarray) -> np.ndarray:
    """Return the columns [SIDE SIDE 3, 3 k k] of a basis along each axis and channel."""
    plane = np.kron(axis, axis)
    return np.kron(plane, np.eye(3))


def principal(images: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean [n] and principal directions [n, count] of images [m, H, W, C]."""
    flat = to_float(images).reshape(len(images), -1).astype(np.float64)
    mean = flat.mean(0)
    _, lengths, directions = np.linalg.svd(flat - mean, full_matrices=False)
    return mean, (directions[:count] * lengths[:count, None] / len(flat) ** 0.5).T


def decoder_of(name: str, mean: np.ndarray, columns: np.ndarray) -> Generator:
    """Return the candidate whose images are mean + columns @ z."""

    def apply(
        state: dict[str, jax.Array], z: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        return (state["mean"] + z @ state["columns"].T).reshape(-1, *SHAPE)

    state = {
        "mean": jnp.asarray(mean, jnp.float32),
        "columns": jnp.asarray(columns, jnp.float32),
    }
    return Generator.from_function(
        apply, state, name=name, version="1", latent=(columns.shape[1],), image_shape=SHAPE,
        prior="normal",
    )  # fmt: skip


def solved(gen: Generator, pixels: np.ndarray) -> np.ndarray:
    """Return the latents [n, d] of images by least squares, the prior's weight that of rounding."""
    columns = np.asarray(gen.state["columns"], np.float64)
    apart = to_float(pixels).reshape(len(pixels), -1) - np.asarray(gen.state["mean"], np.float64)
    noise = (2 / 255) ** 2 / 12
    normal = columns.T @ columns + noise * np.eye(columns.shape[1])
    return np.linalg.solve(normal, columns.T @ apart.T).T.astype(np.float32)


def photographs(folder: Path) -> np.ndarray:
    """Return photographs [n, 64, 64, 3], float64 bytes, not rounded since they were decoded."""
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".png"))
    return np.stack([np.asarray(Image.open(path).convert("RGB"), np.float64) for path in paths])


def reduced(images: np.ndarray, side: int) -> np.ndarray:
    """Return images [n, N, N, 3] as means over blocks."""
    step = images.shape[1] // side
    return images.reshape(-1, side, step, side, step, 3).mean((2, 4))


def bytes_of(values: np.ndarray) -> np.ndarray:
    """Return values in bytes, rounded."""
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)


def kinds_of(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return photographs [n, 64, 64, 3] as bytes [n, SIDE, SIDE, 3] of every kind."""
    whole, half, quarter = (reduced(images, SIDE // by) for by in (1, 2, 4))
    kinds = {"native": whole}
    for name in FILTERS:
        axis = enlarging(name, SIDE // 2)
        kinds[f"enlarged 2x, {name}"] = np.einsum("ij,kl,njlc->nikc", axis, axis, half)
    axis = enlarging("bilinear", SIDE // 4)
    kinds["enlarged 4x, bilinear"] = np.einsum("ij,kl,njlc->nikc", axis, axis, quarter)
    for sigma in (1.0, 2.0):
        kinds[f"blurred {sigma:g}"] = gaussian_filter(whole, (0, sigma, sigma, 0))
    for share in (0.6, 0.25):
        count = round(SIDE * share**0.5)
        cosines = dctn(whole, axes=(1, 2), norm="ortho")
        cosines[:, count:], cosines[:, :, count:] = 0.0, 0.0
        kinds[f"lowest {share:.0%} of cosines"] = idctn(cosines, axes=(1, 2), norm="ortho")
    kinds["lowest cosines of blocks"] = block_coded(whole, *BLOCKS["blocks10"])
    for quality in (20, 50):
        kinds[f"JPEG of quality {quality}, decoded"] = jpeg_decoded(whole, quality)
    return {name: bytes_of(values) for name, values in kinds.items()}


def through(gen: Generator, images: np.ndarray) -> np.ndarray:
    """Return images as bytes [n, SIDE, SIDE, 3] that the decoder has in its range.

    They are what the common operation that the decoder is makes of them: an enlargement, a cut of
    frequencies, a quantisation to nothing.
    """
    return gen.to_bytes(np.asarray(gen.generate(solved(gen, bytes_of(images)))))


def rival() -> Generator:
    """Return a candidate that reproduces nothing: every lead over it is large."""
    noise = np.random.default_rng(0).normal(size=(SIDE * SIDE * 3, 4))
    return decoder_of("rival", np.zeros(SIDE * SIDE * 3), gaussian_filter1d(noise, 1.0, axis=0))


def decoders(images: np.ndarray, only: Sequence[str] | None) -> Iterator[Generator]:
    """Yield the decoders, with scales of the prior as photographs [n, SIDE, SIDE, 3] have them."""
    for name, basis in BASES.items():
        if only is None or name in only:
            axis = basis()
            inverse = np.linalg.pinv(axis)
            latents = np.einsum("ij,kl,njlc->nikc", inverse, inverse, to_float(images))
            scales = np.sqrt((latents**2).mean(0) + 1e-6).ravel()
            yield decoder_of(name, np.zeros(SIDE * SIDE * 3), separable(axis) * scales)
    for name, counts in BLOCKS.items():
        if only is None or name in only:
            columns = block_frequencies(*counts)
            flat = to_float(images).reshape(len(images), -1)
            latents = np.linalg.lstsq(columns, flat.T.astype(np.float64), rcond=None)[0]
            scales = np.sqrt((latents**2).mean(1) + 1e-6)
            yield decoder_of(name, np.zeros(SIDE * SIDE * 3), columns * scales)
    if only is None or "faces768" in only:
        faces = np.asarray(render_faces(jax.random.key(1), 3_000))
        yield decoder_of("faces768", *principal(faces, 768))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, required=True, help="folder with photographs")
    parser.add_argument("--photographs", type=int, default=200)
    parser.add_argument("--faces", type=int, default=50)
    parser.add_argument("--own", type=int, default=20, help="images of the decoders' own")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--second-look", action="store_true", help="as `attribute` takes it")
    add_json_option(parser)
    args = parser.parse_args()
    all_photographs = photographs(args.reference)
    kinds = kinds_of(all_photographs[: args.photographs])
    kinds["renderer's faces"] = np.asarray(render_faces(jax.random.key(2), args.faces))
    weak, rows = rival(), []
    search = jattr.MultiStart(
        restarts=1, solver="lbfgs", steps=4, polish=jattr.settings.Polish(steps=0),
        rounding_polish=jattr.settings.RoundingPolish(jacobians=0),
    )  # fmt: skip
    for gen in decoders(bytes_of(reduced(all_photographs[-FOR_MOMENTS:], SIDE)), args.only):
        own = to_byte(np.asarray(gen.generate(gen.sample_latent(jax.random.key(3), args.own))))
        more = {"own": own}
        if gen.name != "faces768":  # whose range is its own, not that of a common operation
            whole = reduced(all_photographs[: args.photographs], SIDE)
            more["photographs through it"] = through(gen, whole)
        for kind, pixels in {**kinds, **more}.items():
            found = jattr.attribute(
                pixels, [gen, weak], search=search, latents0={gen.name: solved(gen, pixels)},
                second_look=args.second_look,
            )  # fmt: skip
            tests = [evidence[0].certificate for evidence in found.evidence]
            fitting = [test for test in tests if test is not None and test.fits]
            named = [v.kind == "made-by" for v in found.verdicts]
            certified = [v.certificate is not None for v in found.verdicts]
            row = {
                "decoder": gen.name, "numbers": int(np.prod(gen.latent_shape)), "images": kind,
                "count": len(pixels), "named": sum(named), "certified": sum(certified),
                "none": sum(v.kind == "none" for v in found.verdicts),
                "reproduced": len(fitting),
                "largest_evidence": max((test.evidence_bits for test in fitting), default=None),
                "largest_ratio": max(
                    (test.general_bits / test.latent_bits for test in fitting), default=None
                ),
            }  # fmt: skip
            rows.append(row)
            print(row, flush=True)
    write_json(args, rows, count=args.photographs)


if __name__ == "__main__":
    main()
