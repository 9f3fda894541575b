"""Tables of a store: rows that stand alone, in the order of the plan, with what depends on the
clock kept apart.

Columns whose names begin with `timing` are the only ones that differ between two runs of one sweep
on one machine.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jattr.sweep.run import stored_spec
from jattr.sweep.spec import Spec
from jattr.sweep.store import DONE, Store, Table
from jattr.typing import Json, JsonObject

TIMING = "timing"
ARRIVED = "arrived"  # the status of a restart that reached the floor
FACTS = (
    "source",
    "pictures_seed",
    "maker",
    "attack",
    "alteration",
    "candidate",
    "setting",
    "modelled",
    "seed",
)


class SourceImage(NamedTuple):
    """One image of a sweep before its alteration; two of the same values are the same image."""

    batch: str  # digest of the images that it was made or read with
    source: str
    maker: str  # the generator's name; "" where none made it
    number: int  # within its source and maker
    attack: str

    @property
    def own(self) -> bool:
        """Whether a candidate made it."""
        return bool(self.maker) and self.source == "own"

    @property
    def truth(self) -> str:
        """Who made it, in words: the candidate's name, or where it comes from."""
        return (
            self.maker
            if self.own
            else f"{self.source}: {self.maker}"
            if self.maker
            else self.source
        )


class Run(NamedTuple):
    """One restart."""

    restart: int
    status: str  # name of `jattr.inversion.scheduler.Status`, in small letters
    best: float | None  # lowest mean squared residual, [-1, 1] units
    evaluations: float  # forward passes
    trace: np.ndarray  # [m, 2], (evaluations of this restart, lowest residual so far)


