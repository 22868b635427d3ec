"""What can be shown: a run, a data set, a file of Gaussians. All of it in plain words of scenes, frames and times."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.core.capabilities import Layer
from foreseen.data.types import Dataset, Frame, GroundTruth
from foreseen.errors import UserError
from foreseen.export.clip_subject import ClipSubject, choose_subject
from foreseen.export.compose import Timeline
from foreseen.geometry.cameras import Camera
from foreseen.geometry.paths import look_at, look_at_point, up_direction
from foreseen.render import ImageResult, extend_reach, render
from foreseen.render import preview as coarse_preview
from foreseen.scenes.files import SplatFile
from foreseen.scenes.gaussians import Gaussians
from foreseen.training.report import readable_time
from foreseen.training.run import Run
from foreseen.viewer.state_controls import StateControl, find_state_controls, format_initial_condition

EXTRAPOLATION_SHARE = 0.5
"""The time slider of a run goes on after the last frame by this share of what was filmed, where nobody says how far."""
SLIDER_STEPS = 480
"""The time slider stops at about so many times: states at them are computed once and kept."""
PREFETCH_TIMES = 12
"""So many of these are computed at once: one solution of the law serves them all."""
PREVIEW_COARSENING = 4
"""While things move, samples of fields are so many times as far apart: three times as fast, and hard to tell."""
FIRST_VIEW_DISTANCE, FIRST_VIEW_OFFSET = 1.5, 0.35
"""A data set is first seen from so many times as far as its first camera, and so much to the side and above."""
DEFAULT_FOV = 50.0
"""Degrees, where no camera of a data set tells."""


class ViewerSource(ABC):
    """Something with time and views.

    Attributes:
        name: for the screen.
        timeline: its range, and where the observed part ends.
        frames: what was filmed of it.
        truth: exact motion of what was filmed, if known.
        sequences: names of what can be chosen; `sequence` is what is shown, None while it begins as typed.
        knobs: initial conditions that can be turned; none where it takes none.
        bounds: `[2, 3]` corners of the box that things lie in.
        moment: time between two moments of the slider; `step`: between two frames.
        given: times of what was learned from, ascending.
        version: grows when something else is shown.
        moves: there is more than one time.
        renders: there are scenes, and not only pictures.
        makes_clips: `foreseen render` takes camera paths through it.
        note: what else there is to say of it.
        layer: what is shown of its scenes: all, or what is at rest or moves alone.
    """

    name: str
    timeline: Timeline
    frames: tuple[Frame, ...] = ()
    truth: GroundTruth | None = None
    sequences: tuple[str, ...] = ()
    sequence: str | None = None
    state_controls: tuple[StateControl, ...] = ()
    bounds: Tensor
    time_step: float
    step: float
    observed_times: np.ndarray = np.empty(0)
    version: int = 0
    moves: bool = True
    renders: bool = True
    supports_clips: bool = True
    note: str = ""
    layer: Layer | None = None
    _made: tuple[tuple[int, float], Any] | None = None

    @abstractmethod
    def scene(self, time: float) -> Any | None:
        """What there is to render at a moment; None where there are only pictures."""

    def ensemble(self, times: Sequence[float]) -> Tensor | None:
        """`[E, T, K, 3]` centres of the moving parts in E futures, the most likely first; None: there is one."""
        del times
        return None

    def choose(self, sequence: str) -> None:
        """Shows another sequence. Raises `UserError` for one that cannot be shown."""
        del sequence
        raise UserError(f"{self.name} has no other sequences.")

    @property
    def has_layers(self) -> bool:
        """What moves and what is at rest can be shown alone."""
        return False

    def show_layer(self, which: Layer | None) -> None:
        """Shows what moves or what is at rest alone; None: all."""
        self.layer = which
        self.version += 1

    def set_initial_condition(self, values: Sequence[float]) -> None:
        """Shows what follows from initial conditions: a value for each knob. Raises `UserError` where it takes none."""
        del values
        raise UserError(f"{self.name} takes no initial conditions.")

    def reload(self) -> bool:
        """Shows it as it is by now, where it is still being made. Returns whether that is something new."""
        return False

    @property
    def captured(self) -> bool:
        """The frames show what is shown."""
        return False

    def _set_timeline(self, timeline: Timeline) -> None:
        """Something else is shown, over another range."""
        self.timeline = timeline
        self.time_step, self.step = _moments(timeline, self.frames)
        self.version += 1

    def describe_time(self, time: float) -> str:
        """What a time is: "observed", "interpolated" (inside the observed window, and nothing was given then) or
        "forecast"."""
        if self.timeline.is_forecast(time):
            return "forecast"
        given = not len(self.observed_times) or bool(np.abs(self.observed_times - time).min() <= 0.51 * self.time_step)
        return "observed" if given else "interpolated"

    @property
    def extent(self) -> float:
        """Diagonal of the box."""
        return max(float((self.bounds[1] - self.bounds[0]).norm()), 1e-6)

    def snap_time(self, time: float) -> float:
        """The moment nearest to `time`; there is none after the end."""
        start, end = self.timeline.start, self.timeline.end
        return round(min(start + round((time - start) / self.time_step) * self.time_step, end), 9)

    @cached_property
    def reference(self) -> Camera:
        """Whose bounds of rays all views share."""
        return self.frames[0].camera if self.frames else _outside(self.bounds)

    @cached_property
    def initial_camera(self) -> Camera:
        """Where one looks from at first."""
        return self.reference

    @cached_property
    def up(self) -> np.ndarray:
        """`[3]`"""
        return up_direction(self._cameras) if self.frames else np.array([0.0, 0.0, 1.0])

    @cached_property
    def target(self) -> np.ndarray:
        """`[3]`: the point that the mouse turns around at first."""
        return look_at_point(self._cameras) if self.frames else self.bounds.double().mean(0).numpy()

    @property
    def _cameras(self) -> list[Camera]:
        return [f.camera for f in {f.camera_id: f for f in reversed(self.frames)}.values()][::-1]

    @property
    def device(self) -> torch.device:
        """Where its scenes' tensors are."""
        return torch.device("cpu")

    def cached_scene(self, time: float) -> Any | None:
        """The scene at a moment, which is made once for all that is done with it."""
        key = self.version, time
        if self._made is None or self._made[0] != key:
            self._made = key, self.scene(time)
        return self._made[1]

    @torch.no_grad()
    def render_view(self, camera: Camera, time: float, *, preview: bool = False) -> ImageResult:
        """What `camera` sees at a moment, more quickly and less exactly as a `preview`. Raises `UserError` where
        nothing renders this kind of scene."""
        scene = coarse_preview(self.cached_scene(time), PREVIEW_COARSENING) if preview else self.cached_scene(time)
        try:
            return render(extend_reach(scene, camera, self.bounds), camera, device=self.device)
        except TypeError as error:
            raise UserError(f"{self.name}: {error}") from None


