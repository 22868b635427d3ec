"""The rules of physics on videos with known faults: a thrown ball, three discs, and the sliding square.

The ball is thrown over a floor, lands after 0.57 s and rolls on. It is drawn as a disc where a camera that looks down
by 20 degrees sees its centre.
"""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from foreseen.data.labels import PoseLabels
from foreseen.data.types import Dataset
from foreseen.evaluation import evaluate_run, metrics_tables
from foreseen.evaluation.camera_truth import CameraTruth, find_camera_truth
from foreseen.evaluation.mask_components import connected_components, hausdorff_distance
from foreseen.evaluation.physics import STEP_SLACK, MaskClip, judge
from foreseen.geometry.cameras import Camera
from foreseen.render import ImageResult
from sliding_square import DT, OBSERVED, STEPS, PretendRun, make_dataset, wall

SIZE, FOCAL, RADIUS, GRAVITY, PITCH = 128, 130.0, 0.12, 9.81, np.radians(20)
TIMES = np.arange(20) * 0.04
PUSH, CLIMB = 1.0, 2.5
KINETIC = 0.5 * (PUSH**2 + (CLIMB - GRAVITY * 0.573) ** 2)
"""Largest kinetic energy per mass: when it lands [m^2/s^2]."""


def eye() -> Camera:
    """Stands at y = -3, one metre up; z of the world is up."""
    sine, cosine = np.sin(PITCH), np.cos(PITCH)
    axes = np.array([[1, 0, 0], [0, -sine, -cosine], [0, cosine, -sine]]).T  # right, down, forward
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = torch.from_numpy(axes), torch.tensor([0.0, -3.0, 1.2])
    return Camera(pose, FOCAL, FOCAL, SIZE / 2, SIZE / 2, SIZE, SIZE, 0.1, 10.0)


def flight(times: np.ndarray, push: float = 0.0) -> np.ndarray:
    """`[T, 3]`: free of the floor; `push` accelerates it sideways."""
    x = -0.7 + PUSH * times + 0.5 * push * times**2
    return np.stack([x, 0 * times, 0.3 + CLIMB * times - 0.5 * GRAVITY * times**2], -1)


def thrown(times: np.ndarray) -> np.ndarray:
    """`[T, 3]`: in flight, then on the floor."""
    path = flight(times)
    path[:, 2] = np.where(times > 0.573, RADIUS, path[:, 2])
    return path


def drawn(positions: np.ndarray) -> np.ndarray:
    """`[T, H, W]` bool: the discs where the camera sees balls."""
    pixels, depths = eye().project(torch.from_numpy(positions).float())
    away = (eye().pixel_centres() - pixels[:, None, None]).norm(dim=-1)
    return (away <= (FOCAL * RADIUS / depths)[:, None, None]).numpy()


def floor_depth() -> np.ndarray:
    """`[H, W]` depth of the plane z = 0; 0 above the horizon."""
    slope = (eye().pixel_centres()[..., 1].numpy() - SIZE / 2) / FOCAL
    falls = slope * np.cos(PITCH) + np.sin(PITCH)  # how far a ray comes down for each metre of depth
    return np.where(falls > 1e-3, 1.2 / np.maximum(falls, 1e-3), 0)


def ball_facts(depth: np.ndarray | None = None, hidden: np.ndarray | None = None) -> CameraTruth:
    """What truth tells of the throw; `hidden` pixels lie behind something that rests."""
    positions = thrown(TIMES)
    velocities = np.gradient(positions, TIMES, axis=0)
    velocities[:, 2] = np.where(TIMES > 0.573, 0, CLIMB - GRAVITY * TIMES)
    parts = (positions[:, None], velocities[:, None], np.tile(np.eye(3), (len(TIMES), 1, 1, 1)))
    labels = PoseLabels(("ball",), torch.from_numpy(TIMES), *(torch.from_numpy(p) for p in parts))
    masks = drawn(positions)
    if hidden is not None:
        masks = masks & ~hidden
    depths = [floor_depth() if depth is None else depth] * len(TIMES)
    found = find_camera_truth(TIMES, masks.astype(np.uint8), eye(), labels, GRAVITY, depths)
    assert found is not None
    return found


