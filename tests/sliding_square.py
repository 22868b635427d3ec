"""A red square that slides to the right before a wall, one pixel a step, seen by two cameras that stand
still.

Small enough that every answer can be worked out by hand. The files are written without the project's writer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from foreseen.data.types import Dataset, Frame, Sequence, Truth
from foreseen.geometry.cameras import Camera
from foreseen.render.result import ImageResult

HEIGHT, WIDTH, SIDE = 24, 40, 6
STEPS, OBSERVED, DT = 12, 8, 0.1
FOCAL, DEPTH = 32.0, 4.0
START = {"left": 9, "right": 5}
"""Column of the square's middle at the first step, for each camera; it moves by one a step."""
CAMERAS = tuple(START)
OBSERVED_UNTIL = (OBSERVED - 1) * DT
RED = (0.9, 0.1, 0.1)


def camera(name: str) -> Camera:
    """Looks along z; "right" stands half a scene unit further right, which shifts the picture by four pixels."""
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


def truth() -> Truth:
    """The square's exact motion."""
    times = np.arange(STEPS) * DT
    x = (START["left"] + np.arange(STEPS) - WIDTH / 2) / FOCAL * DEPTH
    positions = np.zeros((STEPS, 1, 3))
    positions[:, 0, 0], positions[:, 0, 2] = x, DEPTH
    velocities = np.zeros_like(positions)
    velocities[:, 0, 0] = DEPTH / FOCAL / DT
    return Truth(times, ("square",), positions, velocities, "straight on", {})


def make_dataset(
    folder: Path, *, masks: bool = True, backgrounds: bool = True, with_truth: bool = True
) -> Dataset:
    """The data set; frames of both cameras at every step."""
    frames = []
    for step in range(STEPS):
        for name in CAMERAS:
            image = _save(folder / "images" / f"{name}_{step}.png", picture(name, step))
            mask = (
                _save(folder / "masks" / f"{name}_{step}.png", block(name, step).to(torch.uint8))
                if masks
                else None
            )
            frames.append(Frame("slide", camera(name), name, step * DT, image, mask_path=mask))
    paths = (
        {name: _save(folder / "backgrounds" / f"{name}.png", wall()) for name in CAMERAS}
        if backgrounds
        else {}
    )
    sequence = Sequence("slide", tuple(frames), truth() if with_truth else None, background_paths=paths)
    bounds = torch.tensor([[-2.0, -2.0, 0.0], [2.0, 2.0, 5.0]])
    return Dataset(folder, "slide", "test", (sequence,), (1.0, 1.0, 1.0), 0.1, 10.0, bounds, time_unit="s")


@dataclass(frozen=True)
class Oracle:
    """Renders the truth, the square `drift` pixels off for every step after the observed window."""

    drift: float = 0.0

    def render(self, camera: Camera, time: float) -> ImageResult:
        """What the camera sees; beyond the data the square slides on."""
        name = "left" if abs(float(camera.position[0])) < 1e-6 else "right"
        late = max(round(time / DT) - (OBSERVED - 1), 0)
        mask = block(name, time / DT, round(self.drift * late)).float()
        return ImageResult(picture(name, time / DT, round(self.drift * late)), mask * DEPTH, mask)
