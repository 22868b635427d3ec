"""Design `latent`: few numbers tell the displacements, and a law on them goes on past the window."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from changed_info import changed
from foreseen.cli import main
from foreseen.core.method import scene_at
from foreseen.core.observation import Observation
from foreseen.dynamics.config import DynamicsConfig
from foreseen.errors import UserError
from foreseen.methods import METHODS
from foreseen.methods.gaussian_ode.components import PrincipalComponents
from foreseen.methods.gaussian_ode.config import GaussianODEConfig
from foreseen.methods.gaussian_ode.model import GaussianODE, build
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.config import CloudConfig
from moving_balls import info

FIRST, WINDOW = 2.0, 1.1
TIMES = tuple(FIRST + WINDOW * i / 23 for i in range(24))
DYNAMICS = DynamicsConfig(
    widths=(12,), steps_per_interval=2, iterations=4, shooting_lengths=(0.4,), ensemble_size=1, fit_at=(0.75, 1.0)
)
CONFIG = GaussianODEConfig(
    CloudConfig(budget=90, degree=0), nodes=4, time_nodes=4, channels=2, width=4, dynamics=DYNAMICS
)
BLADES = 60
"""The first Gaussians, which move; the last ones rest."""


def angle(normalized_time: float) -> float:
    """1.4 swings of a spring in the window."""
    return 0.6 * math.cos(2 * math.pi * 1.4 * normalized_time + 0.4)


class Reed(GaussianODE):
    """A reed that bends to and fro: each Gaussian by the square of its height."""

    def changes(self, canonical: Gaussians, normalized_time: float) -> Tensor:
        found = torch.zeros(len(canonical.means), 10)
        christoffel_term = angle(normalized_time) * canonical.means[:, 1].square()
        found[:, 0], found[:, 2], found[:, 4] = (
            christoffel_term.sin(),
            0.3 * christoffel_term.square(),
            0.5 * christoffel_term,
        )
        found[BLADES:] = 0
        return found


def reed(cluster: type[GaussianODE] = Reed, config: GaussianODEConfig = CONFIG) -> GaussianODE:
    torch.manual_seed(0)
    method = cluster(config, info(TIMES))
    method.cloud.add_points(torch.rand(80, 3), torch.rand(80, 3), torch.full((80,), 0.1), 0.5)
    return method.eval()


@pytest.fixture(scope="module")
def known() -> GaussianODE:
    """A reed whose law was fitted."""
    method = reed()
    assert "dynamics on 1 coordinate" in method.fit_dynamics()
    return method


def at(method: GaussianODE, normalized_time: float) -> Gaussians:
    scene = scene_at(method, FIRST + WINDOW * normalized_time)
    assert isinstance(scene, Gaussians)
    return scene


def test_components_tell_what_they_were_fitted_to() -> None:
    """Two motions, of which one is turns as well; what is told is the same for any number of components from two on."""
    generator = torch.Generator().manual_seed(0)
    modes, times = torch.randn(2, 30, 10, generator=generator), torch.linspace(0, 1, 17)
    changes = torch.einsum("kt,knc->tnc", torch.stack([(7 * times).sin(), times]), modes) + modes[0]
    weights = torch.rand(30, generator=generator)
    for maximum in (2, 5):
        components = PrincipalComponents(40, maximum, 10)
        coefficients = components.fit(changes, weights)
        assert (
            coefficients.shape == (17, maximum) and coefficients[:, :2].all(0).any() and not coefficients[:, 2:].any()
        )
        for n, seen in zip(coefficients, changes):
            torch.testing.assert_close(components.decode(n, 30), seen, atol=1e-4, rtol=1e-4)
    assert not components.directions[:, 30:].any() and not components.directions[2:].any()


def test_numbers_measure_displacements_by_how_much_they_are_seen() -> None:
    changes = torch.zeros(9, 2, 10)
    changes[:, 0, 1], changes[:, 1, 2] = torch.linspace(-1, 1, 9), torch.linspace(-1, 1, 9).square()
    seen = PrincipalComponents(2, 2, 10).fit(changes, torch.tensor([3.0, 0.0]))
    assert seen[:, 0].abs().max() == pytest.approx(1.0) and not seen[:, 1].any()
    both = PrincipalComponents(2, 2, 10).fit(changes, torch.tensor([3.0, 1.0]))
    spread = changes - changes.mean(0)
    expected = 0.75 * spread[:, 0].square().sum() + 0.25 * spread[:, 1].square().sum()
    assert float(both.square().sum()) == pytest.approx(float(expected), rel=1e-5)


def test_a_bending_reed_is_foretold(known: GaussianODE) -> None:
    """A window on, for what was never rigid; before the window as well. What rests stays."""
    canonical, swing = known.canonical(), 0.6 * known.extent
    for normalized_time in (-0.4, 1.2, 1.6, 2.0):
        seen, truth = (
            at(known, normalized_time),
            known.apply_changes(canonical, known.changes(canonical, normalized_time)),
        )
        assert (seen.means - truth.means).norm(dim=-1).max() < 0.06 * swing, normalized_time
        assert (seen.quaternions - truth.quaternions).abs().max() < 0.03, normalized_time
        assert torch.equal(seen.means[BLADES:], canonical.means[BLADES:])


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_there_is_no_jump_at_the_window_s_ends(edge: float) -> None:
    """Though few components leave much out; and what they left out fades."""
    method = reed(config=replace(CONFIG, components=1))
    method.fit_dynamics()
    outward = 1 if edge else -1
    inside, after = at(method, edge), at(method, edge + outward * 1e-4)
    assert (inside.means - after.means).abs().max() < 5e-3 * method.extent
    gap = method.residuals[int(edge), :80].clone()
    assert gap.abs().max() > 1e-3, "else this shows nothing"
    near, far = edge + 0.1 * outward, edge + outward
    with_gap = [at(method, s).means.detach() for s in (near, far)]
    method.residuals.zero_()
    left = [(a - at(method, s).means.detach()).abs().max() for a, s in zip(with_gap, (near, far))]
    assert float(left[0]) == pytest.approx(math.exp(-1) * method.extent * float(gap[:, :3].abs().max()), rel=1e-3)
    assert left[1] < 1e-3 * left[0]


def test_within_the_window_the_law_says_nothing(known: GaussianODE) -> None:
    for normalized_time in (0.0, 0.3, 1.0):
        assert torch.equal(at(known, normalized_time).means, at(reed(), normalized_time).means)


def test_before_a_law_is_known_what_was_seen_last_stays() -> None:
    method = reed()
    for edge, later in ((1.0, 1.7), (0.0, -0.2)):
        torch.testing.assert_close(at(method, edge).means, at(method, later).means)


def test_the_law_is_fitted_once_at_each_of_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    method = reed()
    monkeypatch.setattr(method, "fit_dynamics", lambda: "fitted.")
    said = [method.before_step(step, step / 10) for step in range(10)]
    assert [line for line in said if line] == ["fitted."] and said[8] == "fitted."
    assert method.finish() == "80 Gaussians. fitted."


def test_a_scene_at_rest_stays_at_rest() -> None:
    class Rock(GaussianODE):
        def changes(self, canonical: Gaussians, normalized_time: float) -> Tensor:
            return torch.zeros(len(canonical.means), 10)

    method = reed(Rock)
    method.finish()
    assert torch.equal(at(method, 3.0).means, method.canonical().means)


def test_a_long_window_has_planes_with_nodes_for_it() -> None:
    def nodes(frames: int) -> int:
        times = tuple(torch.linspace(0, 1, frames).tolist())
        return GaussianODE(CONFIG, info(times)).deformation.planes.plane(0, 3).shape[1]

    assert (nodes(6), nodes(24)) == (4, 12)


def test_data_that_one_cloud_cannot_show_is_refused() -> None:
    config = METHODS["gaussian-ode"].load_presets()["fast"]
    config = replace(config, cloud=replace(config.cloud, budget=10))
    with pytest.raises(UserError, match="gaussian-ode learns one sequence, and the data set has 2"):
        build(config, changed(info(TIMES), times=(TIMES, TIMES)))
    with pytest.raises(UserError, match="normalised device coordinates"):
        build(config, replace(info(TIMES), ndc=True))
    with pytest.raises(UserError, match="there is no sequence 3"):
        build(config, info(TIMES)).observe(Observation(sequence=3))


def test_a_run_is_exported_past_its_window(tmp_path: Path) -> None:
    from foreseen.scenes.files import read_splats
    from foreseen.scenes.moving_gaussians import MovingGaussians
    from foreseen.simulate import simulate
    from foreseen.simulate.options import SimulateOptions

    data, run, out = tmp_path / "data", tmp_path / "run", tmp_path / "a.safetensors"
    options = SimulateOptions(frames=10, cameras=2, size=16, background="plain", sequences=1, samples=1)
    simulate("pendulum", data, options)
    words = {"cloud.budget": 60, "cloud.start-points": 40, "nodes": 4, "channels": 2, "warm-up.hull-only-steps": 1}
    words |= {
        "dynamics.iterations": 2,
        "dynamics.ensemble_size": 1,
        "preset": "fast",
        "max-steps": 4,
        "device": "cpu",
    }
    typed = [f"--{k}={v}" for k, v in words.items()]
    main(["train", "gaussian-ode", "--data", str(data), "--out", str(run), "--observe-until", "0.7", *typed])
    main(["export", str(run), "--format", "4d", "--out", str(out), "--times", "0:1:6"])
    moving = read_splats(out).scene
    assert isinstance(moving, MovingGaussians) and len(moving.times) == 6 and "means" in moving.tracks
    assert bool(moving.tracks["means"].values.isfinite().all())
