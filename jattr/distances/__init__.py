"""Distances between a reproduction and an image: pure, differentiable, in weighted sums.

Those of pixels need nothing else; those of features need a feature folder, which `jattr convert`
makes.
"""

from jattr.distances.base import Distance, weighted
from jattr.distances.feature_folder import load_features
from jattr.distances.features import features, lpips
from jattr.distances.networks import NETWORKS, FeatureNetwork
from jattr.distances.pixel import multiscale, pixel_huber, pixel_l1, pixel_l2
from jattr.distances.registry import DISTANCES, load_distance
from jattr.distances.structure import ssim

__all__ = [
    "DISTANCES",
    "NETWORKS",
    "Distance",
    "FeatureNetwork",
    "features",
    "load_distance",
    "load_features",
    "lpips",
    "multiscale",
    "pixel_huber",
    "pixel_l1",
    "pixel_l2",
    "ssim",
    "weighted",
]
