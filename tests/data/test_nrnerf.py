"""The hand-held capture's form: axes, times, what is held out, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_llff import assert_ndc_agrees, epipolar_error, sideways

from foreseen.data.images import ImageCache
from foreseen.data.readers import nrnerf
from foreseen.data.types import Dataset
from foreseen.errors import UserError


def read(path: Path) -> Dataset:
    return nrnerf.read(path, background=None, cache=ImageCache(16))


def document(count: int = 20, **changes: Any) -> dict[str, Any]:
    poses = []
    for pose in sideways(count):
        right, down, forward, position = pose[:3].T
        poses.append(np.stack([right, -down, -forward, position, [32, 48, 50]], axis=-1).tolist())
    return {"poses": poses, "bds": [[2, 9]] * count, "i_test": 5} | changes


def write(path: Path, content: Any, pictures: int = 20, size: tuple[int, int] = (48, 32)) -> Path:
    (path / "images").mkdir(parents=True)
    for i in range(pictures):
        Image.new("RGB", size, (i, 0, 0)).save(path / "images" / f"image{i + 1:06d}.png")
    (path / "precomputed.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_axes_times_and_held_out_pictures(tmp_path: Path) -> None:
    dataset = read(write(tmp_path / "set", document()))
    assert (dataset.format, dataset.ndc, dataset.near, dataset.far) == ("nrnerf", True, 0, 1)
    frames = list(dataset.frames)
    for index, (frame, pose) in enumerate(zip(frames, sideways(20), strict=True)):
        np.testing.assert_allclose(frame.camera.camera_to_world.numpy(), pose, atol=1e-6)
        assert frame.time == pytest.approx(index / 19)
        assert float(frame.image()[0, 0, 0]) == pytest.approx(index / 255)
    assert len({f.camera_id for f in frames}) == 20
    assert [i for i, f in enumerate(frames) if f.split == "test"] == [5, 13]
    assert all(f.split in ("train", "test") for f in frames)


def test_a_list_of_held_out_pictures_stands_and_none_is_none(tmp_path: Path) -> None:
    listed = read(write(tmp_path / "a", document(i_test=[0, 19])))
    assert [i for i, f in enumerate(listed.frames) if f.split == "test"] == [0, 19]
    silent = read(write(tmp_path / "b", document(i_test=None)))
    assert {f.split for f in silent.frames} == {None}


def test_smaller_pictures_scale_the_focal_length(tmp_path: Path) -> None:
    frame = next(read(write(tmp_path / "set", document(), size=(24, 16))).frames)
    assert (frame.camera.fx, frame.camera.cx, frame.camera.cy) == (25, 12, 8)


@pytest.mark.parametrize(
    ("content", "pictures", "message"),
    [
        ("{", 20, "is broken JSON at line 1"),
        (document(bds=[[2, 9]] * 19), 20, "has 20 'poses' but 19 'bds'"),
        (document(poses=[[[1, 2], [3, 4]]]), 20, "'poses' is not N x 3 x 5 numbers"),
        (document(poses=None), 20, "'poses' is not N x 3 x 5 numbers"),
        (document(bds=[["a", "b"]] * 20), 20, "'bds' is not N x 2 numbers"),
        (document(bds=[[9, 2]] * 20), 20, "bounds 0 are 9 and 2"),
        (document(i_test=20), 20, "'i_test' is 20: give indices from 0 to 19"),
        (document(i_test="x"), 20, "'i_test' is x: give indices"),
        (document(), 19, "has 20 poses but"),
    ],
)
def test_bad_documents_are_one_line(tmp_path: Path, content: Any, pictures: int, message: str) -> None:
    path = write(tmp_path / "set", content, pictures)
    with pytest.raises(UserError) as caught:
        read(path)
    assert message in str(caught.value)
    assert "precomputed.json" in str(caught.value)


def test_nan_pose_and_absent_files_are_one_line(tmp_path: Path) -> None:
    broken = document()
    broken["poses"][7][1][3] = float("nan")
    with pytest.raises(UserError, match=r"precomputed\.json: pose 7 holds NaN or infinity"):
        read(write(tmp_path / "a", broken))
    path = tmp_path / "b"
    path.mkdir()
    with pytest.raises(UserError, match=r"precomputed\.json is absent"):
        read(path)
    (path / "precomputed.json").write_text(json.dumps(document()))
    with pytest.raises(UserError, match="images is absent: put the pictures there"):
        read(path)


def test_real_capture(shared_data: Path) -> None:
    dataset = read(shared_data / "nrnerf_hand")
    frames = list(dataset.frames)
    assert (len(frames), frames[0].camera.width, frames[0].camera.height) == (86, 512, 384)
    held = [i for i, f in enumerate(frames) if f.split == "test"]
    assert len(held) == 11 and 20 in held
    # The author's own is the camera nearest to the mean position, which is what tells that `i_test` is an index.
    positions = np.stack([f.camera.position.numpy() for f in frames])
    assert np.linalg.norm(positions - positions.mean(axis=0), axis=1).argmin() == 20
    assert_ndc_agrees(dataset)
    # Depths are within 1 here, and the pictures themselves say that the axes are right.
    assert epipolar_error(frames[0], frames[15]) < 1
    assert epipolar_error(frames[20], frames[60]) < 1
