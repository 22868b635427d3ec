"""What every reader returns: a data set of sequences of frames, pictures loaded when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foreseen.data.images import ImageCache
from foreseen.data.layers import FrameLayer
from foreseen.data.lens import LensDistortion
from foreseen.data.particles import Particles
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

SPLIT_HINTS = ("train", "val", "test")


@dataclass(frozen=True)
class Frame:
    """One picture: when and by which camera it was taken, and which files hold what was seen.

    Attributes:
        sequence: name of the sequence that it belongs to.
        calibration: pose and intrinsics, already scaled to the size at which `image` is returned; None for pictures
            whose camera is unknown. Whoever needs it asks for `camera`.
        camera_id: the same for frames of one viewpoint; frames of a moving camera have one each.
        time: in the data set's time unit.
        image_path: the picture, or the video or array that holds it.
        split: what the author meant the frame for: one of `SPLIT_HINTS`, None where the format is silent.
        layers: what lies beside the picture, by name (see `foreseen.data.layers.STANDARD_LAYERS`).
        lens: distortion that is taken out of the files on loading; None for pinhole pictures.
        track: name of the physical camera, fixed or moving; the next frame of a track is what flow leads to.
            Where nothing else is known it is the `camera_id`.
        track_index: the frame's number in its track, by time; -1 where the tracks were not numbered.
        image_index: which frame of a video, or of an array; None for picture files.
        channels: number of values of a pixel, without opacity.
        stored_size: width and height where `calibration` does not say.
    """

    sequence: str
    calibration: Camera | None
    camera_id: str
    time: float
    image_path: Path
    split: str | None = None
    layers: Mapping[str, FrameLayer] = field(default_factory=dict)
    lens: LensDistortion | None = None
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    cache: ImageCache = field(default_factory=ImageCache, repr=False, compare=False)
    track: str = ""
    track_index: int = -1
    image_index: int | None = None
    channels: int = 3
    stored_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.track:
            object.__setattr__(self, "track", self.camera_id)
        if self.calibration is None and self.stored_size is None:
            raise ValueError(f"{self.image_path}: a frame without a camera states its size")

    @property
    def camera(self) -> Camera:
        """Pose and intrinsics. Raises `UserError` where they are unknown."""
        if self.calibration is None:
            raise UserError(
                f"{self.image_path} has no camera pose: estimate poses (such as with COLMAP), or choose a method that"
                " learns from pictures alone"
            )
        return self.calibration

    @property
    def size(self) -> tuple[int, int]:
        """Width and height at which pictures and layers are returned."""
        if self.calibration is not None:
            return self.calibration.width, self.calibration.height
        assert self.stored_size is not None
        return self.stored_size

    def downscale(self, factor: int) -> Frame:
        """The same frame with its picture and layers shrunk by a whole factor (rounded down)."""
        if self.calibration is not None:
            return replace(self, calibration=self.calibration.downscale(factor))
        width, height = self.size
        return replace(self, stored_size=(width // factor, height // factor))

    def image(self) -> Tensor:
        """`[H, W, C]` float32 in the data set's range of values, opacity composited on `background`.

        Picture files and videos: C = 3, 0..1, sRGB as stored.
        """
        pixels = self.rgba()
        if pixels.shape[-1] == self.channels:
            return pixels
        return pixels[..., :3] * pixels[..., 3:] + (1 - pixels[..., 3:]) * torch.tensor(self.background)

    def rgba(self) -> Tensor:
        """`[H, W, C or C + 1]` float32: as stored; opacity, where there is any, comes last and is not premultiplied."""
        return self.cache.image(self.image_path, *self.size, self.lens, self.image_index)

    def layer(self, name: str) -> Tensor | None:
        """A layer at the picture's size, `[H, W]` or `[H, W, C]`; None where this frame has none of that name."""
        layer = self.layers.get(name)
        return None if layer is None else self.cache.layer(layer, *self.size, self.lens)


