"""Inversion: the latent that makes a generator reproduce an image."""

from jattr.inversion.config import InvertConfig
from jattr.inversion.invert import invert, problem_of
from jattr.inversion.multistart import Inversion
from jattr.inversion.scheduler import Status
from jattr.inversion.settings import MultiStart
from jattr.solvers.base import Prior

__all__ = ["Inversion", "InvertConfig", "MultiStart", "Prior", "Status", "invert", "problem_of"]
