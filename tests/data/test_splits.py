"""What is learned from and what is kept back."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foreseen.data.splits import SPLITS, Splits, make_splits
from foreseen.data.types import Dataset, Frame, Sequence
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

ROOT = Path("/somewhere/data")


def frame(sequence: str, camera: str, time: float, split: str | None = None, place: float | None = None) -> Frame:
    pose = torch.eye(4)
    pose[0, 3] = float(sum(map(ord, camera))) if place is None else place
    view = Camera(pose, 10.0, 10.0, 4.0, 3.0, 8, 6, 0.1, 1.0)
    return Frame(sequence, view, camera, time, ROOT / f"{sequence}/{camera}/{time}.png", split)


def dataset(*sequences: Sequence) -> Dataset:
    return Dataset(ROOT, "data", "test", sequences, (1.0, 1.0, 1.0), 0.1, 1.0, torch.zeros(2, 3))


def film(name: str, cameras: str, times: int, marks: dict | None = None, split: str | None = None) -> Sequence:
    """Cameras named by a letter; `marks` maps (camera, step) to a hint, others are "train" where it is given."""
    frames = [
        frame(name, c, t / 10, None if marks is None else marks.get((c, t), "train"))
        for t in range(times)
        for c in cameras
    ]
    return Sequence(name, tuple(frames), split=split)


def table(splits: Splits) -> dict[str, list[str]]:
    return {name: [f"{f.camera_id}{round(10 * f.time)}" for f in frames] for name, frames in splits.frames.items()}


def test_marks_are_followed_and_named_by_what_training_sees() -> None:
    found = make_splits(dataset(film("a", "AB", 4, {("B", 0): "test", ("A", 2): "test", ("B", 2): "test"})))
    assert table(found) == {
        "train": ["A0", "A1", "B1", "A3", "B3"],
        "novel-view": ["B0"],
        "interpolation": ["A2", "B2"],
    }
    assert list(found.frames) == [s for s in SPLITS if s in found.frames]
    assert found.observed_until == pytest.approx(0.3)
    assert found.protocol == "Training and test frames are those that the data set marks."


def test_all_that_is_later_is_the_forecast() -> None:
    marks = {("B", t): "test" for t in range(9)} | {("A", 7): "val", ("A", 1): "val"}
    found = make_splits(dataset(film("a", "AB", 9, marks)), 0.5)
    assert found.observed_until == pytest.approx(0.4)
    assert table(found) == {
        "train": ["A0", "A2", "A3", "A4"],
        "novel-view": ["B0", "B2", "B3", "B4"],
        "interpolation": ["B1"],
        "forecast": ["A5", "B5", "A6", "B6", "A7", "B7", "A8", "B8"],
    }
    assert found.protocol == (
        "Training and test frames are those that the data set marks (val is kept back, and not reported)."
        " Times after 0.4 (0.5 of the range) are the forecast."
    )


def test_what_is_later_than_all_training_frames_is_the_forecast_without_being_asked() -> None:
    found = make_splits(dataset(film("a", "AB", 5, {("A", 4): "test", ("B", 4): "test", ("B", 1): "test"})))
    assert found.observed_until == pytest.approx(0.3)
    assert table(found)["forecast"] == ["A4", "B4"] and table(found)["novel-view"] == ["B1"]
    assert found.protocol.endswith("Training frames end at 0.3: what is later is the forecast.")


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.7, 0.9])
def test_rounding_does_not_move_the_end_of_the_window(fraction: float) -> None:
    """0.7 * 10 steps of 0.1 is a little less than 0.7 in floating point; the frame at 0.7 is observed."""
    times = [0.1 * i for i in range(11)]
    data = dataset(Sequence("a", tuple(frame("a", "A", t, "train") for t in times)))
    assert len(make_splits(data, fraction).frames["train"]) == round(10 * fraction) + 1


def test_the_window_is_a_share_of_all_sequences_times() -> None:
    late = Sequence("late", tuple(frame("late", "A", 3 + t / 10, "train") for t in range(10)))
    found = make_splits(dataset(film("a", "A", 10, {}), late), 0.25)
    assert {f.sequence for f in found.frames["forecast"]} == {"late"}
    assert len(found.frames["train"]) == 10


def test_unseen_sequences_are_unseen_at_all_times() -> None:
    new = film("new", "A", 4, {("A", 0): "train"}, split="test")
    found = make_splits(dataset(film("a", "A", 4, {}), new), 0.5)
    assert {name: {f.sequence for f in frames} for name, frames in found.frames.items()} == {
        "train": {"a"},
        "forecast": {"a"},
        "unseen-sequence": {"new"},
    }
    assert len(found.frames["unseen-sequence"]) == 4


def test_a_time_that_only_another_sequence_trains_on_is_unseen() -> None:
    found = make_splits(dataset(film("a", "A", 3, {}), film("b", "A", 3, {("A", 1): "test"})))
    assert [f.sequence for f in found.frames["interpolation"]] == ["b"] and "novel-view" not in found.frames


def test_val_is_reported_where_there_is_no_test() -> None:
    found = make_splits(dataset(film("a", "AB", 3, {("A", 1): "val"}), film("b", "A", 3, split="val")))
    assert table(found)["novel-view"] == ["A1"]
    assert {f.sequence for f in found.frames["unseen-sequence"]} == {"b"}
    assert found.protocol.endswith("(val stands in for test).")


def test_val_sequences_are_left_out_beside_test() -> None:
    found = make_splits(dataset(film("a", "AB", 3, {("A", 1): "test"}), film("b", "A", 3, split="val")))
    assert {f.sequence for frames in found.frames.values() for f in frames} == {"a"}


def test_marks_for_training_alone_keep_nothing_back() -> None:
    found = make_splits(dataset(film("a", "ABC", 10, {})))
    assert list(found.frames) == ["train"] and len(found.frames["train"]) == 30
    assert found.protocol == "The data set marks all frames for training."


def test_without_marks_the_last_of_three_fixed_cameras_is_kept_back() -> None:
    found = make_splits(dataset(film("a", "ABC", 4)), 0.7)
    assert {f.camera_id for f in found.frames["novel-view"]} == {"C"}
    assert {f.camera_id for f in found.frames["train"]} == {"A", "B"}
    assert {f.camera_id for f in found.frames["forecast"]} == {"A", "B", "C"}
    assert found.protocol.startswith("The data set marks no test frames: camera 'C' of 3 is kept back.")


@pytest.mark.parametrize("kind", ["two cameras", "moving", "one time each"])
def test_else_every_eighth_time_is_kept_back(kind: str) -> None:
    if kind == "two cameras":
        data = dataset(film("a", "AB", 20))
    elif kind == "moving":
        data = dataset(Sequence("a", tuple(frame("a", c, t / 10, place=t) for t in range(20) for c in "ABC")))
    else:
        data = dataset(Sequence("a", tuple(frame("a", f"c{t}", t / 10) for t in range(20))))
    found = make_splits(data)
    assert sorted({round(10 * f.time) for f in found.frames["interpolation"]}) == [4, 12]
    assert "novel-view" not in found.frames
    assert found.protocol == "The data set marks no test frames: every 8th time is kept back."


def test_the_last_observed_time_is_not_kept_back() -> None:
    """A forecast starts there."""
    found = make_splits(dataset(film("a", "A", 9)), 0.5)
    assert table(found) == {"train": ["A0", "A1", "A2", "A3", "A4"], "forecast": ["A5", "A6", "A7", "A8"]}


def test_the_hash_knows_the_split_and_not_the_place() -> None:
    data = dataset(film("a", "AB", 6, {("B", 2): "test"}))
    first = make_splits(data)
    moved = [replace(f, image_path=Path("/else") / f.image_path.relative_to(ROOT)) for f in data.frames]
    away = replace(data, path=Path("/else"), sequences=(replace(data.sequences[0], frames=tuple(moved)),))
    assert make_splits(away).hash == first.hash == make_splits(data, 1.0).hash
    assert make_splits(data.downscale(2)).hash == first.hash
    others = [make_splits(data, 0.5).hash, make_splits(dataset(film("a", "AB", 6, {("B", 3): "test"}))).hash]
    others.append(make_splits(dataset(film("b", "AB", 6, {("B", 2): "test"}))).hash)
    assert len({first.hash, *others}) == 4 and len(first.hash) == 16


def test_the_hash_stays_over_versions() -> None:
    """Runs compare it with what they stored: a change of this value makes every older run's data "changed"."""
    assert make_splits(dataset(film("a", "AB", 6, {("B", 2): "test"})), 0.5).hash == "5f3b16dc84c900ec"


