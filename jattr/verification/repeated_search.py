"""`jattr verify --search`: the seeded searches of a result, carried out once more.

The images are searched in the blocks of the run, by its settings and its seed; the decision is
this version's. So what a result says of images without a certificate can be contradicted by
anybody who has the images and the candidates.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

from jattr.attribution.alteration_search import Hypotheses, check_candidates, hypotheses_of
from jattr.attribution.attribute import attribute_hypotheses
from jattr.attribution.pilot import PilotStudy
from jattr.attribution.result import Attribution
from jattr.attribution.result_json import image_record
from jattr.attribution.second_look import SecondLook
from jattr.attribution.usual_alterations import Marks
from jattr.decision.calibration import Calibration
from jattr.decision.verdict import DecisionConfig
from jattr.errors import ImageError, InputError
from jattr.generators.base import Generator
from jattr.images import LoadedImage
from jattr.inversion.config import InvertConfig
from jattr.typing import Json, JsonObject
from jattr.verification.candidates import first_names
from jattr.verification.report import RowReport
from jattr.verification.verdicts import alternatives_of_result

BLOCK = 32  # images searched together where a result does not state it: schema 1 of 0.1 and 0.2
MAX_BLOCK = 1024
MAX_POOL = 1 << 16  # prior samples that a stranger's settings may ask for
MAX_LOOKS = 1000  # steps and numbers of a second look that a stranger's settings may ask for
SAME = 1e-3  # relative: how far the same search may end on the same kind of machine
COUNTS = ("run", "arrived", "failed")


class RepeatedSearch:
    """The searches of one result, repeated block by block where they are asked for."""

    def __init__(
        self,
        data: Mapping[str, Json],
        generators: Mapping[str, Generator],
        images: Sequence[LoadedImage | None],
        *,
        calibration: Calibration | None = None,
        pilot_studies: MutableMapping[str, PilotStudy] | None = None,
        progress: Callable[[int, int], object] | None = None,
    ):
        """Prepare; nothing is searched yet.

        Args:
          data: the result.
          generators: the candidates at hand, by name.
          images: those of the result, in its order; None: not at hand, or not usable.
          calibration: that judged it, if any.
          pilot_studies: earlier ones by name, and where new ones are put.
          progress: called with (done, total) searches of image and candidate, of a block.

        Raises:
          InputError: the settings of the result are none that this version searches by.
        """
        self.data, self.generators, self.images = data, generators, images
        self.calibration, self.pilot_studies, self.progress = calibration, pilot_studies, progress
        self.config = config_of_result(data)
        self.second_look = second_look_of_result(data)
        decision = data["settings"]["decision"]
        alpha = decision.get("alpha", DecisionConfig.alpha)
        self.policy = DecisionConfig(alpha=alpha, thresholds=self.config.distance is None)
        self.rows: dict[int, JsonObject] = {}
        self.problems: dict[int, str] = {}

    def row(self, number: int) -> JsonObject | None:
        """Return the row of an image by its own search; None where it cannot be repeated.

        `problems` says why.
        """
        if number not in self.rows and number not in self.problems:
            size = self.data["settings"].get("block", BLOCK)
            if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_BLOCK:
                size = BLOCK
            first = number - number % size
            self._search(range(first, min(first + size, len(self.data["pictures"]))))
        return self.rows.get(number)

    def _search(self, block: range) -> None:
        """Search the images of one block."""
        rows = self.data["pictures"]
        stated = first_names(self.data)
        missing = [name for name in stated if name not in self.generators]
        if missing:
            self._cannot(block, f"candidate {missing[0]!r} is needed")
            return
        candidates = [self._candidate(name) for name in stated]
        alternatives, resize = alternatives_of_result(self.data), self.data["settings"]["resize"]
        check_candidates(alternatives, candidates, resize=resize)
        usable: dict[int, Hypotheses] = {}
        for number in block:
            image = self.images[number]
            if image is None:
                if rows[number]["verdict"] != "failed":
                    self._cannot(block, f"{rows[number]['file']!r}, searched with it, is needed")
                    return
                continue
            try:
                usable[number] = hypotheses_of(
                    image, alternatives, candidates, search=self.config.search, resize=resize
                )
            except ImageError as error:
                self.problems[number] = str(error)
        if not usable:
            return
        attribution = attribute_hypotheses(
            list(usable.values()),
            candidates,
            search=self.config.search,
            policy=self.policy,
            calibration=self.calibration,
            pilot_studies=self.pilot_studies,
            progress=self.progress,
            second_look=self.second_look,
        )
        self._keep(usable, attribution)

    def _keep(self, usable: Mapping[int, Hypotheses], attribution: Attribution) -> None:
        for i, (number, hypotheses) in enumerate(usable.items()):
            notes = hypotheses.all_notes()
            self.rows[number] = image_record(hypotheses.image, attribution, i, notes)

    def _cannot(self, block: range, why: str) -> None:
        self.problems |= dict.fromkeys(block, why)

    def _candidate(self, name: str) -> Generator:
        """Return a candidate as the run searched it, under its name there."""
        gen = self.config.search.view(self.generators[name])
        return dataclasses.replace(gen, name=name)


def config_of_result(data: Mapping[str, Json]) -> InvertConfig:
    """Return the settings of a result's searches.

    Raises:
      InputError: they are none that this version searches by.
    """
    stated: dict[str, Any] = dict(data["settings"]["inversion"])
    stated |= {"lanes": None}  # on which no result depends, only memory
    pool = stated.get("pool")
    if isinstance(pool, int) and pool > MAX_POOL:
        raise InputError(
            f"result.json states pool {pool}; searches are repeated with at most {MAX_POOL}"
        )
    try:
        return InvertConfig(**stated)
    except TypeError as error:
        raise InputError(
            f"settings.inversion in result.json is not this version's: {error}"
        ) from error


def second_look_of_result(data: Mapping[str, Json]) -> SecondLook | None:
    """Return the second look of a result's run; None: there was none.

    Raises:
      InputError: it is none that this version takes, or a stranger's that would not end.
    """
    stated = data["settings"].get("second_look")
    if stated is None:
        return None
    try:
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stated.items()
        }
        given["marks"] = Marks(**stated["marks"])
        looks = SecondLook(**given)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"settings.second_look in result.json is not this version's: {error}"
        ) from error
    counts = (*looks.gradient_steps, *looks.dense_steps, *looks.survivors, looks.full_searches)
    if max(*counts, len(looks.alterations)) > MAX_LOOKS:
        raise InputError(
            f"settings.second_look in result.json has a number above {MAX_LOOKS}, which is not"
            " repeated"
        )
    return looks


def compare_search(
    row: Mapping[str, Json],
    own: JsonObject,
    *,
    same_version: bool,
    same_machine: bool,
    report: RowReport,
) -> None:
    """Compare an image's row with that of its own search.

    Verdict, names, sentence and judgement must be the same. How the search went may differ on
    another kind of machine, and on another version.

    Args:
      row: as the result states it.
      own: by the search that was carried out here.
      same_version: whether this jattr wrote the result: its sentences.
      same_machine: whether versions and device are those that the result states.
      report: where differences are put.
    """
    lines = []
    if (row["verdict"], row["candidates"]) != (own["verdict"], own["candidates"]):
        lines.append(
            f"a search by the same seed gives {_said(own)} ({own['reason']}), result.json states"
            f" {_said(row)}"
        )
    elif row.get("alteration") != own["alteration"]:
        lines.append(
            f"a search by the same seed explains it as altered by {own['alteration']!r},"
            f" result.json by {row.get('alteration')!r}"
        )
    report.differs(lines)
    if lines:
        return
    figures, words = _figures_differ(row, own), _words_differ(row, own)
    same = same_machine and same_version
    report.differs([*figures, *words] if same else [])
    report.unchecked += [
        f"{report.file!r}: {line} (another version or device)"
        for line in ([] if same else [*figures, *words])
    ]


def _words_differ(row: Mapping[str, Json], own: JsonObject) -> list[str]:
    lines = []
    if row["reason"] != own["reason"]:
        lines.append(f"the reason is {own['reason']!r}, result.json states another")
    if row.get("tried", []) != own["tried"]:
        lines.append("what was tried is not what a search with the same seed tries")
    if "notes" in row and row["notes"] != own["notes"]:
        notes = "; ".join(own["notes"]) or "none"
        lines.append(f"the notes are: {notes}; result.json states others")
    if row.get("tried", own["tried"]) != own["tried"]:
        lines.append(f"what was tried is: {'; '.join(own['tried'])}; result.json states else")
    return lines


def _said(row: Mapping[str, Json]) -> str:
    names = " or ".join(row["candidates"])
    return f"made by {names}" if names else str(row["verdict"])


def _figures_differ(row: Mapping[str, Json], own: JsonObject) -> list[str]:
    """Return one line for each field of how a search went that came out otherwise."""
    lines = []
    for field in ("residual", "usual_miss", "restarts_needed", "miss_bound", "scores"):
        for name, value in own[field].items():
            stated = (row.get(field) or {}).get(name)
            if not _near(value, stated):
                lines.append(
                    f"{field} of {name!r} is {value} by a search with the same seed, result.json"
                    f" states {stated}"
                )
    for name, counts in own["restarts"].items():
        stated = row["restarts"][name]
        if any(stated[count] != counts[count] for count in COUNTS):
            lines.append(
                f"restarts of {name!r} are {counts} by a search with the same seed, result.json"
                f" states {stated}"
            )
    for name, searches in own["searches"].items():
        stated = (row.get("searches") or {}).get(name)
        if stated is not None and not _same_searches(searches, stated):
            lines.append(f"searches of {name!r} are not those of a search with the same seed")
    return lines


def _same_searches(own: Sequence[JsonObject], stated: Sequence[Mapping[str, Json]]) -> bool:
    return len(own) == len(stated) and all(
        (a["restart"], a["status"]) == (b["restart"], b["status"])
        and _near(a["residual"], b["residual"])
        for a, b in zip(own, stated, strict=True)
    )


def _near(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=SAME, abs_tol=SAME**3)
