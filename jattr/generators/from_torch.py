"""`from_torch`: any PyTorch module as a Generator.

`torch.export` (https://docs.pytorch.org/docs/stable/export.html) turns the module into a graph of
ATen operations on one latent, torchax (https://github.com/google/torchax) runs the graph in JAX,
and `vmap` adds the batch. Convolutions go to `ops` instead, in whose forms their gradient is fast.
The graph is all that the function depends on, so modules of one graph share one `apply`.
"""

import copy
import functools
import importlib
import operator
import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jattr.errors import GeneratorError
from jattr.generators import ops
from jattr.generators.base import PRIORS, ApplyFn, Generator, SampleFn
from jattr.generators.digest import function_digest, tensors_digest
from jattr.images.fitting import CHANNELS
from jattr.runtime import jax_defaults

if TYPE_CHECKING:
    import torch

__all__ = ["TOLERANCE", "Program", "from_torch"]

# in [-1, 1] units, an eighth of a byte's step: float32 in another order stays well below
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Program:
    """What a module computes, without the numbers in its tensors: equal ones are one function."""

    text: str  # the graph, one line an operation
    # for each input: name of a tensor, "" for the latent and the label, None if unused
    inputs: tuple[str | None, ...]
    value_range: tuple[float, float]
    graph: Any = field(repr=False, compare=False)  # the torch.fx.GraphModule that `text` shows


@jax_defaults()
def from_torch(
    module: "torch.nn.Module",
    *,
    latent_shape: tuple[int, ...],
    name: str | None = None,
    num_classes: int = 0,
    prior: str = "normal",
    sample: SampleFn | None = None,
    image_shape: tuple[int, int, int] | None = None,
    value_range: tuple[float, float] = (-1.0, 1.0),
    rounding: str | None = None,
) -> Generator:
    """Return a Generator of a PyTorch module; needs `pip install 'jattr[torch]'`.

    It is made of a copy, in eval mode, in float32, on the CPU, and its images are compared with
    those of PyTorch. The digest names tensors and graph; another version of PyTorch may write
    another graph of the same module. torchax makes itself a device of PyTorch: `torch.compile` and
    `nn.DataParallel` can fail in this process afterwards.

    Args:
      module: called as `module(z)`, or `module(z, label)` if there are classes, z [n,
        *latent_shape] float32 and label [n] int64, it returns images [n, C, H, W]. Put a module
        around one that takes or returns anything else.
      latent_shape: shape of one latent.
      name: the candidate's name; None: the module's class.
      num_classes: number of labels, 0 if unconditional.
      prior: "normal", "uniform" on (-1, 1), or "other", then with `sample`.
      sample: `sample(key, n)`, the sampler of another prior.
      image_shape: (H, W, C), to have it checked.
      value_range: the values of the module that mean black and white.
      rounding: how images are saved, see `Generator.rounding`.

    Raises:
      GeneratorError: torch or torchax is missing; or the module cannot be traced, returns no
        images, draws random numbers, changes its buffers, has weights that are not finite, or uses
        an operation that torchax lacks or computes differently.
    """
    name = type(module).__name__ if name is None else name
    _check_settings(name, prior, sample, value_range, rounding)
    sample = sample or PRIORS[prior](tuple(latent_shape))
    module = _copy(module, name)
    inputs, images = _try(module, name, np.asarray(sample(jax.random.key(0), 2)), num_classes)
    program, tensors = _read(_export(module, name, inputs), name, value_range)
    weights = tensors_digest(tensors)
    function = {
        "kind": "torch",
        "graph": program.text,
        "latent_shape": list(latent_shape),
        "classes": num_classes,
    }
    generator = Generator(
        name=name,
        apply=_make_apply(program),
        state=jax.device_put({key: tensors[key] for key in program.inputs if key}),
        latent_shape=tuple(latent_shape),
        image_shape=images.shape[1:] if image_shape is None else image_shape,
        sample=sample,
        prior=prior,
        num_classes=num_classes,
        rounding=rounding,
        weights_digest=weights,
        digest=function_digest(weights, function | {"value_range": list(program.value_range)}),
    )
    _verify(generator, inputs, _to_units(images, program.value_range))
    return generator


