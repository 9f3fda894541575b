"""`MultiStart`: how latents are searched, from many starts; every number of it is a field here.

Objects whose algorithm stands in a file of its own have their fields there: `RoundingPolish`, warm
starts, `EnsembleKalman`, and what is learnt of an observation. All are frozen and hashable, equal
objects share compiled programs, and `dataclasses.replace` changes one number.
"""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import Self, cast

import numpy as np

from jattr.distances.base import Distance
from jattr.distances.registry import DistanceLike
from jattr.errors import InputError
from jattr.generators.base import Generator
from jattr.generators.settings import NOISE, SPACES
from jattr.inversion.observation.altered import Altered
from jattr.inversion.observation.base import Thresholds
from jattr.inversion.observation.by_distance import ByDistance
from jattr.inversion.problem import FLOOR
from jattr.inversion.rounding_polish import RoundingPolish
from jattr.inversion.warm_start import EnsembleKalman, Pooling, Ridge, WarmStart
from jattr.solvers import METHODS, SolverLike, as_solver
from jattr.solvers.base import Solver, check_fields, check_idle
from jattr.typing import Json

PRECISIONS = ("default", "high", "highest")
LM = METHODS["levenberg-marquardt"]


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """When a restart ends, and when an image needs no further ones."""

    # stop restarts that stall, and an image's other restarts once one is at the floor
    early: bool = True
    # a restart stalls when a segment of steps lowers its loss by less than this fraction; None:
    # the solver's own
    stall: float | None = None
    # a loss above this is far from any solution: in another basin, or of an image that this model
    # did not make; mean square, [-1, 1] units
    far: float = 1e-2
    far_stall: float = 0.1  # fraction by which a segment must lower such a loss, at least
    settled_steps: int = 12  # most, for an image that another candidate has brought to the floor

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        _flag("stopping.early", self.early)
        if self.stall is not None:
            check_number("stopping.stall", self.stall, 0, 1, whole=False)
            if not self.early:
                raise InputError(
                    f"stopping.stall is {self.stall!r} and stopping.early is False, so that no"
                    " restart stops early; leave one of them away"
                )
        check_number("stopping.far", self.far, 0, 4, whole=False)
        check_number("stopping.far_stall", self.far_stall, 0, 1, whole=False)
        check_idle(self, ("far_stall",), idle=not self.early, why="stopping.early is False")
        check_idle(self, ("far_stall",), idle=self.stall is not None, why="stopping.stall is given")
        check_number("stopping.settled_steps", self.settled_steps, 1, 1_000_000)


AUTOMATIC_SOLVERS = ("jacobian_solver", "logit_solver", "gradient_solver", "matrix_free_solver")


@dataclass(frozen=True, kw_only=True)
class Automatic:
    """What is chosen by what a Jacobian costs, where solver or restarts are not named."""

    max_dense: int = 512  # numbers of a latent: above, steps and polish are matrix-free
    # numbers of a latent: above, no Jacobian is taken for its bits of evidence, and a lead is no
    # name
    max_evidence: int = 8192
    # floating-point operations of a whole Jacobian:
    largest_jacobian: float = 5e10  # above, none is taken whole
    # up to here restarts begin with whole Jacobians, and many cost little; above, gradients go
    # first
    cheap_jacobian: float = 5e8
    few_restarts: int = 8
    many_restarts: int = 32
    # with the whole Jacobian; the same that begins in the logit domain, where there is one
    jacobian_solver: SolverLike = LM
    logit_solver: SolverLike = METHODS["levenberg-marquardt-logit"]
    gradient_solver: SolverLike = METHODS["lbfgs"]  # where a Jacobian is dear
    matrix_free_solver: SolverLike = METHODS["gauss-newton-cg"]  # polishes latents beyond max_dense

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        for name in AUTOMATIC_SOLVERS:
            solver = as_solver(getattr(self, name), f"automatic.{name}")
            object.__setattr__(self, name, solver)
        for name in ("max_dense", "max_evidence", "few_restarts", "many_restarts"):
            check_number(f"automatic.{name}", getattr(self, name), 1, 1_000_000)
        for name in ("largest_jacobian", "cheap_jacobian"):
            check_number(f"automatic.{name}", getattr(self, name), 0, 1e18, whole=False)

    def dense_jacobian(self, latent_size: int, forward_cost: float) -> bool:
        """Return whether every step of a search may take the whole Jacobian."""
        return latent_size <= self.max_dense and latent_size * forward_cost <= self.largest_jacobian

    def solver_for(self, latent_size: int, forward_cost: float) -> Solver:
        """Return the solver of latents of this size, by the operations of a forward pass."""
        dense = self.dense_jacobian(latent_size, forward_cost)
        return self.solver("jacobian" if dense else "gradient")

    def polish_solver(self, latent_size: int) -> Solver:
        """Return the Gauss-Newton method for latents of this size."""
        return self.solver("jacobian" if latent_size <= self.max_dense else "matrix_free")

    def solver(self, kind: str) -> Solver:
        """Return the solver of a kind: "jacobian", "logit", "gradient" or "matrix_free"."""
        solver: Solver = getattr(self, f"{kind}_solver")  # `__post_init__` has made one of it
        return solver


