"""D-NeRF's form: marks, cameras, masks, background, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_files import SIZE, picture, ring_pose, truncate, write_blender

from foreseen.data import load_dataset
from foreseen.data.types import Dataset
from foreseen.errors import UserError


def test_marks_times_and_pictures(tmp_path: Path) -> None:
    data = load_dataset(write_blender(tmp_path))
    assert data.format == "blender" and len(data.sequences) == 1
    assert [(round(f.time, 3), f.split, f.image_path.name) for f in data.frames if f.split == "train"] == [
        (0.0, "train", "r_000.png"),
        (0.333, "train", "r_001.png"),
        (0.667, "train", "r_002.png"),
        (1.0, "train", "r_003.png"),
    ]
    assert sum(f.split == "val" for f in data.frames) == sum(f.split == "test" for f in data.frames) == 2
    times = [f.time for f in data.frames]
    assert times == sorted(times)
    stored = np.asarray(Image.open(tmp_path / "train/r_000.png")).astype(np.float32) / 255
    frame = next(f for f in data.frames if f.image_path == tmp_path / "train/r_000.png")
    expected = stored[..., :3] * stored[..., 3:] + 1 - stored[..., 3:]
    assert np.allclose(frame.image(), expected, atol=1e-6)
    black = next(iter(load_dataset(tmp_path, background=(0, 0, 0)).frames))
    assert torch.allclose(black.image(), black.rgba()[..., :3] * black.rgba()[..., 3:])


def test_axes(tmp_path: Path) -> None:
    for frame in load_dataset(write_blender(tmp_path)).frames:
        pixel, depth = frame.camera.project(torch.tensor([[0.0, 0, 0], [0, 0, 0.3]]))
        assert torch.allclose(pixel[0], torch.tensor([4.0, 3.0]), atol=1e-5)
        assert torch.allclose(depth, torch.tensor(4.0))
        assert pixel[1, 1] < 3  # the world's z is up in the picture


def test_a_frames_own_intrinsics_win(tmp_path: Path) -> None:
    plain = next(iter(load_dataset(write_blender(tmp_path / "a")).frames)).camera
    assert plain.fx == plain.fy == pytest.approx(4 / np.tan(0.4)) and (plain.cx, plain.cy) == (4, 3)
    own = {"fl_x": 7.0, "fl_y": 6.0, "cx": 3.5, "cy": 2.0, "w": 8, "h": 6}
    data = load_dataset(write_blender(tmp_path / "b", **own))
    camera = next(iter(data.frames)).camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height) == (7, 6, 3.5, 2, 8, 6)
    assert data.warnings[0] == "camera_angle_x contradicts the own fl_x of 8 of 8 frames; fl_x is taken"


def test_frames_of_one_pose_and_lens_are_one_camera_over_all_splits(tmp_path: Path) -> None:
    data = load_dataset(write_blender(tmp_path, {"train": 4, "test": 2}))
    names = {f.image_path.relative_to(tmp_path).as_posix(): f.camera_id for f in data.frames}
    assert names["train/r_000.png"] == names["test/r_000.png"] == "camera-0"
    assert names["train/r_002.png"] == names["test/r_001.png"] == "camera-2"
    assert len(set(names.values())) == 4
    document = json.loads((tmp_path / "transforms_test.json").read_text())
    (tmp_path / "transforms_test.json").write_text(json.dumps(document | {"camera_angle_x": 0.5}))
    assert len({f.camera_id for f in load_dataset(tmp_path).frames}) == 6


def test_masks_lie_beside_the_pictures(tmp_path: Path) -> None:
    write_blender(tmp_path)
    ids = np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE[1], SIZE[0]) % 3
    (tmp_path / "train/masks").mkdir()
    Image.fromarray(ids).save(tmp_path / "train/masks/r_001.png")
    masks = {f.image_path.relative_to(tmp_path).as_posix(): f.layer("mask") for f in load_dataset(tmp_path).frames}
    found = masks.pop("train/r_001.png")
    assert found is not None and np.array_equal(found, ids)
    assert set(masks.values()) == {None}


def test_endings_may_be_there(tmp_path: Path) -> None:
    write_blender(tmp_path, {"train": 2})
    picture(tmp_path / "train/a.jpg")
    document = json.loads((tmp_path / "transforms_train.json").read_text())
    document["frames"][0]["file_path"] = "train/a.jpg"
    document["frames"][1]["file_path"] = "train/a"
    (tmp_path / "transforms_train.json").write_text(json.dumps(document))
    assert {f.image_path.name for f in load_dataset(tmp_path).frames} == {"a.jpg"}


def test_disorder_is_told(tmp_path: Path) -> None:
    write_blender(tmp_path)
    document = json.loads((tmp_path / "transforms_val.json").read_text())
    document["frames"].reverse()
    (tmp_path / "transforms_val.json").write_text(json.dumps(document))
    assert "times are not in order in transforms_val.json; frames are sorted by time" in load_dataset(tmp_path).warnings


def test_pictures_are_only_looked_at_when_asked_for(tmp_path: Path) -> None:
    write_blender(tmp_path)
    big = picture(tmp_path / "train/r_001.png", "RGBA")
    truncate(big)
    bad = next(f for f in load_dataset(tmp_path).frames if f.image_path == big)
    with pytest.raises(UserError, match=r"r_001.png is truncated or damaged \(.*\): replace the file") as caught:
        bad.image()
    assert "\n" not in str(caught.value)


def change(folder: Path, fault: str) -> None:
    """Puts a fault into a good folder."""
    target = folder / "train/r_001.png"
    if fault == "absent":
        target.unlink()
    elif fault == "cut to nothing":
        target.write_bytes(target.read_bytes()[:10])
    elif fault == "other size":
        picture(target, "RGBA", size=(9, 6))
    elif fault == "other kind":
        target.unlink()
        Image.new("CMYK", SIZE).save(target.with_suffix(".jpg"))
    elif fault == "mask of another size":
        picture(target.parent / "masks/r_001.png", "L", size=(9, 6))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("absent", "r_001.png is absent: restore the file or remove its frame"),
        ("cut to nothing", "r_001.png cannot be read as a picture (not a picture): replace the file"),
        ("other size", "r_001.png is 9 x 6 pixels where the first picture says 8 x 6: give the picture that belongs"),
        ("other kind", "r_001.jpg has pixels of type 'CMYK', not read here: save it as 8 bit RGB or RGBA"),
        ("mask of another size", "masks/r_001.png is 9 x 6 pixels where its picture r_001.png says 8 x 6"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, fault: str, message: str) -> None:
    change(write_blender(tmp_path), fault)
    with pytest.raises(UserError) as caught:
        load_dataset(tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["L", "RGB", "16"])
def test_grey_and_16_bit_are_read(tmp_path: Path, mode: str) -> None:
    write_blender(tmp_path, {"train": 2})
    for path in (tmp_path / "train").glob("*.png"):
        if mode == "16":
            Image.fromarray(np.full((SIZE[1], SIZE[0]), 65535, np.uint16)).save(path)
        else:
            picture(path, mode)
    image = next(iter(load_dataset(tmp_path).frames)).image()
    assert image.shape == (6, 8, 3) and image.std() > 0 if mode != "16" else bool((image == 1).all())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"time": None}, "transforms_train.json: frames[0] has no 'time': add it"),
        ({"camera_angle_x": "wide"}, "'camera_angle_x' is \"wide\": give a finite number"),
        ({"camera_angle_x": "wide", "fl_x": 5.0, "w": 8, "h": 6}, "'camera_angle_x' is \"wide\": give a finite number"),
        ({"transform_matrix": np.diag([3.0, 3, 3, 1]).tolist()}, "'transform_matrix' is not rigid"),
        ({"file_path": "a" * 5000}, "5000 characters long: no file has such a name"),
        ({"file_path": "../../secret"}, "'file_path' is '../../secret', which lies outside the data set's folder"),
    ],
)
def test_bad_frames_are_refused(tmp_path: Path, fields: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset(write_blender(tmp_path, **fields))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_reading_writes_nothing(tmp_path: Path) -> None:
    def state() -> list[tuple[str, int, int]]:
        return sorted((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))

    write_blender(tmp_path)
    before = state()
    for frame in load_dataset(tmp_path).frames:
        frame.image()
    assert state() == before


SCENES = {"scene3_collision": (3, 150), "scene4_occlusion": (2, 120)}


@pytest.fixture(params=SCENES)
def scene(request: pytest.FixtureRequest, shared_data: Path) -> Dataset:
    folder = shared_data / "dnerf_format" / request.param
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return load_dataset(folder)


def test_real_files_have_twelve_cameras(scene: Dataset) -> None:
    bodies, count = SCENES[scene.name]
    frames = list(scene.frames)
    assert len(frames) == count and len({f.camera_id for f in frames}) == 12
    assert any(w.startswith("camera_angle_x contradicts the own fl_x of") for w in scene.warnings)
    ids = torch.cat([f.layer("mask").unique() for f in frames[::15]])  # type: ignore[union-attr]
    assert ids.unique().tolist() == list(range(bodies + 1))


def test_real_files_hold_what_moves_in_their_bounds(scene: Dataset) -> None:
    """The rays of every mask pixel meet the box, between near and far."""
    low, high = scene.bounds
    for frame in list(scene.frames)[::10]:
        rays = frame.camera.rays(frame.camera.pixel_centres()[frame.layer("mask") > 0])  # type: ignore[operator]
        a, b = (low - rays.origins) / rays.directions, (high - rays.origins) / rays.directions
        enter, leave = torch.minimum(a, b).amax(-1), torch.maximum(a, b).amin(-1)
        assert (enter < leave).all() and (enter >= scene.near - 1e-4).all() and (leave <= scene.far).all()


def test_a_ring_pose_is_what_the_tests_think() -> None:
    pose = ring_pose(0.0)
    assert np.allclose(pose @ [0, 0, -4, 1], [0, 0, 0, 1]) and np.linalg.det(pose) == pytest.approx(1)
