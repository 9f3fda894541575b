"""What a verification says, and what no verification of files can settle."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jattr.typing import Json, JsonObject

# What only another search, or the writer's word, can tell: stated with every verification.
NOT_CHECKED = (
    "what the searches did, which only another search tells: restarts, searches, scores,"
    " usual_miss, restarts_needed, miss_bound, judgement",
    "what result.json says besides: reason, notes, timing_seconds, versions, settings (but resize,"
    " distance and thresholds), paths of candidates, contact_sheet.png and report.html",
)


@dataclass(frozen=True)
class Verification:
    """What was computed again of a result, and how it compares with what the result states."""

    certificates: tuple[JsonObject, ...]  # those carried out again: file, candidate, figures
    differences: tuple[str, ...]  # one line each; none: all that was checked is as stated
    unchecked: tuple[str, ...]  # what could not be carried out again, and why
    images: int  # of the result
    certified_images: int  # with a certificate that is stated to hold

    @property
    def verified(self) -> bool:
        """Whether nothing differs; says little where there are no `certificates`."""
        return not self.differences


@dataclass
class Report:
    """Collects the outcome of a verification."""

    # certificates that were carried out again
    checked: list[JsonObject] = field(default_factory=list)
    stated: int = 0  # certificates that are stated to hold
    images: int = 0  # with a stated certificate
    differences: list[str] = field(default_factory=list)  # one line each
    # what could not be carried out again, and why
    unchecked: list[str] = field(default_factory=list)

    def finish(self, images: int) -> Verification:
        """Return the outcome for a result of so many images."""
        if len(self.checked) < self.stated:
            self.differences.append(
                f"{self.stated} certificates are stated, {len(self.checked)} could be checked"
            )
        unchecked = dict.fromkeys([*self.unchecked, *NOT_CHECKED])
        return Verification(
            tuple(self.checked), tuple(self.differences), tuple(unchecked), images, self.images
        )


def holding(row: Mapping[str, Json]) -> list[str]:
    """Return the candidates whose certificates a row states to hold."""
    return [
        name
        for name, stated in row["certificates"].items()
        if stated is not None and stated["holds"]
    ]
