"""Inversion: the latent that makes a generator reproduce a picture."""

from jattr.inversion.config import InvertConfig
from jattr.inversion.invert import Inversion, invert, make_invert
from jattr.inversion.lanes import Status

__all__ = ["Inversion", "InvertConfig", "Status", "invert", "make_invert"]
