"""What the LLFF family of formats has in common: tables of poses with depth bounds, and cameras that face one way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foreseen.data.images import ImageCache
from foreseen.data.picture_files import PICTURE_ENDINGS
from foreseen.data.readers.transforms import camera_names, picture_size, rigid
from foreseen.data.tracks import assign_tracks
from foreseen.data.types import Dataset, Frame, Sequence
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.geometry.ndc import NDC

NEAR_SHARE = 0.1
"""Share of the pictures, 0..1, whose stated nearest depth may be too small, because of false matches of the
reconstruction. Larger: the near plane moves farther from the cameras."""

NEAR_MARGIN = 0.9
"""The near plane lies at this share of the nearest depth that counts. Smaller: nearer to the cameras."""

MIN_NDC_COSINE = 0.2
"""Least cosine between a ray and the mean view direction; below it normalised device coordinates are not used."""

SEQUENCE = "sequence-0"
VIDEO = "pictures count as frames of one video, in the order of their names, evenly spaced from 0 to 1"


@dataclass(frozen=True)
class PoseTable:
    """The tables of a format, converted to our axes and sizes.

    Attributes:
        cameras: with near 0 and far 1, which `dataset` replaces.
        depths: `[N, 2]` nearest and farthest depth in each picture, in scene units.
        times: `[N]`, in the data set's unit.
        splits: hints, None where the format is silent.
    """

    pictures: list[Path]
    cameras: list[Camera]
    depths: np.ndarray
    times: list[float]
    splits: list[str | None]


def pictures_in(folder: Path) -> list[Path]:
    """Pictures sorted by name as text, the order that LLFF's poses have. Raises `UserError` where there are none."""
    pictures = [p for p in folder.iterdir() if p.suffix in PICTURE_ENDINGS and not p.name.startswith(".")]
    if not pictures:
        raise UserError(f"{folder} has no pictures ({', '.join(PICTURE_ENDINGS[:3])}): put them there")
    return sorted(pictures, key=lambda p: p.name)


def common_size(pictures: list[Path]) -> tuple[int, int]:
    """Width and height that all pictures have. Raises `UserError`."""
    size = picture_size(pictures[0], None, "")
    for picture in pictures[1:]:
        picture_size(picture, size, f"the first picture {pictures[0].name}")
    return size


def evenly_spaced(count: int) -> list[float]:
    """Times from 0 to 1."""
    return [index / max(count - 1, 1) for index in range(count)]


def cameras_from(poses: np.ndarray, size: tuple[int, int], where: str) -> list[Camera]:
    """Cameras of `[N, 3, 5]` poses, whose last column is height, width and focal length, for pictures of `size`.

    The first three columns must be OpenCV's already. The centre of a picture is its principal point.

    Raises:
        UserError: a pose that is not rigid or not finite, or a stated size of another shape than the pictures'.
    """
    return [_camera(pose, size, f"{where}: pose {index}") for index, pose in enumerate(poses)]


def _camera(pose: np.ndarray, size: tuple[int, int], where: str) -> Camera:
    matrix = rigid(pose[:, :4], where)
    height, width, focal = pose[:, 4].tolist()
    w, h = size
    if not np.isfinite(pose[:, 4]).all() or min(height, width, focal) <= 0:
        raise UserError(f"{where} states height, width, focal {height:g}, {width:g}, {focal:g}: correct them")
    # A size that was halved a few times may have been rounded down by a pixel.
    if abs(w * height / width - h) > 1 + 0.5 * height / width:
        raise UserError(
            f"{where} is for pictures of {width:g} x {height:g}, which {w} x {h} are no scaled copy of:"
            " give the pictures that the poses were made from"
        )
    fx, fy = focal * w / width, focal * h / height
    return Camera(torch.from_numpy(matrix).float(), fx, fy, w / 2, h / 2, w, h, 0.0, 1.0)


def check_depths(depths: np.ndarray, where: str) -> np.ndarray:
    """`[N, 2]` near and far depths. Raises `UserError` unless 0 < near < far for each picture."""
    wrong = np.flatnonzero(~(np.isfinite(depths).all(axis=1) & (depths[:, 0] > 0) & (depths[:, 0] < depths[:, 1])))
    if len(wrong):
        near, far = depths[wrong[0]]
        raise UserError(
            f"{where}: bounds {wrong[0]} are {near:g} and {far:g}: give nearest and farthest depth, both above 0"
        )
    return depths


