"""Everything that tables, figures and the page show of a sweep.

One pure function of its results.
"""

from dataclasses import dataclass

from jattr.sweep.report.effort import (
    ProfilePoint,
    RestartPoint,
    TimeToTarget,
    ToTarget,
    restart_success,
    times_to_targets,
    to_targets,
)
from jattr.sweep.report.groups import Metric, overall
from jattr.sweep.report.held_out import ReliabilityBin, TippettPoint, calibration
from jattr.sweep.report.metrics import (
    Attributed,
    Confusion,
    attributions,
    confusion,
    incomplete_shares,
    shares,
)
from jattr.sweep.report.open_set import OscrPoint, open_set
from jattr.sweep.report.tables import Results
from jattr.sweep.spec import NONE, Spec


@dataclass(frozen=True, eq=False)
class Measured:
    """The metrics of a sweep."""

    spec: Spec
    candidates: tuple[str, ...]
    attributed: list[Attributed]
    metrics: list[Metric]
    confusion: list[Confusion]
    oscr: list[OscrPoint]
    restart_points: list[RestartPoint]
    to_target: list[ToTarget]
    profile: list[ProfilePoint]
    reliability: list[ReliabilityBin]
    tippett: list[TippettPoint]
    times: list[TimeToTarget]  # alone in what depends on the clock

    def plain(
        self,
        row: Metric | Confusion | OscrPoint | RestartPoint | ToTarget | ProfilePoint | TimeToTarget,
    ) -> bool:
        """Return whether a row of any of these lists is of images as they were made, under all
        seeds.
        """
        return row.alteration == NONE and row.attack == NONE and row.seed == overall(self.spec)


def measure(results: Results) -> Measured:
    """Return the metrics of a sweep's results."""
    attributed, left = attributions(results)
    areas, oscr = open_set(results, attributed)
    points, chances = restart_success(results)
    to_target, profile = to_targets(results)
    held_out = calibration(results)
    return Measured(
        spec=results.spec,
        candidates=results.candidates,
        attributed=attributed,
        metrics=[
            *shares(results, attributed),
            *incomplete_shares(results, left),
            *areas,
            *chances,
            *held_out.metrics,
        ],
        confusion=confusion(results, attributed),
        oscr=oscr,
        restart_points=points,
        to_target=to_target,
        profile=profile,
        reliability=held_out.reliability,
        tippett=held_out.tippett,
        times=times_to_targets(results),
    )
