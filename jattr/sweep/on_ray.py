"""Cells on a Ray cluster (https://docs.ray.io).

Tasks that are tried again when their worker is lost, one writer here.

A worker makes the plan anew from the pickled spec, once, and checks that code, versions and
generators are those of the one that asked: what it computes is what it would be asked for.
Generators, folders and jattr must be at the same places on every machine. Ray gives workers one
thread each unless they are told otherwise; they are told to have as many as the machine that asked,
since the last digits of sums depend on it.
"""

import functools
import pickle
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from jattr.errors import InputError
from jattr.runtime import enable_compilation_cache, jax_defaults, spare_memory_maps
from jattr.sweep.cells import Cell, Plan, make_plan, run_facts
from jattr.sweep.compute import CellResult
from jattr.sweep.run import Executor, Failure, Outcome, outcome_of
from jattr.sweep.threads import thread_variables
from jattr.typing import JsonObject

LOCAL = "local"  # in place of an address: begin a cluster on this machine
RETRIES = 5  # of a cell whose worker is lost
PATIENCE = 10.0  # seconds until an address counts as not there
CELLS_IN_FLIGHT = 2  # cells asked for, for each that runs


def make_executor(
    address: str = LOCAL, *, cpus: float | None = None, gpus: float | None = None
) -> Executor:
    """Return an executor that computes cells on a Ray cluster.

    Args:
      address: of the cluster, as `ray.init` takes it; `LOCAL`: begin one here and end it
        afterwards.
      cpus: of one cell; None: 1.
      gpus: of one cell; None: as many as this machine has, so that results are those that it would
        get.

    Raises:
      InputError: Ray is not installed, or the cluster cannot be reached.
    """
    ray = _ray()

    def execute(plan: Plan, cells: Sequence[Cell]) -> Iterator[Outcome]:
        mine = not ray.is_initialized()
        if mine:
            _connect(ray, address)
        try:
            has = ray.cluster_resources()
            own = jax.local_device_count() if jax.default_backend() == "gpu" else 0
            each: JsonObject = {
                "num_cpus": 1 if cpus is None else cpus,
                "num_gpus": own if gpus is None else gpus,
            }
            each["runtime_env"] = {"env_vars": thread_variables()}
            task = ray.remote(max_retries=RETRIES, **each)(compute_number)
            # by value: functions of the asking program are in no module that a worker has
            facts = ray.cloudpickle.dumps((plan.spec, _digests(plan), run_facts()))
            yield from _computed(
                ray, task, ray.put(facts), cells, CELLS_IN_FLIGHT * max(1, int(has.get("CPU", 1)))
            )
        finally:
            if mine:
                ray.shutdown()

    return execute


@jax_defaults()
def compute_number(facts: bytes, number: int) -> CellResult | Failure:
    """Return the outcome of one cell; what a worker runs."""
    spare_memory_maps()
    return outcome_of(*_cell(facts, number))


def _cell(facts: bytes, number: int) -> tuple[Plan, Cell]:
    plan = _plan(facts)
    return plan, plan.cells[number]


@functools.lru_cache(maxsize=2)
def _plan(facts: bytes) -> Plan:
    """Return the plan, which must be the one that was asked about.

    Raises:
      InputError: this machine has other code, versions or generators.
    """
    enable_compilation_cache()
    # trusted as the task itself, which Ray pickles, too
    spec, digests, run = pickle.loads(facts)  # noqa: S301
    plan = make_plan(spec)
    if _digests(plan) != digests or dict(run_facts()) != run:
        differ = [name for name, value in run_facts().items() if run.get(name) != value] or [
            "generators"
        ]
        raise InputError(
            "a worker has another jattr, JAX or generator than the machine that asks, or not as"
            " many devices or threads"
            f" ({', '.join(differ)}); make them the same"
        )
    return plan


def _digests(plan: Plan) -> Mapping[str, str]:
    return {name: gen.digest for name, gen in plan.makers.items()}


def _computed(
    ray: Any, task: Any, facts: Any, cells: Sequence[Cell], most: int
) -> Iterator[Outcome]:
    """Return outcomes as they come, at most so many asked for at a time."""
    queue = list(reversed(cells))
    asked: dict[Any, Cell] = {}
    while queue or asked:
        while queue and len(asked) < most:
            cell = queue.pop()
            asked[task.remote(facts, cell.number)] = cell
        (done, *_), _ = ray.wait(list(asked), num_returns=1)
        cell = asked.pop(done)
        yield cell, _outcome(ray, done)


def _outcome(ray: Any, done: Any) -> CellResult | Failure:
    try:
        result: CellResult | Failure = ray.get(done)
        return result
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None  # every other cell would meet it, too
        return Failure(" ".join(str(error).split())[-1_000:], 0.0)
    except ray.exceptions.RayError as error:  # lost again and again
        return Failure(
            f"its worker was lost {RETRIES + 1} times: {' '.join(str(error).split())[:800]}", 0.0
        )


def _connect(ray: Any, address: str) -> None:
    """Connect, or begin a cluster here.

    Raises:
      InputError: nobody answers at the address.
    """
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host and port.isdigit():  # Ray itself asks for minutes
            socket.create_connection((host, int(port)), timeout=PATIENCE).close()
        ray.init(
            address=address, log_to_driver=False, include_dashboard=False, logging_level="error"
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"cannot reach a Ray cluster at {address!r}: {reason}; give an address, or 'local'"
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed; pip install 'jattr[ray]'") from error
    return ray