def verdict(masks: np.ndarray, camera_truth: CameraTruth, times: np.ndarray = TIMES) -> dict[str, float]:
    """Means of what was found."""
    return {name: sum(values) / len(values) for name, values in judge(MaskClip(times, masks), camera_truth).items()}


@pytest.fixture(scope="module")
def camera_truth() -> CameraTruth:
    return ball_facts()


def test_the_truth_breaks_no_rule(camera_truth: CameraTruth) -> None:
    found = verdict(drawn(thrown(TIMES)), camera_truth)
    assert (found["permanence"], found["lost"], found["surplus"], found["continuity"]) == (1, 0, 0, 1)
    assert found["acceleration"] == pytest.approx(1)
    assert found["penetration"] == 0
    assert found["energy_drift"] < 0.05 and found["energy_gain"] < 0.1


def test_a_possible_motion_that_is_late_breaks_none_either(camera_truth: CameraTruth) -> None:
    late = TIMES[(TIMES > 0.1) & (TIMES < 0.55)]
    found = verdict(drawn(thrown(late - 0.08)), camera_truth, late)
    assert (found["permanence"], found["continuity"], found["penetration"]) == (1, 1, 0)
    assert found["energy_drift"] < 0.1 and found["energy_gain"] < 0.1  # in flight, energy is the same at all times


def test_masks_lead_back_into_the_scene(camera_truth: CameraTruth) -> None:
    between = thrown(TIMES[3:12] + 0.013)
    pixels, depths = eye().project(torch.from_numpy(between).float())
    assert camera_truth.detections is not None
    assert np.abs(camera_truth.detections.unproject(pixels.numpy()) - between).max() < 0.02
    assert camera_truth.detections.front_depths(pixels.numpy()) == pytest.approx(depths.numpy() - RADIUS, abs=0.02)


def test_a_still_film_breaks_no_rule_but_has_not_the_energy(camera_truth: CameraTruth) -> None:
    masks = drawn(thrown(np.full(len(TIMES), 0.24)))
    found = verdict(masks, camera_truth)
    assert (found["permanence"], found["continuity"], found["acceleration"], found["energy_gain"]) == (1, 1, 0, 0)
    assert found["energy_drift"] > 0.05


def test_a_ball_that_vanishes(camera_truth: CameraTruth) -> None:
    masks = drawn(thrown(TIMES))
    masks[5:8] = False
    found = verdict(masks, camera_truth)
    assert found["permanence"] == pytest.approx(17 / 20) and found["lost"] == pytest.approx(3 / 20)
    assert found["surplus"] == 0
    assert found["continuity"] == pytest.approx(17 / 19)  # it goes, and it comes back


def test_a_ball_that_shrinks_below_half(camera_truth: CameraTruth) -> None:
    masks = drawn(thrown(TIMES))
    rows = eye().pixel_centres()[..., 1].numpy()
    middle = eye().project(torch.from_numpy(thrown(TIMES)).float())[0][:, 1].numpy()
    assert verdict(masks & (rows < middle[:, None, None] + 1), camera_truth)["lost"] == 0
    assert verdict(masks & (rows < middle[:, None, None] - 1), camera_truth)["lost"] == 1


def test_a_ball_that_is_doubled(camera_truth: CameraTruth) -> None:
    masks = drawn(thrown(TIMES))
    masks[5:8] |= np.roll(masks[5:8], 30, axis=2)
    found = verdict(masks, camera_truth)
    assert found["permanence"] == pytest.approx(17 / 20) and found["surplus"] == pytest.approx(3 / 20)
    assert found["lost"] == 0
    assert found["continuity"] == pytest.approx(17 / 19)


def test_a_ball_that_splits(camera_truth: CameraTruth) -> None:
    masks = drawn(thrown(TIMES))
    middle = eye().project(torch.from_numpy(thrown(TIMES)).float())[0][:, 0].numpy()
    columns = eye().pixel_centres()[..., 0].numpy()
    for width, split in ((1.5, 0), (5.0, 1)):  # narrow gaps are the mask's
        parted = masks & (np.abs(columns - middle[:, None, None]) > width / 2)
        assert verdict(parted, camera_truth)["surplus"] == split


