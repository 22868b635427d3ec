"""A red square that slides to the right before a wall, one pixel a step, seen by two cameras that stand
still.

Small enough that every answer can be worked out by hand. The files are written without the project's writer.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from foreseen.core.method import Traits
from foreseen.core.observation import Observation
from foreseen.data.layers import standard_layers
from foreseen.data.splits import Splits
from foreseen.data.types import Dataset, Frame, GroundTruth, Sequence
from foreseen.geometry.cameras import Camera
from foreseen.render import ImageResult
from foreseen.runs.config import DatasetRecord, RunConfig, SplitRecord, describe_machine
from foreseen.runs.train_config import TrainConfig

HEIGHT, WIDTH, SIDE = 24, 40, 6
STEPS, OBSERVED, DT = 12, 8, 0.1
FOCAL, DEPTH = 32.0, 4.0
START = {"left": 9, "right": 5}
"""Column of the square's middle at the first step, for each camera; it moves by one a step."""
CAMERAS = tuple(START)
OBSERVED_UNTIL = (OBSERVED - 1) * DT
RED = (0.9, 0.1, 0.1)


def camera(name: str) -> Camera:
    """Looks along z; "right" stands half a scene unit to its right: four pixels in the picture."""
    pose = torch.eye(4)
    pose[0, 3] = (START["left"] - START[name]) / FOCAL * DEPTH
    return Camera(pose, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT, 0.1, 10.0)


def wall() -> torch.Tensor:
    """`[H, W, 3]`: a bluish wall that brightens towards the right."""
    ramp = torch.linspace(0.4, 0.8, WIDTH).expand(HEIGHT, WIDTH)
    return torch.stack([0.7 * ramp, 0.8 * ramp, ramp], dim=-1)


def block(name: str, step: float, dx: int = 0) -> torch.Tensor:
    """`[H, W]` bool: where the square is."""
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    middle = START[name] + round(step) + dx
    mask[9 : 9 + SIDE, max(middle - SIDE // 2, 0) : max(middle + SIDE // 2, 0)] = True
    return mask


def picture(name: str, step: float, dx: int = 0) -> torch.Tensor:
    """`[H, W, 3]`: what the camera sees at a step, the square `dx` pixels off."""
    return torch.where(block(name, step, dx)[..., None], torch.tensor(RED), wall())


def _save(path: Path, array: torch.Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = array if array.dtype == torch.uint8 else (array * 255).round().to(torch.uint8)
    Image.fromarray(values.numpy()).save(path)
    return path


def truth() -> GroundTruth:
    """The square's exact motion."""
    times = np.arange(STEPS) * DT
    x = (START["left"] + np.arange(STEPS) - WIDTH / 2) / FOCAL * DEPTH
    positions = np.zeros((STEPS, 1, 3))
    positions[:, 0, 0], positions[:, 0, 2] = x, DEPTH
    velocities = np.zeros_like(positions)
    velocities[:, 0, 0] = DEPTH / FOCAL / DT
    return GroundTruth(times, ("square",), positions, velocities, "straight on", {})


def make_dataset(folder: Path, *, masks: bool = True, backgrounds: bool = True, with_truth: bool = True) -> Dataset:
    """The data set; frames of both cameras at every step."""
    frames = []
    for step in range(STEPS):
        for name in CAMERAS:
            image = _save(folder / "images" / f"{name}_{step}.png", picture(name, step))
            mask = _save(folder / "masks" / f"{name}_{step}.png", block(name, step).to(torch.uint8)) if masks else None
            frames.append(Frame("slide", camera(name), name, step * DT, image, layers=standard_layers(mask=mask)))
    paths = {name: _save(folder / "backgrounds" / f"{name}.png", wall()) for name in CAMERAS} if backgrounds else {}
    sequence = Sequence("slide", tuple(frames), truth() if with_truth else None, background_paths=paths)
    bounds = torch.tensor([[-2.0, -2.0, 0.0], [2.0, 2.0, 5.0]])
    return Dataset(folder, "slide", "test", (sequence,), (1.0, 1.0, 1.0), 0.1, 10.0, bounds, time_unit="s")


class PretendRun:
    """A run whose method knows the truth, save that the square is `drift` pixels a step off after the
    observed window."""

    def __init__(self, folder: Path, dataset: Dataset, drift: float = 0.0) -> None:
        self.path = folder
        self.drift = drift
        self.step, self.train_seconds = 100, 12.5
        self.method = SimpleNamespace(traits=Traits(), observes=("sequence",))
        self.info = SimpleNamespace(bounds=((-1, -1, 0), (1, 1, 5)), near=0.1, far=9.0, bodies=(("square",),))
        self._dataset = dataset
        frames = {"train": [], "novel-view": [], "forecast": []}
        for frame in dataset.frames:
            late = frame.time > OBSERVED_UNTIL + 1e-6
            name = "forecast" if late else "novel-view" if frame.camera_id == "right" else "train"
            frames[name].append(frame)
        kept = {name: tuple(found) for name, found in frames.items()}
        # The window ends between two frames, as it may.
        self._splits = Splits(kept, OBSERVED_UNTIL + DT / 2, "abc123", "the first 8 of 12 steps are observed")
        source = DatasetRecord("test", dataset.background, WIDTH, HEIGHT)
        train = TrainConfig("rigid-ode", (dataset.path,), "fast", None, seed=3)
        record = SplitRecord("abc123", OBSERVED_UNTIL + DT / 2, self._splits.protocol)
        self.config = RunConfig(
            2, "0.1.0", "c0ffee", train, source, record, None, describe_machine()
        )  # fmt: skip
        self.rendered: list[tuple[int, float]] = []

    def forecast(self, observation: Observation | None = None) -> PretendRun:
        return self

    def prepare(self, times: Iterable[float]) -> None:
        """All times are known."""

    def ensemble(self, times: Iterable[float]) -> None:
        """It has one future."""

    def dataset(self) -> Dataset:
        return self._dataset

    def splits(self) -> Splits:
        return self._splits

    def render(self, camera: Camera, time: float, render_bounds: torch.Tensor | None = None) -> ImageResult:
        """What the camera sees; beyond the data the square slides on. Other sizes are cut out of the full
        picture."""
        self.rendered.append((camera.width, time))
        name = "left" if abs(float(camera.position[0])) < 1e-6 else "right"
        off = round(self.drift * max(time / DT - (OBSERVED - 1), 0))
        mask = block(name, time / DT, off)[: camera.height, : camera.width].float()
        rgb = picture(name, time / DT, off)[: camera.height, : camera.width]
        return ImageResult(rgb, mask * DEPTH, mask)
