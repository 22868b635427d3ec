"""What an inspection finds: sound sets pass, and each kind of damage is told."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from foreseen.data import load_dataset
from foreseen.data.inspection import Inspection, check_splits, inspect_dataset
from foreseen.data.inspection_cameras import check_cameras, check_focal, check_scale
from foreseen.data.inspection_matches import check_matches
from foreseen.data.inspection_plot import COLOURS, draw_inspection
from foreseen.data.splits import make_splits
from foreseen.data.types import Dataset, GroundTruth
from foreseen.data.writer import DatasetWriter, WrittenFrame
from foreseen.geometry.cameras import Camera
from foreseen.geometry.paths import look_at

SIZE, FOCAL = (160, 120), 150.0
FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))


def camera(t: float) -> Camera:
    """One of a hand-held way, `t` in -1..1: it goes sideways, up and ahead, and rolls."""
    position = np.array([0.7 * t, 0.5 * np.sin(2 * t) - 1, 1 + 0.5 * np.cos(3 * t)])
    up = np.array([0.3 * np.sin(4 * t), 0, 1.0])
    pose = torch.from_numpy(look_at(position, np.array([0.3 * t, 3.0, 1.0]), up)).float()
    return Camera(pose, FOCAL, FOCAL, SIZE[0] / 2, SIZE[1] / 2, *SIZE, 1.0, 9.0)


def picture(view: Camera) -> np.ndarray:
    """`[H, W, 3]` uint8 of two walls with a random texture, one nearer than the other."""
    noise = np.random.default_rng(0).random((600, 1200, 3)).astype(np.float32)
    noise = sum(s * cv2.GaussianBlur(noise, (0, 0), s) for s in (3.0, 6.0, 12.0))
    noise = (noise - noise.min()) / np.ptp(noise)
    rays = view.rays(view.pixel_centres())
    found = np.zeros((*rays.origins.shape[:2], 3), np.float32)
    for wall, hit in ((4.0, lambda x: x >= 0), (3.0, lambda x: x < 0)):
        points = (rays.origins + (wall - rays.origins[..., 1:2]) / rays.directions[..., 1:2] * rays.directions).numpy()
        u, v = 600 + 120 * points[..., 0], 300 + 120 * (points[..., 2] - 1)
        seen = cv2.remap(noise, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
        found = np.where(hit(points[..., :1]), seen, found)
    return (found * 255).astype(np.uint8)


def frames(count: int = 16) -> list[WrittenFrame]:
    views = [camera(t) for t in np.linspace(-1, 1, count)]
    return [WrittenFrame(v, f"c{i:02d}", i * 0.1, picture(v)) for i, v in enumerate(views)]


def write(path: Path, found: list[WrittenFrame], truth: GroundTruth | None = None, **stated: Any) -> Path:
    stated = {"near": 1.0, "far": 9.0, "bounds": [[-3, -2, -1], [3, 5, 3]]} | stated
    with DatasetWriter(path, **stated) as writer:
        writer.add_sequence("run", truth=truth)
        for frame in found:
            writer.add_frame("run", frame)
    return path


def edit(path: Path, change: Any) -> None:
    """Changes a data set's transforms.json in place."""
    file = path / "transforms.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("inspection") / "walls", frames())


def inspected(path: Path, **options: Any) -> Inspection:
    return inspect_dataset(load_dataset(path), **options)


def rows(inspection: Inspection) -> dict[str, str]:
    return {name: found for check in inspection.checks for name, found in check.rows}


def test_a_sound_set_has_no_doubts_and_is_left_alone(sound: Path) -> None:
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sound.rglob("*")}
    shares: list[float] = []
    found = inspected(sound, observe_until=0.8, progress=lambda share, doing: shares.append(share))
    assert found.warnings == ()
    told = rows(found)
    assert told["frames"] == "16 frames in 1 sequence"
    assert told["run"].startswith("16 from 0 to 1.5 s, usually 0.1 apart")
    assert told["forecast"].startswith("3 frames, 3 times from 1.3 to 1.5")
    assert told["decoded"] == "16 files, all whole"
    assert "look" not in told["cameras"] and told["look at"].startswith("(")
    assert int(told["matches"].split()[0]) > 85  # percent of the matches that fit
    assert shares == sorted(shares) and shares[-1] == 1
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sound.rglob("*")}


def mixed_up(sound: Path, change: Any) -> Dataset:
    """The sound set with other poses."""
    data = load_dataset(sound)
    (sequence,) = data.sequences
    new = [
        replace(f, calibration=replace(f.camera, camera_to_world=change(f.camera.camera_to_world)))
        for f in sequence.frames
    ]
    return replace(data, sequences=(replace(sequence, frames=tuple(new)),))


def silent(share: float, doing: str) -> None: ...


