"""From a scenario to a data set on disk, and back."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import foreseen
from foreseen.cli import main
from foreseen.cli.simulate import simulate as command
from foreseen.data.types import Dataset, Sequence
from foreseen.data.writer import DatasetWriter
from foreseen.errors import UserError
from foreseen.simulate import SCENARIOS, SimulateOptions, pendulum, simulate
from foreseen.simulate.raycast import cast
from foreseen.simulate.run import load_scenario

SMALL = {"size": 24, "frames": 10, "samples": 2}


def made(folder: Path, scenario: str = "pendulum", **options: object) -> Path:
    return simulate(scenario, folder / "data", SimulateOptions(**(SMALL | options)))  # type: ignore[arg-type]


def by_camera(sequence: Sequence, camera: str) -> list:
    return [frame for frame in sequence.frames if frame.camera_id == camera]


@pytest.fixture(scope="module")
def swinging(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    options = {"cameras": 2, "initial": "angle=0.6, velocity=-0.5", "constants": "damping=0.2"}
    return foreseen.load_dataset(made(tmp_path_factory.mktemp("swinging"), **options))


def test_the_truth_is_read_back(swinging: Dataset) -> None:
    scenario, truth = load_scenario("pendulum"), swinging.sequences[0].truth
    constants, times = scenario.constants | {"damping": 0.2}, np.arange(10) / scenario.fps
    motion = pendulum.solve(constants, {"angle": 0.6, "velocity": -0.5}, times)
    assert truth is not None
    assert (truth.dynamics, truth.bodies, truth.constants) == ("damped-pendulum", ("pendulum",), constants)
    assert np.array_equal(truth.times, times) and np.array_equal(swinging.sequences[0].times, times)
    assert np.allclose(truth.positions, motion.positions, atol=1e-8)
    assert np.allclose(truth.velocities, motion.velocities, atol=1e-8)
    assert np.allclose(truth.state["rotations"], motion.rotations, atol=1e-8)
    assert np.allclose(truth.state["angle"], motion.state["angle"], atol=1e-8)
    assert (swinging.time_unit, swinging.length_unit) == ("s", "m")


def test_the_pictures_are_read_back_with_their_truth(swinging: Dataset) -> None:
    scenario, sequence = load_scenario("pendulum"), swinging.sequences[0]
    stage, times = scenario.stage(scenario.constants, True), np.arange(11) / scenario.fps
    stage = replace(stage, bodies=pendulum.bodies(scenario.constants))
    motion = pendulum.solve(scenario.constants | {"damping": 0.2}, {"angle": 0.6, "velocity": -0.5}, times)
    cameras = dict(zip(("camera-0", "camera-1"), scenario.rig.arc(2, 24))) | {"held-out": scenario.rig.held_out(24)}
    for name, camera in cameras.items():
        frame, t = by_camera(sequence, name)[6], 6
        expected = cast(stage, camera, motion.poses(t), motion.poses(t + 1), samples=2)
        image = torch.tensor(expected.image(False)) / 255
        assert (frame.image() - image).abs().max() <= 1.01 / 255
        assert torch.equal(frame.layer("mask"), torch.tensor(expected.mask).long())
        assert torch.allclose(frame.layer("depth"), torch.tensor(expected.depth))
        assert torch.allclose(frame.layer("flow_forward"), torch.tensor(expected.flow), atol=1e-4)
        assert torch.allclose(frame.camera.camera_to_world.double(), camera.camera_to_world, atol=1e-6)
        empty = torch.tensor(np.array(Image.open(sequence.background_paths[name]))) / 255
        still = frame.layer("mask") == 0
        assert (empty - frame.image())[still].abs().mean() < 0.02 < (empty - frame.image())[~still].abs().mean()


def test_near_and_far_and_the_bounds_hold_everything(swinging: Dataset) -> None:
    for frame in swinging.frames:
        camera, depth = frame.camera, frame.layer("depth")
        rays = camera.rays(camera.pixel_centres())
        distance = depth / (rays.directions @ camera.camera_to_world[:3, 2].float())
        assert swinging.near < distance.min() and distance.max() < swinging.far
        points = rays.origins + distance[..., None] * rays.directions
        assert (points > swinging.bounds[0] - 1e-3).all() and (points < swinging.bounds[1] + 1e-3).all()


def test_hints_name_the_hidden_view_and_times(swinging: Dataset) -> None:
    for frame in swinging.frames:
        hidden = frame.camera_id == "held-out" or frame.time == pytest.approx(4 / 20)
        assert frame.split == ("test" if hidden else "train")
    assert [len(by_camera(swinging.sequences[0], c)) for c in ("camera-0", "camera-1", "held-out")] == [10] * 3


def test_the_last_quarter_of_the_sequences_is_unseen(tmp_path: Path) -> None:
    out = made(tmp_path, "bifurcating-hill", sequences=5, frames=3, initial="x=0.7; x=-0.65,velocity=0.1")
    data = foreseen.load_dataset(out)
    assert [s.split for s in data.sequences] == [None, None, None, None, "test"]
    starts = [s.truth.positions[0, 0, 0] for s in data.sequences if s.truth]
    assert starts[:2] == [0.7, -0.65] and len(set(starts)) == 5
    assert {f.split for f in data.sequences[4].frames} == {"test"}
    assert {f.camera_id for f in data.frames} == {"camera-0"}


def test_a_sequences_start_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    one = foreseen.load_dataset(made(tmp_path / "a", "oscillating-ball", sequences=1, frames=2, cameras=1))
    two = foreseen.load_dataset(made(tmp_path / "b", "oscillating-ball", sequences=2, frames=2, cameras=1))
    a, b = one.sequences[0].truth, two.sequences[0].truth
    assert a and b and np.array_equal(a.positions, b.positions)


def digest(folder: Path) -> dict[str, str]:
    """Of every file's contents; archives by what they hold (their headers tell the time of day)."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".npz":
            parts = [a.tobytes() for _, a in sorted(np.load(path).items())]
            found[str(path.relative_to(folder))] = hashlib.sha256(b"".join(parts)).hexdigest()
        elif path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_same_seed_gives_the_same_bytes_with_any_number_of_threads(tmp_path: Path, scenario: str) -> None:
    few = {"sequences": 2, "frames": 3, "cameras": 2}
    one = digest(made(tmp_path / "a", scenario, workers=1, **few))
    assert one == digest(made(tmp_path / "b", scenario, workers=3, **few))
    other = digest(made(tmp_path / "c", scenario, seed=1, **few))
    assert sum(one[name] != other[name] for name in one) > 10


