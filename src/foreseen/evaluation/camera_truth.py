"""Ground truth of one camera: how many bodies it sees, how large, how fast, and where they are in the scene."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from foreseen.data.labels import PoseLabels
from foreseen.evaluation.mask_components import connected_components, hausdorff_distance, second_differences
from foreseen.geometry.cameras import Camera

MIN_BODY_SHARE = 0.1
"""A connected component counts from this share of the median body's pixels on; larger ignores more noise and more
small bodies."""
MIN_BODY_PIXELS = 4
"""And never below this many pixels."""


@dataclass(frozen=True)
class BodyDetections:
    """Where the camera saw the bodies; maps the centroid of a mask to a point in the scene.

    Attributes:
        pixels: `[N, 2]` centroid of a body's mask.
        offsets: `[N, 2]` from there to the projected centre of mass [pixels].
        depths: `[N]` of the centre of mass along the camera's z axis.
        radii: `[N]` of the ball whose image is as large, in scene units.
    """

    camera: Camera
    pixels: np.ndarray
    offsets: np.ndarray
    depths: np.ndarray
    radii: np.ndarray

    def unproject(self, centroids: np.ndarray) -> np.ndarray:
        """Centres of mass `[M, 3]` of bodies whose masks have `centroids` `[M, 2]`."""
        weights = self._weights(centroids)
        x, y = (centroids + weights @ self.offsets).T
        depth, camera = weights @ self.depths, self.camera
        local = np.stack([(x - camera.cx) / camera.fx * depth, (y - camera.cy) / camera.fy * depth, depth], -1)
        pose = camera.camera_to_world.double().numpy()
        return local @ pose[:3, :3].T + pose[:3, 3]

    def front_depths(self, centroids: np.ndarray) -> np.ndarray:
        """Depths `[M]` of the bodies' nearest points."""
        return self._weights(centroids) @ (self.depths - self.radii)

    def _weights(self, centroids: np.ndarray) -> np.ndarray:
        """Weights `[M, N]` of the detections: large for those that are near in the image, at whatever time."""
        square = ((centroids[:, None] - self.pixels) ** 2).sum(-1)
        weights = (square + 1) ** -2
        return weights / weights.sum(-1, keepdims=True)


@dataclass(frozen=True)
class EnergyReference:
    """One body under gravity.

    Attributes:
        positions: `[T, 3]` of its centre of mass, z up, at the times of the `CameraTruth`.
        gravity: acceleration, in scene units per time unit squared.
        kinetic: largest kinetic energy per mass over the sequence.
    """

    positions: np.ndarray
    gravity: float
    kinetic: float


@dataclass(frozen=True)
class CameraTruth:
    """Ground truth of the T frames of one camera.

    Attributes:
        times: `[T]`.
        min_pixels: smallest connected component that counts [pixels].
        bodies: `[T]` visible bodies.
        pieces: `[T]` connected components of all bodies together.
        parts: `[T]` sum of the connected components of each body by itself.
        areas: `[T]` pixels of all bodies.
        step: longest `hausdorff_distance` between consecutive frames [pixels].
        max_acceleration: largest second difference of the centroid [pixels].
        static_depth: `[H, W]` depth of the static scene, infinite where unknown; None where the data set has no depth.
        detections: None without positions.
        energy_reference: None without positions and gravity, and for several bodies, whose masses are unknown.
    """

    times: np.ndarray
    min_pixels: float
    bodies: np.ndarray
    pieces: np.ndarray
    parts: np.ndarray
    areas: np.ndarray
    step: float
    max_acceleration: float
    static_depth: np.ndarray | None = None
    detections: BodyDetections | None = None
    energy_reference: EnergyReference | None = None

    def index(self, times: np.ndarray) -> np.ndarray:
        """Indices of the frames at `times`."""
        return np.abs(self.times[None, :] - np.asarray(times)[:, None]).argmin(1)


def find_camera_truth(
    times: np.ndarray,
    instances: np.ndarray,
    camera: Camera,
    labels: PoseLabels | None = None,
    gravity: float | None = None,
    depths: Iterable[np.ndarray] = (),
) -> CameraTruth | None:
    """The ground truth of a static camera's frames at `times` `[T]`.

    Args:
        instances: `[T, H, W]` instance ids: body b has b + 1; 0 is the static scene.
        labels: the bodies' positions at these times.
        depths: depth maps `[H, W]` of the same frames, 0 where no surface is hit; read until every pixel is known.

    Returns:
        None where no body is ever visible.
    """
    highest = int(instances.max(initial=0))
    sizes = np.array([np.bincount(picture.ravel(), minlength=highest + 1)[1:] for picture in instances])
    if not (sizes >= MIN_BODY_PIXELS).any():
        return None
    min_pixels = max(MIN_BODY_SHARE * float(np.median(sizes[sizes >= MIN_BODY_PIXELS])), MIN_BODY_PIXELS)
    components = [connected_components(picture > 0, min_pixels) for picture in instances]
    centroids = np.array([pieces.centroid for pieces in components])
    steps = [hausdorff_distance(a.mask, b.mask) for a, b in pairwise(components)]
    detections = None if labels is None else _detect_bodies(instances, camera, labels, min_pixels)
    return CameraTruth(
        times=np.asarray(times),
        min_pixels=min_pixels,
        bodies=(sizes >= min_pixels).sum(-1),
        pieces=np.array([len(pieces.areas) for pieces in components]),
        parts=np.array(
            [sum(len(connected_components(p == i, min_pixels).areas) for i in range(1, highest + 1)) for p in instances]
        ),
        areas=np.array([pieces.areas.sum() for pieces in components], dtype=float),
        step=max((s for s in steps if np.isfinite(s)), default=0.0),
        max_acceleration=max(second_differences(centroids), default=0.0),
        static_depth=_static_depth(instances, depths),
        detections=detections,
        energy_reference=None if detections is None else _energy_reference(labels, gravity),
    )


def _detect_bodies(
    instances: np.ndarray, camera: Camera, labels: PoseLabels, min_pixels: float
) -> BodyDetections | None:
    pixels, depths = (t.double().numpy() for t in camera.project(labels.positions.float()))
    rows = []
    for time, picture in enumerate(instances):
        for body in range(len(labels.bodies)):
            pieces = connected_components(picture == body + 1, min_pixels)
            depth, area = float(depths[time, body]), float(pieces.areas.sum())
            if area > 0 and depth > 0:
                radius = np.sqrt(area / np.pi) * depth / np.sqrt(camera.fx * camera.fy)
                rows.append((*pieces.centroid, *(pixels[time, body] - pieces.centroid), depth, radius))
    if not rows:
        return None
    table = np.array(rows)
    return BodyDetections(camera, table[:, :2], table[:, 2:4], table[:, 4], table[:, 5])


def _static_depth(instances: np.ndarray, depths: Iterable[np.ndarray]) -> np.ndarray | None:
    static, missing = None, np.ones(instances.shape[1:], dtype=bool)
    for picture, depth in zip(instances, depths):
        if static is None:
            static = np.full(depth.shape, np.inf)
        uncovered = missing & (picture == 0)
        static[uncovered] = np.where(depth[uncovered] > 0, depth[uncovered], np.inf)
        missing &= ~uncovered
        if not missing.any():
            break
    return static


def _energy_reference(labels: PoseLabels | None, gravity: float | None) -> EnergyReference | None:
    if labels is None or gravity is None or len(labels.bodies) != 1:
        return None
    kinetic = 0.5 * float(labels.velocities.square().sum(-1).max())
    return EnergyReference(labels.positions[:, 0].numpy(), gravity, kinetic) if kinetic > 0 else None
