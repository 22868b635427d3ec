"""Node-RF's `fast` preset over several sequences: one law, and new sequences by how they begin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from foreseen.batches.rays import RaySampler
from foreseen.core.method import scene_at
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.model import build
from foreseen.methods.rigid_ode.multi_sequence import MultiSequenceRigidODE
from foreseen.render import render
from moving_balls import camera
from swings import DYNAMICS, FIRST, NEW, RADIUS, SMALL, STARTS, STEP, TIMES, about, captured, swung


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    folder = tmp_path_factory.mktemp("swings")
    return [frame for name, start in STARTS.items() for frame in captured(folder, name, start, TIMES)]


def new(config: RigidODEConfig = SMALL, scene: SceneInfo | None = None) -> MultiSequenceRigidODE:
    torch.manual_seed(0)
    method = build(config, scene or about())
    assert isinstance(method, MultiSequenceRigidODE)
    return method


def labels() -> list[PoseLabels | None]:
    return [swung(start, TIMES) for start in STARTS.values()]


@pytest.fixture(scope="module")
def started(seen: list[Frame]) -> tuple[str, dict[str, Tensor]]:
    """What the warm start says, and the state dict after it."""
    method = new()
    return method.warm_start(seen, labels()), method.state_dict()


def restored(tensors: dict[str, Tensor], config: RigidODEConfig = SMALL) -> MultiSequenceRigidODE:
    method = new(config)
    method.load_state_dict({name: value.clone() for name, value in tensors.items()})
    return method


@pytest.fixture(scope="module")
def history(started: tuple[str, dict[str, Tensor]], seen: list[Frame]) -> tuple[MultiSequenceRigidODE, list[float]]:
    """Trained for a moment: the trainer's loop in short; and squared colour errors."""
    method, steps, errors = restored(started[1]), 40, []
    sampler = RaySampler(seen, list(STARTS), method.info, seed=0)
    optimizer = torch.optim.Adam(method.parameter_groups(0.0))
    for step in range(steps):
        assert method.before_step(step, step / steps) is None, "the law of known poses is fitted once"
        terms = method.losses(sampler.batch(method.batch_spec(step), step), step)
        optimizer.zero_grad()
        torch.stack([v for k, v in terms.items() if not k.startswith("_")]).sum().backward()
        optimizer.step()
        errors.append(terms["color"].item())
    return method, errors


@pytest.fixture(scope="module")
def learned(history: tuple[MultiSequenceRigidODE, list[float]]) -> MultiSequenceRigidODE:
    return history[0]


def centres(method: MultiSequenceRigidODE, observation: Observation, times: tuple[float, ...]) -> Tensor:
    """`[T, 3]` of the one part."""
    return method.evolve(method.observe(observation), torch.tensor(times)).centres[:, 0].double()


def far(found: Tensor, start: tuple[float, float], times: tuple[float, ...]) -> float:
    return float((found - swung(start, times).positions[:, 0]).norm(dim=-1).max())


def test_the_warm_start_finds_the_box_and_the_law(started: tuple[str, dict[str, Tensor]]) -> None:
    said, tensors = started
    line = "1 moving part in 3 sequences, poses given by the data set; dynamics on 1 coordinate follow"
    assert said.startswith(line)
    method = restored(tensors)
    assert RADIUS < float(method.appearance.half_extents[0, 0]) < 3 * RADIUS, "two pixels are a third of the radius"
    assert method.dynamics[0].manifold.size == 1 and method.dynamics[0].misfit < 0.01
    assert method.finish() is None, "nothing is left to fit"
    truth = torch.stack([one.positions for one in labels() if one is not None])
    torch.testing.assert_close(method.centres.double(), truth, atol=1e-6, rtol=0)


def test_the_loss_falls_and_reaches_the_voxels(
    history: tuple[MultiSequenceRigidODE, list[float]], seen: list[Frame]
) -> None:
    method, errors = history
    assert np.mean(errors[-5:]) < 0.5 * np.mean(errors[:5])
    method.zero_grad()
    batch = RaySampler(seen, list(STARTS), method.info, 0).batch(method.batch_spec(0), 0)
    terms = method.losses(batch, 0)
    assert all(v.isfinite() for v in terms.values())
    terms["color"].backward()
    assert method.appearance.voxels.values.grad is not None and method.appearance.voxels.values.grad.any()
    assert method.centres.grad is not None and (method.centres.grad != 0).any(dim=-1).any(dim=-1).any(dim=1).all()
    method.zero_grad()


