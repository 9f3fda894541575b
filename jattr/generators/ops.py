"""Convolutions of NHWC activations in the form that is fastest where they run.

The only place that knows the forms.

All forms compute one and the same function, and differentiate in both modes:

* `native`: one convolution of XLA. The form for GPU and TPU, and for tangents of convolutions on
  CPU.
* `canonical`: the same for stride 1, and its gradient is one such convolution too.
* `patches`: input windows side by side (im2col), then one matrix product. A transposed convolution
  becomes one product that makes all stride x stride phases of the output at once (sub-pixel form),
  or one for each phase where the taps are not a multiple of the stride.
* `columns`: one matrix product, then overlapping sums of the taps (col2im). Best where the output
  has few channels.

On CPU the gradient of a native convolution is not in XLA's canonical form and runs many times
slower than its value; the gradient of a matrix product is again a matrix product. So the form
depends on the derivative that will be taken, which `for_tangents` and `for_weights` tell while
something is traced. `scripts/bench_ops.py` measures all of them.

Which platform a program is for, JAX knows when it lowers it: the traced program holds the form for
CPU and the native one, and lowering keeps the one of its platform. So what `jax.export` makes for
cuda or tpu has native convolutions wherever it was traced. Programs that run where they are traced
say so with `for_platform`, and are traced in half the time.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jattr.errors import InputError, suggest
from jattr.generators.bilinear import bilinear_primitive

# a side, up to which matrix products beat convolutions on CPU (whole generators, not layers,
# decide)
FEW_PIXELS = 16
PLATFORMS = ("cpu", "cuda", "rocm", "tpu", "gpu")
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: int = 0,
    edge: bool = False,
    form: str | None = None,
) -> jax.Array:
    """Return the cross-correlation of x [n, H, W, I] with kernel [kh, kw, I, O]: [n, H', W', O].

    H' = (H + 2 padding - kh) // stride + 1.

    Args:
      x: activations.
      kernel: taps.
      stride: step between windows, in pixels.
      padding: pixels added on each side: zeros, or the border's own values if `edge`.
      edge: replicate the border instead of zeros.
      form: a key of `CONV_FORMS`; None chooses by the platform that is lowered for, and shape.
    """
    if padding and edge:
        x, padding = jnp.pad(x, _sides(padding), mode="edge"), 0
    if form is None and kernel.shape[:2] == (1, 1) and stride == 1 and not padding:
        return x @ kernel[0, 0]
    side = min(x.shape[1:3])
    form_fn = functools.partial(conv_form, kernel, stride, side)
    return _in_form(form, form_fn, CONV_FORMS, x, kernel, stride, padding)


def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    form: str | None = None,
) -> jax.Array:
    """Return PyTorch's ConvTranspose2d of x [n, H, W, I], kernel [kh, kw, I, O]: [n, H', W', O].

    H' = (H - 1) stride - 2 padding + kh + output_padding. The kernel's taps are in PyTorch's order
    (not flipped). `form` is a key of `CONV_TRANSPOSE_FORMS`; None chooses by the platform that
    is lowered for, and shape.
    """
    form_fn = functools.partial(conv_transpose_form, kernel, stride)
    return _in_form(form, form_fn, CONV_TRANSPOSE_FORMS, x, kernel, stride, padding, output_padding)


def _in_form(
    form: str | None,
    form_fn: Callable[[str], str],
    forms: Mapping[str, Callable[..., jax.Array]],
    x: jax.Array,
    kernel: jax.Array,
    *options: int,
) -> jax.Array:
    """Return forms[form](x, kernel, *options).

    None: in the form `form_fn(platform)`, of the stated platform or of the one lowered for.
    """
    platform = _PLATFORM.get()
    traced = isinstance(x, jax.core.Tracer) or isinstance(kernel, jax.core.Tracer)
    if form is None and platform is None and not traced:
        platform = jax.default_backend()  # computed here and now
    if form is None and platform is not None:
        form = form_fn(platform)
    if form is not None:
        return forms[form](x, kernel, *options)
    # Both forms are traced; lowering for one platform drops the other.
    on_cpu, elsewhere = form_fn("cpu"), form_fn("other")
    if on_cpu == elsewhere:
        return forms[on_cpu](x, kernel, *options)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=lambda x, kernel: forms[on_cpu](x, kernel, *options),
        default=lambda x, kernel: forms[elsewhere](x, kernel, *options),
    )


def _sides(padding: int) -> tuple[tuple[int, int], ...]:
    return ((0, 0), (padding, padding), (padding, padding), (0, 0))


def upsample_nearest(x: jax.Array, scale: int) -> jax.Array:
    """Return x [n, H, W, C] with every pixel repeated: [n, scale H, scale W, C]."""
    n, height, width, channels = x.shape
    spread = jnp.broadcast_to(x[:, :, None, :, None], (n, height, scale, width, scale, channels))
    return spread.reshape(n, scale * height, scale * width, channels)


@contextlib.contextmanager
def for_platform(platform: str | None) -> Iterator[None]:
    """Choose, while tracing inside, the forms of one platform: "cpu", "cuda", "rocm", "tpu", "gpu".

    None: those of the platform that the program will be lowered for. A function that is itself
    under `jax.jit` keeps the forms of its first trace.

    Raises:
      InputError: another platform.
    """
    if platform is not None and platform not in PLATFORMS:
        raise InputError(
            f"no forms of convolutions are known for platform {platform!r};"
            f" {suggest(str(platform), PLATFORMS)}"
        )
    token = _PLATFORM.set(platform)
    try:
        yield
    finally:
        _PLATFORM.reset(token)


@contextlib.contextmanager
def for_tangents() -> Iterator[None]:
    """Choose, while tracing inside, the forms that are fastest for many tangents at once.

    That is, for forward mode. A function that is itself under `jax.jit` keeps the forms of its
    first trace.
    """
    with _taking("tangents"):
        yield


@contextlib.contextmanager
def for_weights() -> Iterator[None]:
    """Choose, while tracing inside, the forms that are fastest for gradients of weights."""
    with _taking("weights"):
        yield


@contextlib.contextmanager
def _taking(derivative: str) -> Iterator[None]:
    token = _DERIVATIVE.set(derivative)
    try:
        yield
    finally:
        _DERIVATIVE.reset(token)


_DERIVATIVE: contextvars.ContextVar[str] = contextvars.ContextVar(
    "jattr_derivative", default="latent"
)


_PLATFORM: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "jattr_platform", default=None
)


def conv_form(kernel: jax.Array, stride: int, side: int, platform: str = "cpu") -> str:
    """Return the form that `conv` chooses for a platform and the derivative of now.

    For kernel [kh, kw, I, O] and inputs of `side` pixels.
    """
    if platform != "cpu":
        return "native"
    kh, kw, inputs, outputs = kernel.shape
    if kh * kw * outputs <= inputs:
        return "columns"
    derivative = _DERIVATIVE.get()
    if derivative == "tangents":
        return "native"
    return (
        "canonical" if derivative == "weights" or (stride == 1 and side > FEW_PIXELS) else "patches"
    )


def conv_transpose_form(kernel: jax.Array, stride: int, platform: str = "cpu") -> str:
    """Return the form that `conv_transpose` chooses for a platform and the derivative of now.

    For kernel [kh, kw, I, O].
    """
    if platform != "cpu":
        return "native"
    kh, kw, inputs, outputs = kernel.shape
    # numbers a pixel that `patches` lays side by side
    windows = -(-kh // stride) * -(-kw // stride) * inputs
    few = 4 * kh * kw * outputs < windows  # 4: measured, sums cost more than copies
    return "columns" if few or _DERIVATIVE.get() == "tangents" else "patches"


def _conv_native(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    sides = [(padding, padding)] * 2
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), sides, dimension_numbers=DIMENSIONS
    )


def _conv_canonical(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    if stride > 1:
        return _conv_native(x, kernel, stride, padding)
    return canonical_conv(x, kernel, (padding, padding))


def canonical_conv(x: jax.Array, kernel: jax.Array, padding: tuple[int, int] = (0, 0)) -> jax.Array:
    """Return the stride-1 cross-correlation of x [n, H, W, I] with kernel [kh, kw, I, O].

    There are `padding` zeros on each side. XLA on CPU is fast for NHWC activations and HWIO kernels
    only, and what JAX derives of a convolution is of another form and many times slower. The
    transpose of a convolution with zeros around is the convolution with the flipped kernel; the
    primitive says so, in both modes.
    """
    return _canonical.bind(x, kernel, padding=padding)


def _unit_conv(x: jax.Array, kernel: jax.Array, *, padding: tuple[int, int]) -> jax.Array:
    sides = [(zeros, zeros) for zeros in padding]
    return lax.conv_general_dilated(x, kernel, (1, 1), sides, dimension_numbers=DIMENSIONS)


def _unit_conv_shape(x: Any, kernel: Any, *, padding: tuple[int, int]) -> tuple[int, ...]:
    sides = [
        a + 2 * zeros - k + 1
        for a, zeros, k in zip(x.shape[1:3], padding, kernel.shape[:2], strict=True)
    ]
    return x.shape[0], *sides, kernel.shape[3]


def _unit_conv_transpose_x(y: Any, x: Any, kernel: Any, *, padding: tuple[int, int]) -> jax.Array:
    """Return the cotangent of x from that of the output, y.

    Up to kernel - 1 zeros surround y; of more, what they meet is cut off.
    """
    # Zeros beyond kernel - 1 met no input: the outputs there have no part in the cotangent.
    sizes = kernel.shape[:2]
    cut = [max(0, zeros - k + 1) for zeros, k in zip(padding, sizes, strict=True)]
    y = y[:, cut[0] : y.shape[1] - cut[0], cut[1] : y.shape[2] - cut[1]]
    # Full correlation with the flipped kernel, inputs and outputs exchanged.
    zeros = (sizes[0] - 1 - padding[0] + cut[0], sizes[1] - 1 - padding[1] + cut[1])
    return _canonical.bind(y, kernel[::-1, ::-1].swapaxes(2, 3), padding=zeros)


_canonical = bilinear_primitive(
    "canonical_conv",
    _unit_conv,
    shape_of=_unit_conv_shape,
    transpose_x=_unit_conv_transpose_x,
    static=("padding",),
)


def _conv_patches(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    kh, kw, inputs, outputs = kernel.shape
    return _windows(jnp.pad(x, _sides(padding)), kh, kw, stride) @ kernel.reshape(
        kh * kw * inputs, outputs
    )


def _conv_columns(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    kh, kw, inputs, outputs = kernel.shape
    x = jnp.pad(x, _sides(padding))
    n, height, width, _ = x.shape
    # What each input pixel adds to the output through each tap: [n, H, W, kh, kw, O].
    y = (x @ kernel.transpose(2, 0, 1, 3).reshape(inputs, -1)).reshape(
        n, height, width, kh, kw, outputs
    )
    # Output (i, j) takes tap (row, column) from input (stride i + row, stride j + column).
    rows, columns = height - kh + 1, width - kw + 1
    total = jnp.zeros((), x.dtype)
    for row in range(kh):
        for column in range(kw):
            total = (
                total
                + y[:, row : row + rows : stride, column : column + columns : stride, row, column]
            )
    return total


def _windows(x: jax.Array, kh: int, kw: int, stride: int) -> jax.Array:
    """Return the windows of x [n, H, W, I], row by row: [n, H', W', kh * kw * I]."""
    height = (x.shape[1] - kh) // stride + 1
    width = (x.shape[2] - kw) // stride + 1
    parts = [
        x[
            :,
            row : row + (height - 1) * stride + 1 : stride,
            column : column + (width - 1) * stride + 1 : stride,
        ]
        for row in range(kh)
        for column in range(kw)
    ]
    return jnp.concatenate(parts, axis=-1)


def _taps_by_phase(kernel: jax.Array, stride: int) -> jax.Array:
    """Return kernel [kh, kw, I, O], zero-padded, as [rows, stride, columns, stride, I, O]."""
    kh, kw, inputs, outputs = kernel.shape
    rows, columns = -(-kh // stride), -(-kw // stride)
    kernel = jnp.pad(kernel, ((0, rows * stride - kh), (0, columns * stride - kw), (0, 0), (0, 0)))
    return kernel.reshape(rows, stride, columns, stride, inputs, outputs)


def _phases(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    # An output's row modulo the stride, its phase, decides which taps it sees: sub-pixel form.
    rows, columns = (-(-size // stride) for size in kernel.shape[:2])
    x = jnp.pad(x, ((0, 0), (rows - 1, rows - 1), (columns - 1, columns - 1), (0, 0)))
    uneven = kernel.shape[0] % stride or kernel.shape[1] % stride
    y = _phases_apart(x, kernel, stride) if uneven else _phases_together(x, kernel, stride)
    outputs = y.shape[-1]
    n, height, width = y.shape[:3]
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(n, height * stride, width * stride, outputs)


def _phases_together(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Return the phases [n, H', W', stride, stride, O] of one product; `x` is padded."""
    taps = _taps_by_phase(kernel, stride)
    rows, _, columns, _, inputs, outputs = taps.shape
    matrix = taps[::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5).reshape(rows * columns * inputs, -1)
    y = _windows(x, rows, columns, 1) @ matrix
    return y.reshape(*y.shape[:3], stride, stride, outputs)