def test_a_ball_that_jumps(camera_truth: CameraTruth) -> None:
    masks = drawn(thrown(TIMES))
    masks[8:] = np.roll(masks[8:], -20, axis=2)
    found = verdict(masks, camera_truth)
    assert found["permanence"] == 1
    assert found["continuity"] == pytest.approx(18 / 19)
    assert found["acceleration"] > 5
    small = np.concatenate([masks[:8], np.roll(masks[8:], 20 + int(camera_truth.step * (STEP_SLACK - 1)), axis=2)])
    assert verdict(small, camera_truth)["continuity"] == 1


def test_a_ball_that_gains_energy(camera_truth: CameraTruth) -> None:
    times = TIMES[TIMES < 0.5]
    found = verdict(drawn(flight(times, push=4.0)), camera_truth, times)
    speeds = PUSH + 4.0 * times[1:-1]
    gained = 0.5 * (speeds**2 - speeds[0] ** 2) / KINETIC
    wrong = 0.5 * (speeds**2 - PUSH**2) / KINETIC
    assert found["energy_gain"] == pytest.approx(gained[-1], rel=0.15)
    assert found["energy_drift"] == pytest.approx(wrong.mean(), rel=0.15)
    assert (found["permanence"], found["continuity"]) == (1, 1)


def test_energy_is_left_out_where_the_ball_is_not_seen_alone(camera_truth: CameraTruth) -> None:
    masks = drawn(thrown(TIMES))
    masks[10] |= np.roll(masks[10], 30, axis=1)
    found = judge(MaskClip(TIMES, masks), camera_truth)
    assert len(found["energy_drift"]) == len(TIMES) - 2 - 3
    assert found["energy_gain"][0] < 0.1


def test_a_ball_that_falls_through_the_floor(camera_truth: CameraTruth) -> None:
    found = judge(MaskClip(TIMES, drawn(flight(TIMES))), camera_truth)["penetration"]
    heights = flight(TIMES)[:, 2]
    assert max(np.array(found)[heights > RADIUS]) == 0
    assert min(np.array(found)[heights < -RADIUS]) > 0.5
    assert verdict(drawn(flight(TIMES)), camera_truth)["energy_drift"] > 0.1  # it should have lost some in the landing


def test_a_ball_that_is_drawn_over_what_stands_before_it() -> None:
    pillar = np.zeros((SIZE, SIZE), dtype=bool)
    pillar[:, 60:66] = True
    depth = np.where(pillar, 2.0, floor_depth())
    known = ball_facts(depth, hidden=pillar)
    masks = drawn(thrown(TIMES))
    behind = verdict(masks & ~pillar, known)
    assert (behind["permanence"], behind["penetration"]) == (1, 0)
    assert verdict(masks, known)["penetration"] == pytest.approx(
        np.mean([(mask & pillar).sum() / mask.sum() for mask in masks])
    )


