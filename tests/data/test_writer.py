"""What is written is read back exactly; nothing half-written is left."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_files import ring_pose

import foreseen
from foreseen.data.types import Dataset, GroundTruth
from foreseen.data.writer import DatasetWriter, WrittenFrame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

W, H = 8, 6
RNG = np.random.default_rng(0)
BOUNDS = [[-1.0, -2.0, 0.0], [1.0, 2.5, 3.0]]


def camera(angle: float) -> Camera:
    pose = torch.from_numpy(ring_pose(angle))
    pose[:, 1:3] *= -1
    return Camera(pose, 10.5, 9.25, 4.1, 2.9, W, H, 0.5, 7.0)


def written(angle: float, name: str, time: float, **fields: object) -> WrittenFrame:
    image = RNG.integers(0, 256, (H, W, 4), dtype=np.uint8)
    return WrittenFrame(camera(angle), name, time, image, **fields)  # type: ignore[arg-type]


def full_frame(angle: float, name: str, time: float, split: str | None, maximum: int) -> WrittenFrame:
    return written(
        angle,
        name,
        time,
        split=split,
        mask=RNG.integers(0, maximum, (H, W)),
        depth=RNG.random((H, W)).astype(np.float32),
        flow=RNG.random((H, W, 2)).astype(np.float32),
    )


def truth(times: int = 3) -> GroundTruth:
    return GroundTruth(
        np.arange(times) / 3,
        ("ball", "box"),
        RNG.random((times, 2, 3)),
        RNG.random((times, 2, 3)),
        "falling",
        {"gravity": 9.81},
        {"rotations": RNG.random((times, 2, 3, 3)), "angle": RNG.random(times)},
    )


def writer(out: Path, **options: object) -> DatasetWriter:
    plain = {"near": 0.5, "far": 7.0, "bounds": BOUNDS, "background": (0.1, 0.2, 0.3)}
    return DatasetWriter(out, **(plain | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[WrittenFrame], GroundTruth, np.ndarray, Dataset]:
    """What was written, in order of time, and what is read."""
    frames = [full_frame(a, n, t, s, m) for t in (0.0, 1 / 3, 0.7) for a, n, s, m in
              ((0.1, "left", "train", 3), (1.2, "right", "test", 60000))]  # fmt: skip
    known, backdrop = truth(), RNG.integers(0, 256, (H, W, 3), dtype=np.uint8)
    out = tmp_path_factory.mktemp("written") / "data"
    with writer(out, time_unit="ms", length_unit="mm", description="two things fall") as target:
        target.add_sequence("second", split="test")
        target.add_sequence("first", truth=known, backgrounds={"left": backdrop})
        for frame in (f for name in ("left", "right") for f in frames if f.camera_id == name):
            target.add_frame("first", frame)
        target.add_frame("second", written(0.0, "left", 0.25))
    return frames, known, backdrop, foreseen.load_dataset(out)


def test_frames_are_read_back_exactly(both: tuple) -> None:
    frames, _, _, data = both
    found = data.sequences[1].frames
    assert [f.camera_id for f in found] == ["left", "right"] * 3
    for frame, expected in zip(found, frames, strict=True):
        assert (frame.time, frame.split, frame.sequence) == (expected.time, expected.split, "first")
        assert torch.equal(frame.rgba(), torch.from_numpy(expected.image.astype(np.float32) / 255.0))
        assert np.array_equal(frame.layer("mask"), expected.mask)
        assert np.array_equal(frame.layer("depth"), expected.depth)
        assert np.array_equal(frame.layer("flow_forward"), expected.flow)
        assert torch.equal(frame.camera.camera_to_world, expected.camera.camera_to_world.float())
        assert replace(frame.camera, camera_to_world=0) == replace(expected.camera, camera_to_world=0)  # type: ignore[arg-type]


def test_truth_and_the_rest_are_read_back_exactly(both: tuple) -> None:
    _, known, backdrop, data = both
    found = data.sequences[1].truth
    assert (found.dynamics, found.bodies, found.constants) == (known.dynamics, known.bodies, known.constants)
    for name in ("times", "positions", "velocities"):
        assert np.array_equal(getattr(found, name), getattr(known, name))
    assert found.state.keys() == known.state.keys()
    assert all(np.array_equal(found.state[k], known.state[k]) for k in known.state)
    assert [(s.name, s.split, s.truth is None) for s in data.sequences] == [
        ("second", "test", True),
        ("first", None, False),
    ]
    assert (data.near, data.far, data.bounds.tolist()) == (0.5, 7.0, BOUNDS)
    assert (data.background, data.time_unit, data.length_unit) == ((0.1, 0.2, 0.3), "ms", "mm")
    assert (data.name, data.format, data.warnings, data.ndc) == ("data", "nerfstudio", (), False)
    path = data.sequences[1].background_paths["left"]
    stored = data.sequences[1].frames[0].cache.image(path, W, H)
    assert torch.equal(stored, torch.from_numpy(backdrop.astype(np.float32) / 255.0))


def test_transparent_pictures_lie_on_the_stated_background_or_on_another(both: tuple) -> None:
    data = both[3]
    red = next(iter(foreseen.load_dataset(data.path, background=(1.0, 0.0, 0.0)).frames))
    for frame, on in ((next(iter(data.frames)), (0.1, 0.2, 0.3)), (red, (1.0, 0.0, 0.0))):
        rgba = frame.rgba()
        expected = rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:]) * torch.tensor(on)
        assert frame.image().shape == (H, W, 3) and torch.allclose(frame.image(), expected)


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writer(tmp_path / "deep" / "data") as target:
        target.add_sequence("run")
        target.add_frame("run", written(0.0, "left", 0.0))
        raise KeyboardInterrupt
    assert list((tmp_path / "deep").iterdir()) == []


def test_the_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "data"
    out.mkdir()  # an empty one may be there
    with writer(out) as target:
        target.add_sequence("run")
        target.add_frame("run", written(0.0, "left", 0.0))
        assert list(out.iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    assert (out / "transforms.json").is_file()


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(UserError) as caught, writer(out):
            pass
        assert str(caught.value) == f"{out} exists and is not empty: give another --out or remove it first"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_data_set_without_frames_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing to write to .*data: a data set needs at least one frame"):  # noqa: SIM117
        with writer(tmp_path / "data") as target:
            target.add_sequence("run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mask": np.full((H, W), 70000)}, r"instance ids lie in 0\.\.65535"),
        ({"split": "trial"}, "split 'trial' is none of"),
        ({"camera_id": "../up"}, "cannot name files"),
        ({"image": np.zeros((H, W, 3), np.float32)}, "a picture is uint8"),
        ({"image": np.zeros((W, H, 3), np.uint8)}, "is not the camera's size"),
        ({"time": float("nan")}, "Out of range float values"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(tmp_path: Path, fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):  # noqa: SIM117
        with writer(tmp_path / "data") as target:
            target.add_sequence("run")
            target.add_frame("run", replace(written(0.0, "left", 0.0), **fields))
    assert list(tmp_path.iterdir()) == []


def test_names_of_sequences_become_file_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'a/b' cannot name files: letters, digits"), writer(tmp_path / "d") as target:
        target.add_sequence("a/b")
    with pytest.raises(ValueError, match="'a/b' cannot name a body: 1 to 64 letters"), writer(tmp_path / "d") as target:
        target.add_sequence("run-0", truth=replace(truth(), bodies=("a/b",)))
    with pytest.raises(ValueError, match="comes first"), writer(tmp_path / "d") as target:
        target.add_frame("run", written(0.0, "left", 0.0))