def test_known_poses_rest_and_others_move_until_the_last_fit(learned: MultiSequenceRigidODE) -> None:
    def moves(progress: float) -> list[float]:
        return [g["lr"] for g in learned.parameter_groups(progress) if g["name"] in ("centres", "rotations")]

    assert moves(0.1) == [0, 0]
    learned.exact_poses.fill_(False)
    assert all(lr > 0 for lr in moves(0.1)) and moves(0.95) == [0, 0]
    learned.exact_poses.fill_(True)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_learned_sequence_goes_on(learned: MultiSequenceRigidODE, index: int) -> None:
    start = list(STARTS.values())[index]
    between = tuple(t + 0.05 for t in TIMES[:-1])
    assert far(centres(learned, Observation(index), TIMES), start, TIMES) < 1e-5
    assert far(centres(learned, Observation(index), between), start, between) < 0.005
    later = tuple(TIMES[-1] + STEP * i for i in range(1, 12))
    assert far(centres(learned, Observation(index), later), start, later) < 0.005
    mixed = (later[3], TIMES[4], later[0], TIMES[0] - 0.3, TIMES[4])
    found = centres(learned, Observation(index), mixed)
    alone = torch.cat([centres(learned, Observation(index), (t,)) for t in mixed])
    torch.testing.assert_close(found, alone, atol=1e-4, rtol=0)


LONG = tuple(TIMES[0] + STEP * i for i in range(20))


def test_a_new_sequence_by_its_initial_conditions(learned: MultiSequenceRigidODE) -> None:
    whole = swung(NEW, TIMES)
    assert far(centres(learned, Observation(initial=whole.at(0)), LONG), NEW, LONG) < 0.002
    assert far(centres(learned, Observation(initial=whole.at(5)), LONG), NEW, LONG) < 0.002, "backwards, too"


def blank(known: PoseLabels, pixel_indices: list[int], speeds: list[int]) -> PoseLabels:
    """Without some components."""
    positions, velocities = known.positions.clone(), known.velocities.clone()
    positions[..., pixel_indices], velocities[..., speeds] = float("nan"), float("nan")
    return replace(known, positions=positions, velocities=velocities)


def test_futures_of_a_new_sequence(learned: MultiSequenceRigidODE) -> None:
    known = swung(NEW, TIMES).at(0)
    times = torch.tensor([FIRST, FIRST + 0.5, FIRST + 3.0])
    state = learned.observe(Observation(initial=known))
    sure = learned.ensemble(state, times)
    assert sure.shape == (1 + DYNAMICS.ensemble_size, 3, 1, 3)
    assert torch.allclose(sure[0], learned.evolve(state, times).centres, atol=1e-5)
    assert torch.equal(sure, learned.ensemble(state, times)), "the same draws each time"
    assert (sure[:, 0] - sure[0, 0]).abs().max() < 1e-6 < sure[1:, 2].std(0).max(), (
        "laws differ, the beginning does not"
    )
    unsure = learned.ensemble(learned.observe(Observation(initial=known, relative_std=0.2)), times)
    assert torch.allclose(unsure[0], sure[0], atol=1e-6)
    assert (unsure[:, 0] - sure[0, 0]).norm(dim=-1).max() > 0.02, "this beginning does"


def test_what_is_not_known_follows_from_the_surface(learned: MultiSequenceRigidODE) -> None:
    known = swung(NEW, TIMES).at(0)
    whole = learned.observe(Observation(initial=known)).state
    for pixel_indices, speeds in (([1, 2], [1, 2]), ([1, 2], [0, 2]), ([2], [])):
        part = learned.observe(Observation(initial=blank(known, pixel_indices, speeds))).state
        torch.testing.assert_close(part, whole, atol=2e-3, rtol=2e-3)
    at_rest = learned.observe(Observation(initial=blank(known, [2], [0, 1, 2]))).state
    torch.testing.assert_close(at_rest, whole * torch.tensor([1.0, 0.0]), atol=2e-3, rtol=0)
    with pytest.raises(UserError, match="initial conditions need a position: give some of x, y and z"):
        learned.observe(Observation(initial=blank(known, [0, 1, 2], [])))


def test_a_new_sequence_by_its_first_frames(learned: MultiSequenceRigidODE, tmp_path: Path) -> None:
    """By where the ball is in the pictures, whatever their size."""
    first = captured(tmp_path, "new", NEW, TIMES[:5])
    observation = Observation(frames=tuple(first))
    state = learned.observe(observation)
    assert int(state.sequence) == -1 and float(state.time) == TIMES[0]
    assert far(centres(learned, observation, TIMES[:5]), NEW, TIMES[:5]) < 0.01
    assert far(centres(learned, observation, LONG), NEW, LONG) < 0.02
    halved = [replace(f, calibration=f.camera.downscale(2)) if f.camera_id == "1" else f for f in first]
    assert far(centres(learned, Observation(frames=tuple(halved)), TIMES[:5]), NEW, TIMES[:5]) < 0.02


def test_a_picture_of_a_training_time_shows_what_was_seen(learned: MultiSequenceRigidODE, seen: list[Frame]) -> None:
    frame = next(f for f in seen if f.sequence == "b" and f.time == TIMES[6])
    error = (render(scene_at(learned, frame.time, Observation(1)), frame.camera).rgb - frame.image()).square().mean()
    assert error < 0.2 * (1 - frame.image()).square().mean()


