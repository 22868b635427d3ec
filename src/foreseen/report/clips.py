"""Short clips of a run, small enough for the page: truth, forecast and their difference."""

from __future__ import annotations

import io
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foreseen.core.capabilities import observation_kinds
from foreseen.data.types import Dataset
from foreseen.errors import UserError
from foreseen.evaluation.forecast_context import CONTEXT
from foreseen.export import ClipFrame, ClipSubject, choose_subject, plan_clip, write_clip
from foreseen.report.files import check_stays_inside, data_uri, text
from foreseen.report.record import RunRecord
from foreseen.runs import Run

CRF = 27
"""H.264 quality, 0 (lossless) to 51: a third of the bytes of an exported clip; labels stay sharp."""
MAX_PANEL_WIDTH = 320
"""Width of one panel [pixels]; larger images are rendered smaller by a whole factor."""
MIN_FPS, MAX_FPS = 4.0, 30.0
"""Bounds of the frame rate [1/s]; between them a clip plays in real time."""
STILLS = (0.0, 0.5, 1.0)
"""Times of the still images for print, as shares of the forecast."""
_MIN_FRAMES = 4
"""A camera with fewer images makes no clip."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class ReportClip:
    """One clip.

    Attributes:
        title: name of the sequence.
        caption: the view, and what was observed before the forecast.
        video: data URI of an mp4.
        stills: data URIs of JPEGs, from the start to the end of the forecast.
    """

    title: str
    caption: str
    video: str
    stills: tuple[str, ...]
    width: int
    height: int


def make_clips(run: Run, record: RunRecord, maximum: int, frames: int, progress: Progress) -> list[ReportClip]:
    """Up to `maximum` clips of at most `frames` frames each: of unseen sequences where the run forecasts those (one
    with several possible outcomes among them), else of the first learned sequence.

    Raises:
        UserError: the data is gone or has changed, an image of it is a link out of its folder, or no true image exists
            to show beside the forecast.
    """
    _check_pictures(run.dataset())
    chosen = _sequences(run, record)[:maximum]
    clips = []
    for index, name in enumerate(chosen):

        def notify(share: float, doing: str, index: int = index) -> None:
            progress((index + share) / len(chosen), doing)

        clips.append(_clip(run, record, name, frames, notify))
    return clips


def _check_pictures(data: Dataset) -> None:
    """Raises `UserError` for an image path that leads out of the data set's folder: a private file of the reader would
    become part of the page."""
    paths = [path for s in data.sequences for path in s.background_paths.values()]
    paths += [path for f in data.frames for path in (f.image_path, *(layer.path for layer in f.layers.values()))]
    for path in paths:
        check_stays_inside(data.path, path, "data set")


def _sequences(run: Run, record: RunRecord) -> list[str | None]:
    """The first unseen sequence, then those with several possible outcomes, then the rest; None: the first learned
    sequence."""
    unseen = sorted({f.sequence for f in run.splits().frames.get("unseen-sequence", ())})
    if not unseen or not {"initial", "frames"} & set(observation_kinds(run.method)):
        return [None]
    scored = [name for name in unseen if record.scores is None or name in record.scores.sequences] or unseen
    undecided = _undecided(record)
    return [scored[0], *sorted(scored[1:], key=lambda name: text(name) not in undecided)]


def _undecided(record: RunRecord) -> set[str]:
    """Sequences whose sampled trajectories end in several clusters."""
    return {name for s in record.scores.splits.values() for name in s.undecided} if record.scores else set()


def _clip(run: Run, record: RunRecord, sequence: str | None, frames: int, notify: Progress) -> ReportClip:
    scores = record.scores
    observe = scores.observe if scores and sequence is not None else None
    context = scores.context if scores and scores.context else CONTEXT
    subject = choose_subject(run, sequence, observe=observe, context=context)  # type: ignore[arg-type]
    clip_frames, words = _clip_frames(run, subject, frames)
    span = clip_frames[-1].time - clip_frames[0].time
    fps = min(max((len(clip_frames) - 1) / span if span > 0 else MAX_FPS, MIN_FPS), MAX_FPS)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "clip.mp4"
        write_clip(run, clip_frames, out, subject=subject, channel="side-by-side", fps=fps, crf=CRF, progress=notify)
        stills, size = _stills(out, [s.time > subject.observed_until for s in clip_frames])
        video = data_uri("video/mp4", out.read_bytes())
    unit = run.dataset().time_unit
    until = f"{subject.observed_until:.4g}{'' if unit == 'unknown' else f' {text(unit)}'}"
    given = "the observed part" if sequence is None else "what is given of it"
    name = text(subject.frames[0].sequence)
    either = "; it could go either way" if name in _undecided(record) else ""
    return ReportClip(name, f"{words}; {given} ends at {until}{either}", video, stills, *size)


def _clip_frames(run: Run, subject: ClipSubject, maximum: int) -> tuple[list[ClipFrame], str]:
    """The view of the first training camera; for a moving camera the held-out images in order of time."""
    clip_frames = plan_clip(run, "fixed", subject=subject, with_truth=True)
    words = "view of a training camera"
    if len(clip_frames) < _MIN_FRAMES:
        first, frames_of = clip_frames[0].camera, run.splits().frames
        held_out = [f for split, frames in frames_of.items() if split != "train" for f in frames]
        held_out = [f for f in held_out if f.sequence == subject.frames[0].sequence]
        held_out = [f for f in held_out if (f.camera.width, f.camera.height) == (first.width, first.height)]
        clip_frames = [ClipFrame(f.camera, f.time, f) for f in sorted(held_out, key=lambda f: f.time)]
        words = "the held-out images, in order of time"
    if not clip_frames:
        raise UserError("no clip: no held-out image exists to show beside the forecast.")
    kept = sorted({round(i * (len(clip_frames) - 1) / max(maximum - 1, 1)) for i in range(maximum)})
    factor = math.ceil(clip_frames[0].camera.width / MAX_PANEL_WIDTH)
    small = [replace(s, camera=s.camera.downscale(factor)) if factor > 1 else s for s in (clip_frames[i] for i in kept)]
    return small, words


def _stills(clip: Path, forecast: Sequence[bool]) -> tuple[tuple[str, ...], tuple[int, int]]:
    """Images of the forecast (of the whole clip where it has none) as data URIs, and their size."""
    import av

    with av.open(str(clip)) as container:
        pictures = [frame.to_image() for frame in container.decode(video=0)]
    late = [i for i, later in enumerate(forecast) if later] or list(range(len(pictures)))
    wanted = dict.fromkeys(late[round(share * (len(late) - 1))] for share in STILLS)
    uris = []
    for index in wanted:
        buffer = io.BytesIO()
        pictures[index].save(buffer, format="JPEG", quality=82, optimize=True)
        uris.append(data_uri("image/jpeg", buffer.getvalue()))
    return tuple(uris), pictures[0].size