def _load(name: str) -> Any:
    """Return torch, torchax or a part of them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except Exception as error:  # where versions do not fit, torchax stops with any error
        raise GeneratorError(
            f"from_torch needs torch and torchax, and importing {name} fails ({_brief(error)}); pip"
            " install 'jattr[torch]'"
        ) from error


def _copy(module: Any, name: str) -> Any:
    """Return the module that the generator is made of."""
    torch = _load("torch")
    if not isinstance(module, torch.nn.Module):
        raise GeneratorError(
            f"from_torch got {name!r}, a {type(module).__name__}; it takes a torch.nn.Module"
        )
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    values = [
        value
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, torch.Tensor)
    ]
    # old spectral norm has them
    memo = {id(value): value.detach().clone() for value in values if not value.is_leaf}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = copy.deepcopy(module, memo).cpu().float().eval().requires_grad_(False)
    except Exception as error:  # a module may define its copy
        raise GeneratorError(f"module {name!r} cannot be copied ({_brief(error)})") from error
    for key, tensor in (*module.named_parameters(), *module.named_buffers()):
        if not tensor.isfinite().all():
            raise GeneratorError(
                f"module {name!r} has weights that are not finite ({key}); training diverged"
            )
    return module


def _call(module: Any, inputs: tuple[np.ndarray, ...]) -> Any:
    torch = _load("torch")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are for the module's author
        return module(*(torch.from_numpy(array.copy()) for array in inputs))


def _try(
    module: Any, name: str, z: np.ndarray, num_classes: int
) -> tuple[tuple[np.ndarray, ...], Any]:
    """Return two latents (with classes: and labels) and the module's images of them [2, H, W, C].

    Raises:
      GeneratorError: they are no images, or not the same when a latent is alone.
    """
    inputs = (z, np.arange(2) % num_classes) if num_classes else (z,)
    takes = f"z {list(z.shape)}{' and label [2]' if num_classes else ''}"
    try:
        images = _call(module, inputs)
        alone = _call(module, tuple(array[:1] for array in inputs))
    except Exception as error:  # the module's own code
        raise GeneratorError(
            f"module {name!r} fails on {takes} ({_brief(error)}); are latent_shape and num_classes"
            " right?"
        ) from error
    shape = tuple(getattr(images, "shape", ()))
    dtype = str(getattr(images, "dtype", type(images).__name__))
    if len(shape) != 4 or shape[0] != 2 or shape[1] not in CHANNELS or dtype != "torch.float32":
        raise GeneratorError(
            f"module {name!r} makes {dtype} {list(shape)} of {takes}, no images; it must return"
            " float32 [2, C, H, W] with C 1, 3 or 4, and nothing beside: put a module around it"
        )
    if alone.shape[1:] != shape[1:] or not _agree(alone.numpy(), images[:1].numpy()):
        raise GeneratorError(
            f"module {name!r} makes another image of a latent alone than beside others, or another"
            " each time; it may neither normalise over the batch nor draw random numbers in eval"
            " mode"
        )
    return inputs, images.numpy().transpose(0, 2, 3, 1)


def _export(module: Any, name: str, inputs: tuple[np.ndarray, ...]) -> Any:
    """Return the torch.export.ExportedProgram of the module on one latent, for torchax."""
    torch = _load("torch")
    table = torch.export.default_decompositions()
    table.update(_load("torchax.decompositions").DECOMPOSITIONS)
    one = tuple(torch.from_numpy(array[:1].copy()) for array in inputs)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of its own parts
            return torch.export.export(module, one, strict=False).run_decompositions(table)
    except Exception as error:  # the module's own code runs in it
        raise GeneratorError(
            f"module {name!r} cannot be traced by torch.export ({_brief(error)}); its operations"
            " may not depend on values of tensors"
        ) from error


def _read(
    exported: Any, name: str, value_range: tuple[float, float]
) -> tuple[Program, dict[str, np.ndarray]]:
    """Return what a traced module computes, and its parameters, buffers and constants by name."""
    torch, graph, signature = _load("torch"), exported.graph, exported.graph_signature
    if changed := list(signature.buffers_to_mutate.values()):
        raise GeneratorError(
            f"module {name!r} changes its buffer {changed[0]} in eval mode; switch that off"
        )
    for node in list(graph.nodes):
        if isinstance(node.target, torch._ops.OpOverload) and not node.target._schema.returns:
            graph.erase_node(node)  # an assertion
    graph.eliminate_dead_code()
    _check_operations(graph, name)
    text = str(graph)
    for node in graph.nodes:
        if node.target == torch.ops.aten.convolution.default and _has_form(*node.args):
            node.target = _convolution
    inputs_and_specs = zip(graph.find_nodes(op="placeholder"), signature.input_specs, strict=True)
    inputs = tuple(
        "" if spec.target is None else spec.target if node.users else None
        for node, spec in inputs_and_specs
    )
    low, high = value_range
    program = Program(text, inputs, (float(low), float(high)), exported.graph_module)
    values = exported.state_dict | exported.constants
    return program, {
        key: value.numpy() for key, value in values.items() if isinstance(value, torch.Tensor)
    }


def _check_operations(graph: Any, name: str) -> None:
    """Check that torchax has every operation of a graph.

    Raises:
      GeneratorError: some are missing, or draw random numbers.
    """
    torch, _ = _load("torch"), _load("torchax").default_env()  # which registers the operations
    registry = _load("torchax.ops.ops_registry").all_aten_ops
    missing = set()
    for node in graph.nodes:
        target = node.target
        if node.op in ("placeholder", "output") or target is operator.getitem:
            continue
        is_aten = isinstance(target, torch._ops.OpOverload)
        entry = (registry.get(target) or registry.get(target.overloadpacket)) if is_aten else None
        # these are the random ones
        if entry is None or not entry.is_jax_function or entry.needs_env:
            missing.add(str(target))
    if missing:
        raise GeneratorError(
            f"module {name!r} uses operations that torchax lacks or that draw random numbers:"
            f" {', '.join(sorted(missing))}; write the module without them, or take"
            " Generator.from_function"
        )


def _to_units(x: Any, value_range: tuple[float, float]) -> Any:
    low, high = value_range
    return x if (low, high) == (-1.0, 1.0) else (x - low) * (2.0 / (high - low)) - 1.0


@functools.lru_cache(maxsize=256)
def _make_apply(program: Program) -> ApplyFn:
    """Return the pure function of a program, one object for equal ones: jit compiles once."""
    interpreter = _load("torchax.export").JaxInterpreter

    def apply_one(state: dict[str, jax.Array], z: jax.Array, label: jax.Array | None) -> jax.Array:
        rows = iter((z[None],) if label is None else (z[None], label[None]))
        values = [next(rows) if key == "" else key and state[key] for key in program.inputs]
        with (
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            warnings.catch_warnings(),
        ):
            # PyTorch's indices are int64
            warnings.filterwarnings("ignore", "Explicitly requested dtype")
            *_, images = interpreter(program.graph).run(*values, enable_io_processing=False)
        return images[0].transpose(1, 2, 0)

    def apply(
        state: dict[str, jax.Array], z: jax.Array, *, label: jax.Array | None = None
    ) -> jax.Array:
        images = jax.vmap(apply_one, in_axes=(None, 0, None if label is None else 0))(
            state, z, label
        )
        return _to_units(images, program.value_range)

    return apply


def _has_form(x: Any, weight: Any, bias: Any, *options: Any) -> bool:
    """Return whether `_convolution` is aten.convolution for these arguments."""
    stride, padding, dilation, _, output_padding, _ = options
    symmetric = all(len(set(values)) == 1 for values in (stride, padding, output_padding))
    return len(stride) == 2 and set(dilation) == {1} and symmetric


def _convolution(
    x: jax.Array, weight: jax.Array, bias: jax.Array | None, *options: Any
) -> jax.Array:
    """Return aten.convolution of x [n, I, H, W], alike in both dimensions and without dilation."""
    stride, padding, _, transposed, output_padding, groups = options
    if transposed:  # weight [I, O / groups, kh, kw]
        axes, extra = (0, 3, 4, 1, 2), {"output_padding": output_padding[0]}
    else:  # weight [O, I / groups, kh, kw]
        axes, extra = (0, 3, 4, 2, 1), {}
    convolve: Any = ops.conv_transpose if transposed else ops.conv
    convolve = functools.partial(convolve, stride=stride[0], padding=padding[0], **extra)
    # [groups, kh, kw, I / groups, O / groups]
    kernel = weight.reshape(groups, -1, *weight.shape[1:]).transpose(axes)
    x = x.transpose(0, 2, 3, 1)
    if kernel.shape[3:] == (1, 1) and not transposed:
        y = _filter_channels(x, kernel[..., 0, 0], stride[0], padding[0])
    elif groups == 1:
        y = convolve(x, kernel[0])
    else:
        y = jax.vmap(convolve, in_axes=(3, 0), out_axes=3)(
            x.reshape(*x.shape[:3], groups, -1), kernel
        )
        y = y.reshape(*y.shape[:3], -1)
    return (y if bias is None else y + bias).transpose(0, 3, 1, 2)


def _filter_channels(x: jax.Array, taps: jax.Array, stride: int, padding: int) -> jax.Array:
    """Return x [n, H, W, C], each channel filtered with its own taps [C, kh, kw].

    Shifted sums are the fastest form on CPU.
    """
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    _, kh, kw = taps.shape
    height, width = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    parts = [
        taps[:, row, column] * x[:, row : row + height : stride, column : column + width : stride]
        for row, column in np.ndindex(kh, kw)
    ]
    return functools.reduce(operator.add, parts)


def _check_settings(
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


def _brief(error: Exception) -> str:
    """Return an error as one line: long ones of PyTorch hold a whole graph."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _agree(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Return whether images are the same up to rounding, by their largest difference."""
    return bool(np.abs(ours - theirs).max() <= TOLERANCE * max(1.0, np.abs(theirs).max()))


def _verify(generator: Generator, inputs: tuple[np.ndarray, ...], theirs: np.ndarray) -> None:
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
        match = re.search(r"target=(\S+?)\]", str(error))
        raise GeneratorError(
            f"module {name!r}: torchax fails at {match.group(1) if match else 'an operation'}"
            f" ({_brief(error)}); write the module without it"
        ) from error
    if not _agree(ours, theirs):
        raise GeneratorError(
            f"module {name!r}: torchax makes other images of it than PyTorch, by"
            f" {np.abs(ours - theirs).max():.2g} of a range of 2; give the generator as a JAX"
            " function (Generator.from_function)"
        )
