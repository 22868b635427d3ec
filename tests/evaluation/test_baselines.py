"""Baselines on the sliding square, whose answers are known."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from foreseen.data.types import Dataset, Frame
from foreseen.evaluation.baselines import (
    BASELINES,
    ObservedFrames,
    Prediction,
    constant_velocity,
    last_frame,
    nearest_frame,
)
from foreseen.evaluation.metrics import mask_iou
from foreseen.evaluation.moving_pixels import moving_mask
from sliding_square import CAMERAS, HEIGHT, OBSERVED, OBSERVED_UNTIL, STEPS, WIDTH, block, make_dataset, picture


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("slide"))


def frame(dataset: Dataset, name: str, step: int) -> Frame:
    return dataset.sequences[0].frames[step * len(CAMERAS) + CAMERAS.index(name)]


def observed(dataset: Dataset, cameras: tuple[str, ...] = CAMERAS) -> ObservedFrames:
    seen = [f for f in dataset.frames if f.time <= OBSERVED_UNTIL + 1e-9 and f.camera_id in cameras]
    return ObservedFrames(dataset, seen, {"slide": OBSERVED_UNTIL})


def close(a: Prediction | None, b: torch.Tensor, tolerance: float = 1 / 255) -> bool:
    return a is not None and float((a.image - b).abs().max()) <= tolerance


def test_last_frame_stands_still(dataset: Dataset) -> None:
    predict = last_frame(observed(dataset))
    for step in (2, OBSERVED, STEPS - 1):
        assert close(predict(frame(dataset, "right", step)), picture("right", OBSERVED - 1))


def test_nearest_frame_is_near_in_time(dataset: Dataset) -> None:
    predict = nearest_frame(observed(dataset))
    assert close(predict(frame(dataset, "left", 3)), picture("left", 3))
    assert close(predict(frame(dataset, "left", STEPS - 1)), picture("left", OBSERVED - 1))


def test_an_unseen_camera_borrows_from_the_nearest(dataset: Dataset) -> None:
    predict = last_frame(observed(dataset, ("left",)))
    borrowed = predict(frame(dataset, "right", 3))
    assert close(borrowed, picture("left", OBSERVED - 1))
    # What moves in it is found against the background of the camera that saw it.
    left = dataset.sequences[0].background_paths["left"]
    assert borrowed is not None and borrowed.background is not None
    assert torch.equal(borrowed.background, frame(dataset, "left", 0).cache.image(left, WIDTH, HEIGHT))
    own = predict(frame(dataset, "left", 3))
    assert own is not None and own.background is None


def test_nearest_camera_looks_at_direction_too(dataset: Dataset) -> None:
    base = frame(dataset, "left", 0)
    rotated = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))  # stands where "left" stands, looks back
    back = replace(base, camera_id="back", calibration=replace(base.camera, camera_to_world=rotated))
    requested = replace(base, camera_id="asked", calibration=replace(base.camera, camera_to_world=rotated))
    seen = ObservedFrames(dataset, [base, frame(dataset, "right", 0), back], {"slide": 0.0})
    assert seen.nearest_camera(requested) == [back]


def test_a_sequence_that_was_not_observed_has_no_baseline(dataset: Dataset) -> None:
    stranger = replace(frame(dataset, "left", 3), sequence="other")
    assert all(make(observed(dataset))(stranger) is None for make in BASELINES.values())


def test_another_size_is_brought_to_the_asked_one(dataset: Dataset) -> None:
    wanted = frame(dataset, "left", 3)
    small = replace(wanted, camera_id="small", calibration=wanted.camera.downscale(2))
    image = nearest_frame(observed(dataset))(small)
    assert image is not None and image.image.shape == (12, 20, 3)
    assert image.background is not None and image.background.shape == (12, 20, 3)


def test_constant_velocity_is_exact_for_a_body_that_moves_so(dataset: Dataset) -> None:
    predict = constant_velocity(observed(dataset))
    for name in CAMERAS:
        for step in range(OBSERVED, STEPS):
            assert close(predict(frame(dataset, name, step)), picture(name, step), 0.02), (name, step)


def test_constant_velocity_grows_what_comes_nearer(dataset: Dataset) -> None:
    sequence = dataset.sequences[0]
    assert sequence.truth is not None
    velocities = sequence.truth.velocities.copy()
    velocities[:, 0] = (0.0, 0.0, -20.0)  # from depth 4 to depth 2 in one step
    truth = replace(sequence.truth, velocities=velocities)
    near = replace(dataset, sequences=(replace(sequence, truth=truth),))
    image = constant_velocity(observed(near))(frame(near, "left", OBSERVED))
    assert image is not None
    square = moving_mask(image.image, picture("left", -100))
    # The square's middle keeps its place in space and doubles its distance from the picture's centre at (20,
    # 12).
    middle = 20 + 2 * (9 + OBSERVED - 1 - 20)
    rows, columns = torch.nonzero(square, as_tuple=True)
    assert float(columns.double().mean()) + 0.5 == pytest.approx(middle, abs=0.6)
    assert int(square.sum()) == pytest.approx(4 * 36, rel=0.2)
    assert float(rows.double().mean()) + 0.5 == pytest.approx(12, abs=0.6)


def test_constant_velocity_only_where_it_can(dataset: Dataset, tmp_path: Path) -> None:
    late = frame(dataset, "left", OBSERVED)
    assert constant_velocity(observed(dataset))(frame(dataset, "left", 3)) is None  # inside the window
    assert constant_velocity(observed(dataset, ("right",)))(late) is None  # this camera was never observed
    for number, absent in enumerate(("masks", "backgrounds", "with_truth")):
        bare = make_dataset(tmp_path / str(number), **{absent: False})
        assert constant_velocity(observed(bare))(frame(bare, "left", OBSERVED)) is None, absent


def test_a_body_that_flew_behind_the_camera_is_gone(dataset: Dataset) -> None:
    sequence = dataset.sequences[0]
    assert sequence.truth is not None
    velocities = sequence.truth.velocities.copy()
    velocities[:, 0] = (0.0, 0.0, -100.0)
    gone = replace(dataset, sequences=(replace(sequence, truth=replace(sequence.truth, velocities=velocities)),))
    image = constant_velocity(observed(gone))(frame(gone, "left", OBSERVED))
    assert close(image, picture("left", -100))


def test_last_frame_overlaps_less_and_less(dataset: Dataset) -> None:
    predict = last_frame(observed(dataset))
    ious = []
    for step in range(OBSERVED, STEPS):
        image = predict(frame(dataset, "left", step))
        assert image is not None
        ious.append(mask_iou(moving_mask(image.image, picture("left", -100)), block("left", step)))
    expected = [(6 - k) / (6 + k) for k in range(1, STEPS - OBSERVED + 1)]
    assert ious == pytest.approx(expected)
