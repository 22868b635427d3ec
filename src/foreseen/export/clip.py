"""A run along a camera path: colours, depth, or beside the ground truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.evaluation.baselines import sized
from foreseen.export.clip_subject import ClipSubject, choose_subject
from foreseen.export.compose import GAIN, Timeline, compose, difference_picture, to_bytes
from foreseen.export.marks import mark_points
from foreseen.export.video import CRF, FPS, VideoWriter
from foreseen.geometry.cameras import Camera

if TYPE_CHECKING:
    from foreseen.runs import Forecast, Run

Channel = Literal["rgb", "depth", "side-by-side"]
Progress = Callable[[float, str], None]
Marks = Mapping[float, Tensor]
"""Time -> points `[N, 3]` to mark."""
DEPTH_COLOURS = "magma_r"
"""Near is bright, far is dark."""
MIN_OPACITY_FOR_DEPTH = 0.5
"""Depth is used where the opacity is at least this."""


@dataclass(frozen=True)
class ClipFrame:
    """One frame of a clip.

    Attributes:
        camera: the camera.
        time: in the data set's unit.
        truth: the captured frame of the same camera and time, if there is one.
        render_bounds: `[2, 3]` corners of the box that rays must reach, where the camera may be anywhere; None: the
            camera's own near and far.
    """

    camera: Camera
    time: float
    truth: Frame | None = None
    render_bounds: Tensor | None = None


def write_clip(
    run: Run,
    clip_frames: Sequence[ClipFrame],
    out: Path,
    *,
    subject: ClipSubject | None = None,
    channel: Channel = "rgb",
    timeline: Timeline | None = None,
    ensemble: bool = False,
    fps: float = FPS,
    crf: int = CRF,
    progress: Progress | None = None,
) -> Path:
    """Renders `clip_frames` into an mp4 or a folder of PNGs (see `VideoWriter`).

    Args:
        run: its data set states the units. clip_frames: the frames; all cameras have one size. out: a name ending in
        .mp4, else a folder. subject: what is rendered; None: the first training sequence. channel: colours; depth,
        coloured over the range of the whole clip; or ground truth, rendering and their difference. timeline: for
        "side-by-side": the end of the observed window. None takes it from the run. ensemble: mark the objects' centres
        in each trajectory of the run's ensemble; not with "depth". fps, crf: frames per second and quality of an mp4.
        progress: called with the finished share (0..1) and the current step.

    Returns:
        `out`.

    Raises:
        UserError: see `VideoWriter`; or the run has no ensemble.
    """
    notify, subject = progress or _no_progress, subject or choose_subject(run)
    forecast = subject.forecast
    forecast.prepare(clip_frame.time for clip_frame in clip_frames)
    marks = _marks(forecast, clip_frames, channel) if ensemble else {}
    with VideoWriter(out, fps=fps, crf=crf) as video:  # refuses a wrong target before anything is rendered
        if channel == "depth":
            frames = _depth_frames(forecast, clip_frames, notify)
        elif channel == "rgb":
            frames = (_colours(forecast, s, marks) for s in _counted(clip_frames, notify))
        else:
            line = timeline or clip_timeline(run, subject, [s.time for s in clip_frames])
            frames = (_beside_truth(forecast, s, line, marks) for s in _counted(clip_frames, notify))
        for frame in frames:
            video.add(frame)
    notify(1.0, f"wrote {out}")
    return out


def _no_progress(share: float, doing: str) -> None:
    del share, doing


def clip_timeline(run: Run, subject: ClipSubject, times: Sequence[float]) -> Timeline:
    """The timeline of a clip at `times`."""
    return Timeline(min(times), max(times), subject.observed_until, run.dataset().time_unit)


def _counted(clip_frames: Sequence[ClipFrame], notify: Progress) -> Iterator[ClipFrame]:
    for index, clip_frame in enumerate(clip_frames):
        notify(index / len(clip_frames), f"rendering t = {clip_frame.time:.4g}")
        yield clip_frame


def _marks(forecast: Forecast, clip_frames: Sequence[ClipFrame], channel: Channel) -> Marks:
    if channel == "depth":
        raise UserError("--ensemble marks colours: give --channel rgb or side-by-side.")
    times = sorted({clip_frame.time for clip_frame in clip_frames})
    centres = forecast.ensemble(times)
    if centres is None:
        raise UserError("--ensemble: this run has one trajectory only: leave it out.")
    return {time: centres[:, i].flatten(0, 1).float() for i, time in enumerate(times)}


def _marked(picture: Tensor, clip_frame: ClipFrame, marks: Marks) -> np.ndarray:
    pixels = to_bytes(picture)
    return mark_points(pixels, clip_frame.camera, marks[clip_frame.time]) if clip_frame.time in marks else pixels


def _colours(forecast: Forecast, clip_frame: ClipFrame, marks: Marks) -> np.ndarray:
    return _marked(
        forecast.render(clip_frame.camera, clip_frame.time, render_bounds=clip_frame.render_bounds).rgb.cpu(),
        clip_frame,
        marks,
    )


def _beside_truth(forecast: Forecast, clip_frame: ClipFrame, timeline: Timeline, marks: Marks) -> np.ndarray:
    image = forecast.render(clip_frame.camera, clip_frame.time, render_bounds=clip_frame.render_bounds).rgb.cpu()
    truth = None if clip_frame.truth is None else sized(clip_frame.truth.image(), clip_frame.camera)
    label = "forecast" if timeline.is_forecast(clip_frame.time) else "rendered"
    panels = [
        ("truth", None if truth is None else to_bytes(truth)),
        (label, _marked(image, clip_frame, marks)),
        (f"difference x {GAIN}", None if truth is None else difference_picture(image, truth)),
    ]
    return compose(panels, clip_frame.time, timeline)


def _depth_frames(forecast: Forecast, clip_frames: Sequence[ClipFrame], notify: Progress) -> Iterator[np.ndarray]:
    """Depth is coloured after the range of the whole clip is known: otherwise the colours would flicker."""
    depths, opacities = [], []
    for clip_frame in _counted(clip_frames, notify):
        result = forecast.render(clip_frame.camera, clip_frame.time, render_bounds=clip_frame.render_bounds)
        opacity = result.opacity.cpu()
        depths.append((result.depth.cpu() / opacity.clamp(min=1e-6)).half())
        opacities.append((opacity * 255).round().to(torch.uint8))
    return colour_depth(depths, opacities)


def colour_depth(depths: Sequence[Tensor], opacities: Sequence[Tensor]) -> Iterator[np.ndarray]:
    """Depth maps `[H, W]` with opacities `[H, W]` uint8 -> pictures `[H, W, 3]` uint8, fading to black where
    nothing is seen.

    The range of colours runs from the 1st to the 99th percentile of what is seen in all of them.
    """
    seen = np.concatenate(
        [d[o >= MIN_OPACITY_FOR_DEPTH * 255].float().numpy().ravel()[::7] for d, o in zip(depths, opacities)]
    )
    low, high = np.percentile(seen, [1, 99]) if seen.size else (0.0, 1.0)
    for depth, opacity in zip(depths, opacities):
        yield depth_picture(depth, opacity.float() / 255, float(low), float(high))


def depth_picture(depth: Tensor, opacity: Tensor, low: float, high: float) -> np.ndarray:
    """A depth map `[H, W]` with opacities `[H, W]` in 0..1 -> a picture `[H, W, 3]` uint8, coloured from `low` to
    `high` and fading to black where nothing is seen."""
    from matplotlib import colormaps

    level = (depth.float().numpy() - low) / max(high - low, 1e-6)
    picture = colormaps[DEPTH_COLOURS](np.clip(level, 0, 1))[..., :3] * opacity.numpy()[..., None]
    return to_bytes(picture)
