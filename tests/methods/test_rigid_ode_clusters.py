"""Several kinds of motion in one data set: told apart by what is seen, each with a look, a surface and a law of its
own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from foreseen.batches.rays import RaySampler
from foreseen.core.method import scene_at
from foreseen.core.observation import Observation
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.methods.rigid_ode.model import build
from foreseen.methods.rigid_ode.multi_sequence import MultiSequenceRigidODE
from foreseen.reconstruction.config import ClusterConfig, ReconstructionConfig
from foreseen.reconstruction.sequence_clusters import _cluster_by_surface, cluster_sequences
from foreseen.reconstruction.silhouettes import SilhouetteView, StaticBackgrounds
from foreseen.render import render
from foreseen.scenes.voxel_scene import FAR_AWAY
from moving_balls import WHITE
from swings import DYNAMICS, NEW, RADIUS, SMALL, STARTS, STEP, TIMES, about, captured, slid, swung

SLIDES = {"d": (0.9, 0.0), "e": (-0.5, 1.5)}
"""Place and speed of the sequences on the bar, at their first time."""
NEW_SLIDE = (0.3, 1.2)
ORDER = ("a", "d", "b", "e", "c")
LONG = tuple(TIMES[0] + STEP * i for i in range(20))
LARGER = 0.4


def labels() -> list[PoseLabels | None]:
    return [swung(STARTS[name], TIMES) if name in STARTS else slid(SLIDES[name], TIMES) for name in ORDER]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """Swings of a red ball, and slides of a larger blue one."""
    folder = tmp_path_factory.mktemp("both")
    swings = [frame for name, start in STARTS.items() for frame in captured(folder, name, start, TIMES)]
    slides = [f for name, start in SLIDES.items() for f in captured(folder, name, start, TIMES, slid, LARGER, 1)]
    return swings + slides


@pytest.fixture(scope="module")
def learned(seen: list[Frame]) -> tuple[str, MultiSequenceRigidODE]:
    """What the warm start says, and the method after a moment of training."""
    torch.manual_seed(0)
    method, steps = build(SMALL, about("adbec")), 40
    assert isinstance(method, MultiSequenceRigidODE)
    said = method.warm_start(seen, labels())
    sampler = RaySampler(seen, list(ORDER), method.info, seed=0)
    optimizer = torch.optim.Adam(method.parameter_groups(0.0))
    for step in range(steps):
        method.before_step(step, step / steps)
        terms = method.losses(sampler.batch(method.batch_spec(step), step), step)
        optimizer.zero_grad()
        torch.stack([v for k, v in terms.items() if not k.startswith("_")]).sum().backward()
        optimizer.step()
    return said, method


@pytest.fixture(scope="module")
def method(learned: tuple[str, MultiSequenceRigidODE]) -> MultiSequenceRigidODE:
    return learned[1]


def far(method: MultiSequenceRigidODE, observation: Observation, truth: PoseLabels) -> float:
    """The largest distance of the kind's part from the truth, where the other kind's part is far away."""
    state = method.observe(observation)
    found = method.evolve(state, truth.times.float()).centres
    assert bool((found[:, 1 - int(state.cluster)] == FAR_AWAY).all())
    return float((found[:, int(state.cluster)] - truth.positions[:, 0]).norm(dim=-1).max())


def test_each_kind_gets_its_part_and_its_law(learned: tuple[str, MultiSequenceRigidODE]) -> None:
    said, method = learned
    line = (
        "1 moving part in 3 sequences and 1 moving part in 2 sequences (2 dynamics clusters), poses given by the data"
    )
    assert said.startswith(line) and "; dynamics cluster 2: dynamics on 1 coordinate follow" in said
    assert method.cluster_of_sequence.tolist() == [0, 1, 0, 1, 0] and method.cluster_of_part.tolist() == [0, 1]
    small, large = method.appearance.half_extents[:2, 0].tolist()
    assert RADIUS < small < 0.8 * large and large > LARGER
    assert all(dynamics.manifold.size == 1 and dynamics.misfit < 0.01 for dynamics in method.dynamics)


def test_learned_sequences_go_on_by_their_kinds_law(method: MultiSequenceRigidODE) -> None:
    for index, name in enumerate(ORDER):
        truth = swung(STARTS[name], LONG) if name in STARTS else slid(SLIDES[name], LONG)
        assert far(method, Observation(index), truth) < 0.01


def test_a_new_sequence_is_told_by_where_it_begins(method: MultiSequenceRigidODE) -> None:
    assert far(method, Observation(initial=swung(NEW, TIMES).at(0)), swung(NEW, LONG)) < 0.005
    assert far(method, Observation(initial=slid(NEW_SLIDE, TIMES).at(0)), slid(NEW_SLIDE, LONG)) < 0.005
    typed = slid(NEW_SLIDE, TIMES).at(0)
    typed.positions[..., 2], typed.velocities[..., 1:] = float("nan"), float("nan")
    assert far(method, Observation(initial=typed), slid(NEW_SLIDE, LONG)) < 0.005
    typed.positions[..., 1] = float("nan")
    line = (
        "fit 2 of the dynamics clusters that this run learned .that of sequence 'a', that of sequence 'd'.: give more"
    )
    with pytest.raises(UserError, match=line):
        method.observe(Observation(initial=typed))


def test_a_new_sequence_is_told_by_its_first_frames(method: MultiSequenceRigidODE, tmp_path: Path) -> None:
    swing = captured(tmp_path, "swing", NEW, TIMES[:5])
    slide = captured(tmp_path, "slide", NEW_SLIDE, TIMES[:5], slid, LARGER, 1)
    assert far(method, Observation(frames=tuple(swing)), swung(NEW, LONG)) < 0.03
    assert far(method, Observation(frames=tuple(slide)), slid(NEW_SLIDE, LONG)) < 0.03


def test_what_looks_like_both_kinds_is_not_guessed(
    method: MultiSequenceRigidODE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both kinds' pictures alike, as where their parts and their ways look the same."""
    slide = captured(tmp_path, "slide", NEW_SLIDE, TIMES[:3], slid, LARGER, 1)
    monkeypatch.setattr("foreseen.methods.rigid_ode.initial_condition._image_errors", lambda *_: {0: 1.05, 1: 1.0})
    with pytest.raises(
        UserError, match=r"fit more than one of the dynamics clusters .*'d', that of sequence 'a'.: give"
    ):
        method.observe(Observation(frames=tuple(slide)))


