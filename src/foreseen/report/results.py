"""What a page shows of each group of runs beside its scores."""

from __future__ import annotations

from dataclasses import dataclass, field

from foreseen.report.clips import ReportClip
from foreseen.report.groups import RunGroup
from foreseen.report.record import RunRecord
from foreseen.report.tables import ReportTable


@dataclass(frozen=True)
class AnalysisResult:
    """The result of `foreseen analyze`.

    Attributes:
        picture: data URI.
        tables: (title, table).
    """

    picture: str
    tables: tuple[tuple[str, ReportTable], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class GroupResults:
    """What a page shows of a group beside its scores: of its first run that was scored.

    Attributes:
        ensemble: plot of sampled trajectories as a data URI, empty where there is none.
        undecided: sentences on the uncertainty of the forecasts.
        analysis: None where the method learns no dynamics.
        remarks: what is missing, and how to get it.
    """

    group: RunGroup
    run: RunRecord
    clips: tuple[ReportClip, ...] = ()
    ensemble: str = ""
    undecided: tuple[str, ...] = ()
    analysis: AnalysisResult | None = None
    remarks: tuple[str, ...] = field(default=())