def test_a_state_dict_fits_a_method_without_a_warm_start(learned: MultiSequenceRigidODE) -> None:
    other = restored(learned.state_dict())
    initial = Observation(initial=swung(NEW, TIMES).at(0))
    for time, observation in ((2.9, Observation(2)), (4.4, Observation(0)), (2.9, initial)):
        first, second = (render(scene_at(m, time, observation), camera(0.2, size=16)).rgb for m in (learned, other))
        assert torch.equal(first, second)
    assert other.appearance.budget.rays() == learned.appearance.budget.rays()


def test_silhouettes_where_labels_are_not_to_be_read(seen: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(SMALL, multi_sequence=replace(DYNAMICS, labels="never"))
    method = new(config, about())
    said = method.warm_start(seen, labels())
    assert said == "1 moving part in 3 sequences, found from silhouettes."
    truth = torch.stack([one.positions for one in labels() if one is not None])
    assert (method.centres.double() - truth).norm(dim=-1).max() < 0.6 * RADIUS
    rates = {g["name"]: g["lr"] for g in method.parameter_groups(0.1)}
    assert rates["centres"] > 0 and rates["rotations"] > 0
    # Without a law, as a checkpoint of the first steps: what was seen is shown, and nothing is foretold.
    ahead = centres(method, Observation(1), (*TIMES, TIMES[-1] + 5))
    torch.testing.assert_close(ahead[:-1].float(), method.centres[1, :, 0].detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(ahead[-1], ahead[-2], atol=1e-5, rtol=0)
    for observation in (Observation(initial=swung(NEW, TIMES).at(0)), Observation(frames=tuple(seen[:20]))):
        with pytest.raises(UserError, match="this run has no fitted dynamics yet"):
            method.observe(observation)
    said_then = [method.before_step(step, progress) for step, progress in enumerate((0, 0.39, 0.4, 0.5, 0.9))]
    assert [line is not None for line in said_then] == [False, False, True, False, True]
    assert method.finish() is None
    later = tuple(TIMES[-1] + STEP * i for i in range(1, 4))
    assert far(centres(method, Observation(0), later), STARTS["a"], later) < RADIUS


def test_what_it_cannot_learn_is_refused() -> None:
    with pytest.raises(UserError, match="of 6 training times or more, and 'b' has 5: give more frames"):
        new(scene=about("ab", times=(TIMES, TIMES[:5])))
    with pytest.raises(UserError, match="several sequences in normalised device coordinates"):
        new(scene=about(ndc=True))


@pytest.fixture
def two_parts(learned: MultiSequenceRigidODE) -> MultiSequenceRigidODE:
    """Nothing is learned of them but how many they are."""
    method = new()
    method.set_parts(
        method._untrained_appearance(torch.ones(2, 3)), method.cluster_of_sequence, torch.zeros(2, dtype=torch.int64)
    )
    method.dynamics[0].misfit.zero_()
    return method


def test_beginnings_that_it_cannot_tell_are_refused(
    learned: MultiSequenceRigidODE, two_parts: MultiSequenceRigidODE, seen: list[Frame], tmp_path: Path
) -> None:
    def refused(method: MultiSequenceRigidODE, observation: Observation, line: str) -> None:
        with pytest.raises(UserError, match=line):
            method.observe(observation)

    known = swung(NEW, TIMES).at(0)
    refused(learned, Observation(3), "this run learned 3 sequences; there is no sequence 3")
    refused(learned, Observation(-1), "there is no sequence -1")
    line = "this run learned 2 moving parts, and the initial conditions have 1: give as many"
    refused(two_parts, Observation(initial=known), line)
    refused(two_parts, Observation(frames=tuple(seen[:8])), "of one moving part from frames; it learned several")
    once = tuple(f for f in seen if f.time == TIMES[0] and f.sequence == "a")
    refused(learned, Observation(frames=once), "nothing moves in two or more of the first frames")
    empty = tmp_path / "empty.png"
    Image.fromarray(np.full((64, 64, 3), 255, np.uint8)).save(empty)
    nothing = tuple(replace(f, image_path=empty) for f in seen[:20])
    refused(learned, Observation(frames=nothing), "nothing moves")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cluster_of_part", torch.tensor([10**12]), "cluster_of_part: 1000000000000 is not in 0 to 0"),
        ("cluster_of_part", torch.tensor([0, 0]), "half_extents and voxels.layout are .*, not those of 2 parts"),
        ("cluster_of_sequence", torch.full((len(STARTS),), 1), "cluster_of_sequence: 1 is not in 0 to 0"),
        (
            "cluster_of_sequence",
            torch.tensor([0]),
            rf"cluster_of_sequence: \[1\] is not the shape for {len(STARTS)} sequences",
        ),
    ],
)
def test_saved_parts_and_sequences_are_of_kinds_that_there_are(
    started: tuple[str, dict[str, Tensor]], name: str, value: Tensor, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        new().load_state_dict({**started[1], name: value})