def test_each_kind_looks_as_its_own(method: MultiSequenceRigidODE, seen: list[Frame]) -> None:
    for index, name in enumerate(ORDER):
        frame = next(f for f in seen if f.sequence == name and f.time == TIMES[6])
        image = render(scene_at(method, frame.time, Observation(index)), frame.camera).rgb.detach()
        shown = (image - 1).abs().amax(-1) > 0.5
        truth = (frame.image() - 1).abs().amax(-1) > 0.5
        assert (shown & truth).sum() > 0.5 * (shown | truth).sum()
        red, blue = image[shown & truth].mean(0)[[0, 2]]
        assert red > blue + 0.2 if name in STARTS else blue > red + 0.2


def test_the_spread_and_the_system_are_of_one_kind(method: MultiSequenceRigidODE) -> None:
    times = torch.tensor(LONG)
    for cluster, observation in enumerate([Observation(0), Observation(1)]):
        state = method.observe(observation)
        ensemble = method.ensemble(state, times)
        assert ensemble.shape == (1 + DYNAMICS.ensemble_size, len(LONG), 1, 3)
        torch.testing.assert_close(ensemble[0, :, 0], method.evolve(state, times).centres[:, cluster])
        system = method.system(cluster)
        assert system is not None and system.positions is not None
        assert [one.sequence for one in system.trajectories] == ([0, 2, 4], [1, 3])[cluster]
        own = system.positions(system.trajectories[0].states)
        assert own.shape[1:] == (1, 3) and own[0, 0].allclose(method.centres[cluster, 0, cluster].double(), atol=0.01)


