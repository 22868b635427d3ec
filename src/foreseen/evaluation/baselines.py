"""Forecasts that learn nothing, and one that knows the dynamics. A method that is not better than the former has not
learned the motion; only by its image quality can it be better than the latter.

Each baseline is built from the observed frames and gives an image for a frame, or None where it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from foreseen.data.types import Dataset, Frame, GroundTruth, Sequence
from foreseen.evaluation.moving_pixels import background_picture
from foreseen.evaluation.true_dynamics import fit_constants, integrate_from_truth

if TYPE_CHECKING:
    from foreseen.geometry.cameras import Camera


@dataclass(frozen=True)
class Prediction:
    """A predicted image.

    Attributes:
        image: `[H, W, 3]`.
        background: the image without the moving objects, where that differs from the frame's own background because
            the image came from another camera.
    """

    image: Tensor
    background: Tensor | None = None


Baseline = Callable[[Frame], Prediction | None]


class ObservedFrames:
    """The observed frames, by sequence and camera.

    Args:
        dataset: has the sequences' ground truth and background images.
        frames: the observed frames: those of training, and the first ones of unseen sequences.
        ends: for each sequence the time of its last observed frame, in the data set's unit.
        unseen: names of the sequences without training frames.
    """

    def __init__(
        self, dataset: Dataset, frames: Many[Frame], ends: Mapping[str, float], unseen: Collection[str] = ()
    ) -> None:
        self.sequences: Mapping[str, Sequence] = {s.name: s for s in dataset.sequences}
        self.observed_until, self.unseen = ends, unseen
        self.last_times: dict[str, float] = {}
        for frame in frames:
            self.last_times[frame.sequence] = max(frame.time, self.last_times.get(frame.sequence, frame.time))
        self._frames: dict[str, dict[str, list[Frame]]] = {}
        for frame in sorted(frames, key=lambda f: f.time):
            self._frames.setdefault(frame.sequence, {}).setdefault(frame.camera_id, []).append(frame)

    def same_camera(self, frame: Frame) -> list[Frame]:
        """Observed frames of the frame's own camera, by time; empty where it has none."""
        return self._frames.get(frame.sequence, {}).get(frame.camera_id, [])

    def nearest_camera(self, frame: Frame) -> list[Frame]:
        """Observed frames of the frame's own camera, else of the camera with the nearest pose; by time."""
        cameras = self._frames.get(frame.sequence, {})
        if frame.camera_id in cameras or not cameras:
            return cameras.get(frame.camera_id, [])
        unit = _spread([frames[0].camera for frames in cameras.values()])
        return min(cameras.values(), key=lambda frames: _pose_distance(frames[0].camera, frame.camera, unit))

    def show(self, source: Frame, frame: Frame) -> Prediction:
        """An observed frame as the prediction of another one."""
        image = sized(source.image(), frame.camera)
        if source.camera_id == frame.camera_id:
            return Prediction(image)
        background = background_picture(source, self.sequences[source.sequence])
        if background is not None and background.dim() == 3:
            background = sized(background, frame.camera)
        return Prediction(image, background)


def _spread(cameras: list[Camera]) -> float:
    """Mean distance of the cameras from their centre, in scene units: how much one radian of rotation counts."""
    positions = torch.stack([c.position for c in cameras])
    spread = float((positions - positions.mean(0)).norm(dim=-1).mean())
    return spread if spread > 1e-6 else 1.0


def _pose_distance(a: Camera, b: Camera, unit: float) -> float:
    """Distance of two poses: distance of the positions, and of the axes x and z times `unit`."""
    axes = (a.camera_to_world[:3, [0, 2]] - b.camera_to_world[:3, [0, 2]]).norm() * unit
    return float(torch.hypot((a.position - b.position).norm(), axes))


def sized(image: Tensor, camera: Camera) -> Tensor:
    """An image `[h, w, 3]` at the camera's size; cameras of one set may differ in it."""
    if image.shape[:2] == (camera.height, camera.width):
        return image
    size = (camera.height, camera.width)
    planes = F.interpolate(image.permute(2, 0, 1)[None], size=size, mode="bilinear", antialias=True)
    return planes[0].permute(1, 2, 0)


def last_frame(observed: ObservedFrames) -> Baseline:
    """The last observed frame of the camera, or of the nearest observed one: nothing moves any more."""

    def predict(frame: Frame) -> Prediction | None:
        frames = observed.nearest_camera(frame)
        return observed.show(frames[-1], frame) if frames else None

    return predict


def nearest_frame(observed: ObservedFrames) -> Baseline:
    """The observed frame nearest in time of the camera, or of the nearest observed one."""

    def predict(frame: Frame) -> Prediction | None:
        frames = observed.nearest_camera(frame)
        if not frames:
            return None
        return observed.show(min(frames, key=lambda f: abs(f.time - frame.time)), frame)

    return predict