class Searched(NamedTuple):
    """One image under one candidate, setting and seed."""

    picture: SourceImage
    alteration: str
    candidate: str
    setting: str
    seed: int
    cell: int
    residual: float | None  # None: every restart failed
    certified: bool
    bit_exact: bool
    runs: tuple[Run, ...]  # the restarts that ran, in order

    @property
    def evaluations(self) -> float:
        """Forward passes of all its restarts."""
        return float(sum(run.evaluations for run in self.runs))

    @property
    def arrived(self) -> bool:
        """Whether a restart arrived at the floor."""
        return any(run.status == ARRIVED for run in self.runs)

    @property
    def used(self) -> int:
        """Restarts up to and with the first that arrived, or all that ran."""
        first = next((index for index, run in enumerate(self.runs) if run.status == ARRIVED), None)
        return len(self.runs) if first is None else first + 1


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that metrics are computed from."""

    spec: Spec
    spec_json: JsonObject  # the same as the store has it
    origin: JsonObject  # code, versions, digests: what the store says of itself
    digests: dict[str, str]  # of every generator, by name
    candidates: tuple[str, ...]  # names, in order
    cells: Table
    pictures: Table
    restarts: Table
    searched: tuple[Searched, ...]


def read(store: Store) -> Results:
    """Return the results of a store; nothing else of it is needed for tables, figures and pages."""
    spec, meta, cells = stored_spec(store), store.meta(), store.table("cells")
    pictures, restarts = store.table("pictures"), store.table("restarts")
    return Results(
        spec=spec,
        spec_json=meta["spec"],
        origin={name: value for name, value in meta.items() if name != "spec"},
        digests=dict(meta.get("generators", {})),
        candidates=tuple(meta.get("candidates", ())),
        cells=cells,
        pictures=_joined(cells, pictures, "picture"),
        restarts=_joined(cells, restarts, "picture"),
        searched=tuple(_searched(store, cells, pictures, restarts)),
    )


def split_timing(table: Table, keys: Sequence[str] = ()) -> tuple[Table, Table]:
    """Return a table without its timing columns, and those with the columns `keys` before them."""
    indices = range(len(table.columns))
    timed = [i for i in indices if table.columns[i].startswith(TIMING)]
    untimed = [i for i in indices if i not in timed]
    apart = [table.columns.index(key) for key in keys] + timed
    return _columns(table, untimed), _columns(table, apart)


def rows_table(kind: type[Any], rows: Iterable[Any]) -> Table:
    """Return rows of one NamedTuple type as a table."""
    return Table(kind._fields, [tuple(row) for row in rows])


def summary(store: Store) -> str:
    """Return what a store holds, in a few lines for a terminal."""
    cells = store.table("cells")
    failed = [row for row in cells.rows if row[cells.columns.index("status")] != DONE]
    spec = stored_spec(store)
    lines = [
        f"sweep {spec.name!r}: {len(cells.rows)} cells, {len(failed)} of them failed;"
        f" {len(store.table('pictures').rows)} searches of pictures,"
        f" {len(store.table('restarts').rows)} restarts",
        f"settings {len(spec.settings)}, candidates {len(spec.candidates)}, alterations"
        f" {len(spec.alterations)},"
        f" attacks {len(spec.attacks)}, seeds {len(spec.seeds)}",
    ]
    if failed:
        number, error = (failed[0][cells.columns.index(name)] for name in ("number", "error"))
        lines.append(f"the first that failed: cell {number}: {error}")
    return "\n".join(lines)


def _joined(cells: Table, table: Table, number: str) -> Table:
    """Return a table of images or restarts with its cell's facts in front, images numbered
    within their source.
    """
    facts = [cells.columns.index(name) for name in FACTS]
    first = cells.columns.index("first")
    by_number = {row[0]: row for row in cells.rows}
    at = table.columns.index(number)
    rows = [
        (
            row[0],
            *(by_number[row[0]][i] for i in facts),
            by_number[row[0]][first] + row[at],
            *row[at + 1 :],
        )
        for row in table.rows
    ]
    return Table(("cell", *FACTS, *table.columns[at:]), rows)


def _searched(store: Store, cells: Table, pictures: Table, restarts: Table) -> Iterable[Searched]:
    of_image: dict[tuple[int, int], list[Json]] = {}
    for row in restarts.rows:
        of_image.setdefault(row[:2], []).append(row)
    of_cell: dict[int, list[Json]] = {}
    for row in pictures.rows:
        of_cell.setdefault(row[0], []).append(row)
    for row in cells.rows:
        cell = dict(zip(cells.columns, row, strict=True))
        if cell["status"] != DONE:
            continue
        number = cell["number"]
        traces = iter(_traces(store, number))
        for result in of_cell.get(number, []):
            runs = tuple(
                _run(restarts, r, next(traces)) for r in of_image.get((number, result[1]), [])
            )
            values = dict(zip(pictures.columns, result, strict=True))
            yield Searched(
                picture=SourceImage(
                    cell["batch"],
                    cell["source"],
                    cell["maker"],
                    cell["first"] + result[1],
                    cell["attack"],
                ),
                alteration=cell["alteration"],
                candidate=cell["candidate"],
                setting=cell["setting"],
                seed=cell["seed"],
                cell=number,
                residual=values["residual"],
                certified=bool(values["certified"]),
                bit_exact=bool(values["bit_exact"]),
                runs=runs,
            )


def _traces(store: Store, cell: int) -> list[np.ndarray]:
    """Return the trace of every restart of a cell, in the order of its rows.

    By image, then restart.
    """
    whole, rows = store.array(cell, "trace"), store.array(cell, "trace_rows")
    return np.split(whole, np.cumsum(rows)[:-1]) if len(rows) else []


def _run(table: Table, row: tuple[Json, ...], trace: np.ndarray) -> Run:
    values = dict(zip(table.columns, row, strict=True))
    return Run(values["restart"], values["status"], values["best"], values["evaluations"], trace)


def _columns(table: Table, places: Sequence[int]) -> Table:
    return Table(
        tuple(table.columns[i] for i in places),
        [tuple(row[i] for i in places) for row in table.rows],
    )