class RunSource(ViewerSource):
    """A run: what it forecasts of one sequence, or from what a user types. `newest` returns it as it is by now."""

    def __init__(
        self, run: Run, name: str, until: float | None = None, newest: Callable[[], Run] | None = None
    ) -> None:
        self.run, self.name, self.until = run, name, until
        self._newest = newest or (lambda: run)
        self._typed = ""
        self.bounds = torch.tensor(run.info.bounds)
        self.data = _data_of(run)
        self._subject: ClipSubject | None = None
        if self.data is None:
            self._show_blind()
        else:
            self.state_controls = find_state_controls(run, self.data)
            self.sequences = _forecastable(run)
            self.choose(self.sequences[0])

    def choose(self, sequence: str) -> None:
        self._take(choose_subject(self.run, sequence))
        self.sequence = sequence

    def set_initial_condition(self, values: Sequence[float]) -> None:
        if not self.state_controls:
            raise UserError(f"{self.name} takes no initial conditions.")
        self._typed = format_initial_condition(self.state_controls, values)
        self._take(choose_subject(self.run, initial=self._typed))
        self.sequence = None

    def reload(self) -> bool:
        newest = self._newest()
        if newest is self.run:
            return False
        self.run = newest
        if self.data is None:
            self._show_blind()
        elif self.sequence is None:
            self._take(choose_subject(newest, initial=self._typed))
        else:
            self.choose(self.sequence)
        return True

    @property
    def device(self) -> torch.device:
        return self.run.method.device

    @property
    def note(self) -> str:  # type: ignore[override]
        return f"{self.name}: {self.run.step:,} steps, {readable_time(self.run.train_seconds)} of training"

    def _show_blind(self) -> None:
        """Without its data: the first sequence that was learned."""
        start, end = self.run.info.time_range
        self.observed_times = np.array(self.run.info.times[0])
        self._forecast = self.run.forecast()
        self._span(start, end, end)

    def _take(self, subject: ClipSubject) -> None:
        self._subject, self._forecast = subject, subject.forecast
        self.frames = subject.frames
        ground_truths = {} if self.data is None else {s.name: s.truth for s in self.data.sequences}
        self.truth = ground_truths.get(subject.frames[0].sequence) if subject.captured else None
        trained = self.run.splits().frames["train"]
        own = [f for f in trained if subject.captured and f.sequence == subject.frames[0].sequence]
        self.observed_times = np.unique([f.time for f in own])
        times = [f.time for f in subject.frames]
        self._span(min(times), max(times), subject.observed_until)

    def _span(self, start: float, end: float, observed_until: float) -> None:
        last = end + EXTRAPOLATION_SHARE * (end - start) if self.until is None else max(self.until, end)
        unit = self.data.time_unit if self.data else "unknown"
        self._set_timeline(Timeline(start, last, observed_until, unit))

    @property
    def captured(self) -> bool:
        """The frames show what is shown."""
        return self._subject is not None and self._subject.captured

    def scene(self, time: float) -> Any:
        count = min(PREFETCH_TIMES, int((self.timeline.end - time) / self.time_step) + 1)
        if not self._forecast.is_cached(time):
            self._forecast.prepare(
                self.snap_time(time + i * self.time_step) if i else time for i in range(max(count, 1))
            )
        layer = None if self.layer is None else self._forecast.layer(time, self.layer)
        return self._forecast.scene(time) if layer is None else layer

    @property
    def has_layers(self) -> bool:
        return self._forecast.layer(self.timeline.start, "dynamic") is not None

    def ensemble(self, times: Sequence[float]) -> Tensor | None:
        return self._forecast.ensemble(times)

    @cached_property
    def reference(self) -> Camera:
        info = self.run.info
        camera = self.frames[0].camera if self.frames else _outside(self.bounds)
        return replace(camera, near=info.near, far=info.far)


