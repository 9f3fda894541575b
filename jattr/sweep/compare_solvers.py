"""`compare_solvers`: optimisers beside each other on the same images, in a few lines."""

import contextlib
import dataclasses
import hashlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
import optax
from jax.typing import ArrayLike

from jattr.errors import InputError
from jattr.folders import AnyPath
from jattr.generators.base import Generator
from jattr.images.values import as_array, bytes_advice
from jattr.images.writing import write_png
from jattr.inversion.config import InvertConfig, as_search
from jattr.inversion.rounding_polish import RoundingPolish
from jattr.inversion.settings import MultiStart, Polish
from jattr.runtime import jax_defaults
from jattr.solvers import Optax, SolverLike
from jattr.sweep.cells import Cell, Plan, make_plan
from jattr.sweep.report.comparison import SolverComparison, check_target, comparison_of
from jattr.sweep.report.solvers import FLOOR
from jattr.sweep.report.tables import read
from jattr.sweep.run import Outcome, compute_here, outcome_of, run_plan
from jattr.sweep.setting import Setting
from jattr.sweep.spec import Pictures, Spec
from jattr.sweep.store import open_for_reading

COMPILATION = "/jax/core/compile/"  # begin of the names of its spans
UNKEPT = "of this call"  # version of a transformation whose results are kept nowhere
BY_ITSELF = MultiStart(polish=Polish(steps=0), rounding_polish=RoundingPolish(jacobians=0))


@jax_defaults()
def compare_solvers(
    generators: Generator | str | Sequence[Generator | str],
    solvers: Mapping[str, SolverLike | MultiStart | InvertConfig],
    *,
    images: ArrayLike | Mapping[str, ArrayLike] | None = None,
    num_images: int = 16,
    restarts: int = 3,
    search: MultiStart | None = None,
    target: str = FLOOR,
    seed: int = 0,
    out: AnyPath | None = None,
) -> SolverComparison:
    """Return how solvers do on images of generators, each image searched under its maker.

    Seconds are those of the searches, without tracing and compilation.

    Args:
      generators: one or several; objects, folders or bundled names.
      solvers: by name: solver objects, optax transformations, texts as "lbfgs" or
        "adam:0.05:cosine", or whole searches, whose restarts are their own.
      images: uint8 [n, H, W, C] that the generator made, or such by the generator's name; None:
        `num_images` of each one's prior.
      num_images: of each generator.
      restarts: most of an image.
      search: everything but solver and restarts; None: the defaults without any polish, so that
        each solver shows what it reaches by itself.
      target: what counts as success in table and figure: "floor", of 8-bit rounding, "1e-4" or
        "1e-3", mean squared residuals.
      seed: of images and searches.
      out: folder where results are kept, as of any sweep; the same call goes on there. Optax
        transformations then state a name and a version. Given images are written beside it, into
        a folder named after it and their content. None: nothing is kept.

    Raises:
      InputError: a generator, solver or image cannot be used, or there is no such target.
    """
    check_target(target)
    settings = tuple(
        Setting(name=name, config=_search(name, solver, restarts, search, kept=out is not None))
        for name, solver in _solvers(solvers).items()
    )
    makers = _generators(generators)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()) if out is None else out)
        pictures: tuple[Pictures, ...] = (Pictures(kind="own", count=num_images, seed=seed + 1),)
        if images is not None:
            arrays = _arrays(makers, images)
            # by their content: another call's images stay as they are
            given = folder.with_name(f"{folder.name}-images-{_digest(arrays)}")
            if out is None:
                given = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            pictures = tuple(_write_images(given, arrays))
        spec = solver_spec(tuple(makers), settings, pictures, name="solvers", seed=seed)
        objects = {name: gen for name, gen in makers.items() if isinstance(gen, Generator)}
        plan = make_plan(spec, objects)
        ran = run_plan(plan, folder / "store" if out is None else folder, executor=_timed)
        with open_for_reading(folder / "store" if out is None else folder) as store:
            if ran.counts["failed"]:
                errors = store.table("cells").column("error")
                raise InputError(f"the comparison fails: {next(filter(None, errors))}")
            return comparison_of(read(store), target)


def solver_spec(
    candidates: tuple[str, ...],
    settings: tuple[Setting, ...],
    pictures: tuple[Pictures, ...],
    *,
    name: str,
    seed: int = 0,
) -> Spec:
    """Return the sweep that compares settings on the candidates' own images."""
    return Spec(
        name=name,
        candidates=candidates,
        against="maker",
        pictures=pictures,
        settings=settings,
        seeds=(seed,),
    )


def _timed(plan: Plan, cells: Sequence[Cell]) -> Iterator[Outcome]:
    """Compute cells, and take from their seconds what is compiled, or made once for all solvers."""
    prepared = set()
    for cell in cells:
        if cell.candidate not in prepared:
            # moments and pool of the prior are kept: no solver is charged for them
            brief = _brief(cell.search)
            outcome_of(plan, dataclasses.replace(cell, setting=Setting(name="-", config=brief)))
            prepared.add(cell.candidate)
        with _compilation() as spans:
            ((_, outcome),) = compute_here(plan, [cell])
        yield cell, dataclasses.replace(outcome, seconds=outcome.seconds - _union(spans))


