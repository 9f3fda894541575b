"""Cells: one batch of images under one candidate, setting and seed.

And the plan, every cell of a spec in order.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import jax

from jattr._version import __version__
from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.generators.digest import canonical_json
from jattr.generators.names import check_candidate_names
from jattr.generators.store import load_generator
from jattr.inversion.config import search_facts
from jattr.inversion.settings import MultiStart
from jattr.source_files import sources_digest
from jattr.sweep.sources import Batch, batches_of
from jattr.sweep.spec import Setting, Spec
from jattr.sweep.threads import num_threads
from jattr.typing import JsonObject

# parts of jattr on which no cell depends
ELSEWHERE = ("cli/", "converters/", "report/", "baselines/", "ledger/", "sweep/report/")
LATER = (
    "sweep/suites.py",
    "sweep/estimate.py",
    "sweep/speed.py",
    "sweep/compare_solvers.py",
)  # the same
MAX_CELLS = 20_000  # more need a yes


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One unit of work; `key` is a hash of everything that determines its result."""

    number: int  # its place in the plan
    key: str
    batch: Batch
    batch_digest: str  # SHA-256 of what determines the images
    candidate: str
    setting: Setting
    alteration: str
    seed: int

    @property
    def search(self) -> MultiStart:
        """The settings of its searches."""
        return dataclasses.replace(self.setting.search, seed=self.seed)


@dataclass(frozen=True, eq=False)
class Plan:
    """A spec with its generators, and its cells."""

    spec: Spec
    candidates: dict[str, Generator]  # by name, in order
    makers: dict[str, Generator]  # of every image that a generator makes, by name
    places: dict[str, str]  # folder or bundled name of each generator
    cells: tuple[Cell, ...]


def make_plan(spec: Spec, generators: Mapping[str, Generator] | None = None) -> Plan:
    """Return the plan of a spec.

    Args:
      spec: the sweep.
      generators: those that are no folders, by what the spec calls them.

    Raises:
      InputError: a generator, folder or distance cannot be used, or the candidates' images have
        several shapes.
    """
    indices: dict[str, str] = {}
    given = dict(generators or {})
    candidates = _load(spec.candidates, given, indices)
    others = [index for pictures in spec.pictures for index in pictures.generators]
    strangers = _load(tuple(dict.fromkeys(others)), given, indices)
    same = sorted(set(candidates) & set(strangers))
    if same:
        raise InputError(
            f"{same[0]!r} is a candidate and one of the others; others are generators that are no"
            " candidates"
        )
    makers = candidates | strangers
    check_candidate_names(list(makers))
    shapes = {gen.image_shape for gen in makers.values()}
    if len(shapes) > 1 and (spec.against == "all" or strangers):
        raise InputError(
            f"the generators make pictures of the shapes {sorted(shapes)}; give one shape, or"
            " against = 'maker'"
        )
    for setting in spec.settings:
        for gen in candidates.values():
            setting.search.view(gen)
    names = {index: name for name, index in indices.items()}
    return Plan(spec, candidates, makers, indices, _cells(spec, candidates, makers, names))


def _load(
    texts: tuple[str, ...], given: Mapping[str, Generator], places: dict[str, str]
) -> dict[str, Generator]:
    result: dict[str, Generator] = {}
    for text in texts:
        gen = given[text] if text in given else load_generator(text)
        if gen.name in result:
            raise InputError(f"two generators are called {gen.name!r}; give each its own name")
        result[gen.name], places[gen.name] = gen, text
    return result


def _cells(
    spec: Spec,
    candidates: Mapping[str, Generator],
    makers: Mapping[str, Generator],
    names: Mapping[str, str],
) -> tuple[Cell, ...]:
    digests = {name: gen.digest for name, gen in makers.items()}
    surroundings = run_facts()
    cells: list[Cell] = []
    for batch in batches_of(spec, list(candidates), names):
        pictures = batch.facts(digests)
        batch_digest = hashlib.sha256(canonical_json(pictures)).hexdigest()
        alone = spec.against == "maker" and batch.source == "own"
        for alteration in spec.alterations:
            for name in [batch.maker] if alone else candidates:
                gen = candidates[name]
                facts = {
                    "pictures": pictures,
                    "alteration": alteration,
                    **_candidate(gen),
                    **surroundings,
                }
                for setting in spec.settings:
                    way = facts | {"setting": _setting(setting)}
                    for seed in spec.seeds:
                        key = hashlib.sha256(canonical_json(way | {"seed": seed})).hexdigest()
                        cells.append(
                            Cell(
                                number=len(cells),
                                key=key,
                                batch=batch,
                                batch_digest=batch_digest,
                                candidate=name,
                                setting=setting,
                                alteration=alteration,
                                seed=seed,
                            )
                        )
    return _unique(cells)


def _unique(cells: list[Cell]) -> tuple[Cell, ...]:
    """Raise an InputError where two cells are the same work."""
    by_key: dict[str, Cell] = {}
    for cell in cells:
        twin = by_key.setdefault(cell.key, cell)
        if twin is not cell:
            raise InputError(
                f"the same cell occurs twice: {_words(twin)} and {_words(cell)}; give each source,"
                " setting and generator once"
            )
    return tuple(cells)


def _words(cell: Cell) -> str:
    batch = cell.batch
    return (
        f"{batch.source} {batch.maker}[{batch.first}:] under {cell.candidate}, {cell.setting.name}"
    )


def _candidate(gen: Generator) -> JsonObject:
    settings = None if gen.settings is None else gen.settings.to_json()
    return {
        "candidate": gen.digest,
        "prior": gen.prior,
        "rounding": gen.rounding,
        "candidate_settings": settings,
    }


def _setting(setting: Setting) -> JsonObject:
    return search_facts(setting.search) | {"modelled": setting.modelled}


@functools.cache
def run_facts() -> dict[str, str]:
    """Return what a result depends on besides its cell.

    Code, versions, kind and number of devices, threads.
    """
    return {
        "code": code_digest(),
        "jattr": __version__,
        "jax": jax.__version__,
        "platform": jax.default_backend(),
        "devices": str(jax.local_device_count()),
        "threads": str(num_threads()),
    }


@functools.cache
def code_digest() -> str:
    """Return the SHA-256 over the files of jattr on which a cell's result depends."""
    return sources_digest(lambda name: not name.startswith(ELSEWHERE) and name not in LATER)
