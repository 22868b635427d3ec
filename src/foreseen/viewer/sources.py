"""What can be shown: a run, a data set, a file of Gaussians."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.data.types import Dataset
from foreseen.errors import UserError
from foreseen.evaluation.forecast_context import forecast_contexts
from foreseen.export.clip_subject import ClipSubject, choose_subject
from foreseen.export.compose import Timeline
from foreseen.geometry.cameras import Camera
from foreseen.geometry.paths import look_at
from foreseen.runs.durations import readable_time
from foreseen.runs.run import Run
from foreseen.scenes.files import SplatFile
from foreseen.scenes.gaussians import Gaussians
from foreseen.viewer.source import ViewerSource, outside_camera
from foreseen.viewer.state_controls import find_state_controls, format_initial_condition

EXTRAPOLATION_SHARE = 0.5
"""The time slider of a run goes past the last frame by this share of the captured range, unless the user says how
far."""
PREFETCH_TIMES = 12
"""Number of slider positions whose states are computed together: one solution of the dynamics serves all."""
FIRST_VIEW_DISTANCE, FIRST_VIEW_OFFSET = 1.5, 0.35
"""The first view of a data set: distance from the target, and offset to the side and upwards, both relative to the
distance of its first camera."""


class RunSource(ViewerSource):
    """The forecast of a run, for one sequence or from an initial condition that the user sets. `newest` returns the
    run with its newest checkpoint."""

    def __init__(
        self, run: Run, name: str, until: float | None = None, newest: Callable[[], Run] | None = None
    ) -> None:
        self.run, self.name, self.until = run, name, until
        self._newest = newest or (lambda: run)
        self._initial_text = ""
        self.bounds = torch.tensor(run.info.bounds)
        self.data = _data_of(run)
        self._subject: ClipSubject | None = None
        if self.data is None:
            self._show_without_data()
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
        self._initial_text = format_initial_condition(self.state_controls, values)
        self._take(choose_subject(self.run, initial=self._initial_text))
        self.sequence = None

    def reload(self) -> bool:
        newest = self._newest()
        if newest is self.run:
            return False
        self.run = newest
        if self.data is None:
            self._show_without_data()
        elif self.sequence is None:
            self._take(choose_subject(newest, initial=self._initial_text))
        else:
            self.choose(self.sequence)
        return True

    @property
    def device(self) -> torch.device:
        return self.run.method.device

    @property
    def note(self) -> str:  # type: ignore[override]
        return f"{self.name}: {self.run.step:,} steps, {readable_time(self.run.train_seconds)} of training"

    def _show_without_data(self) -> None:
        """Shows the first training sequence where the data set is gone."""
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
        training_frames = [f for f in trained if subject.captured and f.sequence == subject.frames[0].sequence]
        self.observed_times = np.unique([f.time for f in training_frames])
        times = [f.time for f in subject.frames]
        self._span(min(times), max(times), subject.observed_until)

    def _span(self, start: float, end: float, observed_until: float) -> None:
        last = end + EXTRAPOLATION_SHARE * (end - start) if self.until is None else max(self.until, end)
        self.moves = last > start
        unit = self.data.time_unit if self.data else "unknown"
        self._set_timeline(Timeline(start, last, observed_until, unit))

    @property
    def captured(self) -> bool:
        """The frames show the same sequence as the scene."""
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
        camera = self.frames[0].camera if self.frames else outside_camera(self.bounds)
        return replace(camera, near=info.near, far=info.far)


class DatasetSource(ViewerSource):
    """A data set: cameras, pictures, and the exact motion where it is known."""

    renders = supports_clips = False

    def __init__(self, dataset: Dataset) -> None:
        if not dataset.has_cameras:
            raise UserError(
                f"{dataset.path} has pictures without camera poses, and the viewer shows cameras in space: use "
                "`foreseen inspect`."
            )
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
        """The frames show the same sequence as the scene."""
        return True

    def scene(self, time: float) -> None:
        del time

    @cached_property
    def initial_camera(self) -> Camera:
        """Behind and beside the first camera, so that the cameras are visible."""
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
    """A file of Gaussians, static or moving."""

    supports_clips = False

    def __init__(self, file: SplatFile) -> None:
        self.name, self._scene = file.path.name, file.scene
        times = self._scene.times.tolist() or [0.0]
        self.moves = len(times) > 1
        ordered = self.scene(times[0]).means.double().sort(dim=0).values
        # Outliers would make everything else tiny.
        self.bounds = torch.stack([ordered[int(share * (len(ordered) - 1))] for share in (0.02, 0.98)])
        self._set_timeline(Timeline(times[0], times[-1], times[-1], self._scene.time_unit or "unknown"))

    def scene(self, time: float) -> Gaussians:
        return self._scene.at(time)


def _data_of(run: Run) -> Dataset | None:
    """The data set of a run; None where it is gone: a run can be shown without it."""
    try:
        run.splits()
        return run.dataset()
    except UserError as error:
        print(f"foreseen: warning: shown without its data: {error}", file=sys.stderr, flush=True)
        return None


def _forecastable(run: Run) -> tuple[str, ...]:
    """Training sequences first, then those that the run can forecast."""
    return tuple(forecast_contexts(run, run.splits(), None))
