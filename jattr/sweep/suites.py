"""Ready sweeps by name: the questions that are asked most.

`quick` ones take a minute or two on two cores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jattr.inversion.config import InvertConfig
from jattr.sweep.compare_solvers import solver_spec
from jattr.sweep.spec import NONE, Pictures, Setting, Spec, grid
from jattr.typing import Json

FAMILIES = ("dcgan_a", "progan_a", "stylegan2_a")  # one of each, as the paper has three
PAIR = ("dcgan_a", "dcgan_b")  # the cheapest: for quick ones
EPSILONS = (1, 2, 4, 8)
PAPER = "paper"  # name of the paper's recipe among settings


@dataclass(frozen=True)
class Suite:
    """A ready sweep."""

    question: str
    make: Callable[[tuple[str, ...], bool], Spec]  # from candidates and whether it is to be quick


def _optimisers(candidates: tuple[str, ...], quick: bool) -> Spec:
    names = [
        "auto",
        "lbfgs",
        "adam-cosine",
        *([] if quick else ["bfgs", "gauss-newton-cg", "adam-paper"]),
    ]
    settings = grid({"optimiser": names, "restarts": [2 if quick else 8]})
    return solver_spec(candidates, settings, _own(8 if quick else 32), name="optimisers")


def _restarts(candidates: tuple[str, ...], quick: bool) -> Spec:
    # each restart by itself: no polish of what is near, no stop at the first
    starts = ["linear", "pool", "prior"]
    axes: dict[str, list[Json]] = {
        "optimiser": ["lbfgs"],
        "start": starts,
        "restarts": [8],
        "early_stop": [False],
        "polish_steps": [0],
    }
    return Spec(
        name="restarts",
        candidates=candidates,
        against="maker",
        pictures=_own(8 if quick else 32),
        settings=grid(axes),
    )


def _distances(candidates: tuple[str, ...], quick: bool) -> Spec:
    names = [None, "ssim", *([] if quick else ["l1", "huber:0.1", "multiscale"])]
    return Spec(
        name="distances",
        candidates=candidates,
        pictures=_own(4 if quick else 16),
        settings=grid({"distance": names, "restarts": [2]}),
    )


def _robustness(candidates: tuple[str, ...], quick: bool) -> Spec:
    full = (
        "jpeg:95",
        "jpeg:90",
        "jpeg:75",
        "jpeg:50",
        "rescale:0.75:lanczos",
        "rescale:2:bilinear",
        "centre:0.9",
    )
    more = ("blur:1", "noise:0.05", "brightness:0.8", "brightness:1.2")
    chosen = ("jpeg:75", "blur:1") if quick else (*full, *more)
    return Spec(
        name="robustness",
        candidates=candidates,
        pictures=_own(3 if quick else 16),
        alterations=(NONE, *chosen),
        settings=grid({"restarts": [3]}, modelled=[True, False]),
    )


def _adversarial(candidates: tuple[str, ...], quick: bool) -> Spec:
    methods = ("noise",) if quick else ("noise", "orthogonal")
    attacks = tuple(
        f"{method}:{eps}" for method in methods for eps in (EPSILONS[2:] if quick else EPSILONS)
    )
    return Spec(
        name="adversarial",
        candidates=candidates,
        pictures=_own(3 if quick else 16),
        attacks=(NONE, *attacks),
        settings=grid({"restarts": [3]}),
    )


def _open_set(candidates: tuple[str, ...], quick: bool) -> Spec:
    strangers = tuple(
        name for name in ("stylegan_a", "progan_b", "dcgan_a") if name not in candidates
    )[:2]
    count = 4 if quick else 32
    others = Pictures(kind="others", generators=strangers[: 1 if quick else 2], count=count)
    return Spec(
        name="open-set",
        candidates=candidates,
        settings=grid({"restarts": [3]}),
        pictures=(*_own(count), others, Pictures(kind="renderer", count=count)),
    )


def _paper(candidates: tuple[str, ...], quick: bool) -> Spec:
    return paper_spec(candidates, count=2 if quick else 16)


def paper_spec(candidates: Sequence[str], *, count: int, distance: str | None = None) -> Spec:
    """Return the paper's recipe beside the default search, on the same images.

    3 restarts of 500 steps of Adam (b1 = 0, b2 = 0.99, rate 0.1) from the prior, argmin over the
    candidates: Zhang et al., arXiv 2008.09194, section 5. Its distance is the mean squared
    difference of Inception features (Mixed_7a); without a feature folder the recipe has pixels in
    its place.

    Args:
      candidates: folders or bundled names.
      count: images of each.
      distance: of the recipe, as `load_distance` reads it; None: pixels.
    """
    recipe = InvertConfig(
        optimiser="adam-paper",
        steps=500,
        restarts=3,
        start="prior",
        polish_steps=0,
        interval_steps=0,
        early_stop=False,
        distance=distance,
    )
    settings = (Setting(name="default", config=InvertConfig()), Setting(name=PAPER, config=recipe))
    return Spec(name="paper", candidates=tuple(candidates), pictures=_own(count), settings=settings)


def _own(count: int) -> tuple[Pictures, ...]:
    return (Pictures(kind="own", count=count),)


SUITES: Mapping[str, Suite] = {
    "optimisers": Suite("which optimiser needs the fewest evaluations?", _optimisers),
    "restarts": Suite("how many restarts until 99 %, from which starts?", _restarts),
    "distances": Suite("which distance finds the maker?", _distances),
    "robustness": Suite("what survives which alteration, modelled or not?", _robustness),
    "adversarial": Suite("what do small changes do that are meant to harm?", _adversarial),
    "open-set": Suite("are pictures of nobody told from those of the candidates?", _open_set),
    "paper": Suite("the paper's recipe beside the default search", _paper),
}


def make_suite(name: str, *, quick: bool = False, candidates: Sequence[str] = ()) -> Spec:
    """Return the spec of a suite.

    Args:
      name: a key of SUITES.
      quick: few images, and two cheap candidates unless others are given.
      candidates: folders or bundled names; none: the suite's own.

    >>> make_suite("restarts", quick=True).candidates
    ('dcgan_a', 'dcgan_b')
    """
    return SUITES[name].make(tuple(candidates) or (PAIR if quick else FAMILIES), quick)
