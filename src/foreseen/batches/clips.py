"""Batches of clips, frames in a row of one camera track: spec, batch and sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from foreseen.batches.sampler import FrameSampler
from foreseen.core.batch import BatchSpec, samples
from foreseen.data.tracks import tracks_of
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera


@dataclass(frozen=True)
class ClipSpec(BatchSpec):
    """How clips are drawn: every start in every track is equally likely.

    Attributes:
        clips: number of clips in a batch.
        frames: frames in a clip.
        stride: a clip takes every so-many-th frame of its track.
        layers: names of the layers that a batch carries (see `foreseen.data.layers`).
    """

    clips: int = 1
    frames: int = 8
    stride: int = 1
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClipBatch:
    """B clips of T frames, all of one size.

    Attributes:
        images: `[B, T, C, H, W]` in the data set's range of values, alpha composited on the stated background.
        times: `[B, T]`, in the data set's unit.
        sequences: `[B]` int64, index of the sequence.
        time_indices: `[B, T]` int64, index into `SceneInfo.times[sequence]`.
        cameras: T cameras of each clip; None where a frame's camera is not known.
        layers: name -> `[B, T, H, W]` or `[B, T, H, W, C]`, as `LayerStore` reads them.
    """

    images: Tensor
    times: Tensor
    sequences: Tensor
    time_indices: Tensor
    cameras: tuple[tuple[Camera | None, ...], ...]
    layers: dict[str, Tensor] = field(default_factory=dict)

    @property
    def pixels(self) -> int:
        """Number of pixels in the batch."""
        batch, frames, _, height, width = self.images.shape
        return batch * frames * height * width

    def to(self, device: torch.device) -> ClipBatch:
        """The same batch on another device; cameras stay where they are."""
        return replace(
            self,
            images=self.images.to(device),
            times=self.times.to(device),
            sequences=self.sequences.to(device),
            time_indices=self.time_indices.to(device),
            layers={name: values.to(device) for name, values in self.layers.items()},
        )


@samples(ClipSpec)
class ClipSampler(FrameSampler):
    """Draws batches of clips."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._clips: dict[tuple[int, int], Tensor] = {}

    def prepare(self, spec: ClipSpec) -> None:
        """Does what the first batch would otherwise wait for."""
        self._clips_of(spec)
        for name in spec.layers:
            self.layer(name)

    def batch(self, spec: ClipSpec, step: int) -> ClipBatch:
        """The next batch: `spec.clips` clips, on the CPU."""
        del step
        clips = self._clips_of(spec)
        drawn = clips[torch.randint(len(clips), (spec.clips,), generator=self.generator)]
        indices = drawn.flatten().tolist()
        sizes = {self.frames[i].size for i in indices}
        if len(sizes) > 1:
            raise UserError(f"clips of one batch have one size, and these have {sorted(sizes)}: resize the frames")
        images = torch.stack([self.colors_of(self.store.picture(i), self.backgrounds[i])[0] for i in indices])
        cameras = [self.frames[i].calibration for i in indices]
        return ClipBatch(
            images=images.movedim(-1, 1).unflatten(0, drawn.shape),
            times=self.times[drawn],
            sequences=self.sequences[drawn[:, 0]],
            time_indices=self.time_indices[drawn],
            cameras=tuple(tuple(cameras[i : i + spec.frames]) for i in range(0, len(cameras), spec.frames)),
            layers={
                name: torch.stack([self.layer(name).picture(i) for i in indices]).unflatten(0, drawn.shape)
                for name in spec.layers
            },
        )

    def _clips_of(self, spec: ClipSpec) -> Tensor:
        """`[K, frames]` frame indices of all clips, found once. Raises `UserError` where there are none."""
        key = spec.frames, spec.stride
        if key not in self._clips:
            clips = clip_indices(self.frames, spec.frames, spec.stride)
            if not len(clips):
                raise UserError(
                    f"no camera track has {spec.frames} training frames in a row (stride {spec.stride}): ask for"
                    " shorter clips, or hold fewer frames out"
                )
            self._clips[key] = clips
        return self._clips[key]


def clip_indices(frames: Sequence[Frame], length: int, stride: int) -> Tensor:
    """`[K, length]` int64: indices of frames that follow one another in a track, `stride` apart, none of which is
    absent (held out, for example)."""
    clips = []
    for indices in tracks_of(frames).values():
        numbered = all(frames[i].track_index >= 0 for i in indices)
        by_number = {frames[i].track_index if numbered else k: i for k, i in enumerate(indices)}
        for first in by_number:
            clip = [by_number.get(first + stride * k, -1) for k in range(length)]
            if min(clip) >= 0:
                clips.append(clip)
    return torch.tensor(clips, dtype=torch.int64).reshape(-1, length)
