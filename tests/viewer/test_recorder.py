"""Camera paths: recorded, written, read, rendered along."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from foreseen.errors import UserError
from foreseen.export.camera_path import MAX_SECONDS, MAX_VIEWS, CameraKeyframe, along, read_path
from foreseen.geometry.cameras import Camera
from foreseen.viewer.cameras import ViewerCamera
from foreseen.viewer.recorder import RECORD_INTERVAL, PathRecorder

LIKE = Camera(torch.eye(4), 50.0, 50.0, 32.0, 24.0, 64, 48, 0.5, 9.0)


def view(x: float, angle: float = 0.0, fov: float = 0.8) -> ViewerCamera:
    return ViewerCamera(tuple(Rotation.from_rotvec([0, angle, 0]).as_quat(scalar_first=True)), (x, 0.0, -2.0), fov)


def saved(recorder: PathRecorder, folder: Path) -> Path:
    file = folder / "path.json"
    file.write_bytes(recorder.encode())
    return file


def test_views_come_at_their_times(tmp_path: Path) -> None:
    recorder = PathRecorder()
    recorder.between = 0.5
    recorder.add(view(0.0), 1.0, 2.0)
    recorder.add(view(1.0, 0.4, 1.0), 3.0, 2.0)
    path = read_path(saved(recorder, tmp_path))
    cameras, times = along(path, 10.0, LIKE, None)
    assert len(cameras) == 6 and times == pytest.approx([1.0, 1.4, 1.8, 2.2, 2.6, 3.0])
    assert [float(c.position[0]) for c in cameras] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert (cameras[0].width, cameras[0].height) == (96, 48)
    rotation = Rotation.from_matrix(cameras[2].camera_to_world[:3, :3].numpy()).as_rotvec()
    assert rotation == pytest.approx([0, 0.16, 0], abs=1e-6)
    assert 2 * np.arctan(24 / cameras[5].fy) == pytest.approx(1.0)
    assert (cameras[3].near, cameras[3].far) == (0.5, 9.0)


def test_one_view_is_one_frame(tmp_path: Path) -> None:
    recorder = PathRecorder()
    recorder.add(view(0.3), 2.0, 1.5)
    cameras, times = along(read_path(saved(recorder, tmp_path)), 24.0, LIKE, (20, 10))
    assert times == [2.0] and (cameras[0].width, cameras[0].height) == (20, 10)


def test_a_recording_goes_on_where_it_was_left() -> None:
    recorder = PathRecorder()
    recorder.toggle(100.0)
    kept = [recorder.tick(100.0 + i * RECORD_INTERVAL / 4, view(i), i, 1.0) for i in range(17)]
    assert sum(kept) == 5 and recorder.seconds == pytest.approx(4 * RECORD_INTERVAL)
    recorder.toggle(101.0)
    assert not recorder.tick(103.0, view(9.0), 9.0, 1.0)
    recorder.toggle(200.0)  # an hour later: the pause is no part of the clip
    assert recorder.tick(200.0, view(9.0), 9.0, 1.0) and recorder.seconds == pytest.approx(5 * RECORD_INTERVAL)
    recorder.clear()
    assert not recorder.recording
    with pytest.raises(UserError, match="no views yet"):
        recorder.encode()


def test_what_is_recorded_across_the_end_of_a_loop_jumps(tmp_path: Path) -> None:
    recorder = PathRecorder()
    recorder.toggle(0.0)
    for i, time in enumerate([1.9, 1.95, 0.0, 0.05]):
        assert recorder.tick(i * RECORD_INTERVAL, view(i), time, 1.0)
    _, times = along(read_path(saved(recorder, tmp_path)), 1000.0, LIKE, None)
    assert all(t <= 0.05 or t >= 1.9 for t in times) and times[0] == 1.9 and times[-1] == pytest.approx(0.05)
    recorder.add(view(9.0), 0.0, 1.0)  # by hand one may go back slowly
    assert len(recorder.views) == 6


def test_a_path_that_is_full_takes_no_more_views(tmp_path: Path) -> None:
    recorder = PathRecorder()
    recorder.between = MAX_SECONDS
    recorder.add(view(0.0), 0.0, 1.0)
    recorder.add(view(1.0), 1.0, 1.0)
    with pytest.raises(UserError, match=r"lasts at most 3600 s and has at most 100,000 views: save it"):
        recorder.add(view(2.0), 2.0, 1.0)
    assert len(read_path(saved(recorder, tmp_path)).views) == 2
    recorder.toggle(0.0)
    assert not recorder.tick(0.0, view(3.0), 3.0, 1.0) and not recorder.recording
    recorder.clear()
    recorder.views = [CameraKeyframe(0.0, 0.0, 40.0, np.eye(4))] * (MAX_VIEWS - 1)
    with pytest.raises(UserError, match="at most 100,000 views"):
        recorder.add(view(2.0), 2.0, 1.0)


GOOD = {"at": 0.0, "time": 0.0, "fov": 40.0, "camera_to_world": np.eye(4).tolist()}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"format": "x"}, "is no camera path"),
        ({"version": 2}, "version 2 of camera paths"),
        ({"views": []}, "'views' is no list of 1"),
        ({"views": [3]}, r"views\[0\] is no JSON object"),
        ({"views": [GOOD, GOOD]}, "'at' of the views must ascend"),
        ({"views": [GOOD, {**GOOD, "at": 1e8}]}, "at most 3600 seconds"),
        ({"views": [{**GOOD, "fov": float("nan")}]}, r"views\[0\]: 'fov' is no number from"),
        ({"views": [{**GOOD, "time": True}]}, "'time' is no number"),
        ({"views": [{**GOOD, "camera_to_world": [[1, 2], [3, 4]]}]}, "is not 4 x 4 numbers"),
        ({"views": [{**GOOD, "camera_to_world": (2 * np.eye(4)).tolist()}]}, "camera_to_world"),
        ({"aspect": 0}, "'aspect' is no number"),
    ],
)
def test_what_is_no_path_is_refused_in_one_line(tmp_path: Path, change: dict[str, object], line: str) -> None:
    content = {"format": "foreseen camera path", "version": 1, "aspect": 1.5, "views": [GOOD], **change}
    file = tmp_path / "path.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=line):
        read_path(file)


def test_files_that_are_absent_or_broken(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no file"):
        read_path(tmp_path / "absent.json")
    broken = tmp_path / "broken.json"
    broken.write_text("[" * 100_000)
    with pytest.raises(UserError, match="not valid JSON"):
        read_path(broken)
