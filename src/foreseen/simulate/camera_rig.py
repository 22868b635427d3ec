"""Cameras on an arc in front of the scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from foreseen.geometry.cameras import Camera


@dataclass(frozen=True)
class CameraRig:
    """Cameras on a sphere, aimed at its centre. The front is -y, up is z.

    Attributes:
        target: the centre [m].
        distance: of the cameras from the target [m].
        arc_degrees: angle of the outermost cameras from the front [degrees].
        elevation: lowest and highest angle above the horizon [degrees].
        width: what an image shows from left to right, at the target's depth [m].
    """

    target: tuple[float, float, float]
    distance: float
    arc_degrees: float
    elevation: tuple[float, float]
    width: float

    def camera(self, azimuth: float, elevation: float, size: int) -> Camera:
        """The camera at these angles [degrees], with a square image; the data set states near and far."""
        a, e = np.radians(azimuth), np.radians(elevation)
        away = np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
        forward, right = -away, np.array([np.cos(a), np.sin(a), 0.0])
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        pose[:3, 3] = np.array(self.target) + self.distance * away
        focal = size * self.distance / self.width
        centre = size / 2
        return Camera(torch.tensor(pose), focal, focal, centre, centre, size, size, near=0.0, far=np.inf)

    def arc(self, count: int, size: int) -> list[Camera]:
        """`count` cameras evenly along the arc, alternately low and high; a single one is in front, at the mean
        elevation."""
        if count == 1:
            return [self.camera(0.0, sum(self.elevation) / 2, size)]
        angles = np.linspace(-self.arc_degrees, self.arc_degrees, count)
        return [self.camera(a, self.elevation[i % 2], size) for i, a in enumerate(angles)]

    def held_out(self, size: int) -> Camera:
        """The test camera: near the middle of the arc, where there is no training camera."""
        low, high = self.elevation
        return self.camera(0.1 * self.arc_degrees, low + 0.6 * (high - low), size)

    def random_camera(self, rng: np.random.Generator, size: int) -> Camera:
        """A camera at a random azimuth on the arc and a random elevation."""
        return self.camera(rng.uniform(-self.arc_degrees, self.arc_degrees), rng.uniform(*self.elevation), size)
