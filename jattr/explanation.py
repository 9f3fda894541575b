"""Which of several alterations explains a picture best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jattr.attribution import Attribution


class Explanation(NamedTuple):
    """A picture in an attribution that took it as altered in one way."""

    attribution: Attribution
    picture: int  # its number there


def best_explanation(found: Sequence[Explanation]) -> Explanation:
    """Return the explanation with a certificate, the one of the largest p-value; without any, the closest one.

    The closest one has the least residual as a multiple of what the true latent would leave under its alteration.
    """

    def rank(explanation: Explanation) -> tuple[bool, float, float]:
        att, i = explanation
        certificate = att.verdicts[i].certificate
        return (
            certificate is not None,
            0.0 if certificate is None else certificate.p_value,
            -float(np.min(att.residual[i] / att.noise)),
        )

    return max(found, key=rank)