def _phases_apart(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Return the phases [n, H', W', stride, stride, O], each as a product of its own.

    No product has a zero tap. `x` is padded. For 3x3 taps and stride 2 these are 4, 2, 2 and 1 taps
    instead of four times 4.
    """
    rows, columns = (-(-size // stride) for size in kernel.shape[:2])
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1

    def phase(down: int, across: int) -> jax.Array:
        taps = kernel[down::stride, across::stride]
        kh, kw, _, outputs = taps.shape
        if not kh * kw:
            return jnp.zeros((len(x), height, width, outputs), x.dtype)
        # A phase with fewer taps needs less of the padding.
        inner = x[:, rows - kh :, columns - kw :][:, : height + kh - 1, : width + kw - 1]
        return _windows(inner, kh, kw, 1) @ taps[::-1, ::-1].reshape(-1, outputs)

    return jnp.stack([jnp.stack([phase(a, b) for b in range(stride)], 3) for a in range(stride)], 3)


def _columns(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    taps = _taps_by_phase(kernel, stride)
    rows, _, columns, _, inputs, outputs = taps.shape
    matrix = taps.transpose(4, 0, 2, 1, 3, 5).reshape(inputs, -1)
    n, height, width, _ = x.shape
    y = (x @ matrix).reshape(n, height, width, rows, columns, stride, stride, outputs)
    # Block (row, column) of taps lands row, column blocks of stride x stride outputs further on.
    total = jnp.zeros((), x.dtype)
    for row in range(rows):
        for column in range(columns):
            shifts = (
                (0, 0),
                (row, rows - 1 - row),
                (column, columns - 1 - column),
                (0, 0),
                (0, 0),
                (0, 0),
            )
            total = total + jnp.pad(y[:, :, :, row, column], shifts)
    total = total.transpose(0, 1, 3, 2, 4, 5)
    return total.reshape(n, (height + rows - 1) * stride, (width + columns - 1) * stride, outputs)


def _conv_transpose_native(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int, output_padding: int
) -> jax.Array:
    # The transpose of a strided convolution: zeros between the inputs, and the flipped kernel.
    sides = [(k - 1 - padding, k - 1 - padding + output_padding) for k in kernel.shape[:2]]
    return lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        sides,
        lhs_dilation=(stride, stride),
        dimension_numbers=DIMENSIONS,
    )


def _cut_from(
    full_fn: Callable[[jax.Array, jax.Array, int], jax.Array],
) -> Callable[..., jax.Array]:
    """Return the form that cuts the output out of `full_fn`'s: every tap of every input pixel."""

    def cut(
        x: jax.Array, kernel: jax.Array, stride: int, padding: int, output_padding: int
    ) -> jax.Array:
        full = full_fn(x, kernel, stride)
        height, width = (
            (size - 1) * stride - 2 * padding + k + output_padding
            for size, k in zip(x.shape[1:3], kernel.shape[:2], strict=True)
        )
        short = [
            max(0, padding + size - have)
            for size, have in zip((height, width), full.shape[1:3], strict=True)
        ]
        if any(short):  # an output padding beyond the last tap: zeros
            full = jnp.pad(full, ((0, 0), (0, short[0]), (0, short[1]), (0, 0)))
        return full[:, padding : padding + height, padding : padding + width]

    return cut


CONV_FORMS: dict[str, Callable[..., jax.Array]] = {
    "native": _conv_native,
    "canonical": _conv_canonical,
    "patches": _conv_patches,
    "columns": _conv_columns,
}
CONV_TRANSPOSE_FORMS: dict[str, Callable[..., jax.Array]] = {
    "native": _conv_transpose_native,
    "patches": _cut_from(_phases),
    "columns": _cut_from(_columns),
}