def average_pose(poses: np.ndarray) -> np.ndarray:
    """Rigid `[4, 4]` of the mean position; its z is the mean of all z axes, its y as near to their mean as it can.

    `poses` are `[N, 4, 4]`.
    """
    forward = _unit(poses[:, :3, 2].mean(axis=0))
    right = _unit(np.cross(poses[:, :3, 1].mean(axis=0), forward))
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, poses[:, :3, 3].mean(axis=0)], axis=-1)
    return pose


def normalised_device_coordinates(cameras: list[Camera], depths: np.ndarray) -> NDC | None:
    """NDC about the average pose, or None where the cameras rotate too far for them.

    A nearest depth counts from the reference camera: how far the picture's own camera stands before it is added.
    `NEAR_SHARE` of the pictures may lie nearer than what the near plane is derived from.
    """
    poses = np.stack([c.camera_to_world.double().numpy() for c in cameras])
    reference = average_pose(poses)
    before = (poses[:, :3, 3] - reference[:3, 3]) @ reference[:3, 2]
    near = NEAR_MARGIN * float(np.quantile(depths[:, 0] + before, NEAR_SHARE))
    forward = torch.from_numpy(reference[:3, 2]).float()
    steepest = min(float((c.rays(_corners(c)).view_directions @ forward).min()) for c in cameras)
    if steepest < MIN_NDC_COSINE or near <= 0:
        return None
    sx, sy = 2 * cameras[0].fx / cameras[0].width, 2 * cameras[0].fy / cameras[0].height
    return NDC(torch.from_numpy(np.linalg.inv(reference)).float(), sx, sy, near)


def frustum_box(cameras: list[Camera]) -> Tensor:
    """`[2, 3]` corners of the box around what all cameras see between near and far, in the space of their rays.

    Rays of the pictures' corners suffice: what lies between them is a mix of theirs, in NDC too.
    """
    ends = torch.cat([c.rays(_corners(c)).at(torch.tensor([c.near, c.far])).reshape(-1, 3) for c in cameras])
    return torch.stack([ends.amin(dim=0), ends.amax(dim=0)])


def dataset(
    path: Path,
    table: PoseTable,
    *,
    format: str,
    time_unit: str,
    background: tuple[float, float, float] | None,
    cache: ImageCache,
    warnings: tuple[str, ...],
    allow_ndc: bool = True,
) -> Dataset:
    """One sequence of the pictures of a table; in NDC, if that is allowed and the cameras do not rotate too far."""
    on = background or (1.0, 1.0, 1.0)
    ndc = normalised_device_coordinates(table.cameras, table.depths) if allow_ndc else None
    near, far = (0.0, 1.0) if ndc is not None else _world_range(table.depths)
    if ndc is None and allow_ndc:
        warnings += ("the cameras do not all face one way: rays stay in scene units instead of NDC",)
    cameras = [replace(c, near=near, far=far, ndc=ndc) for c in table.cameras]
    frames = [
        Frame(SEQUENCE, camera, name, time, picture, split, background=on, cache=cache)
        for camera, name, time, picture, split in zip(
            cameras, camera_names(cameras), table.times, table.pictures, table.splits, strict=True
        )
    ]
    frames = assign_tracks(frames)
    frames.sort(key=lambda f: (f.time, f.camera_id))
    return Dataset(
        path=path,
        name=path.resolve().name,
        format=format,
        sequences=(Sequence(SEQUENCE, tuple(frames)),),
        background=on,
        near=near,
        far=far,
        bounds=frustum_box(cameras),
        ndc=ndc is not None,
        time_unit=time_unit,
        warnings=warnings,
    )


def _world_range(depths: np.ndarray) -> tuple[float, float]:
    near, far = np.quantile(depths[:, 0], NEAR_SHARE), np.quantile(depths[:, 1], 1 - NEAR_SHARE)
    return NEAR_MARGIN * float(near), float(far) / NEAR_MARGIN


def _corners(camera: Camera) -> Tensor:
    w, h = float(camera.width), float(camera.height)
    return torch.tensor([[0.0, 0.0], [w, 0.0], [0.0, h], [w, h]])


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        # Cameras all around have no mean direction; any is fine, as they get no NDC.
        return np.eye(3)[0]
    return vector / length
