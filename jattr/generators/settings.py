"""`Settings`: how a style-based generator is run.

A search with settings other than those that an image was generated with fails silently.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from jattr.typing import JsonObject

SPACES = ("z", "w", "w+")
NOISE = ("const", "none")  # what a card may say; in use also "random", "given" and "search"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Truncation and noise.

    Truncation (arXiv 1812.04958, appendix B) draws the first `cutoff` styles towards their mean:
    w_avg + psi (w - w_avg).
    """

    psi: float = 1.0
    cutoff: int | None = None  # None: all of them
    noise: str = "const"  # the maps stored with the weights, or "none"

    def problems(self, num_ws: int) -> Iterator[str]:
        """Yield what is out of range, for a generator of this many styles."""
        if not -10.0 <= self.psi <= 10.0:
            yield f"psi is {self.psi!r}; it must be a number from -10 to 10 (1: no truncation)"
        if self.cutoff is not None and not 0 <= self.cutoff <= num_ws:
            yield (
                f"cutoff is {self.cutoff!r}; it must be null or a whole number from 0 to {num_ws},"
                " all styles"
            )

    def to_json(self) -> JsonObject:
        """Return the settings as JSON values."""
        return {"psi": self.psi, "cutoff": self.cutoff, "noise": self.noise}

    def __str__(self) -> str:
        """Return the settings as a table shows them."""
        layers = "" if self.cutoff is None else f" on {self.cutoff} styles"
        return f"psi {self.psi:g}{layers}, noise {self.noise}"