def test_a_state_dict_brings_the_kinds_along(method: MultiSequenceRigidODE) -> None:
    other = build(SMALL, about("adbec"))
    other.load_state_dict(method.state_dict())
    for start, ode in ((NEW, swung), (NEW_SLIDE, slid)):
        initial = Observation(initial=ode(start, TIMES).at(0))
        first, second = (m.evolve(m.observe(initial), torch.tensor(LONG)).centres for m in (method, other))
        assert torch.equal(first, second)


def test_silhouettes_tell_kinds_apart_where_no_label_does(seen: list[Frame]) -> None:
    method = build(replace(SMALL, multi_sequence=replace(DYNAMICS, labels="never")), about("adbec"))
    assert isinstance(method, MultiSequenceRigidODE)
    said = method.warm_start(seen, labels())
    line = (
        "1 moving part in 3 sequences and 1 moving part in 2 sequences (2 dynamics clusters), found from silhouettes."
    )
    assert said == line and method.cluster_of_sequence.tolist() == [0, 1, 0, 1, 0]
    for index, known in enumerate(labels()):
        cluster = int(method.cluster_of_sequence[index])
        assert known is not None
        off = method.centres[index, :, cluster].double() - known.positions[:, 0]
        assert off.norm(dim=-1).median() < 0.6 * LARGER


def test_sequences_with_more_bodies_are_another_kind(seen: list[Frame]) -> None:
    """The second one's ball counts twice."""
    own = [f for f in seen if f.sequence in "ab"]
    first, second = swung(STARTS["a"], TIMES), swung(STARTS["b"], TIMES)
    twice = replace(
        second,
        bodies=("ball", "twin"),
        positions=second.positions.expand(-1, 2, -1) + torch.tensor([[0.0, 0, 0], [0, 0, 0.1]]),
        velocities=second.velocities.expand(-1, 2, -1),
        rotations=second.rotations.expand(-1, 2, -1, -1),
    )
    torch.manual_seed(0)
    method = build(SMALL, about("ab"))
    said = method.warm_start(own, [first, twice])
    assert said is not None and said.startswith(
        "1 moving part in 1 sequence and 2 moving parts in 1 sequence (2 dynamics"
    )
    known = swung(NEW, TIMES).at(0)
    assert int(method.observe(Observation(initial=known)).cluster) == 0
    assert int(method.observe(Observation(initial=twice.at(0))).cluster) == 1
    three = replace(known, positions=known.positions.expand(-1, 3, -1))
    with pytest.raises(UserError, match="learned 1 or 2 moving parts, and the initial conditions have 3: give as"):
        method.observe(Observation(initial=three))


# What tells kinds apart.


def clusters(frames: list[Frame], known: list[PoseLabels]) -> list[int]:
    names = "".join(dict.fromkeys(f.sequence for f in frames))
    config = ReconstructionConfig()
    silhouettes = config.hulls.silhouettes
    views = [SilhouetteView.of(f, 0.0, 1.0, silhouettes) for f in frames]
    backgrounds = StaticBackgrounds(views, WHITE, silhouettes)
    centres, rotations = [one.positions for one in known], [torch.zeros_like(one.positions) for one in known]
    return cluster_sequences(frames, backgrounds, centres, rotations, about(names), 1.0, config).tolist()


@pytest.mark.parametrize(
    ("radius", "colour", "expected"), [(RADIUS, 0, [0, 0, 0]), (2.5 * RADIUS, 0, [0, 1, 0]), (RADIUS, 1, [0, 1, 0])]
)
def test_the_same_motion_of_what_looks_different(
    radius: float, colour: int, expected: list[int], seen: list[Frame], tmp_path: Path
) -> None:
    swings = {name: [f for f in seen if f.sequence == name] for name in "ac"}
    other = captured(tmp_path, "b", STARTS["b"], TIMES, swung, radius, colour)
    known = [swung(STARTS[name], TIMES) for name in "abc"]
    assert clusters([*swings["a"], *other, *swings["c"]], known) == expected


