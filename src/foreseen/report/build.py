"""From runs to a page."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table as RichTable

from foreseen.errors import UserError
from foreseen.evaluation.ensemble_plot import FILE as ENSEMBLE_FILE
from foreseen.evaluation.uncertainty import describe_branches
from foreseen.report import files
from foreseen.report.clips import ReportClip, make_clips
from foreseen.report.groups import RunGroup, arrange
from foreseen.report.page import page
from foreseen.report.record import RunRecord, read_record
from foreseen.report.results import AnalysisResult, GroupResults
from foreseen.report.tables import ReportTable, TableCell, TableColumn
from foreseen.runs import Run, load_run
from foreseen.runs.files import write_atomically

CLIPS, FRAMES = 2, 60
"""Upper bounds of the clips of each method and of the frames of a clip, by default: a page of a few MB."""
_FIX = "run `foreseen analyze` again"
Progress = Callable[[float, str], None]


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    clips: int = CLIPS,
    frames: int = FRAMES,
    analyze: bool = True,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Path:
    """Writes one self-contained HTML page on `runs`. Nothing is written into their folders.

    Args:
        runs: folders; runs that differ in their seeds alone are one group.
        out: the page, a name ending in .html.
        clips: upper bound of the clips of each method; 0 leaves clips out.
        frames: upper bound of the frames of a clip.
        analyze: analyze the learned dynamics of a run where analysis.json is absent.
        device: renders the clips: cpu, cuda or auto.
        progress: called with the share that is done (0..1) and what is done now.

    Returns:
        `out`.

    Raises:
        UserError: no run, the same run twice, a folder without a run, a broken file, or a bad `out`.
    """
    _check(runs, out, clips, frames)
    notify = progress or _no_progress
    scenes = arrange([read_record(Path(run)) for run in runs])
    groups = [(scene, group) for scene in scenes for group in scene.groups]
    group_results: dict[int, list[GroupResults]] = {}
    for index, (scene, group) in enumerate(groups):

        def partly(share: float, doing: str, index: int = index) -> None:
            notify((index + share) / len(groups), doing)

        group_results.setdefault(id(scene), []).append(_collect_results(group, clips, frames, analyze, device, partly))
    content = page([(scene, group_results[id(scene)]) for scene in scenes])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, content.encode("utf-8"))
    notify(1.0, f"wrote {out}")
    return out


def _no_progress(share: float, doing: str) -> None:
    del share, doing


def _check(runs: Sequence[Path], out: Path, clips: int, frames: int) -> None:
    if not runs:
        raise UserError("give at least one run: a folder that `foreseen train --out` wrote.")
    paths = [Path(run).resolve() for run in runs]
    twice = next((run for i, run in enumerate(runs) if paths[i] in paths[:i]), None)
    if twice is not None:
        raise UserError(f"{twice} is given twice: name each run once.")
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out}: the report is a page: end the name in .html.")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: give another name.")
    if clips < 0:
        raise UserError(f"--clips {clips}: give 0 or more.")
    if frames < 2:
        raise UserError(f"--frames {frames}: give 2 or more.")


def _collect_results(
    group: RunGroup, clips: int, frames: int, analyze: bool, device: str, notify: Progress
) -> GroupResults:
    record = (*group.scored, *group.records)[0]
    unscored = [shlex.quote(str(r.folder)) for r in group.records if r.scores is None]
    remarks = [f"{name} has no scores yet: foreseen evaluate {name}" for name in unscored]
    saved, analysis = files.inside(record.folder, "analysis.json"), None
    report_clips: list[ReportClip] = []
    try:
        run = load_run(record.folder, device=device) if clips or (analyze and saved is None) else None
    except UserError as error:
        run = None
        remarks.append(f"neither clips nor dynamics: {error}")
    if run is not None and clips:
        try:
            report_clips = make_clips(run, record, clips, frames, lambda share, doing: notify(0.9 * share, doing))
        except UserError as error:
            remarks.append(f"no clips: {error}")
    notify(0.9, f"dynamics of {record.name}")
    if saved is not None:
        analysis = _read_analysis(record.folder)
    elif run is not None and analyze:
        analysis = _find_analysis(run)
    return GroupResults(
        group,
        record,
        tuple(report_clips),
        _ensemble(record),
        _undecided_sequences(record),
        analysis,
        tuple(files.text(r) for r in remarks),
    )


def _ensemble(record: RunRecord) -> str:
    path = files.inside(record.folder, ENSEMBLE_FILE)
    return "" if path is None else files.picture_uri(path)


def _undecided_sequences(record: RunRecord) -> tuple[str, ...]:
    sentences = []
    for split, scores in record.scores.splits.items() if record.scores else ():
        numbers = scores.uncertainty
        if {"band", "coverage", "width", "ensemble"} <= numbers.keys():
            unit = record.scores.protocol.get("length_unit", "scene units") if record.scores else ""
            sentences.append(
                f"{split}: {numbers['coverage']:.0%} of the true centres lie in the {numbers['band']:.0%} band, "
                f"which is {numbers['width']:.3g} {unit} wide on average."
            )
            count = int(numbers["ensemble"])
            sentences += [f"{name} {describe_branches(s, count)}." for name, s in scores.undecided.items()]
    return tuple(sentences)


def _find_analysis(run: Run) -> AnalysisResult | None:
    """Computed now; nothing is written into the run's folder. None where the method learns no dynamics."""
    from foreseen.analysis import analyze_run

    with tempfile.TemporaryDirectory() as folder:
        try:
            analyze_run(run, out=Path(folder))
        except UserError:
            return None
        return _read_analysis(Path(folder))


def _read_analysis(folder: Path) -> AnalysisResult:
    from foreseen.analysis import analysis_tables

    data, picture = files.inside(folder, "analysis.json"), files.inside(folder, "analysis.png")
    assert data is not None
    content = files.read_object(data, _FIX)
    try:
        tables = tuple(_plain(table) for table in analysis_tables(content))
        notes = tuple(files.text(note) for note in content["notes"])
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        raise UserError(f"{data} is not what foreseen analyze writes: {_FIX}.") from None
    return AnalysisResult("" if picture is None else files.picture_uri(picture), tables, notes)


def _plain(table: RichTable) -> tuple[str, ReportTable]:
    """A table of the terminal as one of the page."""
    cells = [[files.text(cell) for cell in column.cells] for column in table.columns]
    rows = tuple((row[0], tuple(TableCell(value) for value in row[1:])) for row in zip(*cells))
    columns = tuple(TableColumn(files.text(column.header), "note") for column in table.columns[1:])
    return files.text(table.title), ReportTable(columns, rows)