def test_a_plain_background_leaves_alpha(tmp_path: Path) -> None:
    data = foreseen.load_dataset(made(tmp_path, "bouncing-balls", frames=2, cameras=1, background="plain"))
    rgba = next(iter(data.frames)).rgba()
    assert rgba.shape == (24, 24, 4)
    assert rgba[0, 0, 3] == 0 and rgba[..., 3].max() == 1
    assert data.background == (1, 1, 1)


def test_a_monocular_film_has_one_place_a_time(tmp_path: Path) -> None:
    data = foreseen.load_dataset(made(tmp_path, frames=6, monocular=True))
    moving = [f for f in data.frames if f.camera_id != "held-out"]
    assert len(moving) == len({f.time for f in moving}) == len({f.camera_id for f in moving}) == 6
    assert len({tuple(f.camera.position.tolist()) for f in moving}) == 6
    assert len(by_camera(data.sequences[0], "held-out")) == 6
    assert set(data.sequences[0].background_paths) == {f.camera_id for f in data.frames}


@pytest.mark.parametrize(
    ("scenario", "options", "message"),
    [
        ("pendulun", {}, "unknown scenario 'pendulun': did you mean 'pendulum'?"),
        ("pendulum", {"size": 2}, "--size 2: give 8 or more"),
        ("pendulum", {"frames": 1}, "--frames 1: give 2 or more"),
        ("pendulum", {"fps": 0.0}, "--fps 0: give a number of frames per second above 0"),
        ("pendulum", {"initial": "angel=1"}, "--initial: unknown name \"angel\"; did you mean 'angle'?"),
        ("pendulum", {"initial": "angle"}, "--initial: angle: write NAME=NUMBER, such as angle=0.6"),
        ("pendulum", {"initial": "angle=inf"}, "--initial: angle=inf: write NAME=NUMBER, such as angle=0.6"),
        ("pendulum", {"initial": "angle=1,angle=2"}, "--initial: angle is given twice"),
        ("pendulum", {"initial": "angle=1;angle=2"}, "--initial names 2 sequences of 1: raise --sequences"),
        (
            "pendulum",
            {"constants": "dampin=0"},
            "--constants: unknown name \"dampin\"; did you mean 'damping'?",
        ),
        ("pendulum-and-ball", {"initial": "angel=1"}, "--initial: unknown name \"angel\"; did you mean 'angle'?"),
        (
            "pendulum-and-ball",
            {"initial": "angle=0.5;x=0.3,angle=0.5"},
            "--initial: x, angle: one sequence has either angle, velocity, or x, y, vx, vy",
        ),
        (
            "pendulum-and-ball",
            {"constants": "length=0.75"},
            "pendulum-and-ball: the bob meets the bowl: make length or steepness smaller",
        ),
        (
            "pendulum-and-ball",
            {"constants": "steepness=1.7"},
            "pendulum-and-ball: the ball meets the pivot's arm: make steepness or radius smaller",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path: Path, scenario: str, options: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        made(tmp_path, scenario, **options)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "data" / "kept.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(UserError, match="exists and is not empty: give another --out or remove it first"):
        made(tmp_path)
    assert kept.read_text() == "mine" and list(kept.parent.iterdir()) == [kept]


def test_nothing_is_left_when_the_disk_fills_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, count = DatasetWriter.add_frame, []

    def full(self: DatasetWriter, *args: object) -> None:
        count.append(1)
        if len(count) == 5:
            raise OSError(28, "No space left on device")
        write(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(DatasetWriter, "add_frame", full)
    with pytest.raises(OSError, match="No space left"):
        made(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_data_set_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    main(["simulate", "pendulum", "--out", str(out), "--size", "16", "--frames", "2", "--cameras", "1"])
    assert f"{out}: written" in capsys.readouterr().out
    assert len(list(foreseen.load_dataset(out).frames)) == 2


def test_the_help_names_every_scenario() -> None:
    assert all(name in (command.__doc__ or "") for name in SCENARIOS)


def test_the_command_reports_bad_input_with_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["simulate", "pendulun", "--out", str(tmp_path / "x")])
    assert caught.value.code == 2
    expected = "foreseen: error: unknown scenario 'pendulun': did you mean 'pendulum'?\n"
    assert capsys.readouterr().err == expected
