"""Short films of a run, small enough to travel in the page: truth, forecast and their difference."""

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
from foreseen.evaluation.beginnings import CONTEXT
from foreseen.export import Shot, Subject, choose_subject, plan_shots, write_clip
from foreseen.report.files import check_stays, data_uri, text
from foreseen.report.record import Record
from foreseen.training import Run

CRF = 27
"""A third of the bytes of a clip that is to be edited; the labels stay sharp."""
WIDEST_PANEL = 320
"""Pixels; larger pictures are rendered smaller by a whole factor."""
SLOWEST, FASTEST = 4.0, 30.0
"""Frames a second; between these, time passes as it did."""
STILLS = (0.0, 0.5, 1.0)
"""Where in the forecast the pictures for print are taken."""
_FEWEST = 4
"""A camera with fewer pictures makes no film."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Clip:
    """One film.

    Attributes:
        title: which sequence.
        words: what is seen, and what the forecast was given.
        video: data URI of an mp4.
        stills: data URIs of JPEGs, from the beginning to the end of the forecast.
    """

    title: str
    words: str
    video: str
    stills: tuple[str, ...]
    width: int
    height: int


def make_clips(run: Run, record: Record, most: int, frames: int, progress: Progress) -> list[Clip]:
    """Up to `most` clips of at most `frames` frames each: unseen sequences where the run forecasts those (one that
    could go either way among them), else the first sequence that was learned.

    Raises:
        UserError: the data is gone or has changed, a picture of it is a link out of its folder, or nothing was filmed
            that could stand beside the forecast.
    """
    _check_pictures(run.dataset())
    chosen = _sequences(run, record)[:most]
    clips = []
    for index, name in enumerate(chosen):

        def tell(share: float, doing: str, index: int = index) -> None:
            progress((index + share) / len(chosen), doing)

        clips.append(_clip(run, record, name, frames, tell))
    return clips


def _check_pictures(data: Dataset) -> None:
    """Raises `UserError` where one leads out of the data set's folder: what it leads to is the reader's own, and would
    travel with the page."""
    shown = [path for s in data.sequences for path in s.background_paths.values()]
    shown += [path for f in data.frames for path in (f.image_path, f.mask_path, f.depth_path, f.flow_path) if path]
    for path in shown:
        check_stays(data.path, path, "data set")


def _sequences(run: Run, record: Record) -> list[str | None]:
    """The first unseen sequence, then those that could go either way, then the rest; None: what was learned."""
    unseen = sorted({f.sequence for f in run.splits().frames.get("unseen-sequence", ())})
    if not unseen or not {"initial", "frames"} & set(observation_kinds(run.method)):
        return [None]
    scored = [name for name in unseen if record.scores is None or name in record.scores.sequences] or unseen
    undecided = _undecided(record)
    return [scored[0], *sorted(scored[1:], key=lambda name: text(name) not in undecided)]


def _undecided(record: Record) -> set[str]:
    """Sequences that could go either way."""
    return {name for s in record.scores.splits.values() for name in s.undecided} if record.scores else set()


def _clip(run: Run, record: Record, sequence: str | None, frames: int, tell: Progress) -> Clip:
    scores = record.scores
    observe = scores.observe if scores and sequence is not None else None
    context = scores.context if scores and scores.context else CONTEXT
    subject = choose_subject(run, sequence, observe=observe, context=context)  # type: ignore[arg-type]
    shots, words = _shots(run, subject, frames)
    span = shots[-1].time - shots[0].time
    fps = min(max((len(shots) - 1) / span if span > 0 else FASTEST, SLOWEST), FASTEST)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "clip.mp4"
        write_clip(run, shots, out, subject=subject, channel="side-by-side", fps=fps, crf=CRF, progress=tell)
        stills, size = _stills(out, [s.time > subject.observed_until for s in shots])
        video = data_uri("video/mp4", out.read_bytes())
    unit = run.dataset().time_unit
    until = f"{subject.observed_until:.4g}{'' if unit == 'unknown' else f' {text(unit)}'}"
    given = "the observed part" if sequence is None else "what is given of it"
    name = text(subject.frames[0].sequence)
    either = "; it could go either way" if name in _undecided(record) else ""
    return Clip(name, f"{words}; {given} ends at {until}{either}", video, stills, *size)


def _shots(run: Run, subject: Subject, most: int) -> tuple[list[Shot], str]:
    """What the first training camera filmed; of a camera that moves, the held-out pictures one after another."""
    shots = plan_shots(run, "fixed", subject=subject, with_truth=True)
    words = "seen from where a training camera stands"
    if len(shots) < _FEWEST:
        first, frames_of = shots[0].camera, run.splits().frames
        hidden = [f for split, own in frames_of.items() if split != "train" for f in own]
        own = [f for f in hidden if f.sequence == subject.frames[0].sequence]
        own = [f for f in own if (f.camera.width, f.camera.height) == (first.width, first.height)]
        shots = [Shot(f.camera, f.time, f) for f in sorted(own, key=lambda f: f.time)]
        words = "the held-out pictures, one after another"
    if not shots:
        raise UserError("no clip: no picture was held out that could stand beside the forecast.")
    kept = sorted({round(i * (len(shots) - 1) / max(most - 1, 1)) for i in range(most)})
    factor = math.ceil(shots[0].camera.width / WIDEST_PANEL)
    small = [replace(s, camera=s.camera.downscale(factor)) if factor > 1 else s for s in (shots[i] for i in kept)]
    return small, words


def _stills(film: Path, forecast: Sequence[bool]) -> tuple[tuple[str, ...], tuple[int, int]]:
    """Pictures of the forecast (of the whole film where it has none) as data URIs, and their size."""
    import av

    with av.open(str(film)) as container:
        pictures = [frame.to_image() for frame in container.decode(video=0)]
    late = [i for i, later in enumerate(forecast) if later] or list(range(len(pictures)))
    wanted = dict.fromkeys(late[round(share * (len(late) - 1))] for share in STILLS)
    uris = []
    for index in wanted:
        buffer = io.BytesIO()
        pictures[index].save(buffer, format="JPEG", quality=82, optimize=True)
        uris.append(data_uri("image/jpeg", buffer.getvalue()))
    return tuple(uris), pictures[0].size