def test_every_frame_is_in_one_split_at_most() -> None:
    marks = {("A", 3): "test", ("B", 4): "val", ("B", 9): "val"}
    data = dataset(film("a", "ABC", 12, marks), film("b", "A", 12, split="test"))
    found = make_splits(data, 0.6)
    paths = [f.image_path for frames in found.frames.values() for f in frames]
    assert len(paths) == len(set(paths)) == len(list(data.frames)) - 1  # the one val frame inside the window


def test_no_training_frames() -> None:
    late = {("A", t): "test" for t in range(3)}
    with pytest.raises(UserError) as caught:
        make_splits(dataset(film("a", "A", 9, late)), 0.25)
    assert str(caught.value) == (
        f"{ROOT}: no training frames: all up to time 0.2 are held out; give a larger --observe-until"
    )
    with pytest.raises(UserError, match=r"all up to time 0\.2 are held out; mark some of them as 'train'"):
        make_splits(dataset(film("a", "A", 3, late)))


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5, float("nan")])
def test_fractions_that_make_no_sense(fraction: float) -> None:
    with pytest.raises(UserError, match=rf"--observe-until {fraction:g}: give a fraction above 0 and at most 1"):
        make_splits(dataset(film("a", "A", 9)), fraction)


def test_two_frames_of_one_instant_are_both_trained_on() -> None:
    splits = make_splits(dataset(film("a", "AB", 1)))
    assert list(splits.frames) == ["train"] and len(splits.frames["train"]) == 2
