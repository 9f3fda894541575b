"""How old a candidate's weights are known to be, and what a certificate is worth by that.

A generator that was built after an image was seen can hold the image in its weights, and its
certificate holds. So every certificate says so, or names the date by which the weights existed.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from jattr.errors import InputError
from jattr.typing import JsonObject

UNDATED = "proves nothing if these weights are newer than the image"


@dataclass(frozen=True)
class DatedWeights:
    """Weights that existed by a date, as witnesses say."""

    digest: str  # of the function
    weights_digest: str
    time: int  # seconds since 1970; they are no younger
    witnesses: tuple[str, ...]  # names of those that say so, sorted
    origin: str  # of the log that they watch
    entry: int  # where it states the weights

    @property
    def date(self) -> str:
        """The time as a date.

        >>> DatedWeights("", "", 86400, (), "", 0).date
        '1970-01-02 00:00:00 UTC'
        """
        return datetime.datetime.fromtimestamp(self.time, datetime.UTC).strftime(
            "%Y-%m-%d %H:%M:%S UTC"
        )

    def to_dict(self) -> JsonObject:
        """Return what is stated of a candidate, as JSON values."""
        return {
            "date": self.date,
            "witnesses": list(self.witnesses),
            "origin": self.origin,
            "entry": self.entry,
        }


def age_text(dated: JsonObject | None) -> str:
    """Return what a certificate says of its weights' age.

    Args:
      dated: as `DatedWeights.to_dict` states it; None: no date is known.

    >>> age_text({"date": "1970-01-02", "witnesses": ["w"], "origin": "example.com", "entry": 0})
    'these weights existed by 1970-01-02, witnessed by w (log example.com, entry 0)'
    """
    if dated is None:
        return UNDATED
    return (
        f"these weights existed by {dated['date']}, witnessed by"
        f" {', '.join(map(str, dated['witnesses']))} (log {dated['origin']}, entry"
        f" {dated['entry']})"
    )


def oldest(dated: Sequence[DatedWeights], digest: str, weights_digest: str) -> DatedWeights | None:
    """Return the earliest date of a model among proofs; None: none is of it."""
    own = [each for each in dated if (each.digest, each.weights_digest) == (digest, weights_digest)]
    return min(own, key=lambda each: each.time, default=None)


def check_all_used(dated: Sequence[DatedWeights], models: Sequence[tuple[str, str]]) -> None:
    """Check that every proof is of some candidate.

    Args:
      dated: what the proofs show.
      models: digest and weights digest of every candidate.

    Raises:
      InputError: one is of none.
    """
    for each in dated:
        if (each.digest, each.weights_digest) not in models:
            raise InputError(
                f"--weights-dated dates weights {each.weights_digest[:8]}... of the model"
                f" {each.digest[:8]}..., and no candidate has these; give proofs of the candidates"
            )
