"""The oracle: constants are recovered, bodies pasted where the dynamics move them, nothing where they are unknown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foreseen.data.layers import standard_layers
from foreseen.data.types import Dataset, Frame, GroundTruth, Sequence
from foreseen.evaluation import baselines
from foreseen.evaluation.baselines import ObservedFrames, true_dynamics
from foreseen.evaluation.true_dynamics import (
    MAX_EVALUATIONS,
    MAX_SEGMENTS,
    REFERENCE_DYNAMICS,
    START_FACTORS,
    fit_constants,
    integrate_from_truth,
)
from foreseen.geometry.cameras import Camera
from foreseen.simulate import bifurcating_hill, bouncing_balls, oscillating_ball, pendulum
from foreseen.simulate.scenario import BodyMotion, Numbers
from sliding_square import CAMERAS, OBSERVED, OBSERVED_UNTIL, make_dataset

TIMES = np.arange(40) / 20
CONSTANTS: dict[str, Numbers] = {
    "damped-pendulum": {"gravity": 9.0, "length": 0.45, "damping": 0.2},
    "slide-in-bowl": {"gravity": 9.81, "steepness": 0.8, "drag": 0.3, "radius": 0.09},
    "slide-on-double-well": {
        "gravity": 9.81, "hill": 0.3, "half_width": 0.48, "valley": 0.2, "drag": 0.7, "radius": 0.088
    },
}  # fmt: skip
STARTS: dict[str, tuple[Numbers, ...]] = {
    "damped-pendulum": ({"angle": 0.7, "velocity": -0.2}, {"angle": -0.6, "velocity": 0.3}),
    "slide-in-bowl": ({"x": 0.4, "y": 0.1, "vx": 0.2, "vy": 0.5}, {"x": -0.1, "y": -0.4, "vx": 0.5, "vy": 0.0}),
    "slide-on-double-well": ({"x": 0.68, "velocity": 0.1}, {"x": -0.79, "velocity": 0.0}),
}


def truth(dynamics: str, start: Numbers, first: float = 0.0) -> GroundTruth:
    """The exact motion, as the simulation stores it."""
    motion = REFERENCE_DYNAMICS[dynamics].solve(CONSTANTS[dynamics], start, TIMES)
    return GroundTruth(TIMES + first, ("ball",), motion.positions, motion.velocities, dynamics, CONSTANTS[dynamics], {})


@pytest.mark.parametrize("dynamics", REFERENCE_DYNAMICS)
def test_constants_are_found_again_from_constants_that_are_off(dynamics: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learned, known, solved = [truth(dynamics, start) for start in STARTS[dynamics]], REFERENCE_DYNAMICS[dynamics], []

    def counted(constants: Numbers, initial: Numbers, times: np.ndarray) -> BodyMotion:
        solved.append(constants)
        return known.solve(constants, initial, times)

    monkeypatch.setitem(REFERENCE_DYNAMICS, dynamics, replace(known, solve=counted))
    found = fit_constants(dynamics, [(t, 1.5) for t in learned])
    # A step of the fit solves every stretch once, and once more for each constant's slope. It ends because it has
    # arrived, and not because its steps are spent.
    assert 0 < len(solved) < MAX_EVALUATIONS / 2 * MAX_SEGMENTS * (1 + len(CONSTANTS[dynamics]))
    assert found is not None and START_FACTORS[0] == 1.3
    assert found == pytest.approx(CONSTANTS[dynamics], rel=0.01)
    new = truth(dynamics, {name: 0.9 * value for name, value in STARTS[dynamics][0].items()}, first=3.0)
    places = integrate_from_truth(new, found)
    assert places is not None and np.abs(places - new.positions).max() < 1e-3


def test_nothing_later_than_what_was_observed_is_looked_at() -> None:
    dynamics = "slide-in-bowl"
    known = truth(dynamics, STARTS[dynamics][0])
    hidden = known.positions.copy()
    hidden[TIMES > 1.0] = 99.0
    assert fit_constants(dynamics, [(replace(known, positions=hidden), 1.0)]) == fit_constants(dynamics, [(known, 1.0)])
    assert fit_constants(dynamics, [(known, TIMES[0])]) is None  # one time tells no motion


def test_dynamics_that_do_not_fit_the_bodies_are_refused() -> None:
    dynamics = "slide-in-bowl"
    shifted = truth(dynamics, STARTS[dynamics][0])
    shifted = replace(shifted, positions=shifted.positions + np.array([0.1, 0.0, 0.3]))
    assert fit_constants(dynamics, [(shifted, 1.5)]) is None


def test_every_integrated_dynamics_is_known() -> None:
    """Contacts are not: they have no smooth dependence on their constants."""
    for module in (pendulum, oscillating_ball, bifurcating_hill, bouncing_balls):
        motions = [dynamics.solve for dynamics in REFERENCE_DYNAMICS.values()]
        assert (module.solve in motions) == (module is not bouncing_balls)


SIZE, FOCAL = 64, 60.0


def camera() -> Camera:
    """Looks along y at the middle of the bowl."""
    pose = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, -2], [0, -1, 0, 0.4], [0, 0, 0, 1]])
    return Camera(pose, FOCAL, FOCAL, SIZE / 2, SIZE / 2, SIZE, SIZE, 0.1, 5.0)


def captured(folder: Path, name: str, known: GroundTruth) -> Sequence:
    """Frames with a red spot of 5 x 5 pixels where the body is, before grey."""
    folder.mkdir(parents=True)
    Image.fromarray(np.full((SIZE, SIZE, 3), 128, np.uint8)).save(folder / "still.png")
    frames = []
    for index, now in enumerate(known.times):
        (x, y), _ = (v[0].tolist() for v in camera().project(torch.from_numpy(known.positions[index]).float()))
        picture, mask = np.full((SIZE, SIZE, 3), 128, np.uint8), np.zeros((SIZE, SIZE), np.uint8)
        spot = slice(int(y) - 2, int(y) + 3), slice(int(x) - 2, int(x) + 3)
        picture[spot], mask[spot] = (200, 0, 0), 1
        paths = folder / f"{index}.png", folder / f"mask-{index}.png"
        Image.fromarray(picture).save(paths[0])
        Image.fromarray(mask).save(paths[1])
        frames.append(Frame(name, camera(), "front", float(now), paths[0], layers=standard_layers(mask=paths[1])))
    return Sequence(name, tuple(frames), known, background_paths={"front": folder / "still.png"})


def data(*sequences: Sequence) -> Dataset:
    bounds = torch.tensor([[-1.0, -1, 0], [1, 1, 1]])
    return Dataset(Path("x"), "bowl", "test", sequences, (1.0, 1.0, 1.0), 0.1, 5.0, bounds, time_unit="s")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A ball in a bowl and a pendulum, each learned once; a new sequence of the ball, and one of no known law."""
    folder, bowl, swing = tmp_path_factory.mktemp("world"), "slide-in-bowl", "damped-pendulum"
    new = truth(bowl, {"x": -0.35, "y": 0.1, "vx": 0.6, "vy": 0.1}, first=2.0)
    return data(
        captured(folder / "a", "ball", truth(bowl, STARTS[bowl][0])),
        captured(folder / "b", "bob", truth(swing, STARTS[swing][0])),
        captured(folder / "c", "new", new),
        captured(folder / "d", "strange", replace(new, dynamics="magic")),
    )


