"""What a cell computes: searches of its images under its candidate, restart by restart, and
their certificates.
"""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jattr.alterations.files import alter
from jattr.alterations.registry import parse_chain
from jattr.attribution.evidence import certificates_of, residuals_of
from jattr.attribution.pilot import candidate_key
from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.images import fit
from jattr.inversion.multistart import Inversion, Inverter, run_rounds
from jattr.inversion.observation.make import make_observation
from jattr.inversion.scheduler import Status
from jattr.inversion.two_stage import make_inverter
from jattr.sweep.cells import Cell, Plan
from jattr.sweep.sources import make_batch
from jattr.sweep.spec import NONE
from jattr.typing import Json


@dataclass(frozen=True, kw_only=True, eq=False)
class CellResult:
    """A cell's result: a row for every restart that was run, one for every image, and arrays."""

    # (image, restart, best, final, steps, status, evaluations, label)
    restarts: list[tuple[Json, ...]]
    # (image, residual, restart, certified, bit_exact, identical, excess, p_value)
    pictures: list[tuple[Json, ...]]
    arrays: dict[str, np.ndarray]  # z [rows, d], trace [m, 2], trace_rows [rows]
    seconds: float


def compute_cell(plan: Plan, cell: Cell) -> CellResult:
    """Return the result of a cell.

    It depends on nothing that was computed before in this process.

    Raises:
      InputError: images, alteration or distance do not fit the candidate.
    """
    start = time.perf_counter()
    gen = cell.search.view(plan.candidates[cell.candidate])
    pixels = make_batch(cell.batch, plan.makers, gen.image_shape)
    observation = make_observation(gen, _altered(pixels, cell, gen), cell.search)
    inverter = make_inverter(
        observation, cell.search, candidate_key(jax.random.key(cell.seed), gen)
    )
    run_rounds(inverter)
    inverter.finish()
    return dataclasses.replace(_result(inverter), seconds=time.perf_counter() - start)


def _altered(pixels: np.ndarray, cell: Cell, gen: Generator) -> Any:
    """Return the cell's images after its alteration.

    Unmodelled ones as they look, in the candidate's size.
    """
    if cell.alteration == NONE:
        return pixels
    chain = parse_chain(cell.alteration)
    chain.out_shape(gen.image_shape)
    whose = int(cell.batch_digest, 16)
    # noise of each image's own
    altered = alter(pixels, chain, [(whose, number) for number in range(len(pixels))])
    if cell.setting.modelled:
        return altered
    return np.stack([fit(picture, gen.image_shape, resize=True) for picture in altered.pixels])


def _result(inverter: Inverter) -> CellResult:
    certificates, residuals = certificates_of(inverter), residuals_of(inverter)
    indices = [
        (i, r)
        for i in range(inverter.results.count)
        for r in range(inverter.results.restarts)
        if _run(inverter, i, r)
    ]
    result = inverter.result()  # steps and evaluations with those of styles
    rows = [_row(inverter, result, i, r) for i, r in indices]
    pictures = []
    for i, (certificate, residual) in enumerate(zip(certificates, residuals.tolist(), strict=True)):
        proof: tuple[Json, ...] = (0, 0, None, None, None)
        if certificate is not None:
            facts = (certificate.identical_bytes, certificate.excess, certificate.p_value)
            proof = (
                int(certificate.holds),
                int(certificate.holds and certificate.bit_exact),
                *map(float, facts),
            )
        pictures.append((i, _finite(residual), int(inverter.results.best(i)[1]), *proof))
    traces = [np.array(inverter.trace(index), np.float64).reshape(-1, 2) for index in indices]
    z = (
        np.stack([inverter.results.z[index] for index in indices])
        if indices
        else np.zeros((0, inverter.size))
    )
    arrays = {
        "z": z.astype(np.float32),
        "trace": np.concatenate([np.zeros((0, 2)), *traces]),
        "trace_rows": np.array([len(trace) for trace in traces], np.int32),
    }
    return CellResult(restarts=rows, pictures=pictures, arrays=arrays, seconds=0.0)


def _run(inverter: Inverter, picture: int, restart: int) -> bool:
    return bool(inverter.results.status[picture, restart] != Status.SKIPPED)


def _row(inverter: Inverter, inversion: Inversion, i: int, r: int) -> tuple[Json, ...]:
    status = Status(inverter.results.status[i, r]).name.lower()
    losses = _finite(inverter.results.loss[i, r]), _finite(inverter.results.final[i, r])
    return (
        i,
        r,
        *losses,
        int(inversion.steps[i, r]),
        status,
        float(inversion.evaluations[i, r]),
        int(inverter.results.label[i, r]),
    )


def _finite(value: float | np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None


def failure_of(error: Exception) -> str:
    """Return what is kept of an error: its kind and one line."""
    kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return (kind + " ".join(str(error).split()))[:1_000]
