"""`InvertConfig`: the flat spelling of a search, as the command line and files have it."""

import dataclasses
import functools
from dataclasses import dataclass

from jattr.distances.registry import as_distance
from jattr.errors import InputError
from jattr.generators.settings import NOISE, SPACES
from jattr.inversion.rounding_polish import RoundingPolish
from jattr.inversion.settings import (
    PRECISIONS,
    Lanes,
    MultiStart,
    Polish,
    Stopping,
    check_choice,
    check_number,
    describe,
)
from jattr.inversion.warm_start import WARM_STARTS, Pool, Pooling, Prior, Ridge
from jattr.solvers import METHODS, SolverLike, as_solver, method_named, name_of
from jattr.typing import Json

STARTS = tuple(WARM_STARTS)
WARM_START_NAMES = {Ridge: "linear", Pool: "pool", Prior: "prior"}


@dataclass(frozen=True, kw_only=True)
class InvertConfig:
    """Settings of an inversion by the names of flags and of keys in files.

    `search` is the `MultiStart` that they spell; that has many more.
    """

    # a solver object, an optax transformation, or a text: of METHODS, or NAME:RATE[:SCHEDULE];
    # "auto": by the cost of a Jacobian
    optimiser: SolverLike = "auto"
    steps: int | None = None  # most steps of one restart; None: the method's own number
    # most restarts for each image and candidate; None: 8, or 32 where they cost little
    restarts: int | None = None
    # "linear" (guess by a ridge regression on prior samples, then noise), "pool", "prior"
    start: str = "linear"
    # prior samples for the first two kinds of start; None: 512 or, from 16 images on, 2,048
    pool: int | None = None
    # standard deviation of what guesses but the first get added; growing, in units of the prior's
    spread: float = 0.3
    lanes: int | None = None  # searches in one compiled program; None: from backend and memory
    # Levenberg-Marquardt steps on the best restart, for methods that do not end there
    polish_steps: int = 12
    # most Jacobians of the search for a latent whose every pixel rounds to the accused byte
    interval_steps: int = 9
    # a restart stops when a segment of steps lowers its loss by less; None: the method's
    stall: float | None = None
    # stop restarts that stall, and an image's other restarts once one is at the floor
    early_stop: bool = True
    # as `load_distance` reads it: what is searched by; None: pixels, their rounding known
    distance: str | None = None
    precision: str = "default"  # matrix products of the search; certificates always use "highest"
    space: str | None = None  # "z", "w", "w+"; None: the space that the generator is given in
    psi: float | None = None  # truncation of style-based generators; None: the card's
    cutoff: int | None = None  # number of styles that psi applies to; None: the card's
    # "const", "none", or "search": the maps are part of the latent; None: the card's
    noise: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        if not isinstance(self.optimiser, str):
            object.__setattr__(self, "optimiser", as_solver(self.optimiser, "optimiser"))
        elif ":" in self.optimiser:
            method_named(self.optimiser)
        else:
            check_choice("optimiser", self.optimiser, ("auto", *METHODS))
        check_choice("start", self.start, STARTS)
        check_choice("precision", self.precision, PRECISIONS)
        if self.distance is not None and not isinstance(self.distance, str):
            raise InputError(
                f"distance is {self.distance!r}; it is a text that load_distance reads, or None"
            )
        check_choice("space", self.space, (None, *SPACES))
        check_choice("noise", self.noise, (None, *NOISE, "search"))
        for name, low, high in (
            ("polish_steps", 0, 10_000),
            ("interval_steps", 0, 10_000),
        ):
            check_number(name, getattr(self, name), low, high)
        for name, high in (
            ("restarts", 100_000),
            ("steps", 1_000_000),
            ("lanes", 1_000_000),
            ("pool", 1_000_000),
        ):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), 1, high)
        if self.stall is not None:
            check_number("stall", self.stall, 0, 1, whole=False)
        check_number("spread", self.spread, 0, 100, whole=False)
        for name, low, high, whole in (("psi", -10, 10, False), ("cutoff", 0, 1_000, True)):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), low, high, whole=whole)
        check_number("seed", self.seed, 0, 2**63 - 1)
        if not isinstance(self.early_stop, bool):
            raise InputError(f"early_stop is {self.early_stop!r}; it is True or False")
        as_search(self)  # checks what does not go together

    @functools.cached_property
    def search(self) -> MultiStart:
        """The search that these settings spell."""
        return MultiStart(
            solver=None if self.optimiser == "auto" else as_solver(self.optimiser),
            steps=self.steps,
            restarts=self.restarts,
            warm_start=WARM_STARTS[self.start](self.spread),
            pooling=Pooling(size=self.pool),
            polish=Polish(steps=self.polish_steps),
            rounding_polish=RoundingPolish(jacobians=self.interval_steps),
            stopping=Stopping(early=self.early_stop, stall=self.stall),
            lanes=Lanes(count=self.lanes),
            distance=self.distance,
            precision=self.precision,
            space=self.space,
            psi=self.psi,
            cutoff=self.cutoff,
            noise=self.noise,
            seed=self.seed,
        )


def as_search(search: MultiStart | InvertConfig | None) -> MultiStart:
    """Return a search: itself, the one that flat settings spell, or the default one.

    Raises:
      InputError: it is none of these.
    """
    if search is None:
        return MultiStart()
    if isinstance(search, InvertConfig):
        return search.search
    if isinstance(search, MultiStart):
        return search
    raise InputError(f"search is {search!r}; it is a MultiStart, an InvertConfig or None")


def flat_settings(search: MultiStart) -> InvertConfig | None:
    """Return the flat settings that spell a search; None: it has others than those spell."""
    start = search.warm_start
    guess = start.guess if isinstance(start, (Pool, Prior)) else start
    try:
        flat = InvertConfig(
            optimiser="auto" if search.named_solver is None else name_of(search.named_solver),
            steps=search.steps,
            restarts=search.restarts,
            start=WARM_START_NAMES.get(type(start), ""),
            pool=search.pooling.size,
            spread=guess.spread if isinstance(guess, Ridge) else Ridge.spread,
            lanes=search.lanes.count,
            polish_steps=search.polish.steps,
            interval_steps=search.rounding_polish.jacobians,
            stall=search.stopping.stall,
            early_stop=search.stopping.early,
            distance=search.distance if isinstance(search.distance, str) else None,
            precision=search.precision,
            space=search.space,
            psi=search.psi,
            cutoff=search.cutoff,
            noise=search.noise,
            seed=search.seed,
        )
    except InputError:
        return None
    return flat if flat.search == search else None


def search_facts(search: MultiStart) -> dict[str, Json]:
    """Return everything that a search's results depend on as JSON: of seed and lanes nothing.

    Flat settings by their names, as keys of stored results have had them from the first; others as
    `describe` has them. A distance by its digest, wherever the folder of its weights lies.

    Raises:
      InputError: a function without a name and a version.
    """
    distance = None if search.distance is None else as_distance(search.distance)
    if not isinstance(search.distance, str):
        describe(search.distance)  # two functions of one name would share a digest
    flat = flat_settings(search)
    if flat is not None:
        facts = dataclasses.asdict(flat)
        if distance is not None:
            facts["distance"] = distance.digest
        del facts["seed"], facts["lanes"]
        return facts
    plain = dataclasses.replace(search, seed=0, lanes=Lanes(), distance=distance)
    return {"search": describe(plain)}
