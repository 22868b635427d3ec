"""Foreign transforms.json: axes, intrinsics, lenses, marks, and what is refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_files import SIZE, frame, picture, ring_pose, write_document, write_nerfstudio

from foreseen.data import load_dataset
from foreseen.errors import UserError


def test_axes_and_intrinsics(tmp_path: Path) -> None:
    frames = [frame(i, 4) for i in range(4)]
    frames[1] |= {"fl_x": 20.0, "cx": 3.0}
    data = load_dataset(write_nerfstudio(tmp_path, frames=frames))
    cameras = [f.camera for f in data.frames]
    assert [(c.fx, c.fy, c.cx, c.cy) for c in cameras[:2]] == [(10, 9, 4.5, 2.5), (20, 9, 3, 2.5)]
    for index, camera in enumerate(cameras):
        opengl = torch.from_numpy(ring_pose(np.pi / 2 * index)).float()
        assert torch.equal(camera.camera_to_world[:, [0, 3]], opengl[:, [0, 3]])
        assert torch.equal(camera.camera_to_world[:, 1:3], -opengl[:, 1:3])
        pixel, depth = camera.project(torch.zeros(3))
        assert torch.allclose(pixel, torch.tensor([camera.cx, camera.cy]), atol=1e-5) and depth > 0
        above, _ = camera.project(torch.tensor([0.0, 0.0, 0.5]))
        assert above[1] < camera.cy  # z is up, and rows count downwards


def test_a_field_of_view_stands_in_for_focal_lengths(tmp_path: Path) -> None:
    folder = write_nerfstudio(tmp_path, fl_x=None, fl_y=None, camera_angle_x=np.pi / 2, cx=None, cy=None)
    camera = next(iter(load_dataset(folder).frames)).camera
    assert (camera.fx, camera.fy) == pytest.approx((4, 4)) and (camera.cx, camera.cy) == (4, 3)


def test_a_frames_own_field_of_view_wins_over_the_files_focal_length(tmp_path: Path) -> None:
    frames = [frame(i, 4, camera_angle_x=np.pi / 2) for i in range(4)]
    camera = next(iter(load_dataset(write_nerfstudio(tmp_path, frames=frames)).frames)).camera
    assert camera.fx == pytest.approx(4)


def test_files_without_marks_get_what_follows_from_the_cameras(tmp_path: Path) -> None:
    data = load_dataset(write_nerfstudio(tmp_path))
    assert (data.background, data.time_unit, [s.name for s in data.sequences]) == (
        (1, 1, 1),
        "unknown",
        ["sequence-0"],
    )
    assert {f.split for f in data.frames} == {None}
    assert [f.camera_id for f in data.frames] == ["camera-0", "camera-1", "camera-2", "camera-3"]
    assert all((f.camera.near, f.camera.far) == (data.near, data.far) for f in data.frames)
    assert len(data.warnings) == 1 and data.warnings[0].startswith("near, far and bounds are not stated; taken from")


def test_frames_of_one_pose_are_one_camera(tmp_path: Path) -> None:
    frames = [frame(i, 4, transform_matrix=ring_pose(i % 2).tolist()) for i in range(4)]
    found = load_dataset(write_nerfstudio(tmp_path, frames=frames)).frames
    assert [f.camera_id for f in found] == ["camera-0", "camera-1"] * 2


def test_a_camera_that_creeps_has_a_name_for_each_place(tmp_path: Path) -> None:
    frames = [frame(i, 4, transform_matrix=ring_pose(0.001 * i).tolist()) for i in range(4)]
    found = load_dataset(write_nerfstudio(tmp_path, frames=frames)).frames
    assert [f.camera_id for f in found] == ["camera-0", "camera-1", "camera-2", "camera-3"]


def test_lists_of_file_names_are_marks(tmp_path: Path) -> None:
    names = {"train_filenames": ["images/000.png", "images/002.png"], "test_filenames": ["images/003.png"]}
    found = load_dataset(write_nerfstudio(tmp_path, **names)).frames
    assert [f.split for f in found] == ["train", None, "train", "test"]


def test_frames_are_sorted_by_time_and_disorder_is_told(tmp_path: Path) -> None:
    frames = [frame(i, 4) for i in (2, 0, 3, 1)]
    data = load_dataset(write_nerfstudio(tmp_path, frames=frames))
    assert [f.image_path.name for f in data.frames] == ["000.png", "001.png", "002.png", "003.png"]
    assert "times are not in order in the file; frames are sorted by time" in data.warnings


def test_cameras_one_after_the_other_are_in_order(tmp_path: Path) -> None:
    frames = [frame(i, 4, camera_id="ab"[i // 2], time=float(i % 2)) for i in range(4)]
    data = load_dataset(write_nerfstudio(tmp_path, frames=frames))
    assert [(f.time, f.camera_id) for f in data.frames] == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    assert not any("order" in w for w in data.warnings)


def test_a_cloud_of_points_beside_it_is_told(tmp_path: Path) -> None:
    data = load_dataset(write_nerfstudio(tmp_path, ply_file_path="sparse_pc.ply"))
    assert any("--cloud.points FOLDER/sparse_pc.ply" in w for w in data.warnings)


def test_what_is_not_used_is_told(tmp_path: Path) -> None:
    for index in range(4):
        np.savez(tmp_path / f"{index}.npz", flow=np.zeros((SIZE[1], SIZE[0], 2), np.float32))
    frames = [frame(i, 4, mask_path="no.png", depth_file_path="no.png", flow_file_path=f"{i}.npz") for i in range(4)]
    data = load_dataset(write_nerfstudio(tmp_path, frames=frames, k1=0.01))
    assert all(not f.layers for f in data.frames)
    assert data.warnings[:3] == (
        "mask_path (pixels to leave out) is not used; instance masks are instance_mask_path",
        "depth_file_path: only .npz and .npy are read; pictures are left out",
        "flow of distorted pictures is left out",
    )


def test_distortion_is_taken_out(tmp_path: Path) -> None:
    size, point = (64, 48), np.array([0.3, -0.2, 1.0])
    folder = write_nerfstudio(tmp_path, w=64, h=48, fl_x=60.0, fl_y=60.0, cx=32.0, cy=24.0, k1=-0.3, k2=0.1, p1=0.01)
    matrix = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    seen = cv2.projectPoints(point[None], np.zeros(3), np.zeros(3), matrix, np.array([-0.3, 0.1, 0.01, 0]))[0].ravel()
    y, x = np.mgrid[:48, :64] + 0.5
    dot = 255 * np.exp(-((x - seen[0]) ** 2 + (y - seen[1]) ** 2) / 4)
    for index in range(4):
        cv2.imwrite(str(picture(folder / f"images/{index:03d}.png", size=size)), dot.round().astype(np.uint8))
    found = next(iter(load_dataset(folder).frames))
    inside = torch.from_numpy(point).float()
    world = found.camera.camera_to_world[:3, :3] @ inside + found.camera.position
    expected, _ = found.camera.project(world)
    image = found.image()[..., 0]
    centroid = (found.camera.pixel_centres() * image[..., None]).sum((0, 1)) / image.sum()
    assert (centroid - expected).abs().max() < 0.15
    assert (torch.from_numpy(seen) - expected).abs().max() > 0.5  # it did move


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"camera_model": "OPENCV_FISHEYE"}, "camera_model 'OPENCV_FISHEYE' is not read: undistort the pictures"),
        ({"camera_model": "EQUIRECTANGULAR"}, "camera_model 'EQUIRECTANGULAR' is not read: undistort the pictures"),
        ({"k4": 0.1}, "distortion 'k4' is not read: undistort the pictures to a pinhole camera first"),
        ({"fl_x": None, "fl_y": None}, "has no 'fl_x' and the file no 'camera_angle_x': add one of them"),
        ({"fl_x": -3.0}, "'fl_x' is -3: give a number above 0"),
        ({"cx": "middle"}, "'cx' is \"middle\": give a finite number"),
        ({"k1": 10**400}, "'k1' is 10000.*: give a finite number"),
        ({"w": 8.5}, "'w' and 'h' are 8.5 and 6: give whole pixels"),
        ({"w": 16, "h": 12}, r"000.png is 8 x 6 pixels where .*frames\[0\] says 16 x 12"),
        ({"foreseen": []}, "'foreseen' is no JSON object: remove it"),
        ({"foreseen": {"writer_version": 9}}, "was written in version 9 of the format, this foreseen reads version 1"),
        ({"foreseen": {"background": [0, 1]}}, r"foreseen.background is \[0, 1\]: give 3 finite numbers"),
        ({"foreseen": {"near": 2, "far": 1, "bounds": [[0, 0, 0], [1, 1, 1]]}}, "give 0 <= near < far and bounds from"),
        ({"foreseen": {"sequences": {"sequence-0": {"split": "tset"}}}}, "'tset' is unknown: did you mean 'test'?"),
        ({"foreseen": {"sequences": {"sequence-0": {"truth": {"dynamics": "x"}}}}}, "truth lacks 'arrays', 'dynamics'"),
        (
            {"foreseen": {"sequences": {"sequence-0": {"backgrounds": ["a.png"]}}}},
            "backgrounds is no JSON object: give",
        ),
        (
            {"foreseen": {"sequences": {"sequence-0": {"backgrounds": {"a": "/etc/passwd"}}}}},
            "backgrounds.a is '/etc/passwd', which lies outside the data set's folder: move it inside",
        ),
    ],
)
def test_files_that_are_refused(tmp_path: Path, fields: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_dataset(write_nerfstudio(tmp_path, **fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"time": None}, "has no 'time': add it"),
        ({"time": float("nan")}, "'time' is NaN: give a finite number"),
        ({"time": True}, "'time' is true: give a finite number"),
        ({"file_path": None}, "has no 'file_path': add it"),
        ({"file_path": 3}, "'file_path' is 3: give a text"),
        ({"file_path": "../a.png"}, "'file_path' is '../a.png', which lies outside the data set's folder: move it"),
        ({"file_path": "/etc/hosts"}, "'file_path' is '/etc/hosts', which lies outside the data set's folder"),
        ({"split": "trial"}, "split 'trial' is unknown: did you mean 'train'?"),
        ({"transform_matrix": [[1, 0], [0, 1]]}, "'transform_matrix' is not 4 x 4 numbers"),
        ({"transform_matrix": "identity"}, "'transform_matrix' is not 4 x 4 numbers"),
        (
            {"transform_matrix": [[1, 0, 0, float("nan")], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]},
            "'transform_matrix' holds NaN or infinity: remove the frame or estimate its pose again",
        ),
        ({"transform_matrix": np.diag([2.0, 2, 2, 1]).tolist()}, "is not rigid .*: remove scale, shear and mirroring"),
        ({"transform_matrix": np.diag([-1.0, 1, 1, 1]).tolist()}, "is not rigid .*: remove scale, shear and mirroring"),
        ({"depth_file_path": "depth.npz"}, "depth.npz is absent: restore the file or remove 'depth_file_path'"),
        ({"instance_mask_path": "mask.png"}, "mask.png is absent: restore the file"),
    ],
)
def test_frames_that_are_refused(tmp_path: Path, fields: dict, message: str) -> None:
    frames = [frame(i, 4) | (fields if i == 2 else {}) for i in range(4)]
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(write_nerfstudio(tmp_path, frames=frames))
    assert "frames[2]" in str(caught.value) or "is absent" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pose_of_three_rows_and_rounded_numbers_are_fine(tmp_path: Path) -> None:
    rounded = [frame(i, 4, transform_matrix=ring_pose(i).round(4)[:3].tolist()) for i in range(4)]
    assert len(list(load_dataset(write_nerfstudio(tmp_path, frames=rounded)).frames)) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"frames": [\n  {"time": 1,}\n]}', "is broken JSON at line 2, column 14 ("),
        ("", "is broken JSON at line 1, column 1 (Expecting value): fix it there"),
        ("[1]", "holds no JSON object: replace it by a transforms file"),
        ('{"frames": []}', "has no 'frames': a transforms file lists at least one"),
        ('{"frames": [3]}', "frames[0] is no JSON object: replace or remove it"),
        ('{"frames": ' + "[" * 100000, "is no JSON that can be read ("),
    ],
)
def test_broken_json_is_located(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(UserError) as caught:
        load_dataset(tmp_path)
    assert str(tmp_path / "transforms.json") in str(caught.value) and message in str(caught.value)


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_bytes(b'{"a": "\xff\xfe\xfa"}')
    with pytest.raises(UserError, match=r"transforms.json is not text \(.*at byte 7\): replace it"):
        load_dataset(tmp_path)


def test_damaged_truth_is_refused(tmp_path: Path) -> None:
    told = {"dynamics": "x", "bodies": ["ball"], "constants": {}, "arrays": "truth.npz"}
    folder = write_nerfstudio(tmp_path, foreseen={"sequences": {"sequence-0": {"truth": told}}})
    with pytest.raises(UserError, match=r"truth.npz is absent: restore it, or remove .*sequence-0.truth"):
        load_dataset(folder)
    good = {"times": np.arange(2.0), "positions": np.zeros((2, 1, 3)), "velocities": np.zeros((2, 1, 3))}
    empty = {name: array[:0] for name, array in good.items()}
    for content, reason in (
        ({"times": np.arange(2.0)}, ""),
        (good | {"positions": np.zeros((2, 2, 3))}, "bodies and arrays do not belong together"),
        (good | {"positions": np.full((2, 1, 3), np.nan)}, "positions are not finite numbers"),
        (good | {"velocities": np.full((2, 1, 3), "a")}, "velocities are not finite numbers"),
        (good | {"times": np.array([1.0, 0.0])}, "times are not one ascending row"),
        (empty, "times are not one ascending row"),
    ):
        np.savez(folder / "truth.npz", **content)
        with pytest.raises(
            UserError, match=rf"truth.npz cannot be read as truth \(.*{reason}.*\): restore it, or remove"
        ):
            load_dataset(folder)
    np.savez(folder / "truth.npz", **good)
    assert load_dataset(folder).sequences[0].truth is not None


def test_a_described_sequence_without_frames_is_a_warning(tmp_path: Path) -> None:
    data = load_dataset(write_nerfstudio(tmp_path, foreseen={"sequences": {"sequence-O": {"split": "test"}}}))
    assert "foreseen.sequences.sequence-O has no frame and is left out; frames name sequence-0" in data.warnings


@pytest.mark.parametrize("name", ["", " ", "<b>", "[/x]", "$x$", "a\nb", "x" * 65, "../up", 3])
def test_bodies_have_names_that_can_be_shown(tmp_path: Path, name: object) -> None:
    told = {"dynamics": "x", "bodies": ["ball-1", name], "constants": {}, "arrays": "truth.npz"}
    folder = write_nerfstudio(tmp_path, foreseen={"sequences": {"sequence-0": {"truth": told}}})
    with pytest.raises(
        UserError, match=r"transforms.json: foreseen.sequences.sequence-0.truth.bodies holds .*: give names"
    ):
        load_dataset(folder)


def test_names_of_bodies_are_a_list(tmp_path: Path) -> None:
    told = {"law": "x", "bodies": "ball", "constants": {}, "arrays": "truth.npz"}
    folder = write_nerfstudio(tmp_path, foreseen={"sequences": {"sequence-0": {"truth": told}}})
    with pytest.raises(UserError, match=r"sequence-0.truth.bodies is no list of names: write the data set again"):
        load_dataset(folder)


@pytest.mark.parametrize("name", ["sequence", "camera_id"])
def test_ids_of_foreign_files_may_be_anything_but_control_characters(tmp_path: Path, name: str) -> None:
    good = write_nerfstudio(
        tmp_path / "good", frames=[frame(i, 4) | {name: "Kamera (links) #1 $ [é]"} for i in range(4)]
    )
    assert len(list(load_dataset(good).frames)) == 4
    bad = write_nerfstudio(tmp_path / "bad", frames=[frame(i, 4) | {name: "left\x1b[2J"} for i in range(4)])
    with pytest.raises(
        UserError, match=rf"frames\[0\]: '{name}' is \"left.u001b\[2J\": leave out its control characters"
    ):
        load_dataset(bad)


@pytest.mark.parametrize("name", ["name", "time_unit", "length_unit"])
def test_words_of_the_block_are_one_line(tmp_path: Path, name: str) -> None:
    folder = write_nerfstudio(tmp_path, foreseen={name: "s\n"})
    with pytest.raises(UserError, match=rf"transforms.json: foreseen.{name} is .* leave out its control characters"):
        load_dataset(folder)


def test_files_are_named_by_their_place_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nerfstudio(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert next(iter(load_dataset("data").frames)).image().shape == (SIZE[1], SIZE[0], 3)
    monkeypatch.chdir(tmp_path / "data")
    assert next(iter(load_dataset(".").frames)).image_path == Path("images/000.png")


def test_the_document_may_be_named_instead_of_its_folder(tmp_path: Path) -> None:
    folder = write_nerfstudio(tmp_path)
    assert load_dataset(folder / "transforms.json").path == folder


def test_symbolic_links_are_the_users_own_affair(tmp_path: Path) -> None:
    folder = write_nerfstudio(tmp_path / "data")
    (folder / "images").rename(tmp_path / "elsewhere")
    (folder / "images").symlink_to(tmp_path / "elsewhere")
    assert len(list(load_dataset(folder).frames)) == 4


def test_pictures_of_unequal_size_have_their_own_cameras(tmp_path: Path) -> None:
    folder = write_nerfstudio(tmp_path, w=None, h=None)
    picture(folder / "images/002.png", size=(12, 10))
    document = json.loads((folder / "transforms.json").read_text())
    write_document(folder / "transforms.json", document)
    found = [f.image().shape[:2] for f in load_dataset(folder).frames]
    assert found == [(6, 8), (6, 8), (10, 12), (6, 8)]