def arcs(count: int, generator: np.random.Generator) -> list[Tensor]:
    """Poses of swings, whose angle tells the rotation too."""
    found = []
    for _ in range(count):
        a = generator.uniform(0.5, 0.8) * np.cos(np.linspace(0, 6, 24) + generator.uniform(0, 6))
        found.append(pose(0.5 * np.sin(a), 0 * a, 0.9 - 0.5 * np.cos(a), 0.3 * a))
    return found


def orbits(count: int, generator: np.random.Generator, level: float = 0.0) -> list[Tensor]:
    """Poses in a bowl, of which the first lie in planes of their own."""
    found = []
    for index in range(count):
        phase, flat = np.linspace(0, 6, 24), generator.uniform(0.2, 0.4) * (index > 1)
        u, v = generator.uniform(0.3, 0.5) * np.cos(phase), flat * np.sin(phase)
        rotation = generator.uniform(0, 6)
        x, y = u * np.cos(rotation) - v * np.sin(rotation), u * np.sin(rotation) + v * np.cos(rotation)
        found.append(pose(x, y, level + 0.9 * (x**2 + y**2), 0 * x))
    return found


def throws(count: int, generator: np.random.Generator) -> list[Tensor]:
    """Poses of free flights: each on a parabola of its own."""
    found = []
    for _ in range(count):
        t, v = np.linspace(0, 1, 24)[:, None], generator.normal(size=3)
        found.append(pose(*(generator.normal(size=3) + v * t - np.array([0, 0, 2.0]) * t**2).T, 0 * t[:, 0]))
    return found


def pose(x: np.ndarray, y: np.ndarray, z: np.ndarray, rotation: np.ndarray) -> Tensor:
    still = np.zeros_like(x)
    return torch.from_numpy(np.stack([x, y, z, still, rotation, still], -1))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_surfaces_tell_kinds_apart_and_ways_on_one_surface_do_not(seed: int) -> None:
    generator = np.random.default_rng(seed)
    assert _cluster_by_surface(orbits(8, generator), ClusterConfig()).tolist() == [0] * 8
    assert _cluster_by_surface(arcs(8, generator), ClusterConfig()).tolist() == [0] * 8
    assert _cluster_by_surface(throws(8, generator), ClusterConfig()).tolist() == [0] * 8, (
        "no surface holds them, so nothing is told"
    )
    pairs = [torch.cat(pair, dim=-1) for pair in zip(orbits(8, generator), orbits(8, generator))]
    assert _cluster_by_surface(pairs, ClusterConfig()).tolist() == [0] * 8, (
        "of two bodies every sequence shows a few ways only"
    )
    both = orbits(6, generator) + arcs(4, generator)
    order = generator.permutation(10)
    found = _cluster_by_surface([both[i] for i in order], ClusterConfig())
    assert len(set(found[order < 6])) == len(set(found[order >= 6])) == 1 and len(set(found)) == 2
    assert _cluster_by_surface(orbits(6, generator) + arcs(2, generator), ClusterConfig()).tolist() == [0] * 8, (
        "two show no surface"
    )


def test_of_many_sequences_some_show_the_surfaces() -> None:
    """And noise of a few hundredths of the motion neither splits a surface nor hides one."""
    generator = np.random.default_rng(0)

    def noisy(poses: list[Tensor]) -> list[Tensor]:
        return [p + 0.01 * torch.from_numpy(generator.normal(size=p.shape)) for p in poses]

    assert _cluster_by_surface(noisy(orbits(12, generator)), ClusterConfig()).tolist() == [0] * 12
    both = [p for pair in zip(noisy(orbits(20, generator)), noisy(arcs(20, generator))) for p in pair]
    found = _cluster_by_surface(both, ClusterConfig())
    assert len(set(found[::2])) == len(set(found[1::2])) == 1 and found[0] != found[1]
