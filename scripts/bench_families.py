"""Families in numbers: gradient steps beside PyTorch, recovery of own images, conversion of a large
file.

    python scripts/bench_families.py --part speed recover convert
    python scripts/bench_families.py --part recover --families stylegan2 --spaces z --images 8

speed: milliseconds of a latent-step (value and gradient with respect to w, one Adam update) of a
random StyleGAN2, 64x64, beside PyTorch eager in both forms of its modulated convolution, taking
turns; ratios are torch's time over ours. recover: own images of random models, how many come to the
rounding floor, and what it cost. convert: a large file of NVlabs' names, seconds and peak memory
above the idle process. Prints rows and, last, one line of JSON.
"""

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import jax
import jax.numpy as jnp
import numpy as np
from bench_accuracy import origin
from bench_json import add_json_option, write_json
from fake_files import state_dict_of
from random_families import ARCHITECTURES, random_generator, random_tensors
from safetensors.numpy import save_file

from jattr.generators.base import Generator
from jattr.generators.family import FAMILIES
from jattr.images import to_byte
from jattr.inversion.config import InvertConfig
from jattr.inversion.invert import invert
from jattr.inversion.problem import make_problem_fn, target_of
from jattr.inversion.scheduler import Status
from jattr.runtime import enable_compilation_cache
from jattr.solvers import METHODS
from jattr.solvers.base import Prior
from jattr.solvers.solve import make_engine

SPEED_WIDTHS = {
    "small": (64, 64, 64, 32, 16),
    "medium": (256, 256, 256, 128, 64),
    "256x256": (128,) * 4 + (64, 32, 16),
}
LARGE = (512, 512, 512, 512, 256, 128, 64)  # 256x256 pixels: 100 MB
LANES = (1, 8)
STEPS = 4  # of PyTorch in a timed call
CHILD = """
import json, sys, time
sys.path[:0] = [{scripts!r}, {scripts!r} + "/.."]
from fuzz_memory import idle, peak
from jattr.converters.convert import convert
before = idle()
start = time.perf_counter()
convert({path!r}, {out!r})
print(json.dumps({{"seconds": time.perf_counter() - start, "extra_bytes": peak() - before}}))
"""


