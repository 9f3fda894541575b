"""jattr tells which generative model made an image, by inverting the candidates.

The names below are all there is to import from here; importing `jattr` itself imports neither jax
nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jattr._version import __version__

if TYPE_CHECKING:
    from jattr import errors, solvers
    from jattr.alterations import AlteredImages, alter, from_jpeg, parse_chain
    from jattr.attribution.attribute import attribute
    from jattr.attribution.calibrate import calibrate
    from jattr.attribution.other_settings import OtherSettings
    from jattr.attribution.racing import Racing
    from jattr.attribution.result import Attribution
    from jattr.attribution.second_look import SecondLook
    from jattr.distances import load_distance
    from jattr.generators.base import Generator
    from jattr.generators.from_torch import from_torch
    from jattr.generators.store import load_generator
    from jattr.inversion import Inversion, InvertConfig, MultiStart, invert, problem_of, settings
    from jattr.inversion import warm_start as warm_starts
    from jattr.solvers.prior import Prior
    from jattr.solvers.problem import Problem
    from jattr.solvers.solve import Solution, solve
    from jattr.sweep.compare_solvers import compare_solvers
    from jattr.sweep.report.comparison import SolverComparison
    from jattr.verification.report import Verification
    from jattr.verification.verify import verify

__all__ = [
    "AlteredImages",
    "Attribution",
    "Generator",
    "Inversion",
    "InvertConfig",
    "MultiStart",
    "OtherSettings",
    "Prior",
    "Problem",
    "Racing",
    "SecondLook",
    "Solution",
    "SolverComparison",
    "Verification",
    "__version__",
    "alter",
    "attribute",
    "calibrate",
    "compare_solvers",
    "errors",
    "from_jpeg",
    "from_torch",
    "invert",
    "load_distance",
    "load_generator",
    "parse_chain",
    "problem_of",
    "settings",
    "solve",
    "solvers",
    "verify",
    "warm_starts",
]

_MODULE_OF = {
    "AlteredImages": "jattr.alterations",
    "Attribution": "jattr.attribution.result",
    "Generator": "jattr.generators.base",
    "Inversion": "jattr.inversion",
    "InvertConfig": "jattr.inversion",
    "MultiStart": "jattr.inversion",
    "Prior": "jattr.solvers.prior",
    "Problem": "jattr.solvers.problem",
    "OtherSettings": "jattr.attribution.other_settings",
    "Racing": "jattr.attribution.racing",
    "SecondLook": "jattr.attribution.second_look",
    "Solution": "jattr.solvers.solve",
    "SolverComparison": "jattr.sweep.report.comparison",
    "Verification": "jattr.verification.report",
    "alter": "jattr.alterations",
    "attribute": "jattr.attribution.attribute",
    "calibrate": "jattr.attribution.calibrate",
    "compare_solvers": "jattr.sweep.compare_solvers",
    "from_jpeg": "jattr.alterations",
    "from_torch": "jattr.generators.from_torch",
    "invert": "jattr.inversion",
    "load_distance": "jattr.distances",
    "load_generator": "jattr.generators.store",
    "parse_chain": "jattr.alterations",
    "problem_of": "jattr.inversion",
    "solve": "jattr.solvers.solve",
    "verify": "jattr.verification.verify",
}  # public name -> its module, imported when the name is first used
_MODULES = {
    "errors": "jattr.errors",
    "settings": "jattr.inversion.settings",
    "solvers": "jattr.solvers",
    "warm_starts": "jattr.inversion.warm_start",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _MODULE_OF:
        raise AttributeError(
            f"module 'jattr' has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    value = getattr(import_module(_MODULE_OF[name]), name)
    if name in ("Attribution", "attribute"):  # neither of which imports notebooks
        import_module("jattr.report.notebook").register()
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