def columns(*order: tuple[int, int]) -> torch.Tensor:
    """What a pose is multiplied with for columns (index, sign) in another order."""
    phase = torch.eye(4)
    phase[:3, :3] = 0
    for to, (source, sign) in enumerate(order):
        phase[source, to] = sign
    return phase


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda pose: pose @ FLIP, "with y and z negated"),
        (torch.linalg.inv, "as world-to-camera matrices"),
        # A file of LLFF's columns (down, right, backwards), read as OpenCV's; then as OpenGL's.
        (lambda pose: pose @ columns((1, 1), (0, 1), (2, -1)), "down, right, backwards), taken for OpenCV's"),
        (lambda pose: pose @ columns((1, 1), (0, -1), (2, 1)), "down, right, backwards), taken for OpenGL's"),
        # A file of OpenGL's columns (right, up, backwards), read as LLFF's.
        (lambda pose: pose @ columns((1, -1), (0, 1), (2, 1)), "right, up, backwards), taken for LLFF's"),
    ],
)
def test_pictures_tell_which_axes_the_poses_have(sound: Path, change: Any, told: str) -> None:
    (doubt,) = check_matches(mixed_up(sound, change), silent).warnings
    assert told in doubt


def test_pictures_tell_that_the_order_is_wrong(sound: Path) -> None:
    data = load_dataset(sound)
    (sequence,) = data.sequences
    shuffled = np.random.default_rng(1).permutation(len(sequence.frames))
    new = [replace(f, image_path=sequence.frames[i].image_path) for f, i in zip(sequence.frames, shuffled, strict=True)]
    check = check_matches(replace(data, sequences=(replace(sequence, frames=tuple(new)),)), silent)
    assert any("the poses hardly fit the pictures" in d for d in check.warnings)


def test_cameras_that_look_away_and_hang_upside_down_are_told(sound: Path) -> None:
    assert check_cameras(load_dataset(sound)).warnings == ()
    (away,) = check_cameras(mixed_up(sound, lambda pose: pose @ FLIP)).warnings
    assert "100 % of the cameras look away from where their axes meet" in away
    count = iter(range(100))
    roll = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    upside_down = check_cameras(mixed_up(sound, lambda pose: pose @ roll if next(count) < 3 else pose))
    assert any("3 of 16 cameras are upside down to the others" in d for d in upside_down.warnings)


def test_scale_that_leaves_out_what_is_seen_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "set", frames(6), near=0.001, far=1.5, bounds=[[5, 5, 5], [6, 6, 6]])
    doubts = check_scale(load_dataset(path)).warnings
    assert any("lies outside the bounds" in d for d in doubts)
    assert any("near 0.001 and far 1.5 leave out what the cameras look at" in d for d in doubts)


def test_gaps_repeats_and_leaks_in_time_are_told(tmp_path: Path) -> None:
    found = frames(10)
    found[7:] = [replace(f, time=f.time + 2) for f in found[7:]]
    found.append(replace(found[2], split="test"))
    found[:-1] = [replace(f, split="train") for f in found[:-1]]
    doubts = inspected(write(tmp_path / "set", found)).warnings
    assert any("run: 1 gap in time; the widest, from 0.6 to 2.7, is 21 usual steps" in d for d in doubts)
    assert any("one camera has two frames at one time (camera c02 at 0.2)" in d for d in doubts)
    assert any("1 of 1 frames of novel-view show what a training frame shows" in d for d in doubts)


def test_several_cameras_at_one_instant_are_no_moving_camera(tmp_path: Path) -> None:
    data = load_dataset(write(tmp_path / "set", [replace(f, time=0.0) for f in frames(4)]))
    assert dict(check_cameras(data).rows)["cameras"] == "4 cameras with one picture each, at one time"


def test_a_set_that_keeps_nothing_back_is_told(tmp_path: Path) -> None:
    data = load_dataset(write(tmp_path / "set", frames(4)))
    (doubt,) = check_splits(data, make_splits(data), []).warnings
    assert "no frame is held out" in doubt


def test_field_of_view_that_contradicts_the_focal_length_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "set", frames(4))
    assert check_focal(load_dataset(path)).warnings == ()

    def widen(document: Any) -> None:
        document["camera_angle_x"] = 2 * np.arctan(0.5 * SIZE[0] / FOCAL)
        document["frames"][1]["fl_x"] = 2 * FOCAL

    edit(path, widen)
    check = check_focal(load_dataset(path))
    assert any("camera_angle_x contradicts the own fl_x of 1 of 4 frames" in d for d in check.warnings)
    assert any("1 of 4 cameras have pixels that are not square" in d for d in check.warnings)
    assert dict(check.rows)["focal length"] == "150 (3 frames), 300 (1 frame) px"
    edit(path, lambda document: document["frames"][0].update(fl_x=10.0, fl_y=10.0, cx=5.0))
    doubts = check_focal(load_dataset(path)).warnings
    assert any("1 of 4 fields of view are odd" in d for d in doubts)
    assert any("1 of 4 principal points lie far from the picture's centre" in d for d in doubts)