def _brief(search: MultiStart) -> MultiStart:
    """Return a search of one step that makes what all searches of its candidate share."""
    shared = ("pooling", "warm_start", "distance", "precision", "space", "psi", "cutoff", "noise")
    values = {name: getattr(search, name) for name in shared}
    return MultiStart(solver="lbfgs", steps=1, restarts=1, **values)


@contextlib.contextmanager
def _compilation() -> Iterator[list[tuple[float, float]]]:
    """Collect the spans (start, end) in which JAX traces, lowers and compiles."""
    spans: list[tuple[float, float]] = []

    def listen(event: str, start_time: float, end_time: float, **facts: str | int) -> None:
        del facts
        if event.startswith(COMPILATION):
            spans.append((start_time, end_time))

    jax.monitoring.register_event_time_span_listener(listen)
    try:
        yield spans
    finally:
        jax.monitoring.unregister_event_time_span_listener(listen)


def _union(spans: Sequence[tuple[float, float]]) -> float:
    """Return the seconds that spans cover, some of which lie within others.

    >>> _union([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)])
    4.0
    """
    total, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _solvers(
    solvers: Mapping[str, SolverLike | MultiStart | InvertConfig],
) -> Mapping[str, SolverLike | MultiStart | InvertConfig]:
    if not isinstance(solvers, Mapping) or not solvers:
        raise InputError(
            f"solvers is {solvers!r}; it is a dict of at least one by name, as"
            " {'lbfgs': 'lbfgs', 'adam': optax.adam(0.05)}"
        )
    return solvers


def _search(
    name: str,
    solver: SolverLike | MultiStart | InvertConfig,
    restarts: int,
    search: MultiStart | None,
    *,
    kept: bool,
) -> MultiStart:
    """Return the search by a solver."""
    if isinstance(solver, (MultiStart, InvertConfig)):
        return as_search(solver)
    if isinstance(solver, optax.GradientTransformation):
        solver = Optax(solver)
    if isinstance(solver, Optax) and solver.name is None and not kept:
        solver = dataclasses.replace(solver, name=name, version=UNKEPT)
    base = BY_ITSELF if search is None else as_search(search)
    try:
        return dataclasses.replace(
            base, solver=None if solver == "auto" else solver, restarts=restarts
        )
    except InputError as error:
        raise InputError(f"solver {name!r}: {error}") from error


def _generators(
    generators: Generator | str | Sequence[Generator | str],
) -> dict[str, Generator | str]:
    """Return generators by what a spec calls them."""
    some = [generators] if isinstance(generators, (Generator, str)) else list(generators)
    result: dict[str, Generator | str] = {}
    for gen in some:
        if not isinstance(gen, (Generator, str)):
            raise InputError(
                f"a generator is {gen!r}; it is a Generator, a folder or a bundled name"
            )
        name = gen.name if isinstance(gen, Generator) else gen
        if name in result:
            raise InputError(f"two generators are called {name!r}; give each its own name")
        result[name] = gen
    return result


def _arrays(
    makers: Mapping[str, Generator | str], images: ArrayLike | Mapping[str, ArrayLike]
) -> dict[str, np.ndarray]:
    """Return the images uint8 [n, H, W, C] of each generator, by its name.

    Raises:
      InputError: they are not of each generator, or of another type or shape.
    """
    if not isinstance(images, Mapping):
        if len(makers) != 1:
            raise InputError(
                f"images is one array, and there are {len(makers)} generators; give a dict of"
                f" arrays by name: {', '.join(makers)}"
            )
        images = {next(iter(makers)): images}
    if set(images) != set(makers):
        raise InputError(
            f"images are of {', '.join(images)}; give some of each generator: {', '.join(makers)}"
        )
    arrays = {name: as_array(array) for name, array in images.items()}
    for name, pixels in arrays.items():
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or not len(pixels):
            raise InputError(
                f"images of {name!r} are {pixels.dtype} {list(pixels.shape)}; they are uint8"
                f" [n, H, W, C]{bytes_advice(pixels.dtype)}"
            )
    return arrays


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return 16 hexadecimal digits that name images and whose they are."""
    content = hashlib.sha256()
    for name, pixels in arrays.items():
        content.update(f"{name} {pixels.shape} ".encode() + np.ascontiguousarray(pixels).tobytes())
    return content.hexdigest()[:16]


def _write_images(folder: Path, arrays: Mapping[str, np.ndarray]) -> Iterator[Pictures]:
    """Write images as files, and yield what a spec says of them."""
    for number, (name, pixels) in enumerate(arrays.items()):
        own = folder / str(number)
        own.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(pixels):
            write_png(own / f"{i:06d}.png", image)
        yield Pictures(kind="folder", folder=str(own), maker=name, count=len(pixels))
