"""Weight and spectral normalisation, and pruning, folded into the weights that they stand for.

PyTorch stores a normalised weight as factors, in two spellings each: hooks of `torch.nn.utils`
(`weight_g`, `weight_v`; `weight_orig`, `weight_u`, `weight_v`) and parametrizations
(`parametrizations.weight.original0`, `.original1`; `.original`, `.0._u`, `.0._v`). In eval mode
both are a fixed weight. A pruned one is `weight_orig` times `weight_mask`.
Salimans and Kingma, Weight Normalization, arXiv 1602.07868, equation 2; Miyato et al., Spectral
Normalization for Generative Adversarial Networks, arXiv 1802.05957, algorithm 1. Source of the
names and of the factors' shapes: torch/nn/utils/weight_norm.py, spectral_norm.py, prune.py and
parametrizations.py.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jattr.errors import show

from .rules import StateDict, UnfitError

PARAMETRIZED = re.compile(r"((?:.+\.)?)parametrizations\.([^.]+)\.(.+)")
UNFOLDED = {  # last part of a name that tells a normalisation which is not folded -> what it is
    "weight_bar": "spectral normalisation that goes on changing in eval mode (`weight_bar`)",
    "weight_mu": "a weight with a distribution (`weight_mu`)",
}


class Folded(NamedTuple):
    """A state dict without factors of normalised weights."""

    tensors: StateDict
    folded: tuple[str, ...]  # such as "weight normalisation of 5 weights"


@dataclass(frozen=True)
class SpectralNorm:
    """How spectral normalisation is folded.

    Which axis of the weight has the outputs is not stored: 0, and 1 for transposed convolutions.
    Where the lengths of u and v leave it open, it is told from the power iteration, after which
    u is W v and v is W^T u, but for their lengths.
    """

    agreement: float = 0.9  # least cosine that tells the axis; chance gives 1 / sqrt(outputs)

    def fold(self, weight: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return weight / sigma, with sigma = u^T W v as eval mode has it.

        Args:
          weight: [outputs, inputs, ...], or [inputs, outputs, ...] of a transposed convolution.
          u: [outputs].
          v: [all other sides of weight, multiplied].

        Raises:
          UnfitError: the shapes do not fit, or leave the axis open.
        """
        weight, u, v = (np.asarray(array, np.float64) for array in (weight, u, v))
        axes = [
            axis
            for axis in range(min(weight.ndim, 2))
            if u.shape == (weight.shape[axis],) and v.shape == (weight.size // max(1, u.size),)
        ]
        what = (
            f"spectral normalisation of a weight {list(weight.shape)} by u {list(u.shape)} and"
            f" v {list(v.shape)}"
        )
        if not axes:
            raise UnfitError(f"{what}: these shapes do not fit")
        iterations = [_power_iteration(weight, axis, u, v) for axis in axes]
        agreement, sigma = max(iterations)
        if len(axes) > 1 and not agreement >= self.agreement:
            raise UnfitError(
                f"{what}: which axis has the outputs cannot be told; remove the normalisation in"
                " PyTorch (torch.nn.utils.remove_spectral_norm) and save again"
            )
        with np.errstate(all="ignore"):
            return (weight / sigma).astype(np.float32)


def fold_normalisation(tensors: StateDict, *, spectral: SpectralNorm | None = None) -> Folded:
    """Return a state dict with each normalised weight in place of its factors.

    Raises:
      UnfitError: factors that do not fit each other, or that are of a normalisation which is not
        folded.
    """
    spectral = spectral or SpectralNorm()
    groups = _factors(tensors)
    if not groups:
        return Folded(tensors, ())
    weights: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    used: dict[str, str] = {}  # factor -> weight
    for name, factors in groups.items():
        arrays = {part: tensors[source] for part, source in factors.items()}
        kind, weights[name] = _weight_of(name, arrays, spectral)
        counts[kind] = counts.get(kind, 0) + 1
        used |= dict.fromkeys(factors.values(), name)
    # each weight stands where the first of its factors stood
    result: dict[str, np.ndarray] = {}
    for name, array in tensors.items():
        target = used.get(name, name)
        result.setdefault(target, weights[target] if name in used else array)
    folded = tuple(
        f"{kind} of {number} weight{'s' * (number > 1)}" for kind, number in counts.items()
    )
    return Folded(result, folded)


def _factors(tensors: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the factors of each normalised weight: its name -> role -> name in the file."""
    names = dict.fromkeys(tensors)
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        if match := PARAMETRIZED.fullmatch(name):
            groups.setdefault(f"{match[1]}{match[2]}", {})[match[3]] = name
            continue
        base, _, last = name.rpartition(".")
        if last in UNFOLDED:
            raise UnfitError(
                f"{show(name)} belongs to {UNFOLDED[last]}, which is not folded; save the weights"
                " that the generator uses"
            )
        stem = f"{base}." if base else ""
        if last in ("weight_g", "weight_orig"):
            roles = ("weight", "weight_g", "weight_mask", "weight_orig", "weight_u", "weight_v")
            found = {role: f"{stem}{role}" for role in roles if f"{stem}{role}" in names}
            groups[f"{stem}weight"] = found
    return groups


def _weight_of(
    name: str, arrays: Mapping[str, np.ndarray], spectral: SpectralNorm
) -> tuple[str, np.ndarray]:
    """Return what the factors are, in words, and the weight."""
    for array in arrays.values():
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise UnfitError(f"a factor of {show(name)} is {array.dtype}, no floating-point number")
    match sorted(arrays):
        case ["weight_g", "weight_v"]:
            g, v = arrays["weight_g"], arrays["weight_v"]
            return "weight normalisation", _fold_weight_norm(name, g, v)
        case ["original0", "original1"]:
            g, v = arrays["original0"], arrays["original1"]
            return "weight normalisation", _fold_weight_norm(name, g, v)
        case ["weight_mask", "weight_orig"]:
            weight, mask = arrays["weight_orig"], arrays["weight_mask"]
            if weight.shape != mask.shape:
                raise UnfitError(f"{show(name)} has a mask of another shape, {list(mask.shape)}")
            return "pruning", np.asarray(weight, np.float32) * np.asarray(mask, np.float32)
        case ["weight_orig", "weight_u", "weight_v"]:
            keys = ("weight_orig", "weight_u", "weight_v")
        case ["0._u", "0._v", "original"]:
            keys = ("original", "0._u", "0._v")
        case ["weight", "weight_orig", "weight_u", *_]:
            # PyTorch 0.4 also stored the normalised weight itself
            return "spectral normalisation", np.asarray(arrays["weight"])
        case roles:
            raise UnfitError(
                f"{show(name)} is stored as {', '.join(roles)}, which is neither weight nor"
                " spectral normalisation; remove the parametrization in PyTorch"
                " (torch.nn.utils.parametrize.remove_parametrizations) and save again"
            )
    try:
        return "spectral normalisation", spectral.fold(*(arrays[key] for key in keys))
    except UnfitError as error:
        raise UnfitError(f"{show(name)}: {error}") from error


def _fold_weight_norm(name: str, g: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return g v / |v| in float32, the norm over all axes along which g has the length 1.

    Args:
      name: of the weight, for messages.
      g: lengths, [] or of as many axes as `v`.
      v: directions.
    """
    g, v = np.asarray(g, np.float32), np.asarray(v, np.float32)
    axes = tuple(axis for axis in range(v.ndim) if not g.ndim or g.shape[axis : axis + 1] == (1,))
    fits = not g.ndim or (
        g.ndim == v.ndim and all(a in (1, b) for a, b in zip(g.shape, v.shape, strict=True))
    )
    if not fits:
        raise UnfitError(
            f"{show(name)} has lengths g {list(g.shape)} that do not fit its directions v"
            f" {list(v.shape)}"
        )
    with np.errstate(all="ignore"):
        norm = np.sqrt(np.sum(np.square(v, dtype=np.float64), axis=axes, keepdims=bool(g.ndim)))
        # in this order as torch._weight_norm does
        return np.asarray(v * (g / norm.astype(np.float32)), np.float32)


def _power_iteration(
    weight: np.ndarray, axis: int, u: np.ndarray, v: np.ndarray
) -> tuple[float, float]:
    """Return how far u is W v, or v is W^T u, but for the length, 0 to 1; and sigma = u^T W v."""
    matrix = np.moveaxis(weight, axis, 0).reshape(u.size, -1)
    image = matrix @ v
    return max(_cosine(image, u), _cosine(u @ matrix, v)), float(u @ image)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return abs(float(a @ b)) / lengths if lengths > 0 else 0.0
