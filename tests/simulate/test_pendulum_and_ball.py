"""Two laws in one data set: which sequence obeys which, and that nothing else tells them apart."""

from pathlib import Path

import numpy as np
import pytest

import foreseen
from foreseen.data.types import Dataset, GroundTruth, Sequence
from foreseen.geometry.cameras import Camera
from foreseen.simulate import SimulateOptions, simulate
from foreseen.simulate.equations import slide, swing
from foreseen.simulate.oscillating_ball import bowl
from foreseen.simulate.pendulum import BOB, PIVOT
from foreseen.simulate.pendulum_and_ball import SCENARIO
from foreseen.simulate.scenario import SequenceIndex

SIZE = 24
SWINGS = {"gravity": 9.81, "length": 0.5, "damping": 0.1}
SLIDES = {"gravity": 9.81, "steepness": 0.9, "drag": 0.25, "radius": 0.09}


def made(folder: Path, **options: object) -> Dataset:
    small = {"size": SIZE, "frames": 10, "samples": 2, "cameras": 2}
    return foreseen.load_dataset(simulate("pendulum-and-ball", folder / "data", SimulateOptions(**(small | options))))  # type: ignore[arg-type]


def truth(sequence: Sequence) -> GroundTruth:
    assert sequence.truth is not None
    return sequence.truth


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Six seen sequences and two unseen ones."""
    return made(tmp_path_factory.mktemp("mixed"), sequences=8)


def test_kinds_alternate_among_the_seen_and_among_the_unseen(tmp_path: Path) -> None:
    data = made(tmp_path, sequences=9, frames=2, cameras=1)
    seen = [truth(s).dynamics for s in data.sequences if s.split is None]
    unseen = [truth(s).dynamics for s in data.sequences if s.split == "test"]
    assert seen == ["damped-pendulum", "slide-in-bowl"] * 3 + ["damped-pendulum"]
    assert unseen == ["damped-pendulum", "slide-in-bowl"]


def test_the_truth_names_its_own_body_law_and_constants(mixed: Dataset) -> None:
    found = [(t.bodies, t.dynamics, t.constants) for t in map(truth, mixed.sequences)]
    assert found == [(("pendulum",), "damped-pendulum", SWINGS), (("ball",), "slide-in-bowl", SLIDES)] * 4
    assert len({truth(s).positions[0].tobytes() for s in mixed.sequences}) == 8


def test_each_kind_obeys_its_law(mixed: Dataset) -> None:
    for sequence in mixed.sequences:
        t, start = truth(sequence), truth(sequence).positions[0, 0]
        if t.dynamics == "damped-pendulum":
            push = t.state["angular_velocity"][0]
            angle, _ = swing(t.state["angle"][0], push, t.times, **SWINGS)
            expected = PIVOT + 0.5 * np.stack([np.sin(angle), 0 * angle, -np.cos(angle)], -1)
        else:
            push = t.velocities[0, 0, :2]
            expected, _ = slide(bowl(0.9), start[:2], push, t.times, gravity=9.81, drag=0.25)
        assert np.allclose(t.positions[:, 0], expected, atol=1e-7)
        assert np.ptp(t.positions[:, 0], axis=0).max() > 0.2


def pixels(camera: Camera, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where points `[N, 3]` lie in the picture, from its middle `[N, 2]`, and their depths `[N]`."""
    pose = camera.camera_to_world.double().numpy()
    seen = (points - pose[:3, 3]) @ pose[:3, :3]
    return camera.fx * seen[:, :2] / seen[:, 2:], seen[:, 2]


def test_every_picture_shows_its_sequences_body_and_no_other(mixed: Dataset) -> None:
    for sequence in mixed.sequences:
        t = truth(sequence)
        for frame in sequence.frames:
            centre = t.positions[np.argmin(np.abs(t.times - frame.time)), 0]
            end = PIVOT if t.bodies == ("pendulum",) else centre
            axis, z = pixels(frame.camera, np.linspace(centre, end, 20))
            mask, depth = frame.layer("mask"), frame.layer("depth")
            assert mask is not None and depth is not None and set(mask.unique().tolist()) == {0, 1}
            u, v = (axis[0] + SIZE / 2).astype(int)
            assert mask[v, u] == 1 and depth[v, u] == pytest.approx(z[0] - BOB, abs=0.05)
            marked = np.argwhere(mask.numpy() == 1)[:, ::-1] + 0.5 - SIZE / 2
            away = np.linalg.norm(marked[:, None] - axis, axis=-1).min(1)
            assert away.max() < 1.1 * frame.camera.fx * BOB / z.min()


def test_the_pictures_without_what_moves_are_the_same_in_all_sequences(mixed: Dataset) -> None:
    first = mixed.sequences[0].background_paths
    assert set(first) == {"camera-0", "camera-1", "held-out"}
    for sequence in mixed.sequences[1:]:
        for camera, path in sequence.background_paths.items():
            assert path != first[camera] and path.read_bytes() == first[camera].read_bytes()


def test_what_moves_stays_in_every_cameras_view() -> None:
    times = np.arange(SCENARIO.frames + 1) / SCENARIO.fps
    cameras = [*SCENARIO.rig.arc(SCENARIO.cameras, SIZE), SCENARIO.rig.held_out(SIZE)]
    for system in SCENARIO.systems:
        for seed in range(8):
            initial = system.draw(np.random.default_rng(seed), system.constants, SequenceIndex(seed, False))
            centres = system.solve(system.constants, initial, times).positions[:, 0]
            for camera in cameras:
                places, z = pixels(camera, centres)
                assert np.abs(places).max() + 1.1 * camera.fx * BOB / z.min() < 0.45 * SIZE


def test_names_of_typed_starts_tell_the_kind(tmp_path: Path) -> None:
    typed = "x=0.3; angle=0.5,velocity=0; ; vy=0.2,y=-0.1"
    data = made(tmp_path, sequences=5, frames=2, cameras=1, initial=typed, constants="gravity=5, length=0.4")
    ground_truths = [truth(s) for s in data.sequences]
    assert [t.bodies[0] for t in ground_truths] == ["ball", "pendulum", "pendulum", "ball", "pendulum"]
    assert ground_truths[0].positions[0, 0, 0] == 0.3 and ground_truths[1].state["angle"][0] == 0.5
    assert ground_truths[3].velocities[0, 0, 1] == 0.2 and ground_truths[3].positions[0, 0, 1] == -0.1
    assert ground_truths[0].constants == SLIDES | {"gravity": 5}
    assert ground_truths[1].constants == SWINGS | {"gravity": 5, "length": 0.4}
