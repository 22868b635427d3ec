"""Forecasts that learn nothing, and one that knows the law. A method that does not beat the first has not understood
the motion; none can beat the last, save by how things look.

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
    """A predicted picture.

    Attributes:
        image: `[H, W, 3]`.
        background: what the picture shows without the moving objects, where that is not what the frame's camera
            sees: the picture came from another camera.
    """

    image: Tensor
    background: Tensor | None = None


Baseline = Callable[[Frame], Prediction | None]


class ObservedFrames:
    """The frames that were given, found by sequence and camera.

    Args:
        dataset: where the sequences' truth and background pictures come from.
        frames: the observed frames: those of training, and the first ones of unseen sequences.
        ends: for each sequence the end of what is observed of it, in the data set's unit.
        unseen: names of those among them that training never saw.
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
        """Observed frames of the frame's own camera, by time; empty where it was never observed."""
        return self._frames.get(frame.sequence, {}).get(frame.camera_id, [])

    def nearest_camera(self, frame: Frame) -> list[Frame]:
        """Observed frames of the frame's own camera, else of the camera with the nearest pose, by time."""
        cameras = self._frames.get(frame.sequence, {})
        if frame.camera_id in cameras or not cameras:
            return cameras.get(frame.camera_id, [])
        unit = _spread([frames[0].camera for frames in cameras.values()])
        return min(cameras.values(), key=lambda frames: _pose_distance(frames[0].camera, frame.camera, unit))

    def show(self, source: Frame, frame: Frame) -> Prediction:
        """An observed frame in the place of another one."""
        image = sized(source.image(), frame.camera)
        if source.camera_id == frame.camera_id:
            return Prediction(image)
        background = background_picture(source, self.sequences[source.sequence])
        if background is not None and background.dim() == 3:
            background = sized(background, frame.camera)
        return Prediction(image, background)


def _spread(cameras: list[Camera]) -> float:
    """Mean distance of the cameras from their middle, in scene units: what one radian of turning is worth."""
    positions = torch.stack([c.position for c in cameras])
    spread = float((positions - positions.mean(0)).norm(dim=-1).mean())
    return spread if spread > 1e-6 else 1.0


def _pose_distance(a: Camera, b: Camera, unit: float) -> float:
    """How far apart two cameras stand and look: distances of positions, and of axes x and z times `unit`."""
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
    """The last frame that the camera (or the nearest observed one) saw: nothing moves any more."""

    def predict(frame: Frame) -> Prediction | None:
        seen = observed.nearest_camera(frame)
        return observed.show(seen[-1], frame) if seen else None

    return predict


def nearest_frame(observed: ObservedFrames) -> Baseline:
    """The frame nearest in time that the camera (or the nearest observed one) saw."""

    def predict(frame: Frame) -> Prediction | None:
        seen = observed.nearest_camera(frame)
        if not seen:
            return None
        return observed.show(min(seen, key=lambda f: abs(f.time - frame.time)), frame)

    return predict


def constant_velocity(observed: ObservedFrames) -> Baseline:
    """The bodies as last seen fly on at their last velocity, pasted over the camera's background picture.

    Positions and velocities are the exact ones of the simulation, so this is what a perfect tracker without a
    law of motion gives. Only after the observed window, for cameras that were observed, where masks and truth
    exist.
    """

    def place(truth: GroundTruth, frame: Frame) -> Tensor:
        return _extrapolated(truth, observed.last_times[frame.sequence], frame.time)

    return _pasting(observed, place)


def true_dynamics(observed: ObservedFrames) -> Baseline:
    """The bodies as last seen, pasted where the true law has taken them from their true state at the sequence's first
    time. The law's form is given, its constants are fitted to the training sequences (see `true_dynamics.py`).

    Where constant velocity is there, and the law is one whose form is known.
    """

    @cache
    def constants(dynamics: str) -> dict[str, float] | None:
        learned = [
            s
            for name, s in observed.sequences.items()
            if name in observed.observed_until and name not in observed.unseen
        ]
        return fit_constants(
            dynamics,
            [(s.truth, observed.observed_until[s.name]) for s in learned if s.truth and s.truth.dynamics == dynamics],
        )

    @cache
    def path(sequence: str) -> np.ndarray | None:
        truth = observed.sequences[sequence].truth
        fitted = constants(truth.dynamics) if truth else None
        return integrate_from_truth(truth, fitted) if truth and fitted else None

    def place(truth: GroundTruth, frame: Frame) -> Tensor | None:
        places = path(frame.sequence)
        return None if places is None else _nearest(truth, places, frame.time)

    return _pasting(observed, place)


def _pasting(observed: ObservedFrames, positions_at: Callable[[GroundTruth, Frame], Tensor | None]) -> Baseline:
    """The bodies as last seen, pasted over the camera's background picture at the positions `[B, 3]` that
    `positions_at` gives for a frame. Only after the observed window, for cameras that were observed, where masks and
    truth exist."""

    def predict(frame: Frame) -> Prediction | None:
        sequence = observed.sequences.get(frame.sequence)
        seen = observed.same_camera(frame)
        if (
            sequence is None
            or sequence.truth is None
            or not seen
            or frame.time <= observed.observed_until[frame.sequence]
        ):
            return None
        source = seen[-1]
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
    """`[B, 3]` at `time`, straight on from the state at the last observed time."""
    last = int(np.abs(truth.times - last_time).argmin())
    step = time - float(truth.times[last])
    return torch.from_numpy(truth.positions[last] + truth.velocities[last] * step).float()


def paste_bodies(canvas: Tensor, source: Frame, mask: Tensor, camera: Camera, start: Tensor, end: Tensor) -> Tensor:
    """Each body cut out of `source` by its instance id and drawn on `canvas` `[H, W, 3]`, far ones first.

    Body b moves by the projection of `end[b] - start[b]` (`[B, 3]`, scene units) and grows as it comes
    nearer.
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
    "true-law": true_dynamics,
}
