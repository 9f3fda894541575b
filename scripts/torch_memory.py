"""Peak memory of jattr and of PyTorch at the same work, each in a process of its own.

`compare_with_torch.py --part d`.

    # what such a process runs: a converted generator,
    python scripts/torch_memory.py jattr FOLDER LANES
    # or a card with its weights; prints one line of JSON
    python scripts/torch_memory.py torch CARD.json LANES

The work: the generator is loaded, `LANES` lanes take `STEPS` Adam steps on images of its own.
`imported` is what the process has when its framework is there and nothing is loaded; `peak` is the
most it ever had, the kernel's high-water mark (VmHWM). `compiling` is jattr's peak the first time,
with an empty cache; its `peak` the second time.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz_memory import peak

STEPS = 50


def measured(
    places: Mapping[str, Mapping[str, Path]], lanes: Sequence[int]
) -> list[dict[str, Any]]:
    """Return a row for each generator and number of lanes: MiB of both frameworks.

    Args:
      places: of each generator by name, what each framework loads: {"jattr": folder, "torch":
        card}.
      lanes: how many.
    """
    rows: list[dict[str, Any]] = []
    for name, files in places.items():
        for count in lanes:
            row: dict[str, Any] = {"generator": name, "lanes": count}
            with tempfile.TemporaryDirectory() as cache:
                cold = _in_a_process("jattr", files["jattr"], count, cache)
                result = {
                    framework: _in_a_process(framework, index, count, cache)
                    for framework, index in files.items()
                }
            for framework, values in result.items():
                row |= {f"{framework}_{key}": value for key, value in values.items()}
            row |= {
                "jattr_compiling_mib": cold["peak_mib"],
                "ratio": row["torch_peak_mib"] / row["jattr_peak_mib"],
            }
            rows.append(row)
    return rows


def _in_a_process(framework: str, place: Path, lanes: int, cache: str) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).resolve()), framework, str(place), str(lanes)]
    environment = os.environ | {"JATTR_CACHE": cache}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SystemExit(f"the process of {framework} ended with {done.returncode}: {last}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run_torch(card: Path, lanes: int) -> float:
    """Run the steps in PyTorch; return MiB once it was imported."""
    import torch
    from torch_layered import Net, adam_steps

    imported = peak() / 2**20
    net, generator = Net(card), torch.Generator().manual_seed(0)
    z = net.sample(2 * lanes, generator)
    with torch.no_grad():
        target = net(z[lanes:])
    adam_steps(net, z[:lanes], target, STEPS)
    return imported


def run_jattr(folder: Path, lanes: int) -> float:
    """Run the steps in jattr; return MiB once it was imported."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import jattr
    from jattr.images import to_byte
    from jattr.inversion.problem import make_problem_fn, target_of
    from jattr.runtime import enable_compilation_cache
    from jattr.solvers import METHODS
    from jattr.solvers.base import Prior
    from jattr.solvers.solve import make_engine

    jax.devices()
    imported = peak() / 2**20
    enable_compilation_cache()
    gen = jattr.load_generator(str(folder))
    keys = jax.random.split(jax.random.key(0))
    pixels = to_byte(np.asarray(gen.generate(gen.sample_latent(keys[0], lanes))))
    engine = make_engine(
        make_problem_fn(gen.apply, gen.latent_shape), METHODS["adam-cosine"], 500, "default"
    )
    z = gen.sample_latent(keys[1], lanes).reshape(lanes, -1)
    prior, carry = Prior(jnp.zeros(z.shape[1]), jnp.ones(z.shape[1])), engine.begin(z)
    for _ in range(-(-STEPS // engine.segment)):
        carry = engine.advance(gen.state, prior, target_of(jnp.asarray(pixels)), None, carry)
    jax.block_until_ready(carry)
    return imported


if __name__ == "__main__":
    imported = {"jattr": run_jattr, "torch": run_torch}[sys.argv[1]](
        Path(sys.argv[2]), int(sys.argv[3])
    )
    print(json.dumps({"imported_mib": imported, "peak_mib": peak() / 2**20}))
