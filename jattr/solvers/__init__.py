"""Solvers: frozen objects with all their numbers; they know latents and residuals, no images."""

from jattr.solvers.base import FlatProblem, Solver, Status, Trial
from jattr.solvers.first_order import FirstOrder, Optax
from jattr.solvers.implicit import implicit_gradient
from jattr.solvers.levenberg_marquardt import Damping, GaussNewtonCG, LevenbergMarquardt
from jattr.solvers.optimistix import Optimistix
from jattr.solvers.quasi_newton import BFGS, LBFGS, Backtracking
from jattr.solvers.registry import METHODS, Custom, SolverLike, as_solver, method_named, name_of

__all__ = [
    "BFGS",
    "LBFGS",
    "METHODS",
    "Backtracking",
    "Custom",
    "Damping",
    "FirstOrder",
    "FlatProblem",
    "GaussNewtonCG",
    "LevenbergMarquardt",
    "Optax",
    "Optimistix",
    "Solver",
    "SolverLike",
    "Status",
    "Trial",
    "as_solver",
    "implicit_gradient",
    "method_named",
    "name_of",
]
