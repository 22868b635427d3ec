"""The scored images of the method and the baselines, joined to videos of one camera each, which `physics` judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from foreseen.data.labels import labels_at
from foreseen.data.types import Frame, Sequence
from foreseen.evaluation.camera_truth import CameraTruth, find_camera_truth
from foreseen.evaluation.frames import is_next_frame
from foreseen.evaluation.moving_pixels import moving_mask, truth_mask
from foreseen.evaluation.physics import RULES, Findings, MaskClip, judge

NAME, TRUTH = "consistency", "truth"


@dataclass
class _ClipBuffer:
    """One predictor's current video, and the findings of its earlier ones."""

    frames: list[Frame] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)
    clips: list[tuple[int, Findings]] = field(default_factory=list)


class PhysicsChecker:
    """Takes images as they are scored: those of one split, camera after camera, in order of time."""

    def __init__(self, sequences: Mapping[str, Sequence]) -> None:
        self._sequences = sequences
        self._buffers: dict[str, _ClipBuffer] = {}
        self._camera_truth: dict[tuple[str, str], CameraTruth | None] = {}

    def add(self, predictor: str, frame: Frame, image: Tensor, background: Tensor | None) -> None:
        """One image of a predictor. A video ends where the next frame is not consecutive. Without a background
        nothing can be masked, and the image is ignored."""
        if background is None:
            return
        buffer = self._buffers.setdefault(predictor, _ClipBuffer())
        if buffer.frames and not self._continues(frame, buffer.frames[-1]):
            self._cut(buffer)
        buffer.frames.append(frame)
        buffer.masks.append(moving_mask(image, background).numpy())

    def _continues(self, frame: Frame, before: Frame) -> bool:
        """The rules hold for a static camera: a clip ends where the viewpoint changes."""
        same_viewpoint = frame.camera_id == before.camera_id
        return same_viewpoint and is_next_frame(frame, before, self._sequences[frame.sequence])

    def finish(self, method: str) -> dict[str, dict[str, Any]]:
        """Predictor -> {"consistency": findings since the last call}; empty without videos. The entry of `method`
        contains the truth's."""
        for buffer in self._buffers.values():
            self._cut(buffer)
        summaries = {name: _pooled(buffer.clips) for name, buffer in self._buffers.items() if buffer.clips}
        self._buffers = {}
        if method in summaries and TRUTH in summaries:
            summaries[method][TRUTH] = summaries[TRUTH]
        return {name: {NAME: summary} for name, summary in summaries.items() if name != TRUTH}

    def _cut(self, buffer: _ClipBuffer) -> None:
        frames, masks = buffer.frames, buffer.masks
        buffer.frames, buffer.masks = [], []
        if len(frames) < 2:
            return
        camera_truth = self._truth_of(frames[0])
        if camera_truth is not None:
            clip = MaskClip(np.array([f.time for f in frames]), np.stack(masks))
            buffer.clips.append((len(frames), judge(clip, camera_truth)))

    def _truth_of(self, frame: Frame) -> CameraTruth | None:
        key = (frame.sequence, frame.camera_id)
        if key not in self._camera_truth:
            self._camera_truth[key] = load_camera_truth(self._sequences[frame.sequence], frame.camera_id)
        return self._camera_truth[key]


def _pooled(clips: list[tuple[int, Findings]]) -> dict[str, Any]:
    """Means over the findings of several videos."""
    summary: dict[str, Any] = {"clips": len(clips), "frames": sum(count for count, _ in clips)}
    for rule in RULES:
        values = [value for _, findings in clips for value in findings.get(rule, ())]
        if values:
            summary[rule] = sum(values) / len(values)
        if rule == "energy_drift" and values:
            summary["energy_frames"] = len(values)
    return summary


def load_camera_truth(sequence: Sequence, camera_id: str) -> CameraTruth | None:
    """Ground truth of all frames of one camera of a sequence; None where a frame has no mask."""
    frames = [f for f in sequence.frames if f.camera_id == camera_id]
    masks = [mask for f in frames if (mask := _instances(f)) is not None]
    if len(masks) < len(frames):
        return None
    times = [f.time for f in frames]
    labels = labels_at(sequence.truth, times)
    gravity = None if sequence.truth is None else sequence.truth.constants.get("gravity")
    depths = (depth.numpy() for f in frames if (depth := f.layer("depth")) is not None)
    complete = all("depth" in f.layers for f in frames)
    return find_camera_truth(
        np.array(times), np.stack(masks), frames[0].camera, labels, gravity, depths if complete else ()
    )


def _instances(frame: Frame) -> np.ndarray | None:
    mask = frame.layer("mask")
    mask = truth_mask(frame) if mask is None else mask
    return None if mask is None else mask.numpy().astype(np.uint16)