def constant_velocity(observed: ObservedFrames) -> Baseline:
    """Constant-velocity extrapolation: the bodies as last observed, moved at their last velocity, over the camera's
    background image.

    Positions and velocities are the exact ones of the simulation: this is what a perfect tracker without dynamics
    predicts. Only after the observed window, for observed cameras, where masks and ground truth exist.
    """

    def positions_at(truth: GroundTruth, frame: Frame) -> Tensor:
        return _extrapolated(truth, observed.last_times[frame.sequence], frame.time)

    return _pasting(observed, positions_at)


def true_dynamics(observed: ObservedFrames) -> Baseline:
    """The bodies as last observed, moved to the positions that the true dynamics give from the true state at the
    sequence's first time. The form of the dynamics is given, their constants are fitted to the training sequences (see
    `true_dynamics.py`).

    Defined where constant velocity is, for dynamics whose form is known.
    """

    @cache
    def constants(dynamics: str) -> dict[str, float] | None:
        trained_on = [
            s
            for name, s in observed.sequences.items()
            if name in observed.observed_until and name not in observed.unseen
        ]
        return fit_constants(
            dynamics,
            [
                (s.truth, observed.observed_until[s.name])
                for s in trained_on
                if s.truth and s.truth.dynamics == dynamics
            ],
        )

    @cache
    def trajectory(sequence: str) -> np.ndarray | None:
        truth = observed.sequences[sequence].truth
        fitted = constants(truth.dynamics) if truth else None
        return integrate_from_truth(truth, fitted) if truth and fitted else None

    def positions_at(truth: GroundTruth, frame: Frame) -> Tensor | None:
        positions = trajectory(frame.sequence)
        return None if positions is None else _nearest(truth, positions, frame.time)

    return _pasting(observed, positions_at)


def _pasting(observed: ObservedFrames, positions_at: Callable[[GroundTruth, Frame], Tensor | None]) -> Baseline:
    """The bodies as last observed, over the camera's background image, at the positions `[B, 3]` that `positions_at`
    gives for a frame. Only after the observed window, for observed cameras, where masks and ground truth exist."""

    def predict(frame: Frame) -> Prediction | None:
        sequence = observed.sequences.get(frame.sequence)
        frames = observed.same_camera(frame)
        if (
            sequence is None
            or sequence.truth is None
            or not frames
            or frame.time <= observed.observed_until[frame.sequence]
        ):
            return None
        source = frames[-1]
        mask, background = source.layer("mask"), background_picture(frame, sequence)
        if mask is None or background is None:
            return None
        end = positions_at(sequence.truth, frame)
        if end is None:
            return None
        start = _nearest(sequence.truth, sequence.truth.positions, source.time)
        canvas = background.expand(frame.camera.height, frame.camera.width, 3).clone()
        return Prediction(paste_bodies(canvas, source, mask, frame.camera, start, end))

    return predict


def _nearest(truth: GroundTruth, positions: np.ndarray, time: float) -> Tensor:
    """`[B, 3]` of `positions` `[T, B, 3]` at the truth's time nearest to `time`."""
    return torch.from_numpy(positions[int(np.abs(truth.times - time).argmin())]).float()


def _extrapolated(truth: GroundTruth, last_time: float, time: float) -> Tensor:
    """`[B, 3]` at `time`, at constant velocity from the state at the last observed time."""
    last = int(np.abs(truth.times - last_time).argmin())
    step = time - float(truth.times[last])
    return torch.from_numpy(truth.positions[last] + truth.velocities[last] * step).float()


def paste_bodies(canvas: Tensor, source: Frame, mask: Tensor, camera: Camera, start: Tensor, end: Tensor) -> Tensor:
    """Each body cut out of `source` by its instance id and drawn on `canvas` `[H, W, 3]`, distant ones first.

    Body b moves by the projection of `end[b] - start[b]` (`[B, 3]`, scene units) and grows as it approaches.
    """
    (from_pixels, from_depth), (to_pixels, to_depth) = source.camera.project(start), camera.project(end)
    image = source.image()
    for body in torch.argsort(to_depth, descending=True).tolist():
        if float(to_depth[body]) <= 1e-6 or float(from_depth[body]) <= 1e-6:
            continue  # behind the camera
        growth = float(from_depth[body] / to_depth[body])
        where = from_pixels[body] + (camera.pixel_centres() - to_pixels[body]) / growth
        cut = torch.cat([image, (mask == body + 1).float()[..., None]], dim=-1)
        moved = _sample(cut, where)
        canvas = canvas + moved[..., 3:] * (moved[..., :3] - canvas)
    return canvas


def _sample(image: Tensor, pixels: Tensor) -> Tensor:
    """Bilinear values of `image` `[h, w, C]` at `pixels` `[H, W, 2]`; 0 outside."""
    size = torch.tensor([image.shape[1], image.shape[0]], dtype=pixels.dtype)
    grid = (2 * pixels / size - 1)[None]
    return F.grid_sample(image.permute(2, 0, 1)[None], grid, align_corners=False)[0].permute(1, 2, 0)


BASELINES: dict[str, Callable[[ObservedFrames], Baseline]] = {
    "last-frame": last_frame,
    "nearest-frame": nearest_frame,
    "constant-velocity": constant_velocity,
    "true-dynamics": true_dynamics,
}