def contexts(world: Dataset) -> ObservedFrames:
    """The learned ones up to 1.5, of the others the first five times."""
    ends = {"ball": 1.5, "bob": 1.5, "new": 2.2, "strange": 2.2}
    return ObservedFrames(world, [f for f in world.frames if f.time <= ends[f.sequence]], ends, {"new", "strange"})


def test_the_body_is_pasted_where_the_dynamics_move_it(world: Dataset) -> None:
    predict = true_dynamics(contexts(world))
    for sequence in world.sequences[:3]:
        assert sequence.truth is not None
        late = [f for f in sequence.frames if f.time > contexts(world).observed_until[sequence.name]]
        for frame in (late[0], late[-1]):
            found = predict(frame)
            assert found is not None
            rows, columns = torch.nonzero(found.image[..., 0] - found.image[..., 1] > 0.3, as_tuple=True)
            middle = torch.stack([columns.double().mean(), rows.double().mean()]) + 0.5
            index = int(np.abs(sequence.truth.times - frame.time).argmin())
            pixel, _ = camera().project(torch.from_numpy(sequence.truth.positions[index]).float())
            # The spots were drawn at whole pixels.
            assert (middle - pixel[0]).abs().max() < 0.8, (sequence.name, frame.time)


def test_each_sequence_has_its_own_dynamics_which_are_fitted_once(
    world: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = []

    def counted(dynamics: str, observed: list[tuple[GroundTruth, float]]) -> Numbers | None:
        requested.append((dynamics, [t.dynamics for t, _ in observed], [end for _, end in observed]))
        return fit_constants(dynamics, observed)

    monkeypatch.setattr(baselines, "fit_constants", counted)
    predict = true_dynamics(contexts(world))
    assert not requested  # not before it is needed
    for sequence in world.sequences:
        for frame in sequence.frames[-3:]:
            predict(frame)
    expected = [("slide-in-bowl", ["slide-in-bowl"], [1.5]), ("damped-pendulum", ["damped-pendulum"], [1.5])]
    assert requested == [*expected, ("magic", [], [])]


def test_nothing_where_the_dynamics_are_unknown_or_not_learned(world: Dataset, tmp_path: Path) -> None:
    predict = true_dynamics(contexts(world))
    assert all(predict(frame) is None for frame in world.sequences[3].frames)
    assert predict(world.sequences[2].frames[3]) is None  # it was given
    alone = data(world.sequences[1], world.sequences[2])
    assert (
        true_dynamics(ObservedFrames(alone, list(alone.frames), {"bob": 1.5, "new": 2.2}, {"new"}))(
            alone.sequences[1].frames[-1]
        )
        is None
    )
    slide = make_dataset(tmp_path)
    frames = [f for f in slide.frames if f.time <= OBSERVED_UNTIL + 1e-9]
    late = slide.sequences[0].frames[OBSERVED * len(CAMERAS)]
    assert true_dynamics(ObservedFrames(slide, frames, {"slide": OBSERVED_UNTIL}))(late) is None
