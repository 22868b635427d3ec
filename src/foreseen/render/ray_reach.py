"""Rays that reach all of a scene from where no camera of the data stood."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from foreseen.geometry.cameras import Camera
from foreseen.scenes import ComposedField, VoxelScene


def extend_reach(scene: Any, camera: Camera, bounds: Tensor) -> Any:
    """A scene of boxes whose rays reach all of the bounds from where the camera stands: its own reach is that of the
    data's cameras, and a step outside would cut it. Empty space costs such scenes nothing."""
    if not isinstance(scene, ComposedField | VoxelScene) or camera.ndc is not None:
        return scene
    place = camera.position.to(bounds)
    farthest = torch.maximum((place - bounds[0]).abs(), (place - bounds[1]).abs()).norm()
    nearest = (torch.maximum(bounds[0] - place, place - bounds[1]).clamp(min=0)).norm()
    steps = math.ceil(max(scene.near - float(nearest), 0.0) / scene.step)
    # By whole steps: the ladder of samples stays where it is.
    near = max(scene.near - steps * scene.step, 0.5 * scene.step)
    return replace(scene, near=near, far=max(scene.far, float(farthest)))