def test_damaged_files_are_counted_and_named(tmp_path: Path) -> None:
    mask = np.ones(SIZE[::-1], np.uint8)
    path = write(tmp_path / "set", [replace(f, mask=mask, depth=mask.astype(np.float32)) for f in frames(8)])
    broken = sorted((path / "images/run").iterdir())[:3] + sorted((path / "masks/run").iterdir())[5:6]
    for file in broken:
        file.write_bytes(file.read_bytes()[:-60])
    depth = sorted((path / "depth/run").iterdir())[0]
    depth.write_bytes(b"broken")
    found = inspected(path)
    assert rows(found)["decoded"] == "24 files, 5 of them damaged"
    assert any(broken[0].name in d and "truncated or damaged" in d for d in found.warnings)
    assert "2 files more are damaged" in found.warnings
    assert len(draw_inspection(found)) > 10_000  # the first picture cannot be shown


def test_dark_flat_and_transparent_pictures_are_told(tmp_path: Path) -> None:
    found = [replace(f, image=(f.image // 8).astype(np.uint8)) for f in frames(6)]
    found[1] = replace(found[1], image=np.full((SIZE[1], SIZE[0], 3), 9, np.uint8))
    found[2] = replace(found[2], image=np.zeros((SIZE[1], SIZE[0], 4), np.uint8))
    doubts = inspected(write(tmp_path / "set", found)).warnings
    assert any("the pictures are dark: 0.05" in d and "none much above 0.08" in d for d in doubts)
    assert "1 of 6 pictures have one colour all over" in doubts
    assert "1 of 6 pictures are transparent all over" in doubts
    assert "some pictures have opacity and some have none" in doubts


def test_masks_that_mark_nothing_or_too_much_are_told(tmp_path: Path) -> None:
    times = np.arange(6) * 0.1
    truth = GroundTruth(times, ("ball",), np.zeros((6, 1, 3)), np.zeros((6, 1, 3)), "rest", {})
    empty = np.zeros(SIZE[::-1], np.uint8)
    found = [replace(f, mask=empty if i else empty + 2) for i, f in enumerate(frames(6))]
    doubts = inspected(write(tmp_path / "set", found, truth)).warnings
    assert "5 of 6 masks mark nothing" in doubts
    assert "masks have the id 2, but bodies in the truth end at 1" in doubts


def test_a_set_that_cannot_be_split_is_told_and_drawn(tmp_path: Path) -> None:
    path = write(tmp_path / "set", [replace(f, split="test") for f in frames(3)])
    found = inspected(path)
    assert found.splits is None
    assert any(d.startswith("no splits:") and "no training frames" in d for d in found.warnings)
    assert draw_inspection(found).startswith(b"\x89PNG")


def test_drawing_shows_every_split(sound: Path) -> None:
    data = replace(load_dataset(sound), name=r"$\x$", time_unit=r"$\y$")  # no formulas
    found = Inspection(data, make_splits(data, 0.8), (check_splits(data, None, []),))
    drawn = np.asarray(Image.open(io.BytesIO(draw_inspection(found))).convert("RGB")).astype(int)
    assert drawn.shape == (900, 1500, 3)
    for split in ("train", "interpolation", "forecast"):
        colour = np.array([int(COLOURS[split][i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(drawn - colour).max(axis=-1) < 12).sum() > 50, split
    unseen = np.array([int(COLOURS["unseen-sequence"][i : i + 2], 16) for i in (1, 3, 5)])
    assert (np.abs(drawn - unseen).max(axis=-1) < 4).sum() < 10


@pytest.mark.parametrize(
    "scene", ["1_close_proximity", "2_identical_objects", "3_collision", "4_occlusion", "10_texture"]
)
def test_public_scenes_have_a_wrong_field_of_view(shared_data: Path, scene: str) -> None:
    data = load_dataset(shared_data / "dnerf_format" / f"scene{scene}")
    check = check_focal(data)
    told = [d for d in (*data.warnings, *check.warnings) if "camera_angle_x contradicts the own fl_x of" in d]
    assert len(told) == 1
    assert "which means 857.8 px" in dict(check.rows)["camera_angle_x"]
    assert check_cameras(data).warnings == ()


def test_real_capture_fits_its_poses_and_is_dark(shared_data: Path) -> None:
    found = inspected(shared_data / "nrnerf_hand")
    assert int(rows(found)["matches"].split()[0]) > 85
    assert len(found.warnings) == 2
    assert any("the pictures are dark" in d for d in found.warnings)
    assert any("states no times" in d for d in found.warnings)
