"""A run along a camera path: colours, depth, or beside the truth."""

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
from foreseen.export.compose import GAIN, Timeline, compose, difference_picture, to_bytes
from foreseen.export.marks import mark_points
from foreseen.export.subject import Subject, choose_subject
from foreseen.export.video import CRF, FPS, VideoWriter
from foreseen.geometry.cameras import Camera

if TYPE_CHECKING:
    from foreseen.training.run import Forecast, Run

Channel = Literal["rgb", "depth", "side-by-side"]
Progress = Callable[[float, str], None]
Marks = Mapping[float, Tensor]
"""Time -> points `[N, 3]` to be marked."""
DEPTH_COLOURS = "magma_r"
"""Near is bright, far is dark."""
SEEN = 0.5
"""Depth is read where at least this share of the light comes from the scene."""


@dataclass(frozen=True)
class Shot:
    """One frame of a clip: where the camera stands, when, what was filmed there, if anything was, and the box that its
    rays are to reach, where it may stand outside of what was filmed."""

    camera: Camera
    time: float
    truth: Frame | None = None
    reach: Tensor | None = None


def write_clip(
    run: Run,
    shots: Sequence[Shot],
    out: Path,
    *,
    subject: Subject | None = None,
    channel: Channel = "rgb",
    timeline: Timeline | None = None,
    futures: bool = False,
    fps: float = FPS,
    crf: int = CRF,
    progress: Progress | None = None,
) -> Path:
    """Renders `shots` into an mp4 or a folder of PNGs (see `VideoWriter`).

    Args:
        run: whose data set has the units.
        shots: the frames, cameras of one size.
        out: a name ending in .mp4, else a folder.
        subject: what is rendered; None: the first sequence that was learned.
        channel: colours; depth, coloured over the range of the whole clip; or truth, rendering and their difference.
        timeline: for "side-by-side": where the observed part ends. None takes it from the run.
        futures: mark where the parts' centres may be, in each future that the run leaves possible; not with "depth".
        fps, crf: frames a second and quality of an mp4.
        progress: called with the share that is done (0..1) and what is being done.

    Returns:
        `out`.

    Raises:
        UserError: see `VideoWriter`; or there is only one future.
    """
    tell, subject = progress or _silent, subject or choose_subject(run)
    forecast = subject.forecast
    forecast.prepare(shot.time for shot in shots)
    marks = _marks(forecast, shots, channel) if futures else {}
    with VideoWriter(out, fps=fps, crf=crf) as video:  # refuses a bad target before anything is rendered
        if channel == "depth":
            frames = _depth_frames(forecast, shots, tell)
        elif channel == "rgb":
            frames = (_colours(forecast, s, marks) for s in _counted(shots, tell))
        else:
            line = timeline or clip_timeline(run, subject, [s.time for s in shots])
            frames = (_beside_truth(forecast, s, line, marks) for s in _counted(shots, tell))
        for frame in frames:
            video.add(frame)
    tell(1.0, f"wrote {out}")
    return out


def _silent(share: float, doing: str) -> None:
    del share, doing


def clip_timeline(run: Run, subject: Subject, times: Sequence[float]) -> Timeline:
    """The timeline of a clip at `times`."""
    return Timeline(min(times), max(times), subject.observed_until, run.dataset().time_unit)


def _counted(shots: Sequence[Shot], tell: Progress) -> Iterator[Shot]:
    for index, shot in enumerate(shots):
        tell(index / len(shots), f"rendering t = {shot.time:.4g}")
        yield shot


def _marks(forecast: Forecast, shots: Sequence[Shot], channel: Channel) -> Marks:
    if channel == "depth":
        raise UserError("--futures marks colours: give --channel rgb or side-by-side.")
    times = sorted({shot.time for shot in shots})
    found = forecast.ensemble(times)
    if found is None:
        raise UserError("--futures: this run leaves one future only: leave it out.")
    return {time: found[:, i].flatten(0, 1).float() for i, time in enumerate(times)}


def _marked(picture: Tensor, shot: Shot, marks: Marks) -> np.ndarray:
    found = to_bytes(picture)
    return mark_points(found, shot.camera, marks[shot.time]) if shot.time in marks else found


def _colours(forecast: Forecast, shot: Shot, marks: Marks) -> np.ndarray:
    return _marked(forecast.render(shot.camera, shot.time, reach=shot.reach).rgb.cpu(), shot, marks)


def _beside_truth(forecast: Forecast, shot: Shot, timeline: Timeline, marks: Marks) -> np.ndarray:
    image = forecast.render(shot.camera, shot.time, reach=shot.reach).rgb.cpu()
    truth = None if shot.truth is None else sized(shot.truth.image(), shot.camera)
    label = "forecast" if timeline.is_forecast(shot.time) else "rendered"
    panels = [
        ("truth", None if truth is None else to_bytes(truth)),
        (label, _marked(image, shot, marks)),
        (f"difference x {GAIN}", None if truth is None else difference_picture(image, truth)),
    ]
    return compose(panels, shot.time, timeline)


def _depth_frames(forecast: Forecast, shots: Sequence[Shot], tell: Progress) -> Iterator[np.ndarray]:
    """Coloured once the range of the whole clip is known, or the colours would flicker."""
    depths, opacities = [], []
    for shot in _counted(shots, tell):
        result = forecast.render(shot.camera, shot.time, reach=shot.reach)
        opacity = result.opacity.cpu()
        depths.append((result.depth.cpu() / opacity.clamp(min=1e-6)).half())
        opacities.append((opacity * 255).round().to(torch.uint8))
    return colour_depth(depths, opacities)


def colour_depth(depths: Sequence[Tensor], opacities: Sequence[Tensor]) -> Iterator[np.ndarray]:
    """Depth maps `[H, W]` with opacities `[H, W]` uint8 -> pictures `[H, W, 3]` uint8, fading to black where
    nothing is.

    The range of colours runs from the 1st to the 99th percentile of what is seen in all of them.
    """
    seen = np.concatenate([d[o >= SEEN * 255].float().numpy().ravel()[::7] for d, o in zip(depths, opacities)])
    low, high = np.percentile(seen, [1, 99]) if seen.size else (0.0, 1.0)
    for depth, opacity in zip(depths, opacities):
        yield depth_picture(depth, opacity.float() / 255, float(low), float(high))


def depth_picture(depth: Tensor, opacity: Tensor, low: float, high: float) -> np.ndarray:
    """A depth map `[H, W]` with opacities `[H, W]` in 0..1 -> a picture `[H, W, 3]` uint8, coloured from `low` to
    `high` and fading to black where nothing is."""
    from matplotlib import colormaps

    level = (depth.float().numpy() - low) / max(high - low, 1e-6)
    picture = colormaps[DEPTH_COLOURS](np.clip(level, 0, 1))[..., :3] * opacity.numpy()[..., None]
    return to_bytes(picture)
