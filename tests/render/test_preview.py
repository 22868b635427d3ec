"""Fields with fewer samples along their rays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from foreseen.geometry.cameras import Camera
from foreseen.render import preview, render
from foreseen.scenes import ComposedField, RadianceField
from random_gaussians import random_gaussians

CAMERA = Camera(torch.eye(4), 20.0, 20.0, 8.0, 8.0, 16, 16, 0.1, 4.0)
requested: list[int] = []


def fog(positions: Tensor) -> tuple[Tensor, Tensor]:
    """The same everywhere: samples twice as far apart show the same."""
    requested.append(len(positions))
    return torch.full((len(positions),), 0.7), torch.full((len(positions), 3), 0.3)


def box() -> ComposedField:
    return ComposedField(
        query=lambda local, part, ray, view: fog(local),
        rotations=torch.eye(3)[None, None],
        centres=torch.tensor([[[0.0, 0.0, 2.0]]]),
        half_extents=torch.full((1, 3), 1.9),
        cells=torch.zeros(1, 1, dtype=torch.int64),
        grid=torch.ones(1, 2, 2, 2),
        threshold=0.0,
        step=0.02,
        ray_strides=torch.ones(1, dtype=torch.int64),
        near=0.1,
        far=3.9,
        background=(1.0, 1.0, 1.0),
    )


def field() -> RadianceField:
    return RadianceField(lambda x, view, ray: fog(x), 0.1, 3.9, (1.0, 1.0, 1.0), options={"samples": 160})


@pytest.mark.parametrize("scene", [box(), field()], ids=["composed", "radiance"])
def test_a_quarter_of_the_samples_shows_about_the_same(scene: ComposedField | RadianceField) -> None:
    requested.clear()
    whole = render(scene, CAMERA)
    all_of_them = sum(requested)
    requested.clear()
    quick = render(preview(scene, 4), CAMERA)
    assert 0.2 * all_of_them < sum(requested) < 0.35 * all_of_them
    torch.testing.assert_close(quick.rgb, whole.rgb, atol=0.02, rtol=0)


def test_gaussians_have_no_samples_to_leave_out() -> None:
    some = random_gaussians(5)
    assert preview(some, 4) is some
