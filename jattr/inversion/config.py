"""`InvertConfig`: every setting of an inversion, frozen, and its checks."""

import dataclasses
from dataclasses import dataclass

from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.generators.settings import NOISE, SPACES
from jattr.solvers import METHODS, SolverLike, as_solver, method_named
from jattr.solvers.base import Solver
from jattr.solvers.registry import facts_of
from jattr.typing import JsonObject

GRADIENTS = METHODS["lbfgs"]
LM = METHODS["levenberg-marquardt"]
LM_LOGIT = METHODS["levenberg-marquardt-logit"]
DENSE_POLISH = 512  # the largest latent that is polished with its whole Jacobian
DEAR_JACOBIAN = 5e10  # floating-point operations: above this searches begin with gradients alone


def dense_jacobian(latent_size: int, forward_cost: float) -> bool:
    """Return whether every step of a search may take the whole Jacobian."""
    return latent_size <= DENSE_POLISH and latent_size * forward_cost <= DEAR_JACOBIAN


def polish_method(size: int) -> Solver:
    """Return the Gauss-Newton method for latents of this size."""
    return LM if size <= DENSE_POLISH else METHODS["gauss-newton-cg"]


STARTS = ("linear", "pool", "prior")
PRECISIONS = ("default", "high", "highest")
# floating-point operations of a whole Jacobian: up to here many restarts cost little
CHEAP_JACOBIAN = 5e8
FEW_RESTARTS, MANY_RESTARTS = 8, 32


@dataclass(frozen=True, kw_only=True)
class InvertConfig:
    """Settings of an inversion.

    A restart is one search of one image's latent from one start; rounds of 1, 2, 4, 8, ... restarts
    run until one reaches the rounding floor or `restarts` are spent.
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
            _one_of("optimiser", self.optimiser, ("auto", *METHODS))
        _one_of("start", self.start, STARTS)
        _one_of("precision", self.precision, PRECISIONS)
        if self.distance is not None and not isinstance(self.distance, str):
            raise InputError(
                f"distance is {self.distance!r}; it is a text that load_distance reads, or None"
            )
        _one_of("space", self.space, (None, *SPACES))
        _one_of("noise", self.noise, (None, *NOISE, "search"))
        for name, low, high in (
            ("polish_steps", 0, 10_000),
            ("interval_steps", 0, 10_000),
        ):
            _within(name, getattr(self, name), low, high)
        for name, high in (
            ("restarts", 100_000),
            ("steps", 1_000_000),
            ("lanes", 1_000_000),
            ("pool", 1_000_000),
        ):
            if getattr(self, name) is not None:
                _within(name, getattr(self, name), 1, high)
        if self.stall is not None:
            _within("stall", self.stall, 0, 1, whole=False)
        _within("spread", self.spread, 0, 100, whole=False)
        for name, low, high, whole in (("psi", -10, 10, False), ("cutoff", 0, 1_000, True)):
            if getattr(self, name) is not None:
                _within(name, getattr(self, name), low, high, whole=whole)
        _within("seed", self.seed, 0, 2**63 - 1)
        if not isinstance(self.early_stop, bool):
            raise InputError(f"early_stop is {self.early_stop!r}; it is True or False")

    def facts(self) -> JsonObject:
        """Return every setting as JSON, the same in every process.

        Raises:
          InputError: the optimiser holds functions, and no name and version.
        """
        plain = dataclasses.replace(self, optimiser="auto")
        return dataclasses.asdict(plain) | {"optimiser": facts_of(self.optimiser)}

    def method_for(self, latent_size: int, forward_cost: float) -> Solver:
        """Return the method, for this size of latents and operations of a forward pass."""
        if self.optimiser != "auto":
            return as_solver(self.optimiser)
        return LM if dense_jacobian(latent_size, forward_cost) else GRADIENTS

    def restarts_for(self, latent_size: int, forward_cost: float) -> int:
        """Return the most restarts of an image; arguments as of `method_for`."""
        if self.restarts is not None:
            return self.restarts
        return MANY_RESTARTS if latent_size * forward_cost <= CHEAP_JACOBIAN else FEW_RESTARTS

    def view(self, gen: Generator) -> Generator:
        """Return the generator in the space and under the settings that are searched.

        Raises:
          GeneratorError: it does not have them.
        """
        return gen.view(self.space, psi=self.psi, cutoff=self.cutoff, noise=self.noise)


def _one_of(name: str, value: str | None, legal: tuple[str | None, ...]) -> None:
    if value not in legal:
        raise InputError(
            f"{name} is {value!r}; it is one of {', '.join(str(choice) for choice in legal)}"
        )


def _within(name: str, value: float, low: float, high: float, *, whole: bool = True) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise InputError(
            f"{name} is {value!r}; it is a {'whole ' if whole else ''}number from {low} to {high}"
        )