def speed(models: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """Compare latent-steps with PyTorch."""
    import torch
    from jattr.converters.stylegan2 import FORMATS
    from torch_stylegan2 import TorchStyleGAN2

    rows = []
    for name in models:
        channels = SPEED_WIDTHS[name]
        arch = FAMILIES["stylegan2"].architecture(
            **ARCHITECTURES["stylegan2"] | {"channels": channels}
        )
        gen = random_generator("stylegan2", channels=channels).view("w")
        state = state_dict_of(FORMATS[0], arch, random_tensors("stylegan2", arch))
        for lanes in LANES:
            w = gen.sample_latent(jax.random.key(1), lanes)
            made = np.asarray(gen.generate(w))
            fns = {"jattr": _our_steps(gen, to_byte(made), lanes)}
            target, start = (
                torch.from_numpy(made.transpose(0, 3, 1, 2).copy()),
                torch.from_numpy(np.array(w)),
            )
            for form in ("scaled", "grouped"):
                net = TorchStyleGAN2(state, grouped=form == "grouped").requires_grad_(False)
                fns[form] = partial(_torch_steps, net, start, target)
            for fn in fns.values():
                fn()
            times = {form: [] for form in fns}
            for _ in range(repeats):
                for form, fn in fns.items():
                    times[form].append(fn())
            row = {
                "model": name,
                "lanes": lanes,
                "jattr_ms": float(np.median(times["jattr"])) / lanes * 1e3,
            }
            ratios = {
                f"{form}_ratio": np.array(times[form]) / np.array(times["jattr"]) for form in fns
            }
            row |= {
                form: float(np.median(ratio))
                for form, ratio in ratios.items()
                if form != "jattr_ratio"
            }
            rows.append(row)
            show(row)
    return rows


def _our_steps(gen: Generator, pixels: np.ndarray, lanes: int) -> Callable[[], float]:
    """Return a function that runs a segment of Adam steps and returns the seconds of one."""
    engine = make_engine(
        make_problem_fn(gen.apply, gen.latent_shape), METHODS["adam-cosine"], 500, "default"
    )
    z = gen.sample_latent(jax.random.key(3), lanes)
    prior = Prior(jnp.zeros(z.shape[1]), jnp.ones(z.shape[1]))
    target = target_of(jnp.asarray(pixels))
    carry = engine.begin(z)

    def run() -> float:
        nonlocal carry
        start = time.perf_counter()
        carry = jax.block_until_ready(engine.advance(gen.state, prior, target, None, carry))
        return (time.perf_counter() - start) / engine.segment

    return run


def _torch_steps(net: Any, w: Any, target: Any) -> float:
    """Run Adam steps and return the seconds of one."""
    import torch

    w = w.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([w], lr=0.1, betas=(0.9, 0.99))
    start = time.perf_counter()
    for _ in range(STEPS):
        optimiser.zero_grad()
        made = net.synthesis(w[:, None].expand(-1, net.num_ws, -1))
        (made - target).square().mean((1, 2, 3)).sum().backward()
        optimiser.step()
    return (time.perf_counter() - start) / STEPS


def recover(
    families: Sequence[str],
    spaces: Sequence[str],
    count: int,
    config: InvertConfig,
    *,
    styles: float,
    changes: dict[str, Any],
) -> list[dict[str, Any]]:
    """Invert own images of random models."""
    rows = []
    for kind in families:
        base = random_generator(kind, styles=styles, **changes)
        for space in [space for space in spaces if space in base.spaces]:
            gen = base.view(space)
            pixels = to_byte(np.asarray(gen.generate(gen.sample_latent(jax.random.key(7), count))))
            start = time.perf_counter()
            result = invert(gen, pixels, search=config)
            best, run = result.loss.min(1), result.status != Status.SKIPPED
            rows.append(
                {
                    "family": kind,
                    "space": space,
                    "styles": styles,
                    "optimiser": config.optimiser,
                    "size": pixels.shape[1],
                    "unknowns": int(np.prod(gen.latent_shape)),
                    "arrived": int((result.status == Status.ARRIVED).any(1).sum()),
                    "pictures": count,
                    "worst_loss": float(best.max()),
                    "restarts": float(run.sum(1).mean()),
                    "steps": float(result.steps.sum(1).mean()),
                    "evaluations": float(result.evaluations.sum(1).mean()),
                    "seconds": time.perf_counter() - start,
                    "clipped": float(((pixels == 0) | (pixels == 255)).mean()),
                }
            )
            show(rows[-1])
    return rows


def conversion(folder: Path, kind: str) -> dict[str, Any]:
    """Convert a large file of NVlabs' names, "safetensors" or "pkl", in a process of its own."""
    from jattr.converters.stylegan2 import FORMATS

    arch = FAMILIES["stylegan2"].architecture(channels=LARGE, z_dim=512, mapping_widths=(512,) * 8)
    state = state_dict_of(FORMATS[0], arch, random_tensors("stylegan2", arch))
    path = folder / f"large.{kind}"
    if kind == "pkl":
        write_nvlabs_pickle(
            state, {"z_dim": 512, "w_dim": 512, "img_resolution": 256, "img_channels": 3}, path
        )
    else:
        save_file({name: np.ascontiguousarray(array) for name, array in state.items()}, path)
    child = [
        sys.executable,
        "-c",
        CHILD.format(
            path=str(path), out=str(folder / kind), scripts=str(Path(__file__).resolve().parent)
        ),
    ]
    start = time.perf_counter()
    text = subprocess.run(child, check=True, capture_output=True, text=True).stdout
    row = json.loads(text.splitlines()[-1])
    size = path.stat().st_size
    row |= {
        "file": path.name,
        "megabytes": size / 1e6,
        "whole_seconds": time.perf_counter() - start,
        "peak_over_idle_in_file_sizes": row["extra_bytes"] / size,
        "limit_bytes": 3 * size + (64 << 20),
    }
    show(row)
    return row


def write_nvlabs_pickle(
    state: dict[str, np.ndarray], attributes: dict[str, Any], path: Path
) -> None:
    """Write a state dict as the modules that NVlabs' programs pickle, with PyTorch's tensors in
    them.
    """
    import torch

    def module(tensors: dict[str, np.ndarray], own: dict[str, Any]) -> Any:
        heads = {name.partition(".")[0] for name in tensors if "." in name}
        inside = {
            head: {k[len(head) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{head}.")}
            for head in heads
        }
        plain = {
            name: torch.from_numpy(np.array(array))
            for name, array in tensors.items()
            if "." not in name
        }
        parts = {head: module(part, {}) for head, part in inside.items()}
        content = {"_parameters": {}, "_buffers": plain, "_modules": parts} | own
        return Saved(
            {
                "type": "class",
                "version": 6,
                "module_src": "",
                "class_name": "Generator",
                "state": content,
            }
        )

    class Saved:
        def __init__(self, meta: dict[str, Any]):
            self.meta = meta

        def __reduce__(self) -> Any:
            return _reconstruct_persistent_obj, (self.meta,)

    def _reconstruct_persistent_obj(meta: Any) -> None:
        raise AssertionError("only its name is pickled")

    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    fake = types.ModuleType("torch_utils.persistence")
    fake._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    sys.modules |= {"torch_utils": types.ModuleType("torch_utils"), "torch_utils.persistence": fake}
    with path.open("wb") as file:
        pickle.dump({"G_ema": module(state, attributes)}, file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--part", nargs="+", choices=("speed", "recover", "convert"), default=["speed", "recover"]
    )
    parser.add_argument(
        "--models", nargs="+", choices=tuple(SPEED_WIDTHS), default=list(SPEED_WIDTHS)
    )
    parser.add_argument(
        "--families", nargs="+", choices=tuple(ARCHITECTURES), default=list(ARCHITECTURES)
    )
    parser.add_argument("--spaces", nargs="+", choices=("z", "w", "w+"), default=["z", "w"])
    parser.add_argument("--images", "--pictures", type=int, default=8)
    parser.add_argument(
        "--styles", type=float, default=1.0, help="deviation of the styles of random networks"
    )
    parser.add_argument("--width", type=int, help="of z and w, for StyleGAN and StyleGAN2")
    parser.add_argument("--optimiser", default=InvertConfig().optimiser)
    parser.add_argument("--restarts", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    add_json_option(parser)
    args = parser.parse_args()
    enable_compilation_cache()
    result: dict[str, Any] = {}
    if "speed" in args.part:
        result["speed"] = speed(args.models, args.repeats)
    if "recover" in args.part:
        config = InvertConfig(optimiser=args.optimiser, restarts=args.restarts)
        changes = (
            {} if args.width is None else {"z_dim": args.width, "mapping_widths": (args.width,) * 4}
        )
        result["recover"] = recover(
            args.families, args.spaces, args.images, config, styles=args.styles, changes=changes
        )
    if "convert" in args.part:
        with tempfile.TemporaryDirectory() as folder:
            result["convert"] = [conversion(Path(folder), kind) for kind in ("safetensors", "pkl")]
    print(json.dumps({**result, **origin()}))
    write_json(args, [{"part": part, **row} for part, rows in result.items() for row in rows])


def show(row: dict[str, Any]) -> None:
    """Print one row as it comes."""
    print(
        "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()),
        flush=True,
    )


if __name__ == "__main__":
    main()
