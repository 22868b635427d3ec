"""Gaussians of a run, or of a file, as a file that other programs read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from foreseen.errors import UserError
from foreseen.export.clip_frames import default_times
from foreseen.export.clip_subject import ClipSubject
from foreseen.render import as_gaussians
from foreseen.runs.files import write_atomically, written_folder
from foreseen.scenes.files import moving, ply, read_splats, splat, spz
from foreseen.scenes.gaussians import Gaussians
from foreseen.scenes.moving_gaussians import gather_motion
from foreseen.version import __version__

if TYPE_CHECKING:
    from foreseen.runs.run import Run

SplatFormat = Literal["ply", "splat", "spz", "ply-sequence", "4d"]
SUFFIXES = {"ply": ply.SUFFIX, "splat": splat.SUFFIX, "spz": spz.SUFFIX, "4d": moving.SUFFIX}
"""How a file of each format ends; a PLY sequence is a folder."""

ProgressCallback = Callable[[float, str], None]


@dataclass(frozen=True)
class SplatSource:
    """Gaussians to export.

    Attributes:
        name: for messages.
        at: the Gaussians at a time.
        times: at which they are exported by default; empty where they are static.
        time_unit: such as "s", or empty.
        prepare: called with all times before the first call of `at`.
    """

    name: str
    at: Callable[[float], Gaussians]
    times: tuple[float, ...] = ()
    time_unit: str = ""
    prepare: Callable[[Iterable[float]], object] = tuple


def source_from_file(path: Path) -> tuple[SplatSource, tuple[str, ...]]:
    """Gaussians of a file, and notes on how it was read. Raises `UserError` as `read_splats` does."""
    file = read_splats(path)
    scene = file.scene
    return SplatSource(str(path), scene.at, tuple(scene.times.tolist()), scene.time_unit), file.notes


def source_from_run(run: Run, subject: ClipSubject) -> SplatSource:
    """Gaussians of a run. Raises `UserError` where its scenes are of another type."""
    times = tuple(default_times(subject.frames))

    def at(time: float) -> Gaussians:
        scene = subject.forecast.scene(time)
        gaussians = as_gaussians(scene)
        if gaussians is None:
            raise UserError(
                f"the run in {run.path} has no Gaussians: '{run.config.train.method}' makes a {type(scene).__name__}, "
                "which splat files cannot hold; show it with `foreseen render`, or train a method that makes Gaussians."
            )
        return gaussians

    at(times[0])
    if run.method.traits.static:
        return SplatSource(str(run.path), lambda _: at(times[0]))
    return SplatSource(str(run.path), at, times, run.dataset().time_unit, subject.forecast.prepare)


def export_splats(
    source: SplatSource,
    format: SplatFormat,
    out: Path,
    times: Sequence[float] | None = None,
    *,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> tuple[str, ...]:
    """Writes `out`, completely or not at all.

    Args:
        source: what to write.
        format: "ply", "splat" and "spz" hold one time, "4d" and "ply-sequence" several.
        out: a file with the format's ending, for a sequence a folder: frame_0001.ply, frame_0002.ply, ...
        times: in the source's unit; None takes the source's own.
        overwrite: replace a file (never a folder).
        progress: called with the finished share (0..1) and the current step.

    Returns:
        What the format cannot store and was left out, a sentence each.

    Raises:
        UserError: times that do not fit source or format, a place that is taken, Gaussians that cannot be written.
    """
    _check_place(format, out, overwrite)
    export_times = _times(source, format, times)
    source.prepare(export_times)
    frames = _frames(source, export_times, progress)
    if format == "ply-sequence":
        with written_folder(out) as folder:
            for i, (time, gaussians) in enumerate(frames):
                (folder / f"frame_{i + 1:04d}.ply").write_bytes(_encode("ply", gaussians, source, time))
        return ()
    left: tuple[str, ...] = ()
    if format == "4d":
        with _source_is_named(source):
            content = moving.encode(gather_motion(frames, source.time_unit))
    else:
        single_time = export_times[0] if export_times else None
        gaussians = source.at(single_time or 0.0)
        content, left = _encode(format, gaussians, source, single_time), left_out(gaussians, format)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, content)
    return left


def _encode(format: str, gaussians: Gaussians, source: SplatSource, time: float | None) -> bytes:
    with _source_is_named(source, "" if time is None else f" at time {time:g}"):
        if format == "ply":
            when = [] if time is None else [f"time {time:.9g} {source.time_unit}"]
            return ply.encode(gaussians, [f"made by foreseen {__version__}", *when])
        return splat.encode(gaussians) if format == "splat" else spz.encode(gaussians)


@contextmanager
def _source_is_named(source: SplatSource, when: str = "") -> Iterator[None]:
    """Names the source in errors of its Gaussians."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{source.name}{when} cannot be exported: {error}") from None


def _frames(
    source: SplatSource, times: Sequence[float], notify: ProgressCallback | None
) -> Iterator[tuple[float, Gaussians]]:
    for i, time in enumerate(times):
        if notify is not None:
            notify(i / len(times), f"time {time:g}")
        yield time, source.at(time)


def _times(source: SplatSource, format: SplatFormat, times: Sequence[float] | None) -> tuple[float, ...]:
    several = format in ("ply-sequence", "4d")
    if not source.times:
        if several:
            raise UserError(f"{source.name} holds Gaussians at one time: give --format ply, splat or spz.")
        if times is not None:
            raise UserError(f"{source.name} holds Gaussians at one time: leave --times out.")
        return ()
    wanted = source.times if times is None else tuple(times)
    if not several and len(wanted) > 1:
        raise UserError(
            f"a '{format}' file holds one time, not {len(wanted)}: give --times T:T:1, or --format ply-sequence or 4d."
        )
    if format == "4d" and any(a >= b for a, b in pairwise(wanted)):
        raise UserError("the times of a 4d file ascend: give --times START:END:COUNT with END after START.")
    return wanted


def _check_place(format: SplatFormat, out: Path, overwrite: bool) -> None:
    if format == "ply-sequence":
        if out.suffix.lower() in SUFFIXES.values():
            raise UserError(f"--out {out}: a PLY sequence is a folder; give a name without '{out.suffix}'.")
        return
    if out.suffix.lower() != SUFFIXES[format]:
        raise UserError(f"--out {out}: the name of a '{format}' file ends in {SUFFIXES[format]}.")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: give the name of a file.")
    if out.exists() and not overwrite:
        raise UserError(f"--out {out} exists: give another name, or --overwrite to replace it.")


def left_out(gaussians: Gaussians, format: str) -> tuple[str, ...]:
    """What a file of this format cannot store of these Gaussians, a sentence each."""
    missing = []
    if format == "splat" and gaussians.harmonics.shape[1] > 1:
        missing.append("colours that change with the view's direction (harmonics above degree 0)")
    if format == "splat" and gaussians.antialiased:
        missing.append("that the Gaussians are antialiased")
    if format in ("splat", "spz") and gaussians.extras is not None:
        missing.append(f"{gaussians.extras.shape[1]} extra channels")
    if format in ("splat", "spz") and any(gaussians.background):
        missing.append("the background's colour")
    return tuple(missing)