class DatasetSource(ViewerSource):
    """A data set: cameras, pictures, and the exact motion where it is known."""

    renders = supports_clips = False

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.name, self.bounds = dataset, dataset.name, dataset.bounds
        self.sequences = tuple(s.name for s in dataset.sequences)
        self.choose(self.sequences[0])

    def choose(self, sequence: str) -> None:
        chosen = next(s for s in self.dataset.sequences if s.name == sequence)
        self.sequence, self.frames, self.truth = sequence, chosen.frames, chosen.truth
        times = chosen.times
        self.moves = len(times) > 1
        self._set_timeline(Timeline(float(times[0]), float(times[-1]), float(times[-1]), self.dataset.time_unit))

    @property
    def captured(self) -> bool:
        """The frames show what is shown."""
        return True

    def scene(self, time: float) -> None:
        del time

    @cached_property
    def initial_camera(self) -> Camera:
        """From behind the first camera and beside it, so that the cameras are seen."""
        camera, up = self.reference, self.up
        offset = camera.position.double().numpy() - self.target
        beside = np.cross(up, offset)
        position = (
            self.target
            + FIRST_VIEW_DISTANCE * offset
            + FIRST_VIEW_OFFSET * beside
            + FIRST_VIEW_OFFSET * float(np.linalg.norm(offset)) * up
        )
        pose = torch.from_numpy(look_at(position, self.target, up))
        return replace(camera, camera_to_world=pose.to(camera.camera_to_world))


class SplatFileSource(ViewerSource):
    """A file of Gaussians, at rest or moving."""

    supports_clips = False

    def __init__(self, file: SplatFile) -> None:
        self.name, self._scene = file.path.name, file.scene
        times = self._scene.times.tolist() or [0.0]
        self.moves = len(times) > 1
        ordered = self.scene(times[0]).means.double().sort(dim=0).values
        # Far-off Gaussians would make everything else a dot.
        self.bounds = torch.stack([ordered[int(share * (len(ordered) - 1))] for share in (0.02, 0.98)])
        self._set_timeline(Timeline(times[0], times[-1], times[-1], self._scene.time_unit or "unknown"))

    def scene(self, time: float) -> Gaussians:
        return self._scene.at(time)


def _moments(timeline: Timeline, frames: Sequence[Frame]) -> tuple[float, float]:
    """Time between two moments of the slider, and between two frames: a whole multiple of it where frames are even, so
    that the slider stops at theirs."""
    span = max(timeline.end - timeline.start, 1e-9)
    times = sorted({f.time for f in frames})
    step = float(np.median(np.diff(times))) if len(times) > 1 else span / 50
    return step / max(round(SLIDER_STEPS * step / span), 1), step


def _data_of(run: Run) -> Dataset | None:
    """The data that it was trained on; None where it is gone: a run can be looked at without."""
    try:
        run.splits()
        return run.dataset()
    except UserError as error:
        print(f"foreseen: warning: shown without its data: {error}", file=sys.stderr, flush=True)
        return None


def _forecastable(run: Run) -> tuple[str, ...]:
    """Learned sequences first, then those that it can forecast."""
    from foreseen.evaluation.forecast_context import forecast_contexts

    return tuple(forecast_contexts(run, run.splits(), None))


def _outside(bounds: Tensor) -> Camera:
    """A camera that sees a box from outside, z upwards."""
    low, high = bounds.double().numpy()
    centre, size = (low + high) / 2, max(float(np.linalg.norm(high - low)), 1e-6)
    pose = look_at(centre + size * np.array([0.3, -1.0, 0.5]), centre, np.array([0.0, 0.0, 1.0]))
    focal = 240 / math.tan(math.radians(DEFAULT_FOV) / 2)
    return Camera(torch.from_numpy(pose).float(), focal, focal, 320, 240, 640, 480, 0.01 * size, 10 * size)
