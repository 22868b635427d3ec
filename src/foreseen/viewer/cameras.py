"""Cameras of the browser and of data sets.

Viser gives a camera as position, quaternion (real part first) and vertical field of view; its axes are OpenCV's, as
ours are (viser, "Conventions"). Its pictures are centred, pixels are square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from foreseen.geometry.cameras import Camera
from foreseen.viewer.resolution import Size

Vector = tuple[float, ...]


@dataclass(frozen=True)
class ViewerCamera:
    """The view of a browser.

    Attributes:
        wxyz: from the camera's axes (OpenCV) to the world's.
        position: in scene units.
        fov: vertical field of view [rad].
    """

    wxyz: Vector
    position: Vector
    fov: float

    def camera(self, size: Size, template: Camera) -> Camera:
        """A camera of `size` with this view; near, far and normalised device coordinates are those of `template`."""
        pose = torch.eye(4, dtype=template.camera_to_world.dtype)
        pose[:3, :3] = torch.from_numpy(Rotation.from_quat(self.wxyz, scalar_first=True).as_matrix())
        pose[:3, 3] = torch.tensor(self.position)
        focal = size[1] / 2 / math.tan(self.fov / 2)
        return replace(
            template,
            camera_to_world=pose,
            fx=focal,
            fy=focal,
            cx=size[0] / 2,
            cy=size[1] / 2,
            width=size[0],
            height=size[1],
        )

    def near(self, other: ViewerCamera, length: float) -> bool:
        """Whether both look the same: positions within a thousandth of `length`, axes within 0.1 degrees."""
        if math.dist(self.position, other.position) > 1e-3 * length:
            return False
        a, b = (Rotation.from_quat(v.wxyz, scalar_first=True) for v in (self, other))
        return float((a.inv() * b).magnitude()) < 2e-3 and abs(self.fov - other.fov) < 2e-3


def view_of(camera: Camera) -> ViewerCamera:
    """The view closest to a data set's camera: in a browser the optical axis is the middle of the picture."""
    pose = camera.camera_to_world.detach().cpu().double().numpy()
    quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat(scalar_first=True)
    return ViewerCamera(tuple(quaternion.tolist()), tuple(pose[:3, 3].tolist()), vertical_fov(camera))


def vertical_fov(camera: Camera) -> float:
    """Vertical field of view [rad]."""
    return 2 * math.atan(camera.height / 2 / camera.fy)


def look_distance(camera: Camera, target: np.ndarray) -> float:
    """Distance from the camera to the point that the mouse rotates around: the depth of `target`."""
    pose = camera.camera_to_world.detach().cpu().double().numpy()
    ahead = float((target - pose[:3, 3]) @ pose[:3, 2])
    return ahead if ahead > 0 else max(float(np.linalg.norm(target - pose[:3, 3])), 1e-3)
