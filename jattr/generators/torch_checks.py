"""The checks of `from_torch` that need no PyTorch.

Of its settings, and that the generator makes the module's images.
"""

import re

import jax
import numpy as np

from jattr.errors import GeneratorError
from jattr.generators.base import PRIORS, Generator, SampleFn

# in [-1, 1] units, an eighth of a byte's step: float32 in another order stays well below
TOLERANCE = 1e-3


def check_settings(
    name: str,
    prior: str,
    sample: SampleFn | None,
    value_range: tuple[float, float],
    rounding: str | None,
) -> None:
    """Check the settings of `from_torch`; `GeneratorError` says what is legal."""
    if (sample is None and prior not in PRIORS) or (sample is not None and prior != "other"):
        raise GeneratorError(
            f"module {name!r}: prior {prior!r} {'without' if sample is None else 'with'} a sampler;"
            f" legal are {', '.join(PRIORS)} without, and 'other' with `sample`"
        )
    low, high = value_range
    if not -np.inf < low < high < np.inf:
        raise GeneratorError(
            f"module {name!r}: value_range {value_range} is none; give (low, high) with low < high"
        )
    if rounding not in (None, "round", "truncate"):
        raise GeneratorError(
            f"module {name!r}: rounding {rounding!r} is unknown; give 'round', 'truncate' or None"
        )


def brief(error: Exception) -> str:
    """Return an error as one line: long ones of PyTorch hold a whole graph."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def agree(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Return whether images are the same up to rounding, by their largest difference."""
    return bool(np.abs(ours - theirs).max() <= TOLERANCE * max(1.0, np.abs(theirs).max()))


def verify(generator: Generator, inputs: tuple[np.ndarray, ...], theirs: np.ndarray) -> None:
    """Check that the generator makes `theirs`, the module's images in [-1, 1] units.

    Raises:
      GeneratorError: it does not, or `Generator.check` finds something.
    """
    name, (z, *labels) = generator.name, inputs
    try:
        generator.check()
        with jax.default_matmul_precision("highest"):
            ours = np.asarray(generator.generate(z, label=labels[0] if labels else None))
    except GeneratorError:
        raise
    except Exception as error:  # torchax stops with any error
        found = re.search(r"target=(\S+?)\]", str(error))
        raise GeneratorError(
            f"module {name!r}: torchax fails at {found.group(1) if found else 'an operation'}"
            f" ({brief(error)}); write the module without it"
        ) from error
    if not agree(ours, theirs):
        raise GeneratorError(
            f"module {name!r}: torchax makes other images of it than PyTorch, by"
            f" {np.abs(ours - theirs).max():.2g} of a range of 2; give the generator as a JAX"
            " function (Generator.from_function)"
        )
