"""Which frames one physical camera took, and which one is next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_files import frame, ring_pose, write_blender, write_nerfstudio

from foreseen.data import load_dataset
from foreseen.data.tracks import MOVING_TRACK, assign_tracks, is_successor, neighbours, tracks_of
from foreseen.data.types import Frame
from foreseen.evaluation.frames import is_next_frame
from foreseen.geometry.cameras import Camera


def frames(*viewpoints: tuple[str, float]) -> list[Frame]:
    camera = Camera(torch.eye(4), 10.0, 10.0, 4.0, 3.0, 8, 6, 0.1, 5.0)
    return [Frame("s", camera, name, time, Path("none.png")) for name, time in viewpoints]


@pytest.mark.parametrize(
    ("viewpoints", "tracks"),
    [
        # One moving camera, which visits a viewpoint twice.
        ([("a", 0), ("b", 1), ("c", 2), ("a", 3)], [MOVING_TRACK] * 4),
        # Two fixed cameras, at the same times or by turns.
        ([("a", 0), ("b", 0), ("a", 1), ("b", 1)], ["a", "b", "a", "b"]),
        ([("a", 0), ("b", 1), ("a", 2), ("b", 3)], ["a", "b", "a", "b"]),
        # A moving camera beside a fixed one.
        ([("a", 0), ("f", 0), ("b", 1), ("f", 1), ("f", 2)], [MOVING_TRACK, "f", MOVING_TRACK, "f", "f"]),
        # Several cameras at one instant.
        ([("a", 0), ("b", 0), ("c", 0)], ["a", "b", "c"]),
        ([("a", 0), ("a", 1)], ["a", "a"]),
    ],
)
def test_tracks_follow_from_viewpoints(viewpoints: list[tuple[str, float]], tracks: list[str]) -> None:
    assert [f.track for f in assign_tracks(frames(*viewpoints))] == tracks


def test_a_moving_camera_of_a_foreign_file_is_one_track(tmp_path: Path) -> None:
    data = load_dataset(write_nerfstudio(tmp_path, count=5))
    own = list(data.frames)
    assert {f.track for f in own} == {MOVING_TRACK} and [f.track_index for f in own] == [0, 1, 2, 3, 4]
    assert len({f.camera_id for f in own}) == 5
    assert neighbours(own).tolist() == [[-1, 1], [0, 2], [1, 3], [2, 4], [3, -1]]
    assert is_successor(own[1], own[0]) and not is_successor(own[2], own[0]) and not is_successor(own[0], own[1])
    kept = [own[0], own[2], own[3]]  # one is held out
    assert neighbours(kept).tolist() == [[-1, 1], [0, 2], [1, -1]]
    assert is_next_frame(own[1], own[0], data.sequences[0]) and not is_next_frame(own[3], own[1], data.sequences[0])


def test_stated_tracks_and_cameras_win(tmp_path: Path) -> None:
    pose = ring_pose(0.3).tolist()
    listed = [frame(i, 4, track="drone" if i < 2 else None, camera_id="ab"[i % 2]) for i in range(4)]
    data = load_dataset(write_nerfstudio(tmp_path / "a", frames=listed))
    assert [f.track for f in data.frames] == ["drone", "drone", "a", "b"]
    fixed = load_dataset(
        write_nerfstudio(tmp_path / "b", frames=[frame(i, 4, transform_matrix=pose) for i in range(4)])
    )
    assert {f.track for f in fixed.frames} == {"camera-0"}


def test_cameras_that_jump_have_no_next_frame(tmp_path: Path) -> None:
    own = list(load_dataset(write_blender(tmp_path, {"train": 4})).frames)
    assert all(len(indices) == 1 for indices in tracks_of(own).values()) and (neighbours(own) == -1).all()


def test_the_track_is_the_viewpoint_where_nothing_else_is_known() -> None:
    (only,) = frames(("a", 0.0))
    assert only.track == "a" and only.track_index == -1
    assert not is_successor(replace(only, time=1.0), only)
    with pytest.raises(ValueError, match="a frame without a camera states its size"):
        Frame("s", None, "a", 0.0, Path("none.png"))
    assert np.isfinite(only.time)
