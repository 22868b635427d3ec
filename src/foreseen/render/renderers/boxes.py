"""What scenes of moving boxes share: rays with equal steps between near and far, empty space is skipped."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from foreseen.geometry.cameras import Camera
from foreseen.render.renderer import RayRenderer
from foreseen.scenes.composed_field import ComposedField
from foreseen.scenes.voxel_scene import VoxelScene

BoxScene = TypeVar("BoxScene", ComposedField, VoxelScene)


class BoxRenderer(RayRenderer[BoxScene]):
    """A renderer of boxes. Empty space costs little, so near and far may be moved outwards."""

    def preview(self, scene: BoxScene, coarsening: int) -> BoxScene:
        return replace(scene, step=scene.step * coarsening)

    def extend_reach(self, scene: BoxScene, camera: Camera, bounds: Tensor) -> BoxScene:
        if camera.ndc is not None:
            return scene
        position = camera.position.to(bounds)
        farthest = torch.maximum((position - bounds[0]).abs(), (position - bounds[1]).abs()).norm()
        nearest = torch.maximum(bounds[0] - position, position - bounds[1]).clamp(min=0).norm()
        steps = math.ceil(max(scene.near - float(nearest), 0.0) / scene.step)
        # Whole steps: the sample positions inside the old range stay the same.
        near = max(scene.near - steps * scene.step, 0.5 * scene.step)
        return replace(scene, near=near, far=max(scene.far, float(farthest)))


def refuse_samples(keep_samples: bool) -> None:
    """Raises `TypeError` where samples are asked for: their number differs from ray to ray."""
    if keep_samples:
        raise TypeError("keep_samples needs a RadianceField: in scenes of boxes the number of samples differs by ray")