@dataclass(frozen=True, kw_only=True)
class Variation:
    """How later restarts differ from the first, where no solver was named; see `plan`."""

    # a loss below this is near: where a Jacobian is dear, it is taken for such images from the
    # start
    almost: float = 1e-3
    gradients_first: int = 5  # restarts by gradients alone of images that are not
    # standard deviations of starts beside the best latent, in units of the prior's
    kicks: tuple[float, ...] = (0.1, 0.05, 0.2)

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self, may_be_0=("gradients_first",))


@dataclass(frozen=True, kw_only=True)
class Polish:
    """Gauss-Newton steps on the best restart, after solvers that do not end there."""

    steps: int = 12  # 0: none
    # times what the last polish of an image reached: another latent above this is not polished
    again: float = 0.9

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_number("polish.steps", self.steps, 0, 10_000)
        check_number("polish.again", self.again, 0, 1, whole=False)
        check_idle(self, ("again",), idle=not self.steps, why="polish.steps is 0")


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """How many searches run at once in one compiled program."""

    count: int | None = None  # None: what fills the device, or on CPU its caches
    on_cpu: int = 8  # of gradient methods
    max_cpu_tangents: int = 400  # of dense Jacobians in one program: more no longer speed one up
    few_jobs: int = 2  # on CPU up to so many run one after another in the program of one lane
    on_device: int = 1024  # most
    # an upper guess of the activations a pixel; lanes are halved where memory does not suffice
    activations: int = 64

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        if self.count is not None:
            check_number("lanes.count", self.count, 1, 1_000_000)
        for name in ("on_cpu", "max_cpu_tangents", "few_jobs", "on_device", "activations"):
            check_number(f"lanes.{name}", getattr(self, name), 1, 1_000_000)
        fixed = ("on_cpu", "max_cpu_tangents", "on_device", "activations")
        check_idle(self, fixed, idle=self.count is not None, why="lanes.count is given")


