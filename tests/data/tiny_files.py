"""Small data sets on disk, written without the project's writer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (8, 6)
"""Width and height of the pictures."""


def ring_pose(angle: float, radius: float = 4.0, height: float = 0.0) -> np.ndarray:
    """OpenGL camera-to-world of a camera on a circle about z that looks at (0, 0, height)."""
    backward = np.array([np.cos(angle), np.sin(angle), 0.0])
    right = np.array([-np.sin(angle), np.cos(angle), 0.0])
    pose = np.eye(4)
    pose[:3] = np.stack([right, [0, 0, 1], backward, radius * backward + [0, 0, height]], axis=-1)
    return pose


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = SIZE, seed: int = 0) -> Path:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": 3, "RGBA": 4, "L": 1}[mode]
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    Image.fromarray(noise if channels > 1 else noise[..., 0]).save(path)
    return path


def truncate(path: Path) -> None:
    """Cuts the last third of a file off."""
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])


def frame(index: int, count: int, **fields: Any) -> dict[str, Any]:
    """One element of "frames": cameras on a ring, times from 0 to 1."""
    plain = {
        "file_path": f"images/{index:03d}.png",
        "transform_matrix": ring_pose(2 * np.pi * index / count).tolist(),
        "time": index / max(count - 1, 1),
    }
    return plain | fields


def write_document(file: Path, document: Any) -> None:
    """JSON, NaN as Python writes it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))


def write_nerfstudio(folder: Path, count: int = 4, frames: list[dict[str, Any]] | None = None, **shared: Any) -> Path:
    """A foreign transforms.json: global intrinsics, no marks."""
    frames = [frame(i, count) for i in range(count)] if frames is None else frames
    for index in range(count):
        picture(folder / f"images/{index:03d}.png", seed=index)
    document = {"fl_x": 10.0, "fl_y": 9.0, "cx": 4.5, "cy": 2.5, "w": SIZE[0], "h": SIZE[1]}
    write_document(folder / "transforms.json", document | shared | {"frames": frames})
    return folder


def write_blender(folder: Path, counts: dict[str, int] | None = None, **fields: Any) -> Path:
    """D-NeRF's form: pictures with alpha, paths without endings, `fields` in every frame."""
    for split, count in (counts or {"train": 4, "val": 2, "test": 2}).items():
        frames = [frame(i, count, file_path=f"./{split}/r_{i:03d}") | fields for i in range(count)]
        for index in range(count):
            picture(folder / split / f"r_{index:03d}.png", "RGBA", seed=index)
        write_document(folder / f"transforms_{split}.json", {"camera_angle_x": 0.8, "frames": frames})
    return folder
