"""Times each form of `jattr.generators.ops` inside a scan, as a search runs it.

Value and gradient of one layer, or value and forward-mode tangents (`--derivative tangents`; a lane
is one tangent).

    python scripts/bench_ops.py
    python scripts/bench_ops.py --derivative tangents --lanes 100
    python scripts/bench_ops.py --quick

Prints milliseconds, the ratio to the form that `ops` chooses (below 1: another one is faster) and
GFLOP/s beside the measured matmul peak; last, one line of JSON. FLOPs are those of value and
derivative by the input, taps on padding included.
"""

import argparse
import contextlib
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np

from jattr.generators import ops

STEPS = 10  # of one scan


class Layer(NamedTuple):
    """The shape of a layer: a square input, and a square kernel."""

    op: str  # "conv" or "conv_transpose"
    side: int
    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int


LAYERS = (  # those of small public generators: sides 4 to 32, channels 1 to 128
    *(
        Layer("conv_transpose", side, *io, 4, 2, 1)
        for side, io in ((4, (128, 64)), (4, (128, 128)), (8, (64, 32)))
    ),
    *(
        Layer("conv_transpose", side, *io, 4, 2, 1)
        for side, io in ((7, (128, 64)), (14, (64, 1)), (16, (32, 3)))
    ),
    *(
        Layer("conv_transpose", side, *io, 4, 2, 1)
        for side, io in ((8, (128, 128)), (16, (64, 64)), (16, (128, 1)))
    ),
    *(Layer("conv_transpose", side, *io, 3, 2, 1) for side, io in ((4, (128, 64)), (14, (64, 32)))),
    *(
        Layer("conv", side, *io, 3, 1, 1)
        for side, io in ((4, (128, 128)), (8, (64, 64)), (14, (128, 64)))
    ),
    *(
        Layer("conv", side, *io, 3, 1, 1)
        for side, io in ((28, (64, 1)), (16, (64, 64)), (32, (32, 32)), (32, (64, 3)))
    ),
)
QUICK = (LAYERS[0], LAYERS[5], LAYERS[12])


