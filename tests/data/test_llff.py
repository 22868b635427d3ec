"""LLFF's form: axes, sizes, normalised device coordinates, and what is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from foreseen.data.images import ImageCache
from foreseen.data.readers import llff
from foreseen.data.readers.forward_facing import average_pose
from foreseen.data.types import Dataset, Frame
from foreseen.errors import UserError
from foreseen.geometry.paths import look_at

SIZE = (48, 32)
FOCAL = 200.0  # for pictures four times as large as ours


def read(path: Path) -> Dataset:
    return llff.read(path, background=None, cache=ImageCache(16))


def llff_rows(poses: list[np.ndarray], near: float = 2.0, far: float = 9.0) -> np.ndarray:
    """`[N, 17]` from OpenCV camera-to-world matrices."""
    rows = []
    for pose in poses:
        right, down, forward, position = pose[:3].T
        size = np.array([4 * SIZE[1], 4 * SIZE[0], FOCAL])
        table = np.stack([down, right, -forward, position, size], axis=-1)
        rows.append([*table.ravel(), near, far])
    return np.array(rows)


def sideways(count: int) -> list[np.ndarray]:
    """Cameras on a short arc that look at one point."""
    x = np.linspace(-1, 1, count)
    return [look_at(np.array([a, 0.3 * a * a, 0.1 * a]), np.array([0, 0, 6.0]), np.array([0, -1.0, 0])) for a in x]


def write(path: Path, rows: np.ndarray, pictures: int | None = None, folder: str = "images_4") -> Path:
    (path / folder).mkdir(parents=True)
    for i in range(len(rows) if pictures is None else pictures):
        Image.new("RGB", SIZE, (i, 0, 0)).save(path / folder / f"{i:02d}.png")
    np.save(path / llff.POSES, rows)
    return path


def assert_ndc_agrees(dataset: Dataset) -> None:
    """A world point lies on the NDC ray through the pixel that it is seen in."""
    generator = torch.Generator().manual_seed(0)
    frames = list(dataset.frames)
    for frame in frames[:: max(1, len(frames) // 5)]:
        camera, ndc = frame.camera, frame.camera.ndc
        assert ndc is not None
        pixels = torch.rand(50, 2, generator=generator) * torch.tensor([camera.width, camera.height])
        world = replace_ndc(frame).rays(pixels)
        depth = ndc.near * (3 + 20 * torch.rand(50, 1, generator=generator))
        points = world.origins + depth * world.directions
        seen, _ = camera.project(points)
        torch.testing.assert_close(seen, pixels, atol=2e-2, rtol=0)
        rays, there = camera.rays(seen), ndc.points(points)
        along = ((there - rays.origins) * rays.directions).sum(-1) / rays.directions.square().sum(-1)
        assert bool(((along > 0) & (along < 1)).all())
        torch.testing.assert_close(rays.origins + along[:, None] * rays.directions, there, atol=2e-3, rtol=0)
        assert bool(((there > dataset.bounds[0] - 1e-3) & (there < dataset.bounds[1] + 1e-3)).all())


def replace_ndc(frame: Frame):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(frame.camera, ndc=None)


def epipolar_error(a: Frame, b: Frame) -> float:
    """Median distance [px] of matched image features from the epipolar lines that the two cameras imply."""
    keys, found = [], []
    sift = cv2.SIFT_create(contrastThreshold=0.01)
    for frame in (a, b):
        grey = cv2.cvtColor((frame.image().numpy() * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        points, descriptors = sift.detectAndCompute(cv2.equalizeHist(grey), None)
        keys.append(np.array([p.pt for p in points]) + 0.5)
        found.append(descriptors)
    pairs = [m for m, n in cv2.BFMatcher().knnMatch(*found, 2) if m.distance < 0.7 * n.distance]
    assert len(pairs) > 30
    pixels = torch.from_numpy(keys[0][[m.queryIdx for m in pairs]]).float()
    rays = replace_ndc(a).rays(pixels)
    # Two points of each ray, seen by the other camera, span its epipolar line there.
    ends = [b.camera.project(rays.origins + d * rays.directions)[0].numpy() for d in (2.0, 50.0)]
    line = ends[1] - ends[0]
    offset = keys[1][[m.trainIdx for m in pairs]] - ends[0]
    return float(np.median(np.abs(line[:, 0] * offset[:, 1] - line[:, 1] * offset[:, 0]) / np.hypot(*line.T)))


def test_axes_sizes_and_order(tmp_path: Path) -> None:
    poses = sideways(5)
    dataset = read(write(tmp_path / "set", llff_rows(poses)))
    assert (dataset.format, dataset.name, dataset.ndc, dataset.near, dataset.far) == ("llff", "set", True, 0, 1)
    for index, (frame, pose) in enumerate(zip(dataset.frames, poses, strict=True)):
        np.testing.assert_allclose(frame.camera.camera_to_world.numpy(), pose, atol=1e-6)
        assert (frame.camera.fx, frame.camera.fy) == (FOCAL / 4, FOCAL / 4)  # the files decide the size
        assert (frame.camera.cx, frame.camera.cy) == (SIZE[0] / 2, SIZE[1] / 2)
        assert float(frame.image()[0, 0, 0]) == pytest.approx(index / 255)
        assert frame.split is None
    assert_ndc_agrees(dataset)


def test_near_plane_forgives_a_picture_with_a_false_near_bound(tmp_path: Path) -> None:
    rows = llff_rows(sideways(21))
    ndc = next(read(write(tmp_path / "a", rows)).frames).camera.ndc
    rows[3, 15] = 0.01
    mended = next(read(write(tmp_path / "b", rows)).frames).camera.ndc
    assert ndc is not None and mended is not None
    assert ndc.near == pytest.approx(0.9 * 2.0, abs=0.1)
    assert mended.near == pytest.approx(ndc.near, abs=0.02)


def test_bounds_hold_what_the_cameras_see(tmp_path: Path) -> None:
    dataset = read(write(tmp_path / "set", llff_rows(sideways(4))))
    low, high = dataset.bounds
    assert (float(low[2]), float(high[2])) == pytest.approx((-1, 1), abs=1e-5)
    for frame in dataset.frames:
        rays = frame.camera.rays(frame.camera.pixel_centres().reshape(-1, 2))
        points = rays.at(torch.linspace(0, 1, 5)).reshape(-1, 3)
        assert bool(((points >= low - 1e-4) & (points <= high + 1e-4)).all())


def test_average_pose_is_rigid_and_in_the_middle() -> None:
    poses = np.stack(sideways(7))
    mean = average_pose(poses)
    np.testing.assert_allclose(mean[:3, :3].T @ mean[:3, :3], np.eye(3), atol=1e-12)
    assert np.linalg.det(mean[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(mean[:3, 3], poses[:, :3, 3].mean(axis=0))
    np.testing.assert_allclose(mean[:3, 2], [0, np.sin(-0.02), 1], atol=0.03)
    np.testing.assert_allclose(average_pose(poses[2:3]), poses[2], atol=1e-12)


def test_cameras_all_around_stay_in_scene_units(tmp_path: Path) -> None:
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    ring = [4 * np.array([np.cos(a), np.sin(a), 0.1]) for a in angles]
    poses = [look_at(p, np.zeros(3), np.array([0, 0, 1.0])) for p in ring]
    dataset = read(write(tmp_path / "ring", llff_rows(poses)))
    assert not dataset.ndc
    assert dataset.near == pytest.approx(0.9 * 2)
    assert dataset.far == pytest.approx(9 / 0.9)
    assert all(f.camera.ndc is None and f.camera.near == dataset.near for f in dataset.frames)
    assert any("do not all face one way" in w for w in dataset.warnings)


def test_times_file_and_repeated_poses(tmp_path: Path) -> None:
    poses = sideways(2)
    path = write(tmp_path / "set", llff_rows([poses[0], poses[1], poses[0]]))
    assert [f.time for f in read(path).frames] == [0, 0.5, 1]
    assert any("times.txt" in w for w in read(path).warnings)
    (path / "times.txt").write_text("2\n0.5\n1\n")
    assert not read(path).warnings
    frames = list(read(path).frames)
    assert [f.time for f in frames] == [0.5, 1, 2]
    assert [f.camera_id for f in frames] == ["camera-1", "camera-0", "camera-0"]


def test_names_that_sort_otherwise_as_numbers_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "set", llff_rows(sideways(11)))
    assert not any("sort" in w for w in read(path).warnings)
    for picture in (path / "images_4").iterdir():
        picture.rename(picture.with_name(f"{int(picture.stem)}.png"))
    assert any("sort otherwise" in w for w in read(path).warnings)


def damaged(rows: np.ndarray, where: object, value: float) -> np.ndarray:
    rows[where] = value  # type: ignore[index]
    return rows


@pytest.mark.parametrize(
    ("rows", "pictures", "message"),
    [
        (llff_rows(sideways(3))[:, :15], None, "has shape (3, 15) where N x 17 is expected"),
        (llff_rows(sideways(3))[0], 3, "has shape (17,) where N x 17 is expected"),
        (llff_rows(sideways(3)), 2, "has 3 poses but"),
        (damaged(llff_rows(sideways(3)), (1, 3), np.nan), None, "pose 1 holds NaN or infinity"),
        (damaged(llff_rows(sideways(3)), (2, 0), 3.0), None, "pose 2 is not rigid"),
        (damaged(llff_rows(sideways(3)), (0, 14), 0.0), None, "pose 0 states height, width, focal 128, 192, 0"),
        (damaged(llff_rows(sideways(3)), (0, 4), 99.0), None, "which 48 x 32 are no scaled copy of"),
        (damaged(llff_rows(sideways(3)), (1, 15), -1.0), None, "bounds 1 are -1 and 9"),
    ],
)
def test_bad_tables_are_one_line(tmp_path: Path, rows: np.ndarray, pictures: int | None, message: str) -> None:
    path = write(tmp_path / "set", rows, pictures)
    with pytest.raises(UserError) as caught:
        read(path)
    assert message in str(caught.value)
    assert "poses_bounds.npy" in str(caught.value)


def test_absent_and_broken_files_are_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "set", llff_rows(sideways(3)))
    Image.new("RGB", (24, 16)).save(path / "images_4/01.png")
    with pytest.raises(UserError, match=r"01\.png is 24 x 16 pixels where the first picture 00\.png says 48 x 32"):
        read(path)
    (path / "times.txt").write_text("1 2 x")
    Image.new("RGB", SIZE).save(path / "images_4/01.png")
    with pytest.raises(UserError, match=r"times\.txt: could not convert .*: give one number a picture"):
        read(path)
    (path / "times.txt").write_text("1 2")
    with pytest.raises(UserError, match=r"times\.txt has 2 numbers for 3 pictures"):
        read(path)
    (path / llff.POSES).write_bytes(b"no array")
    with pytest.raises(UserError, match=r"poses_bounds\.npy cannot be read as an array"):
        read(path)
    (path / llff.POSES).unlink()
    with pytest.raises(UserError, match=r"poses_bounds\.npy is absent"):
        read(path)


def test_absent_pictures_are_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a", llff_rows(sideways(3)), folder="pictures")
    with pytest.raises(UserError, match="none of the folders images, images_2, images_4, images_8"):
        read(path)
    with pytest.raises(UserError, match="has no pictures"):
        read(write(tmp_path / "b", llff_rows(sideways(3)), pictures=0))


def test_real_set_of_five_cameras(shared_data: Path) -> None:
    dataset = read(shared_data / "colmap/flame_steak_5view")
    frames = list(dataset.frames)
    assert (len(frames), frames[0].camera.width, frames[0].camera.height) == (5, 676, 507)
    assert frames[0].camera.fx == pytest.approx(1462.067 / 4, rel=1e-4)
    assert_ndc_agrees(dataset)
    # The pictures themselves say whether axes, order and focal length are right.
    assert epipolar_error(frames[0], frames[2]) < 0.5
    assert epipolar_error(frames[4], frames[2]) < 0.5
