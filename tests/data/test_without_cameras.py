"""Videos, folders of pictures and arrays: frames whose camera is unknown."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from tiny_files import picture

from foreseen.cli.inspect import inspect
from foreseen.data import load_dataset, make_splits
from foreseen.data.tracks import MOVING_TRACK, is_successor
from foreseen.errors import UserError
from foreseen.training.launch import train

SIZE = (32, 16)
STAMPS = (0, 10, 20, 50, 60, 70)
"""Timestamps of the video's frames, in hundredths of a second."""


def write_video(path: Path) -> Path:
    """Six frames of rising brightness; their times are not evenly spaced."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 100)
        for index, stamp in enumerate(STAMPS):
            frame = av.VideoFrame.from_ndarray(np.full((SIZE[1], SIZE[0], 3), 40 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_pictures(folder: Path, count: int = 5) -> Path:
    for index in range(count):
        picture(folder / f"{index:02d}.png", seed=index)
    return folder


@pytest.mark.parametrize("by_folder", [True, False])
def test_a_video_has_its_own_times_and_one_track(tmp_path: Path, by_folder: bool) -> None:
    video = write_video(tmp_path / "fall.mp4")
    data = load_dataset(tmp_path if by_folder else video)
    frames = list(data.frames)
    assert [f.time for f in frames] == pytest.approx([stamp / 100 for stamp in STAMPS])
    assert (data.format, data.time_unit, data.has_cameras, data.warnings) == ("video", "s", False, ())
    assert (data.channels, data.value_range) == (3, (0.0, 1.0))
    assert {f.size for f in frames} == {SIZE} and {f.track for f in frames} == {MOVING_TRACK}
    assert all(is_successor(b, a) for a, b in pairwise(frames))
    for index in (3, 0, 5):  # in any order
        image = frames[index].image()
        assert image.shape == (SIZE[1], SIZE[0], 3)
        assert float(image.mean()) == pytest.approx(40 * index / 255, abs=0.03)
    assert next(data.downscale(2).frames).image().shape == (8, 16, 3)


def test_times_from_the_frame_rate(tmp_path: Path) -> None:
    assert [f.time for f in load_dataset(write_video(tmp_path / "a.mp4"), fps=2).frames] == [0, 0.5, 1, 1.5, 2, 2.5]
    pictures = write_pictures(tmp_path / "pictures")
    data = load_dataset(pictures, fps=10)
    assert [f.time for f in data.frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4]) and data.time_unit == "s"
    plain = load_dataset(pictures)
    assert [f.time for f in plain.frames] == [0, 0.25, 0.5, 0.75, 1] and "--fps says otherwise" in plain.warnings[0]
    with pytest.raises(UserError, match="--fps 0: give a number of frames per second above 0"):
        load_dataset(pictures, fps=0)


def test_damaged_and_ambiguous_videos_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match=r"a\.mp4 cannot be read as a video \(.*\): replace the file"):
        load_dataset(tmp_path)
    write_video(tmp_path / "b.mp4")
    with pytest.raises(UserError, match="has 2 videos: give the path of one"):
        load_dataset(tmp_path)


def test_arrays_have_sequences_channels_and_a_range(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 5, 6, 8)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", frames=(values[:, :, :1] > 0).astype(np.uint8) * 255)
    data, eight_bit = load_dataset(tmp_path / "a.npy"), load_dataset(tmp_path / "b.npz")
    assert (data.channels, len(data.sequences)) == (5, 2)
    assert data.value_range == (float(values.min()), float(values.max()))
    assert np.array_equal(data.sequences[1].frames[2].image().numpy(), np.moveaxis(values[1, 2], 0, -1))
    assert (eight_bit.channels, eight_bit.value_range) == (1, (0.0, 1.0))
    image = eight_bit.sequences[0].frames[0].image()
    assert image.shape == (6, 8, 1) and set(image.unique().tolist()) == {0.0, 1.0}
    half = next(data.downscale(2).frames).image()
    assert torch.allclose(half[0, 0], torch.from_numpy(values[0, 0, :, :2, :2].mean((1, 2))), atol=1e-6)
    np.save(tmp_path / "c.npy", values[0])
    with pytest.raises(UserError, match=r"holds an array of shape \(3, 5, 6, 8\) .*: give numbers \[N, T, C, H, W\]"):
        load_dataset(tmp_path / "c.npy")


def test_files_that_are_no_arrays_are_named(tmp_path: Path) -> None:
    frames = np.zeros((1, 2, 3, 4, 5), np.uint8)
    np.save(tmp_path / "a.npy", frames)
    (tmp_path / "a.npy").rename(tmp_path / "A.NPY")
    assert load_dataset(tmp_path / "A.NPY").format == "array"
    with pytest.raises(UserError, match=r"A\.NPY is a file, and data of the format 'blender' is a folder: give that"):
        load_dataset(tmp_path / "A.NPY", format="blender")
    np.savez(tmp_path / "named.npz", video=frames)
    with pytest.raises(
        UserError, match=r"named\.npz cannot be read as frames \(there is no array of that name, but video"
    ):
        load_dataset(tmp_path / "named.npz")
    np.save(tmp_path / "large.npy", np.full(frames.shape, 1e300))
    with pytest.raises(UserError, match=r"large\.npy holds values that are not finite in 32 bits: replace them"):
        load_dataset(tmp_path / "large.npy")
    for name in ("text.npy", "text.npz"):
        (tmp_path / name).write_text("text")
        with pytest.raises(
            UserError, match=rf"{name} cannot be read as .* \(not an array of numbers\): replace the file"
        ):
            load_dataset(tmp_path / name)


def test_splits_of_a_video_hold_times_out(tmp_path: Path) -> None:
    splits = make_splits(load_dataset(write_pictures(tmp_path, 12)), observe_until=0.75)
    assert [len(frames) for frames in splits.frames.values()] == [8, 1, 3]
    assert splits.hash == make_splits(load_dataset(tmp_path), observe_until=0.75).hash


@pytest.mark.parametrize("kind", ["video", "pictures", "array"])
def test_inspect_says_that_cameras_are_unknown(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    if kind == "array":
        path = tmp_path / "a.npy"
        np.save(path, np.random.default_rng(0).normal(size=(2, 4, 1, 16, 16)).astype(np.float32))
    else:
        path = write_video(tmp_path / "a.mp4") if kind == "video" else write_pictures(tmp_path / "pictures")
    inspect(path, out=tmp_path / "out")
    text = capsys.readouterr().out
    assert "unknown: pictures without poses" in text and "camera track" in text
    assert len(list((tmp_path / "out").glob("inspect-*.png"))) == 1


def test_a_method_that_needs_cameras_refuses_in_one_line(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "pictures", 8)
    with pytest.raises(UserError) as caught:
        train("d-nerf", data, tmp_path / "run", max_steps=1, progress=False)
    assert str(caught.value) == (
        "d-nerf needs the pose of every camera, and these pictures have none: estimate poses (such as with COLMAP) and"
        " give nerfstudio's transforms.json or LLFF's poses_bounds.npy."
    )
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="has no camera pose: estimate poses"):
        next(load_dataset(data).frames).camera  # noqa: B018
