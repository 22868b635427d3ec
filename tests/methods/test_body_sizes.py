"""How large the boxes around labelled bodies are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.geometry.cameras import Camera
from foreseen.methods.node_rf.body_sizes import body_half_sizes
from foreseen.methods.node_rf.fast_config import BodySizeConfig
from foreseen.reconstruction.config import SilhouetteConfig

TIMES = tuple(0.1 * i for i in range(12))
INFO = SceneInfo.of_one_scene(
    bounds=((-1.0, -1.0, 3.0), (1.0, 1.0, 5.0)),
    near=1.0,
    far=6.0,
    times=(TIMES,),
    background=(1.0, 1.0, 1.0),
    has_alpha=False,
    ndc=False,
    static_cameras=True,
)
CAMERA = Camera(torch.eye(4), 64.0, 64.0, 32.0, 32.0, 64, 64, 1.0, 6.0)


def scene(folder: Path) -> tuple[list[Frame], dict[tuple[str, float], torch.Tensor]]:
    """Two discs before a wall, of radii 0.4 and 0.2 at depth 4, that change their places from time to time; a third
    body that is never seen to change."""
    frames, positions = [], {}
    y, x = np.mgrid[:64, :64] + 0.5
    for i, time in enumerate(TIMES):
        x_large, x_small = -1.5 + 0.27 * (7 * i % 12), -1.5 + 0.27 * (5 * i % 12)
        places = torch.tensor([[x_large, -0.9, 4.0], [x_small, 0.9, 4.0], [9.0, 0.0, 4.0]])
        picture = np.full((64, 64, 3), 120, np.uint8)
        for (u, v), radius in zip(CAMERA.project(places[:2])[0].tolist(), (0.4, 0.2)):
            picture[(x - u) ** 2 + (y - v) ** 2 < (radius * 64 / 4) ** 2] = (230, 30, 30)
        path = folder / f"{i}.png"
        Image.fromarray(picture).save(path)
        frames.append(Frame("one", CAMERA, "only", time, path))
        positions["one", time] = places
    return frames, positions


def test_boxes_hold_what_changes_around_each_body(tmp_path: Path) -> None:
    frames, positions = scene(tmp_path)
    config = BodySizeConfig(margin=1.0, quantile=1.0, unseen_share=0.05)
    large, small, unseen = body_half_sizes(frames, 3, positions, INFO, SilhouetteConfig(), config).tolist()
    assert large == pytest.approx(0.4, rel=0.15) and small == pytest.approx(0.2, rel=0.25)
    assert unseen == pytest.approx(0.05)


def test_without_frames_a_share_of_the_scene() -> None:
    sizes = body_half_sizes((), 2, {("one", 0.0): torch.zeros(2, 3)}, INFO, SilhouetteConfig(), BodySizeConfig())
    assert sizes.tolist() == pytest.approx([0.15, 0.15])