@dataclass(frozen=True)
class GroundTruth:
    """The exact motion behind a simulated sequence.

    Attributes:
        times: `[T]`, in the data set's time unit.
        bodies: names of the B moving bodies; body b has instance id b + 1 in the masks.
        positions: `[T, B, 3]` centres of mass, in scene units.
        velocities: `[T, B, 3]`, in scene units per time unit.
        dynamics: name of the equations of motion.
        constants: their constants, such as {"gravity": 9.81}.
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
class SceneExtent:
    """`near` and `far` along every ray, and the box `bounds` `[2, 3]` of what the rays see: lowest, highest corner."""

    near: float
    far: float
    bounds: Tensor

    def sentence(self) -> str:
        """The warning of a reader that had to estimate it."""
        low, high = (", ".join(f"{x:.3g}" for x in corner.tolist()) for corner in self.bounds)
        return (
            "near, far and bounds are not stated; taken from where the cameras look:"
            f" near {self.near:.3g}, far {self.far:.3g}, bounds ({low}) to ({high})"
        )


@dataclass(frozen=True)
class Sequence:
    """One run of the world, captured by one or more cameras. Frames are sorted by time, then by camera.

    Attributes:
        split: hint for the whole sequence: "test" marks an unseen sequence (new initial conditions).
        background_paths: camera_id -> the picture without the moving objects.
        particles: what the sequence is made of, as moving points; None where the data set has none.
        extent: near, far and bounds where they are not those of the whole data set.
    """

    name: str
    frames: tuple[Frame, ...]
    truth: GroundTruth | None = None
    split: str | None = None
    background_paths: dict[str, Path] = field(default_factory=dict)
    particles: Particles | None = None
    extent: SceneExtent | None = None

    @property
    def times(self) -> np.ndarray:
        """`[T]` distinct times, ascending."""
        return np.unique(np.array([f.time for f in self.frames]))


@dataclass(frozen=True)
class LoadOptions:
    """The options of `load_dataset` that change what is read, as they were given: with them, a path gives the same data
    set again."""

    format: str | None = None
    background: tuple[float, float, float] | None = None
    fps: float | None = None
    ndc: bool = True


@dataclass(frozen=True)
class Dataset:
    """Sequences with their units.

    Attributes:
        path: folder or file; of several data sets the first one's.
        background: the colour behind transparent pictures. Frames carry their own; this is what the first ones have.
        near, far: bounds of every ray (see `Camera`); of several data sets the least and the largest.
        bounds: `[2, 3]` lowest and highest corner of what the rays see, in the space of the rays.
        ndc: rays are in normalised device coordinates.
        warnings: what the reader noticed and went on in spite of; `inspect` prints them.
        value_range: least and largest value of a pixel.
        paths: of the data sets that this one was put together from; empty for one.
        options: how it was read.
        downscaled: the whole factor by which `downscale` has shrunk its pictures.
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
    value_range: tuple[float, float] = (0.0, 1.0)
    paths: tuple[Path, ...] = ()
    options: LoadOptions = LoadOptions()
    downscaled: int = 1

    @property
    def frames(self) -> Iterator[Frame]:
        """All frames, sequence after sequence."""
        return (frame for sequence in self.sequences for frame in sequence.frames)

    @property
    def channels(self) -> int:
        """Number of values of a pixel, without opacity; the same in all frames."""
        return next((frame.channels for frame in self.frames), 3)

    @property
    def has_cameras(self) -> bool:
        """Whether the camera of every frame is known."""
        return all(frame.calibration is not None for frame in self.frames)

    def extent_of(self, sequence: Sequence) -> SceneExtent:
        """Near, far and bounds of one sequence."""
        return sequence.extent or SceneExtent(self.near, self.far, self.bounds)

    def downscale(self, factor: int) -> Dataset:
        """The same data set with pictures and layers shrunk by a whole factor."""
        if factor == 1:
            return self
        smaller = tuple(replace(s, frames=tuple(f.downscale(factor) for f in s.frames)) for s in self.sequences)
        return replace(self, sequences=smaller, downscaled=self.downscaled * factor)
