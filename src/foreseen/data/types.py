"""What every reader returns: a data set of sequences of frames, images loaded when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foreseen.data.images import ImageCache
from foreseen.data.lens import LensDistortion
from foreseen.geometry.cameras import Camera

SPLIT_HINTS = ("train", "val", "test")


@dataclass(frozen=True)
class Frame:
    """One picture: where the camera stood, when, and which files hold what it saw.

    Attributes:
        sequence: name of the sequence that it belongs to.
        camera: intrinsics already scaled to the size at which `image` is returned.
        camera_id: the same for frames of one physical camera; frames of a moving camera have one each.
        time: in the data set's time unit.
        split: what the author meant the frame for: one of `SPLIT_HINTS`, None where the format is silent.
        mask_path, depth_path, flow_path: truth or estimates beside the image, None where absent.
        lens: distortion that is taken out of the files on loading; None for pinhole pictures.
    """

    sequence: str
    camera: Camera
    camera_id: str
    time: float
    image_path: Path
    split: str | None = None
    mask_path: Path | None = None
    depth_path: Path | None = None
    flow_path: Path | None = None
    lens: LensDistortion | None = None
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    cache: ImageCache = field(default_factory=ImageCache, repr=False, compare=False)

    def image(self) -> Tensor:
        """`[H, W, 3]` float32 in 0..1, sRGB as stored, alpha composited on `background`."""
        rgba = self.rgba()
        if rgba.shape[-1] == 3:
            return rgba
        return rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:]) * torch.tensor(self.background)

    def rgba(self) -> Tensor:
        """`[H, W, 3 or 4]` float32 in 0..1: as stored, alpha straight (not premultiplied)."""
        return self.cache.image(self.image_path, *self._size, self.lens)

    def mask(self) -> Tensor | None:
        """`[H, W]` int64 instance ids, 0 where nothing moves; None where the data set has no masks."""
        return None if self.mask_path is None else self.cache.mask(self.mask_path, *self._size, self.lens)

    def depth(self) -> Tensor | None:
        """`[H, W]` float32 depth along z in scene units, 0 where nothing is hit; None where absent."""
        return None if self.depth_path is None else self.cache.depth(self.depth_path, *self._size, self.lens)

    def flow(self) -> Tensor | None:
        """`[H, W, 2]` float32: pixels (x, y) moved by until the camera's next frame; None where absent."""
        return None if self.flow_path is None else self.cache.flow(self.flow_path, *self._size)

    @property
    def _size(self) -> tuple[int, int]:
        return self.camera.width, self.camera.height


@dataclass(frozen=True)
class GroundTruth:
    """The exact motion behind a simulated sequence.

    Attributes:
        times: `[T]`, in the data set's time unit.
        bodies: names of the B moving bodies; body b has instance id b + 1 in the masks.
        positions: `[T, B, 3]` centres of mass, in scene units.
        velocities: `[T, B, 3]`, in scene units per time unit.
        law: name of the law.
        constants: the law's constants, such as {"gravity": 9.81}.
        state: other state by name, `[T, ...]` each, such as {"angle": ..., "rotations": [T, B, 3, 3]}.
    """

    times: np.ndarray
    bodies: tuple[str, ...]
    positions: np.ndarray
    velocities: np.ndarray
    dynamics: str
    constants: dict[str, float]
    state: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Sequence:
    """One run of the world, filmed by one or more cameras. Frames are sorted by time, then by camera."""

    name: str
    frames: tuple[Frame, ...]
    truth: GroundTruth | None = None
    split: str | None = None
    """Whole-sequence hint: "test" marks an unseen sequence (new initial conditions)."""
    background_paths: dict[str, Path] = field(default_factory=dict)
    """camera_id -> the picture without the moving objects."""

    @property
    def times(self) -> np.ndarray:
        """`[T]` distinct times, ascending."""
        return np.unique(np.array([f.time for f in self.frames]))


@dataclass(frozen=True)
class Dataset:
    """Sequences that share a scene, its units and a stated background.

    Attributes:
        near, far: bounds of every ray (see `Camera`).
        bounds: `[2, 3]` lowest and highest corner of what the rays see, in the space of the rays.
        warnings: what the reader noticed and went on in spite of; `inspect` prints them.
    """

    path: Path
    name: str
    format: str
    sequences: tuple[Sequence, ...]
    background: tuple[float, float, float]
    near: float
    far: float
    bounds: Tensor
    ndc: bool = False
    time_unit: str = "unknown"
    length_unit: str = "scene units"
    warnings: tuple[str, ...] = ()

    @property
    def frames(self) -> Iterator[Frame]:
        """All frames, sequence after sequence."""
        return (frame for sequence in self.sequences for frame in sequence.frames)

    def downscale(self, factor: int) -> Dataset:
        """The same data set with images shrunk by a whole factor (area average)."""
        if factor == 1:
            return self
        return replace(
            self,
            sequences=tuple(
                replace(s, frames=tuple(replace(f, camera=f.camera.downscale(factor)) for f in s.frames))
                for s in self.sequences
            ),
        )