@dataclass(frozen=True, kw_only=True)
class MappingInverse:
    """How the latent behind styles is searched through the mapping network alone."""

    rounds: int = 12  # of searches, where the styles are near the rounding floor
    # one round of so many searches and steps, where they are not; once an image, at the end
    far_searches: int = 16
    far_steps: int = 12
    lanes: int = 16  # searches in one program: one size for all rounds, compiled once
    stuck: float = 0.9  # times the loss of the round before: one that ends above it is the last
    survivors: int = 16  # latents that the searches of the next round start beside
    # how far beside, in units of the latent's root mean square
    moves: tuple[float, ...] = (0.05, 0.1, 0.2, 0.02)
    start_spread: float = 0.9  # of the first round's starts about the guess: the largest
    population: tuple[int, int] = (16, 128)  # bounds of the number of searches in a round
    # floating-point operations of a step of all of them, on which that number depends
    round_work: float = 3e10
    steps: int = 300  # most, of a search
    stall: float = 0.02  # a segment of steps must lower the loss by this fraction
    solver: SolverLike = LM

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        object.__setattr__(self, "solver", as_solver(self.solver, "mapping.solver"))
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class TwoStage:
    """How style-based generators are searched: first the styles, then the latent behind them."""

    # times the noise: styles below this are the image's own; a sibling generator's come near it
    hit: float = 2.0
    close: float = 0.04  # of the styles' residual: what the latent may add to it
    # of likeliest styles, deviations in standard ones: the true latent leaves 1
    likely: float = 1.5
    beyond: float = 4.0  # times that aim: a latent that leaves more does not explain the image
    mapping: MappingInverse = field(default_factory=MappingInverse)

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class NuisanceFit:
    """How unknown factors of an alteration are fitted, as further numbers of the latent."""

    log_spread: float = 0.3  # standard deviation of a free factor's logarithm
    floor: float = 4.0  # times the floor of one rounding: bytes were rounded more than once
    restarts: int = 3  # unless the search says how many
    digits: int = 5  # of a fitted factor
    bounds: tuple[float, float] = (0.01, 100.0)  # of a factor

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class Observing:
    """How images are observed: thresholds of their losses, and what is learnt of them."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    altered: Altered = field(default_factory=Altered)
    by_distance: ByDistance = field(default_factory=ByDistance)
    nuisance_fit: NuisanceFit = field(default_factory=NuisanceFit)
    # mean squared residual below which an image no longer weighs more against the prior
    sharpest: float = FLOOR / 50

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
          InputError: one is not legal.
        """
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class MultiStart:
    """Searches of an image's latent from many starts: every setting of an inversion.

    A restart is one search of one image's latent from one start; rounds of 1, 2, 4, 8, ... restarts
    run until one reaches the rounding floor or `restarts` are spent.

    >>> MultiStart(restarts=4, stopping=Stopping(stall=0.05)).restarts
    4
    """

    # a solver object, an optax transformation, or the text that names one; None: by the cost of a
    # Jacobian (`automatic`), and later restarts differ (`variation`)
    solver: SolverLike | None = None
    steps: int | None = None  # most steps of one restart; None: the solver's own number
    # most restarts for each image and candidate; None: few, or many where they cost little
    restarts: int | None = None
    warm_start: WarmStart = field(default_factory=Ridge)
    pooling: Pooling = field(default_factory=Pooling)  # of prior samples: moments, warm starts
    variation: Variation = field(default_factory=Variation)
    ensemble: EnsembleKalman = field(default_factory=EnsembleKalman)
    two_stage: TwoStage = field(default_factory=TwoStage)
    polish: Polish = field(default_factory=Polish)
    rounding_polish: RoundingPolish = field(default_factory=RoundingPolish)
    stopping: Stopping = field(default_factory=Stopping)
    automatic: Automatic = field(default_factory=Automatic)
    lanes: Lanes = field(default_factory=Lanes)
    observing: Observing = field(default_factory=Observing)
    # what is searched by: a `Distance`, a function of two images [H, W, C] that gives a number, or
    # a text that `load_distance` reads; None: pixels, their rounding known
    distance: DistanceLike | None = None
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
          InputError: one is not legal, or has no effect beside another.
        """
        if self.steps is not None:
            check_number("steps", self.steps, 1, 1_000_000)
        if self.restarts is not None:
            check_number("restarts", self.restarts, 1, 100_000)
        if isinstance(self.warm_start, type) or not callable(self.warm_start):
            raise InputError(
                f"warm_start is {self.warm_start!r}; it is Ridge(), Pool(), Prior(), Encoder(),"
                " Given(latents) of jattr.warm_starts, or a function like them"
            )
        try:
            hash(self.warm_start)
        except TypeError:
            raise InputError(
                f"warm_start is {self.warm_start!r}, which has no hash; make its class a frozen"
                " dataclass"
            ) from None
        for item in dataclasses.fields(self):
            kind = PARTS.get(item.name)
            if kind is not None and not isinstance(getattr(self, item.name), kind):
                raise InputError(
                    f"{item.name} is {getattr(self, item.name)!r}; it is a {kind.__name__}"
                )
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("space", self.space, (None, *SPACES))
        check_choice("noise", self.noise, (None, *NOISE, "search"))
        if self.psi is not None:
            check_number("psi", self.psi, -10, 10, whole=False)
        if self.cutoff is not None:
            check_number("cutoff", self.cutoff, 0, 1_000)
        check_number("seed", self.seed, 0, 2**63 - 1)
        self._check_distance()
        if self.solver is not None:
            object.__setattr__(self, "solver", as_solver(self.solver))
            self._check_solver(cast(Solver, self.solver))
        if self.restarts is not None:
            counts = ("few_restarts", "many_restarts")
            check_idle(self.automatic, counts, idle=True, why="restarts is given")
        if self.restarts == 1:
            self._check_parts(("variation", "ensemble"), "on one restart, but on later ones")

    def _check_distance(self) -> None:
        """Check that nothing is set that has an effect only with a distance, or only without."""
        for name in ("altered", "nuisance_fit"):
            if self.distance is not None and getattr(self.observing, name) != OF_PIXELS[name]():
                raise InputError(
                    f"observing.{name} has no effect beside a distance, which compares images as"
                    f" they are; leave observing.{name} or distance away"
                )
        if self.distance is None and self.observing.by_distance != ByDistance():
            raise InputError(
                "observing.by_distance has no effect without a distance; give one, or leave"
                " observing.by_distance away"
            )
        if self.distance is not None:
            self._check_parts(("two_stage",), "beside a distance, which compares no styles")

    def _check_solver(self, solver: Solver) -> None:
        """Check that nothing is set that has no effect beside a named solver."""
        self._check_parts(
            ("variation", "ensemble", "two_stage"),
            f"with the solver {solver!r}: every restart is that solver's, from its own start",
        )
        choices = ["largest_jacobian", "logit_solver", "gradient_solver"]
        choices += ["cheap_jacobian"] if self.restarts is not None else []
        check_idle(self.automatic, choices, idle=True, why="a solver is named")
        for name, given in (("steps", self.steps), ("stall", self.stopping.stall)):
            check_idle(solver, (name,), idle=given is not None, why=f"the search's {name} is given")

    def _check_parts(self, names: tuple[str, ...], where: str) -> None:
        for name in names:
            if getattr(self, name) != PARTS[name]():
                raise InputError(f"{name} has no effect {where}; leave one of them away")

    def view(self, gen: Generator) -> Generator:
        """Return the generator in the space and under the settings that are searched.

        Raises:
          GeneratorError: it does not have them.
        """
        return gen.view(self.space, psi=self.psi, cutoff=self.cutoff, noise=self.noise)

    def with_restarts(self, restarts: int) -> Self:
        """Return the search with so many restarts, and without what that makes idle."""
        automatic = dataclasses.replace(
            self.automatic,
            few_restarts=Automatic.few_restarts,
            many_restarts=Automatic.many_restarts,
        )
        changes: dict[str, object] = {"restarts": restarts, "automatic": automatic}
        if restarts == 1:
            changes |= {"variation": Variation(), "ensemble": EnsembleKalman()}
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    @property
    def named_solver(self) -> Solver | None:
        """The solver of every restart; None: by the cost of a Jacobian."""
        return cast(Solver | None, self.solver)  # `__post_init__` has made one of it

    def solver_for(self, latent_size: int, forward_cost: float) -> Solver:
        """Return the solver of the first restart, by the operations of a forward pass."""
        return self.named_solver or self.automatic.solver_for(latent_size, forward_cost)

    def restarts_for(self, latent_size: int, forward_cost: float) -> int:
        """Return the most restarts of an image, by the operations of a forward pass."""
        if self.restarts is not None:
            return self.restarts
        few = latent_size * forward_cost > self.automatic.cheap_jacobian
        return self.automatic.few_restarts if few else self.automatic.many_restarts


OF_PIXELS: dict[str, type] = {"altered": Altered, "nuisance_fit": NuisanceFit}
# The settings that are objects of one kind.
PARTS: dict[str, type] = {
    "pooling": Pooling,
    "variation": Variation,
    "ensemble": EnsembleKalman,
    "two_stage": TwoStage,
    "polish": Polish,
    "rounding_polish": RoundingPolish,
    "stopping": Stopping,
    "automatic": Automatic,
    "lanes": Lanes,
    "observing": Observing,
}


def describe(setting: object) -> Json:
    """Return a setting as JSON that is the same in every process: keys of stored results hold it.

    Objects are their kind and fields, arrays their digest, functions their `name` and `version`.

    Raises:
      InputError: a function without a name and a version.
    """
    if setting is None or isinstance(setting, (bool, int, float, str)):
        return setting
    if isinstance(setting, (tuple, list)) and not hasattr(setting, "_fields"):
        return [describe(part) for part in setting]
    if isinstance(setting, Distance):
        return {"kind": "Distance", "digest": setting.digest}
    if isinstance(setting, np.ndarray):
        content = str(setting.dtype).encode() + np.ascontiguousarray(setting).tobytes()
        return {"shape": list(setting.shape), "sha256": hashlib.sha256(content).hexdigest()}
    name, version = getattr(setting, "name", None), getattr(setting, "version", None)
    is_named = isinstance(name, str) and name and isinstance(version, str) and version
    if dataclasses.is_dataclass(setting) and not isinstance(setting, type):
        facts: dict[str, Json] = {"kind": type(setting).__name__}
        if is_named:
            facts |= {"name": name, "version": version}
        elif not type(setting).__module__.startswith("jattr."):
            # what a class of the caller's own computes may change, and its fields would not say so
            raise _unnamed(setting)
        for item in dataclasses.fields(setting):
            try:
                facts[item.name] = describe(getattr(setting, item.name))
            except InputError:
                if not is_named:
                    raise
        return facts
    if is_named:
        return {"name": name, "version": version}
    raise _unnamed(setting)


def _unnamed(setting: object) -> InputError:
    return InputError(
        f"{setting!r} has no name and version by which results of it can be kept; give"
        " Optax(transform, name=..., version=...), or your object the attributes name and version"
        " (texts), changed whenever it computes something else"
    )


def check_choice(name: str, value: str | None, legal: tuple[str | None, ...]) -> None:
    """Check that a setting is one of the legal ones.

    Raises:
      InputError: it is not.
    """
    if value not in legal:
        raise InputError(
            f"{name} is {value!r}; it is one of {', '.join(str(choice) for choice in legal)}"
        )


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; it is True or False")


def check_number(name: str, value: float, low: float, high: float, *, whole: bool = True) -> None:
    """Check that a setting is a number within bounds.

    Raises:
      InputError: it is not.
    """
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise InputError(
            f"{name} is {value!r}; it is a {'whole ' if whole else ''}number from {low} to {high}"
        )
