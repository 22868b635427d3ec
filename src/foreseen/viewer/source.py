"""The base of everything that the viewer shows: scenes, frames and times."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.core.capabilities import Layer
from foreseen.data.types import Frame, GroundTruth
from foreseen.errors import UserError
from foreseen.export.compose import Timeline
from foreseen.geometry.cameras import Camera
from foreseen.geometry.paths import look_at, look_at_point, up_direction
from foreseen.render import ImageResult, extend_reach, render
from foreseen.render import preview as coarse_preview
from foreseen.viewer.state_controls import StateControl

SLIDER_STEPS = 480
"""Approximate number of slider positions. States are computed once for each. Larger: a finer slider, more memory."""
PREVIEW_COARSENING = 4
"""While the view moves, samples of fields are this many times farther apart: three times as fast, hardly visible."""
DEFAULT_FOV = 50.0
"""Vertical field of view [degrees] where a data set has no camera."""


class ViewerSource(ABC):
    """Something with time and views that the viewer shows.

    Attributes:
        name: shown to the user.
        timeline: range of times, and the end of the observed window.
        frames: captured frames of the sequence.
        truth: exact motion of the captured bodies, if known.
        sequences: names of the sequences that can be chosen.
        sequence: the one that is shown; None while the user sets the initial condition.
        state_controls: values of the initial condition that can be set; none where it takes none.
        bounds: `[2, 3]` lowest and highest corner of the scene.
        time_step: time between two positions of the slider.
        step: time between two frames.
        observed_times: times of the training frames of the sequence, ascending.
        version: increases whenever something else is shown.
        moves: there is more than one time.
        renders: there are scenes to render, not only captured pictures.
        supports_clips: `foreseen render` takes camera paths through it.
        note: further information for the user.
        layer: which layer of its scenes is shown; None: all.
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
        """The scene at a time; None where there are only captured pictures."""

    def ensemble(self, times: Sequence[float]) -> Tensor | None:
        """`[E, T, K, 3]` centres of the moving parts in E sampled trajectories, the most likely first; None where only
        one trajectory is known."""
        del times
        return None

    def choose(self, sequence: str) -> None:
        """Shows another sequence. Raises `UserError` for one that cannot be shown."""
        del sequence
        raise UserError(f"{self.name} has no other sequences.")

    @property
    def has_layers(self) -> bool:
        """The static and the dynamic layer can be shown alone."""
        return False

    def show_layer(self, which: Layer | None) -> None:
        """Shows the static or the dynamic layer alone; None: all."""
        self.layer = which
        self.version += 1

    def set_initial_condition(self, values: Sequence[float]) -> None:
        """Shows the forecast from an initial condition: a value for each state control. Raises `UserError` where it
        takes none."""
        del values
        raise UserError(f"{self.name} takes no initial conditions.")

    def reload(self) -> bool:
        """Loads the newest version of a run that is still being trained. Returns whether something changed."""
        return False

    @property
    def captured(self) -> bool:
        """The frames show the same sequence as the scene."""
        return False

    def _set_timeline(self, timeline: Timeline) -> None:
        """Sets the range of times of what is shown now."""
        self.timeline = timeline
        self.time_step, self.step = _time_steps(timeline, self.frames)
        self.version += 1

    def describe_time(self, time: float) -> str:
        """What a time is: "observed", "interpolated" (inside the observed window, but between training times) or
        "forecast"."""
        if self.timeline.is_forecast(time):
            return "forecast"
        if not len(self.observed_times):
            return "observed"
        near = bool(np.abs(self.observed_times - time).min() <= 0.51 * self.time_step)
        return "observed" if near else "interpolated"

    @property
    def extent(self) -> float:
        """Diagonal of the bounds."""
        return max(float((self.bounds[1] - self.bounds[0]).norm()), 1e-6)

    def snap_time(self, time: float) -> float:
        """The slider position nearest to `time`, at most the end."""
        start, end = self.timeline.start, self.timeline.end
        return round(min(start + round((time - start) / self.time_step) * self.time_step, end), 9)

    @cached_property
    def reference(self) -> Camera:
        """A camera whose near, far and normalised device coordinates all views share."""
        return self.frames[0].camera if self.frames else outside_camera(self.bounds)

    @cached_property
    def initial_camera(self) -> Camera:
        """The first view."""
        return self.reference

    @cached_property
    def up(self) -> np.ndarray:
        """`[3]` the upward direction."""
        return up_direction(self._cameras) if self.frames else np.array([0.0, 0.0, 1.0])

    @cached_property
    def target(self) -> np.ndarray:
        """`[3]`: the point that the mouse rotates the view around at first."""
        return look_at_point(self._cameras) if self.frames else self.bounds.double().mean(0).numpy()

    @property
    def _cameras(self) -> list[Camera]:
        return [f.camera for f in {f.camera_id: f for f in reversed(self.frames)}.values()][::-1]

    @property
    def device(self) -> torch.device:
        """The device of its scenes' tensors."""
        return torch.device("cpu")

    def cached_scene(self, time: float) -> Any | None:
        """The scene at a time; the last one is kept."""
        key = self.version, time
        if self._made is None or self._made[0] != key:
            self._made = key, self.scene(time)
        return self._made[1]

    @torch.no_grad()
    def render_view(self, camera: Camera, time: float, *, preview: bool = False) -> ImageResult:
        """What `camera` sees at a time, without gradients; faster and less exact as a `preview`. Raises `UserError`
        where nothing renders this type of scene."""
        scene = coarse_preview(self.cached_scene(time), PREVIEW_COARSENING) if preview else self.cached_scene(time)
        try:
            return render(extend_reach(scene, camera, self.bounds), camera, device=self.device)
        except TypeError as error:
            raise UserError(f"{self.name}: {error}") from None


def _time_steps(timeline: Timeline, frames: Sequence[Frame]) -> tuple[float, float]:
    """Time between two slider positions, and between two frames: a whole multiple of the former, so that the slider
    stops at evenly spaced frames."""
    span = max(timeline.end - timeline.start, 1e-9)
    times = sorted({f.time for f in frames})
    step = float(np.median(np.diff(times))) if len(times) > 1 else span / 50
    return step / max(round(SLIDER_STEPS * step / span), 1), step


def outside_camera(bounds: Tensor) -> Camera:
    """A camera that sees a box from outside, z upwards."""
    low, high = bounds.double().numpy()
    centre, size = (low + high) / 2, max(float(np.linalg.norm(high - low)), 1e-6)
    pose = look_at(centre + size * np.array([0.3, -1.0, 0.5]), centre, np.array([0.0, 0.0, 1.0]))
    focal = 240 / math.tan(math.radians(DEFAULT_FOV) / 2)
    return Camera(torch.from_numpy(pose).float(), focal, focal, 320, 240, 640, 480, 0.01 * size, 10 * size)