def discs(*middles: tuple[float, float]) -> np.ndarray:
    """`[H, W]` ids of discs of radius 8."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    ids = np.zeros((SIZE, SIZE), dtype=np.uint8)
    for index, (cx, cy) in enumerate(middles):
        ids[np.hypot(x - cx, y - cy) <= 8] = index + 1
    return ids


def test_several_bodies_are_counted_and_may_meet_in_the_picture() -> None:
    instances = np.stack([discs((20, 20), (60, 60), (100, 20 + k)) for k in range(4)])
    times = np.arange(4) * 0.1
    known = find_camera_truth(times, instances, eye())
    assert known is not None
    assert known.bodies.tolist() == known.pieces.tolist() == known.parts.tolist() == [3] * 4
    clip = instances > 0
    perfect = {"permanence": 1, "lost": 0, "surplus": 0, "continuity": 1, "acceleration": 0}
    assert verdict(clip, known, times) == pytest.approx(perfect)  # no positions: no energy, no penetration
    one_less = clip.copy()
    one_less[2] &= instances[2] != 2
    assert verdict(one_less, known, times)["lost"] == 1 / 4
    one_more = clip.copy()
    one_more[2] |= discs((20, 100)) > 0
    assert verdict(one_more, known, times)["surplus"] == 1 / 4
    meeting = clip.copy()
    meeting[2] = discs((20, 20), (60, 60), (71, 60)) > 0
    assert verdict(meeting, known, times)["permanence"] == 1


def test_nothing_is_known_where_no_body_is_ever_seen() -> None:
    assert find_camera_truth(np.arange(3.0), np.zeros((3, 8, 8), dtype=np.uint8), eye()) is None


def test_pieces_and_the_length_of_a_step() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[2:8, 0:5] = mask[2:8, 20:24] = mask[15, 15] = True
    found = connected_components(mask, 4)
    assert found.areas.tolist() == [30, 24]
    assert found.centroids.tolist() == [[2.5, 5.0], [22.0, 5.0]]
    assert not found.mask[15, 15]
    assert np.isnan(connected_components(np.zeros((4, 4), dtype=bool), 4).centroid).all()
    assert hausdorff_distance(mask, np.roll(mask, 3, axis=1)) == pytest.approx(3)
    assert hausdorff_distance(mask, mask & (np.arange(30) < 10)) == pytest.approx(19, abs=1)  # the piece that is gone
    assert hausdorff_distance(mask, mask & False) == float("inf")
    assert hausdorff_distance(mask & False, mask & False) == 0


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("slide"))


class Faulty(PretendRun):
    """Forgets the square at one time of the forecast, in the picture of the left camera."""

    def render(self, camera: Camera, time: float) -> ImageResult:
        exact = super().render(camera, time)
        if round(time / DT) != OBSERVED + 2 or float(camera.position[0]) > 1e-6:
            return exact
        return ImageResult(wall(), exact.depth * 0, exact.opacity * 0)


def test_an_evaluation_judges_the_videos_of_all(slide: Dataset, tmp_path: Path) -> None:
    metrics = evaluate_run(Faulty(tmp_path, slide))
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    late = STEPS - OBSERVED
    perfect = {"permanence": 1, "lost": 0, "surplus": 0, "continuity": 1, "acceleration": 0}
    forecast = metrics["splits"]["forecast"]["consistency"]
    assert forecast["truth"] == {"clips": 2, "frames": 2 * late, **perfect}
    assert forecast["permanence"] == 1 - 1 / (2 * late) and forecast["lost"] == 1 / (2 * late)
    assert forecast["continuity"] == pytest.approx(1 - 2 / (2 * (late - 1)))
    straight = metrics["baselines"]["constant-velocity"]["forecast"]["consistency"]
    assert (straight["clips"], straight["frames"], straight["permanence"]) == (1, late, 1)
    assert metrics["baselines"]["last-frame"]["forecast"]["consistency"]["continuity"] == 1
    seen = metrics["splits"]["novel-view"]["consistency"]
    assert {name: seen[name] for name in perfect} == perfect  # another split, another film


def test_the_table_of_physics_fits_a_terminal(slide: Dataset, tmp_path: Path) -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    for table in metrics_tables(evaluate_run(Faulty(tmp_path, slide), splits=["forecast"])):
        console.print(table)
    text = console.export_text()
    assert "forecast: is it a possible motion?" in text and "…" not in text
    assert "acceleration [x truth]" in text and "energy" not in text
    (row,) = [line.split() for line in text.splitlines() if line.startswith("object permanence")]
    assert row[2:] == ["0.875", "1.000", "1.000", "1.000", "1.000", "1"]


def test_no_videos_of_thinned_frames_or_without_masks(slide: Dataset, tmp_path: Path) -> None:
    thinned = evaluate_run(PretendRun(tmp_path, slide), splits=["train"], max_frames=3)
    assert "consistency" not in thinned["splits"]["train"]
    assert not any("consistency" in found["train"] for found in thinned["baselines"].values())
    bare = make_dataset(tmp_path / "data", masks=False, backgrounds=True, with_truth=False)
    assert "consistency" not in evaluate_run(PretendRun(tmp_path, bare))["splits"]["forecast"]
