"""What the restarts of own images say of a search of another image, in numbers and in words."""

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from jattr.decision.restart_power import Restarts, expected_restarts

RARE = 1e-3  # chance of a miss that counts as settled


@dataclass(frozen=True)
class Power:
    """How likely so many restarts miss an image that the candidate made, by its calibration."""

    restarts: int  # that were run
    images: int  # own images that were searched
    arrived: int  # of them, brought to the floor
    # restarts up to one that arrives, were all images equally hard; None: none arrived
    expected: float | None
    # share of own images that so many restarts miss, at most (95 %), without a model
    miss_bound: float
    miss_model: float  # the same by models that can be too hopeful: `Restarts.missed`, at 95 % too
    # restarts that miss at most `RARE`, by the models; None: none arrived, or none are enough
    needed: int | None

    def to_dict(self) -> dict[str, float | None]:
        """Return the fields as JSON values; `pictures` is the formats' word for the own images."""
        return {
            "pictures" if name == "images" else name: value for name, value in asdict(self).items()
        }


@functools.lru_cache(maxsize=4096)
def power_of(own: Restarts, restarts: int) -> Power:
    """Return what the searches of own images say of so many restarts."""
    expected = expected_restarts(own.rate)
    return Power(
        restarts=restarts,
        images=len(own.used),
        arrived=sum(own.arrived),
        expected=expected if math.isfinite(expected) else None,
        miss_bound=own.missed_at_most(restarts),
        miss_model=own.missed(restarts),
        needed=own.needed(RARE),
    )


def missed_by_all(powers: Sequence[Power | None]) -> str:
    """Return how many own images all candidates' searches miss, in words; "" where one is unknown.

    >>> missed_by_all([power_of(Restarts((1,) * 100, (True,) * 100), 8)])
    '; 8 restarts miss at most 3 % of its own images (95 % sure, without a model)'
    """
    measured = [power for power in powers if power is not None and power.arrived]
    if not measured or len(measured) < len(powers):
        return ""
    restarts = " or ".join(str(number) for number in sorted({power.restarts for power in measured}))
    worst = max(power.miss_bound for power in measured)
    whose = "its" if len(measured) == 1 else "any candidate's"
    return (
        f"; {_runs(restarts)} at most {_percent(worst)} of {whose} own images (95 % sure,"
        " without a model)"
    )


def what_restarts_settle(power: Power | None) -> str:
    """Return whether more restarts would settle an open case, in words; "" where it is unknown.

    >>> what_restarts_settle(power_of(Restarts((1, 3, 2, 3) * 5, (True, True, True, False) * 5), 3))
    '; 3 restarts miss at most 46 % of its own images (95 % sure), 29 would miss about 0.1 %'
    """
    if power is None:
        return ""
    if not power.arrived:
        return (
            f"; none of {power.images} own images was found, so more restarts would not settle it"
        )
    text = (
        f"; {_runs(str(power.restarts))} at most {_percent(power.miss_bound)} of its own images"
        " (95 % sure)"
    )
    if power.needed is None or power.needed <= power.restarts:
        return text
    return f"{text}, {power.needed} would miss about {_percent(RARE)}"


def found_in_words(own: Restarts) -> str:
    """Return how the searches of a candidate's own images went, as `calibrate` prints it.

    >>> own = Restarts((1, 1, 2, 3), (True, True, True, False))
    >>> found_in_words(own)  # doctest: +NORMALIZE_WHITESPACE
    '3 of 4 arrived, 2.3 restarts expected; 3 restarts miss 66 % with a model, at most 75 % without;
    1164 miss 0.1 %'
    """
    power = power_of(own, own.most)
    if power.expected is None:
        return f"0 of {power.images} arrived within {power.restarts} restarts: more may not help"
    needed = (
        "no number of them is known to be enough"
        if power.needed is None
        else f"{power.needed} miss 0.1 %"
    )
    return (
        f"{power.arrived} of {power.images} arrived, {power.expected:.1f} restarts expected;"
        f" {_runs(str(power.restarts))} {_percent(power.miss_model)} with a model,"
        f" at most {_percent(power.miss_bound)} without; {needed}"
    )


def _runs(restarts: str) -> str:
    return "1 restart misses" if restarts == "1" else f"{restarts} restarts miss"


def _percent(share: float) -> str:
    """Return a share in two digits."""
    return "100 %" if share > 0.995 else f"{100 * share:.2g} %"