def seconds_of(fn: Callable[[], Any]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def matmul_peak() -> float:
    """Return the most float32 operations per second of a 2048^3 matrix product."""
    a = jnp.ones((2048, 2048))
    product = _product()
    product(a).block_until_ready()
    return 2 * 2048**3 / min(seconds_of(lambda: product(a).block_until_ready()) for _ in range(6))


@functools.cache
def _product() -> Callable[[jax.Array], jax.Array]:
    return jax.jit(lambda a: a @ a)


def bandwidth(size: int) -> float:
    """Return the most bytes per second moved in an array of `size` bytes.

    Matrix times vector, or add and write.
    """
    a, v = jnp.ones((max(1, size // 4 // 256), 256)), jnp.ones(256)

    def loop(
        fn: Callable[[jax.Array, jax.Array], jax.Array], start: jax.Array
    ) -> Callable[[], Any]:
        run = jax.jit(lambda a, x: jax.lax.fori_loop(0, 20, lambda _, x: fn(a, x), x))
        run(a, start).block_until_ready()
        return lambda: run(a, start).block_until_ready()

    passes = (
        (loop(lambda a, x: (a @ x)[0] * 1e-6 + x, v), 4 * a.size),  # reads it
        (loop(lambda a, x: a + x, a), 12 * a.size),  # reads two, writes one
    )
    return max(20 * count / min(seconds_of(fn) for _ in range(8)) for fn, count in passes)


def forms_of(layer: Layer) -> tuple[dict[str, Callable[..., jax.Array]], str]:
    """Return the layer in each form, and the name of the one that `ops` chooses."""
    kernel = jnp.zeros((layer.kernel, layer.kernel, layer.inputs, layer.outputs))
    if layer.op == "conv":
        fn, names, chosen = (
            ops.conv,
            tuple(ops.CONV_FORMS),
            ops.conv_form(kernel, layer.stride, layer.side, jax.default_backend()),
        )
    else:
        fn, names = ops.conv_transpose, tuple(ops.CONV_TRANSPOSE_FORMS)
        chosen = ops.conv_transpose_form(kernel, layer.stride, jax.default_backend())
    options = {"stride": layer.stride, "padding": layer.padding}
    return {name: functools.partial(fn, form=name, **options) for name in names}, chosen


def gradient_step(
    form: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return x after one step, and the loss."""
    loss, gradient = jax.value_and_grad(lambda x: jnp.mean(jnp.square(form(x, kernel))))(x)
    return x - 1e-3 * gradient, loss


def tangents_step(
    form: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the tangents x, carried through the layer at one point and fed back a little.

    And their mean square.
    """
    push = jax.linearize(lambda v: form(v, kernel), x[:1])[1]
    made = jax.vmap(push)(x[:, None])
    size = jnp.mean(jnp.square(made))
    return x * (1 + 1e-3 * jnp.tanh(size)), size


DERIVATIVES = {
    "gradients": (gradient_step, contextlib.nullcontext),
    "tangents": (tangents_step, ops.for_tangents),
}


def scan_of(form: Callable[..., jax.Array], derivative: str) -> Callable[..., Any]:
    """Return a compiled scan of steps, each value and derivative by the input."""
    step = DERIVATIVES[derivative][0]
    return jax.jit(
        lambda x, kernel: jax.lax.scan(lambda x, _: step(form, x, kernel), x, None, length=STEPS)
    )


def measure(layer: Layer, lanes: int, repeats: int, derivative: str) -> dict[str, Any]:
    """Time every form, taking turns, after checking that they agree."""
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (lanes, layer.side, layer.side, layer.inputs))
    kernel = (
        jax.random.normal(keys[1], (layer.kernel, layer.kernel, layer.inputs, layer.outputs)) * 0.05
    )
    with DERIVATIVES[derivative][1]():
        forms, chosen = forms_of(layer)
    runs = {name: scan_of(form, derivative) for name, form in forms.items()}
    ends = {name: np.asarray(run(x, kernel)[1]) for name, run in runs.items()}
    for end in ends.values():
        np.testing.assert_allclose(end, ends["native"], rtol=1e-4)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(
                seconds_of(lambda run=run: jax.block_until_ready(run(x, kernel))) / STEPS
            )
    seconds = {name: float(np.median(values)) for name, values in times.items()}
    area = (layer.side // layer.stride if layer.op == "conv" else layer.side) ** 2
    passes = 2 if derivative == "gradients" else 1
    flops = 2 * passes * lanes * area * kernel.size  # 2 a multiplication
    return {
        **layer._asdict(),
        "lanes": lanes,
        "chosen": chosen,
        "fastest": min(seconds, key=lambda name: seconds[name]),
        "milliseconds": {name: 1e3 * value for name, value in seconds.items()},
        "ratio": {name: value / seconds[chosen] for name, value in seconds.items()},
        "gflops": {name: flops / value / 1e9 for name, value in seconds.items()},
    }


def print_row(row: dict[str, Any]) -> None:
    """Print one layer."""
    layer = "{op} {side}x{side} {inputs}->{outputs} k{kernel} s{stride} x{lanes}".format(**row)
    cells = [
        f"{name} {row['milliseconds'][name]:8.3f} ms {row['ratio'][name]:6.2f}"
        f" {row['gflops'][name]:6.1f} GFLOP/s"
        for name in row["ratio"]
    ]
    print(f"{layer:42} {row['chosen']:8}", " | ".join(cells), flush=True)


def main() -> None:
    from bench_accuracy import origin
    from bench_json import add_json_option, write_json

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--derivative", choices=tuple(DERIVATIVES), default="gradients")
    parser.add_argument(
        "--quick", action="store_true", help="three layers, few repeats: to try the script"
    )
    add_json_option(parser)
    args = parser.parse_args()
    print(f"{'layer':42} {'chosen':8} form, time of a step, its ratio to the chosen form's")
    layers, repeats = (QUICK, 3) if args.quick else (LAYERS, 9)
    rows = []
    for layer, lanes in itertools.product(layers, args.lanes):
        rows.append(measure(layer, lanes, repeats, args.derivative))
        print_row(rows[-1])
    print(
        json.dumps(
            {
                "derivative": args.derivative,
                "rows": rows,
                "peak_gflops": matmul_peak() / 1e9,
                **origin(),
            }
        )
    )
    write_json(args, rows)


if __name__ == "__main__":
    main()
