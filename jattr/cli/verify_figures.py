"""`jattr verify`: what a result states of a latent, against the latent, and figures against those computed again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jattr.cli.result_folder import LATENTS, SavedResult

if TYPE_CHECKING:
    from jattr.decision.certificate import Certificate

# How far figures may differ on another device: float32 sums in another order move a pixel by about 1e-6, 1e-4 of a
# rounding step; the sums of squares by less than this.
RELATIVE = 1e-3  # of statistic, residual and whatever has no limit of its own
RANK = 1  # a direction at the limit of what counts
BYTES = 2e-3  # of the share of identical bytes: pixels at the border of two bytes
EDGE = 0.01  # of a rounding step: how near the border such a pixel lies
P_VALUE = 0.02
RESIDUAL = 1e-9  # (1e-6)^2 and its like, far below what rounding leaves (5e-6)
SUPPORT = 1e-6  # of the largest |z|: read, not computed


def latent_differences(saved: SavedResult, number: int, column: int) -> list[str]:
    """Return one line for each statement on a latent that the latent itself contradicts."""
    row, name = saved.data["pictures"][number], saved.data["candidates"][column]["name"]
    z, label, found = saved.z[column][number], int(saved.label[number, column]), bool(saved.found[number, column])
    if found != (row["residual"][name] is not None):
        says = "a latent" if found else "no latent"
        return [f"{LATENTS} has {says}, result.json states residual {row['residual'][name]}"]
    if not found:
        return [] if row["certificates"][name] is None else ["a certificate is stated where no latent was found"]
    if not np.isfinite(z).all():
        return ["the latent has numbers that are not finite"]
    lines = []
    if label != (-1 if row["labels"][name] is None else row["labels"][name]):
        lines.append(f"{LATENTS} has class {label}, result.json {row['labels'][name]}")
    largest, stated = float(np.abs(z).max()), (row["support"].get(name) or {}).get("largest")
    if stated is None or abs(stated - largest) > SUPPORT * largest:
        lines.append(f"support: the largest |z| is {largest:.6g}, result.json states {stated}")
    digest = hashlib.sha256(z.astype("<f4").tobytes()).hexdigest()
    if "latent_sha256" in row and row["latent_sha256"].get(name) != digest:
        lines.append("latent_sha256 is not that of the latent")
    return lines


def certificate_differences(stated: Mapping[str, Any], found: Certificate) -> list[str]:
    """Return one line for each figure of a certificate that is not what was stated."""
    if stated["holds"] and not found.holds:
        return [f"the certificate does not hold: {certificate_text(found)}"]
    lines = []
    for name, value in found.to_dict().items():
        wanted = stated.get(name, "" if name == "alteration" else value)  # older results lack what was added since
        if name == "bit_exact":
            lines += _exactness_differs(stated, found)
        elif not (_is_number(value) and _is_number(wanted)):
            if value != wanted:
                lines.append(f"{name} is {value!r}, result.json states {wanted!r}")
        elif abs(value - wanted) > _limit(name, stated, found):
            lines.append(f"{name} is {value:.6g}, result.json states {wanted:.6g}")
    return lines


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _exactness_differs(stated: Mapping[str, Any], found: Certificate) -> list[str]:
    """Return a line where "bit-exact" cannot be true of the device that stated it, or where its own share denies it."""
    if stated["bit_exact"] != (stated["identical_bytes"] == 1.0):
        return ["result.json states bit_exact, which the share of identical bytes beside it denies"]
    on_the_edge = bool(found.alteration) or found.largest_deviation <= 0.5 + EDGE
    if stated["bit_exact"] and not found.bit_exact and not (on_the_edge and found.identical_bytes >= 1 - BYTES):
        return ["result.json states bit-exact, which it is not"]
    return []


def _limit(name: str, stated: Mapping[str, Any], found: Certificate) -> float:
    """Return how far a figure may be from the one that was stated."""
    value = float(getattr(found, name))
    if name == "statistic":
        # a direction more may take a step or two away where the certificate holds, and anything where it does not
        direction = 0.0 if found.rank == stated["rank"] else 2.0 if found.holds else math.inf
        return RELATIVE * max(abs(value), 1.0) + direction
    own = {
        "identical_bytes": BYTES,
        "unclipped": 0.0,
        "rank": RANK,
        "excess": RANK,
        "p_value": P_VALUE,
        "alpha": 0.0,
        "largest_deviation": EDGE + RELATIVE * value,
        "expected": RANK + RELATIVE * value,
    }
    return own.get(name, RELATIVE * abs(value))


def residual_differs(what: str, stated: float | None, found: float) -> list[str]:
    """Return a line if a residual is not what was stated."""
    if stated is not None and abs(found - stated) <= RELATIVE * stated + RESIDUAL:
        return []
    return [f"{what} is {found:.6g}, result.json states {stated if stated is None else format(stated, '.6g')}"]


def certificate_text(found: Certificate) -> str:
    """Return a certificate's figures in words."""
    return (
        f"p {found.p_value:.3g}, statistic {found.statistic:.1f} with {found.excess} degrees of freedom,"
        f" {100 * found.identical_bytes:.2f} % of bytes identical ({found.rounding})"
    )
