"""What the searches of one candidate have found: the residual of each picture's best latent, and its certificate."""

import dataclasses
from typing import NamedTuple

import numpy as np

from jattr.decision.certificate import Certificate, certify, certify_altered
from jattr.inversion.altered import Altered
from jattr.inversion.compared import Compared
from jattr.inversion.inverter import Inverter


class Best(NamedTuple):
    """The best latent of every picture under one candidate."""

    latents: np.ndarray  # [n, *latent_shape] float32
    labels: np.ndarray  # [n]; -1 if unconditional
    support: np.ndarray  # [n], largest |z|


def best_of(inverter: Inverter) -> Best:
    """Return the best latent of every picture."""
    places = [inverter.best(i) for i in range(inverter.count)]
    z = np.stack([inverter.z[place] for place in places])
    labels = np.stack([inverter.label[place] for place in places])
    latents = z.reshape(-1, *inverter.gen.latent_shape).astype(np.float32)
    return Best(latents, labels, np.abs(z).reshape(len(z), -1).max(1))


def certificates_of(inverter: Inverter) -> list[Certificate | None]:
    """Return the certificate of every picture's best latent, None where it is far or where it would prove nothing."""
    found: list[Certificate | None] = []
    for i in range(inverter.count):
        place = inverter.best(i)
        accused, label = inverter.accused, int(inverter.label[place])
        near = inverter.gen.proves and inverter.loss[place] < accused.near
        if isinstance(accused, Altered):
            proof = certify_altered(accused, i, inverter.z[place], label) if near and accused.provable else None
            found.append(proof)
            continue
        if isinstance(accused, Compared):  # certificates speak of pixels
            labels = np.array([label]) if inverter.gen.num_classes else None
            plain = dataclasses.replace(accused.as_pixels(), pixels=accused.pixels[i : i + 1])
            near = accused.original.proves and float(plain.residuals(inverter.z[place][None], labels)[0]) < plain.near
        z = inverter.z[place].reshape(inverter.gen.latent_shape)
        rule = accused.maker.rounding if isinstance(accused, Compared) else inverter.rounding[i]
        found.append(certify(accused.maker, z, accused.pixels[i], label=label, rounding=rule) if near else None)
    return found


def residuals_of(inverter: Inverter) -> np.ndarray:
    """Return the residual of the best latent of every picture [n], inf where every restart failed."""
    best = best_of(inverter)
    values = inverter.accused.residuals(best.latents, best.labels if inverter.gen.num_classes else None)
    lost = np.array([not np.isfinite(inverter.loss[inverter.best(i)]) for i in range(inverter.count)])
    return np.where(lost | ~np.isfinite(values), np.inf, values)
