"""Rays reach all of a scene from outside."""

import torch

from foreseen.geometry.cameras import Camera
from foreseen.render import extend_reach, render
from foreseen.scenes import ComposedField, RadianceField

BOUNDS = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])


def scene(near: float = 2.0, far: float = 4.0) -> ComposedField:
    """A box of red fog, seen by cameras 3 away."""

    def query(local: torch.Tensor, part: torch.Tensor, ray: torch.Tensor, view: torch.Tensor) -> tuple:
        return torch.full((len(local),), 8.0), torch.tensor([1.0, 0, 0]).expand(len(local), 3)

    return ComposedField(
        query, torch.eye(3)[None, None], torch.zeros(1, 1, 3), torch.full((1, 3), 0.5),
        torch.zeros(1, 1, dtype=torch.int64), torch.full((1, 4, 4, 4), 8.0), 0.0, 0.05,
        torch.ones(1, dtype=torch.int64), near, far, (0.0, 0.0, 1.0),
    )  # fmt: skip


def camera(distance: float) -> Camera:
    pose = torch.eye(4)
    pose[2, 3] = -distance
    return Camera(pose, 20.0, 20.0, 4.0, 4.0, 8, 8, 2.0, 4.0)


def middle(found: ComposedField, distance: float) -> torch.Tensor:
    return render(found, camera(distance)).rgb[3, 3]


def test_from_far_away_and_from_inside() -> None:
    for distance in (0.1, 9.0):
        assert middle(scene(), distance)[0] < 0.1  # it is cut
        assert middle(extend_reach(scene(), camera(distance), BOUNDS), distance)[0] > 0.9


def test_the_sample_positions_stay() -> None:
    found = extend_reach(scene(), camera(0.1), BOUNDS)
    steps = (2.0 - found.near) / found.step
    assert abs(steps - round(steps)) < 1e-4 or found.near == 0.5 * found.step
    kept = extend_reach(scene(), camera(3.0), torch.tensor([[-0.5] * 3, [0.5] * 3]))
    assert kept.near == 2.0 and kept.far == 4.0


def test_other_scenes_stay_as_they_are() -> None:
    field = RadianceField(lambda x, d, i: (x[:, 0], x), 1.0, 2.0, (0.0, 0.0, 0.0))
    assert extend_reach(field, camera(9.0), BOUNDS) is field
