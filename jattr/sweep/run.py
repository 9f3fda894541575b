"""Running a sweep: the cells that are not there yet, each kept as soon as it is done."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from jattr.errors import InputError
from jattr.runtime import jax_defaults, spare_memory_maps
from jattr.sweep.cells import MAX_CELLS, Cell, Plan, make_plan, run_facts
from jattr.sweep.compute import CellResult, compute_cell, failure_of
from jattr.sweep.spec import Spec, from_json, to_json
from jattr.sweep.store import Store, counts, create_or_open, open_for_reading, open_for_writing
from jattr.typing import Json, JsonObject

FACT_ADVICE = {
    "threads": "set OMP_NUM_THREADS and OPENBLAS_NUM_THREADS as then, or ",
    "devices": "use as many devices, or ",
}


@dataclass(frozen=True)
class Failure:
    """A cell that could not be done."""

    error: str
    seconds: float


Outcome: TypeAlias = tuple[Cell, CellResult | Failure]
# outcomes as they come, in any order
Executor: TypeAlias = Callable[[Plan, Sequence[Cell]], Iterable[Outcome]]
# called when a cell is on the disk, with how many now are
Progress: TypeAlias = Callable[[Cell, int], object]


@dataclass(frozen=True)
class Ran:
    """How a run went."""

    plan: Plan
    counts: dict[str, int]  # of all cells: cells, done, failed, left
    computed: int  # cells of this run
    seconds: float  # wall time of this run, without planning
    search_seconds: float  # of it, in cells


def compute_here(plan: Plan, cells: Sequence[Cell]) -> Iterator[Outcome]:
    """Compute cells one after the other on all devices of this machine."""
    for cell in cells:
        yield cell, outcome_of(plan, cell)
        spare_memory_maps()


def outcome_of(plan: Plan, cell: Cell) -> CellResult | Failure:
    """Return a cell's result; an error becomes a `Failure`."""
    start = time.perf_counter()
    try:
        return compute_cell(plan, cell)
    except Exception as error:  # one bad cell is a row, not the end of a night's work
        return Failure(failure_of(error), time.perf_counter() - start)


@jax_defaults()
def run_sweep(
    spec: Spec,
    out: str | os.PathLike[str],
    *,
    yes: bool = False,
    executor: Executor = compute_here,
    progress: Progress | None = None,
) -> Ran:
    """Run a sweep, or go on with it, until every cell is in the store.

    Args:
      spec: what to search.
      out: folder of the store; one that is there must be of the same spec.
      yes: more than `MAX_CELLS` cells are meant.
      executor: where cells are computed.
      progress: called after every cell, with it and how many the store has, those of earlier runs
        too.

    Raises:
      InputError: the spec, a generator or the store cannot be used; or the store was begun with
        other generators, code or versions.
      OutputError: the store cannot be written. What was acknowledged is kept; the same call goes
        on.
    """
    return run_plan(make_plan(spec), out, yes=yes, executor=executor, progress=progress)


@jax_defaults()
def run_plan(
    plan: Plan,
    out: str | os.PathLike[str],
    *,
    yes: bool = False,
    executor: Executor = compute_here,
    progress: Progress | None = None,
) -> Ran:
    """Run a plan; see `run_sweep`."""
    check_size(plan, yes=yes)
    with create_or_open(out, _facts(plan)) as store:
        check_same(store, plan)
        return _run(plan, store, executor, progress)


@jax_defaults()
def resume_sweep(
    out: str | os.PathLike[str],
    *,
    again: bool = False,
    executor: Executor = compute_here,
    progress: Progress | None = None,
) -> Ran:
    """Go on with the sweep in a folder; with `again`, cells that failed are tried again.

    Raises:
      InputError, OutputError: as `run_sweep`.
    """
    return resume_plan(stored_plan(out), out, again=again, executor=executor, progress=progress)


@jax_defaults()
def resume_plan(
    plan: Plan,
    out: str | os.PathLike[str],
    *,
    again: bool = False,
    executor: Executor = compute_here,
    progress: Progress | None = None,
) -> Ran:
    """Go on with the plan that is stored in a folder; see `resume_sweep`."""
    with open_for_writing(out) as store:
        check_same(store, plan)
        if again:
            store.forget_failures()
        return _run(plan, store, executor, progress)


def stored_spec(store: Store) -> Spec:
    """Return the spec of a store."""
    try:
        return from_json(store.meta()["spec"])
    except KeyError as error:
        raise InputError(
            f"{store.folder} states no spec; run the sweep anew in another place"
        ) from error


def stored_plan(out: str | os.PathLike[str]) -> Plan:
    """Return the plan of the sweep in a folder."""
    with open_for_reading(out) as store:
        return make_plan(stored_spec(store))


def check_size(plan: Plan, *, yes: bool) -> None:
    """Raise an InputError if there are more cells than one may want by mistake."""
    if len(plan.cells) > MAX_CELLS and not yes:
        raise InputError(
            f"the sweep has {len(plan.cells)} cells, more than {MAX_CELLS}; pass --yes if that is"
            " meant"
        )


def check_same(store: Store, plan: Plan) -> None:
    """Raise an InputError if a store was begun with another spec, other generators, code,
    versions or threads.
    """
    stated, now = store.meta(), _facts(plan)
    if stated.get("spec") != _plain(now["spec"]):
        raise InputError(
            f"{store.folder} is the sweep of another spec; choose another place, or `jattr sweep"
            " resume`"
        )
    for name, digest in now["generators"].items():
        if stated["generators"].get(name) != digest:
            raise InputError(
                f"generator {name!r} was changed since {store.folder} was begun: its digest"
                " differs; bring the old one"
                " back, or choose another place"
            )
    for name, value in now["run"].items():
        if stated["run"].get(name) != value:
            raise InputError(
                f"{store.folder} was begun with {name} {str(stated['run'].get(name))[:16]}, this"
                f" is {str(value)[:16]};"
                f" results of both would not compare: {FACT_ADVICE.get(name, '')}choose another"
                " place"
            )


def _run(plan: Plan, store: Store, executor: Executor, progress: Progress | None) -> Ran:
    start, stored = time.perf_counter(), store.statuses()
    left = [cell for cell in plan.cells if cell.key not in stored]
    spent, computed = 0.0, 0
    for cell, outcome in executor(plan, left):
        if isinstance(outcome, Failure):
            store.add_failure(cell, outcome.error, outcome.seconds)
        else:
            store.add(cell, outcome)
        spent, computed = spent + outcome.seconds, computed + 1
        if progress:
            progress(cell, len(stored) + computed)
    result = counts(store, len(plan.cells))
    return Ran(plan, result, computed, time.perf_counter() - start, spent)


def _facts(plan: Plan) -> JsonObject:
    return {
        "spec": to_json(plan.spec),
        "candidates": list(plan.candidates),
        "generators": {name: gen.digest for name, gen in plan.makers.items()},
        "run": dict(run_facts()),
    }


def _plain(value: Json) -> Json:
    """Return JSON values as reading them back gives them: lists for tuples."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
