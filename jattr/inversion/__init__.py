"""Inversion: the latent that makes a generator reproduce an image."""

from jattr.inversion.config import InvertConfig
from jattr.inversion.invert import invert, make_invert
from jattr.inversion.problem import Prior
from jattr.inversion.scheduler import Status
from jattr.solvers.base import Inversion

__all__ = ["Inversion", "InvertConfig", "Prior", "Status", "invert", "make_invert"]
