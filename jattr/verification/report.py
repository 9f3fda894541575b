"""What a verification says of each image of a result, and what stays the writer's word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jattr.typing import Json, JsonObject

# The outcome of one image, in one word or two.
HOLDS = "certificate holds"
RECOMPUTED = "verdict recomputed"
UNVERIFIED = "NOT verified"
CONTRADICTED = "CONTRADICTED"

# What an outcome may lack.
SEARCH = "a search"
CALIBRATION = "the calibration FILE"

# What no verdict that is verified rests on, and nothing here checks: stated every time.
NOT_CHECKED = (
    "how the searches went, on which no certificate rests: restarts, searches, tried, scores,"
    " usual_miss, restarts_needed, miss_bound (--search repeats those that a verdict rests on)",
    "what the writer says of the run: timing_seconds, versions, device, paths of candidates,"
    " contact_sheet.png and report.html; what is printed here takes their place",
)


@dataclass(frozen=True)
class Outcome:
    """What was verified of one image."""

    file: str  # as it was read; else as the result states it
    kind: str  # HOLDS, RECOMPUTED, UNVERIFIED or CONTRADICTED
    verdict: str  # as it was decided anew, in words; what the result states where it was not
    reason: str  # its sentence, as it was made anew; "" where it was not
    needs: tuple[str, ...]  # what is missing, of an unverified one

    @property
    def text(self) -> str:
        """The outcome in words."""
        return f"{self.kind}: needs {' and '.join(self.needs)}" if self.needs else self.kind

    def to_dict(self) -> JsonObject:
        """Return the outcome as JSON values."""
        return {
            "file": self.file,
            "outcome": self.kind,
            "needs": list(self.needs),
            "verdict": self.verdict,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Verification:
    """What was computed again of a result, and how it compares with what the result states."""

    certificates: tuple[JsonObject, ...]  # those carried out again: file, candidate, figures
    differences: tuple[str, ...]  # one line each; none: all that was checked is as stated
    unchecked: tuple[str, ...]  # what could not be carried out again, and why
    images: int  # of the result
    certified_images: int  # with a certificate that is stated to hold
    outcomes: tuple[Outcome, ...] = ()  # of every image, in the result's order
    unverified: tuple[str, ...] = ()  # those of `unchecked` that are statements on images

    @property
    def verified(self) -> bool:
        """Whether every verdict, figure, sentence and note was computed again and is as stated."""
        return not self.differences and not self.unverified


@dataclass
class RowReport:
    """Collects what is found of one image."""

    file: str
    differences: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    # what is missing, and the lines that say of what
    needs: dict[str, list[str]] = field(default_factory=dict)
    certificates: list[JsonObject] = field(default_factory=list)
    kind: str = RECOMPUTED  # where nothing differs and nothing is missing
    verdict: str = ""
    reason: str = ""

    def differs(self, lines: Sequence[str], where: str = "") -> None:
        """Add statements that are contradicted, each by one line."""
        self.differences += [f"{self.file!r}{where}: {line}" for line in lines]

    def need(self, what: str, *lines: str) -> None:
        """Add what is missing to verify the image, and lines that say of what."""
        self.needs.setdefault(what, []).extend(lines)

    def settle(self, what: str) -> None:
        """Take out what is missing no more."""
        self.needs.pop(what, None)

    def outcome(self) -> Outcome:
        """Return what was verified of the image."""
        needs: tuple[str, ...] = ()
        kind = self.kind
        if self.differences:
            kind = CONTRADICTED
        elif self.needs and kind != HOLDS:
            kind, needs = UNVERIFIED, tuple(self.needs)
        return Outcome(self.file, kind, self.verdict, self.reason, needs)


@dataclass
class Report:
    """Collects the outcome of a verification."""

    stated: int = 0  # certificates that are stated to hold
    images: int = 0  # with a stated certificate
    differences: list[str] = field(default_factory=list)  # that are no single image's
    unchecked: list[str] = field(default_factory=list)  # likewise
    rows: list[RowReport] = field(default_factory=list)

    def finish(self) -> Verification:
        """Return the outcome."""
        certificates = [each for row in self.rows for each in row.certificates]
        differences = [*self.differences, *(line for row in self.rows for line in row.differences)]
        if len(certificates) < self.stated:
            differences.append(
                f"{self.stated} certificates are stated, {len(certificates)} could be checked"
            )
        outcomes = tuple(row.outcome() for row in self.rows)
        unverified = [
            *self.unchecked,
            *(line for row in self.rows for line in row.unchecked),
            *(line for row in self.rows for lines in row.needs.values() for line in lines),
            *(f"{o.file!r}: {o.text}" for o in outcomes if o.kind == UNVERIFIED),
        ]
        unverified = list(dict.fromkeys(unverified))
        return Verification(
            certificates=tuple(certificates),
            differences=tuple(differences),
            unchecked=(*unverified, *NOT_CHECKED),
            images=len(self.rows),
            certified_images=self.images,
            outcomes=outcomes,
            unverified=tuple(unverified),
        )


def holding(row: Mapping[str, Json]) -> list[str]:
    """Return the candidates whose certificates a row states to hold."""
    return [
        name
        for name, stated in row["certificates"].items()
        if stated is not None and stated["holds"]
    ]
