"""Node-RF's latent preset: codes, the latent ODE, the conditioned field, one sequence and several."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from changed_info import changed
from foreseen.batches.rays import RayBatch
from foreseen.core.method import scene_at, take
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.errors import UserError
from foreseen.geometry.rays import Rays
from foreseen.methods.node_rf.fast import FastNodeRF
from foreseen.methods.node_rf.fast_config import (
    ConditionedLayerConfig,
    EncoderConfig,
    LatentODEConfig,
    NodeRFFastConfig,
)
from foreseen.methods.node_rf.fast_multi_sequence import FastMultiSequenceNodeRF
from foreseen.methods.node_rf.latent_embedding import isomap
from foreseen.methods.node_rf.latent_encoder import fitting_encoder
from foreseen.methods.node_rf.latent_field import LatentField
from foreseen.methods.node_rf.latent_ode import ObservedCodes, SecondOrderODE, fit_ode
from foreseen.methods.node_rf.model import build
from foreseen.render import render_rays
from foreseen.scenes import ComposedField

QUICK = LatentODEConfig(width=16, gain=1.0, step=0.05, shooting_steps=4, shooting_shares=(1.0,), ridge=1e-6)
TINY = NodeRFFastConfig(
    rays=256,
    samples=4096,
    static_levels=(4, 8),
    moving=ConditionedLayerConfig(levels=(4, 12), samples=24, code_cells=(4, 2)),
    body=ConditionedLayerConfig(levels=(4, 12), samples=12, code_cells=(1, 1)),
    grid_resolution=8,
    static_samples=24,
    warp_width=16,
    warp_layers=1,
    refresh_every=8,
    refresh_after=64,
    warm_up_share=0.0,
    warm_up_rays=256,
    curriculum_share=0.0,
    ode_every=2,
    warp_lr=1e-2,
    encoder=EncoderConfig(width=24),
    dynamics=QUICK,
    multi_sequence=QUICK,
)
TIMES = tuple(10 + 0.5 * i for i in range(9))
INFO = SceneInfo.of_one_scene(
    bounds=((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)),
    near=1.0,
    far=5.0,
    times=(TIMES,),
    background=(1.0, 1.0, 1.0),
    has_alpha=False,
    ndc=False,
    static_cameras=True,
)
MANY = changed(INFO, times=(TIMES, TIMES[:7], TIMES), names=("a", "b", "c"), bodies=(("ball",),) * 3)


def swing(times: Tensor, size: float) -> tuple[Tensor, Tensor]:
    """Positions and velocities `[T]` of a damped oscillator."""
    phase, fade = 1.5 * (times - 10), torch.exp(-0.05 * (times - 10))
    x = size * fade * phase.cos()
    return x, -1.5 * size * fade * phase.sin() - 0.05 * x


def labels(times: tuple[float, ...], size: float) -> PoseLabels:
    when = torch.tensor(times, dtype=torch.float64)
    x, v = swing(when, size)
    place = lambda value: torch.stack([value, torch.zeros_like(value), torch.zeros_like(value)], -1)[:, None]  # noqa: E731
    return PoseLabels(("ball",), when, place(x), place(v), torch.eye(3).double().expand(len(when), 1, 3, 3))


def one(info: SceneInfo = INFO, **changes: object) -> FastNodeRF:
    torch.manual_seed(0)
    method = build(replace(TINY, **changes), info)
    assert isinstance(method, FastNodeRF)
    codes = swing(torch.tensor(info.times[0]), 1.0)[0]
    method._initialize(codes[None, :, None].float(), LatentField.around(method.config, method.info, 1, []))
    return method


def many() -> FastMultiSequenceNodeRF:
    torch.manual_seed(0)
    method = build(TINY, MANY)
    assert isinstance(method, FastMultiSequenceNodeRF)
    line = method.warm_start([], [labels(times, size) for times, size in zip(MANY.times, (0.6, -0.5, 0.3))])
    assert line.startswith("codes of 1 dimension, the positions' ")
    return method


def batch(sequence: int = 0, count: int = 200, background: bool = False) -> RayBatch:
    """Parallel rays along z; a red square follows the oscillator, which rays of the `background` do not meet."""
    pixel_indices = torch.randint(7, (count,))
    origins = torch.cat([1.6 * torch.rand(count, 2) - 0.8, torch.full((count, 1), -3.0)], dim=-1)
    directions = torch.tensor([0.0, 0.0, 1.0]).expand(count, 3).contiguous()
    times = torch.tensor(TIMES)[pixel_indices]
    x = swing(times, 0.6)[0]
    hit = ((origins[:, 0] - x).abs() < 0.25) & (origins[:, 1].abs() < 0.25)
    if background:
        kept = ~hit
        pixel_indices, origins, directions, times, hit = (
            x[kept] for x in (pixel_indices, origins, directions, times, hit)
        )
    colors = torch.where(hit[:, None], torch.tensor([0.9, 0.1, 0.1]), torch.ones(3))
    return RayBatch(
        Rays(origins, directions, directions),
        colors,
        None,
        times,
        torch.full_like(pixel_indices, sequence),
        pixel_indices,
    )


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack([value for name, value in terms.items() if not name.startswith("_")]).sum()


class TestCodes:
    def test_a_bent_line_is_straightened(self) -> None:
        angles = np.sort(np.random.default_rng(0).uniform(0, 4, 60))
        scores, sizes = isomap(np.stack([np.cos(angles), np.sin(angles)], -1), 4)
        assert sizes[1] < 0.01 * sizes[0]
        assert abs(np.corrcoef(scores[:, 0], angles)[0, 1]) > 0.999

    def test_pieces_apart_are_joined(self) -> None:
        points = np.concatenate([np.arange(5.0), 100 + np.arange(5.0)])[:, None]
        scores, _ = isomap(points, 1)
        assert np.isfinite(scores).all()

    def test_encoder_and_decoder_are_inverse_with_their_rates(self) -> None:
        torch.manual_seed(0)
        x = torch.linspace(-1, 1, 80)
        positions = torch.stack([x, 0 * x, x**2 / 2], -1)
        encoder = fitting_encoder(positions, EncoderConfig(width=32))
        assert encoder.dims == 1
        velocities = torch.stack([torch.ones_like(x), 0 * x, x], -1)
        told, rates = encoder.decode(encoder(positions, velocities))
        assert (told - positions).abs().max() < 0.02
        assert (rates - velocities)[5:-5].abs().max() < 0.2


class TestODE:
    def test_fits_and_forecasts_an_oscillator(self) -> None:
        torch.manual_seed(0)
        ode = SecondOrderODE(1, QUICK)
        times = torch.linspace(0, 1, 30)
        codes = (-0.1 * times).exp() * (12 * times).cos()
        first = fit_ode(
            ode, ObservedCodes(codes[None, :, None], times[None], torch.ones(1, 30, dtype=torch.bool)), QUICK
        )
        later = torch.linspace(1, 2, 20)
        with torch.no_grad():
            said = ode.flow(first[0], 0.0, later)[:, 0]
        assert (said - (-0.1 * later).exp() * (12 * later).cos()).abs().max() < 0.3

    def test_never_leaves_to_infinity(self) -> None:
        torch.manual_seed(0)
        ode = SecondOrderODE(2, replace(QUICK, initial=20.0))
        with torch.no_grad():
            path = ode.flow(torch.full((4,), 5.0), 0.0, torch.tensor([10.0]))
        assert path.isfinite().all()


class TestOneSequence:
    def test_verbs(self) -> None:
        method = one()
        method.finish()
        state = method.evolve(method.observe(Observation()), torch.tensor([14.0, 10.0, 30.0]))
        assert state.latent.shape == (3, 2) and state.time.shape == (3,)
        scene = method.scene(take(state, 0))
        assert isinstance(scene, ComposedField)
        rays = batch().rays
        assert render_rays(scene, rays).rgb.shape == (200, 3)
        for layer in ("static", "dynamic"):
            assert render_rays(method.layer(take(state, 0), layer), rays).rgb.isfinite().all()

    def test_evolve_composes(self) -> None:
        method = one()
        method.finish()
        start = method.observe(Observation())
        direct = method.evolve(start, torch.tensor([18.0]))
        between = take(method.evolve(start, torch.tensor([13.3])), 0)
        assert torch.allclose(method.evolve(between, torch.tensor([18.0])).latent, direct.latent, atol=0.05)

    def test_the_law_takes_over_and_pictures_teach_it(self) -> None:
        method = one(ode_from=0.5)
        assert method.before_step(0, 0.0) is None and not method.is_ode_trained
        total(method.losses(batch(), 0)).backward()
        assert method.codes.grad is not None and method.codes.grad.abs().max() > 0
        assert method.first.grad is None
        assert "takes over" in (method.before_step(10, 0.6) or "")
        method.zero_grad()
        with torch.no_grad():
            method.field.voxels.values.normal_()
        total(method.losses(batch(), 10)).backward()
        assert method.first.grad.abs().max() > 0 and method.ode.net.output.weight.grad.abs().max() > 0

    def test_state_dict_round_trip(self) -> None:
        method = one()
        method.finish()
        tensors = method.state_dict()
        again = build(TINY, INFO)
        again.load_state_dict(tensors)
        at = lambda m: render_rays(scene_at(m, 15.0), batch_rays).rgb  # noqa: E731
        batch_rays = batch().rays
        with torch.no_grad():
            assert torch.equal(at(method), at(again))

    def test_learns_better_than_the_mean(self) -> None:
        method = one(ode_from=0.6)
        optimizer = torch.optim.Adam(method.parameter_groups(0.0), eps=1e-15)
        for step in range(120):
            method.before_step(step, step / 120)
            for group, now in zip(optimizer.param_groups, method.parameter_groups(step / 120)):
                group["lr"] = now["lr"]
            optimizer.zero_grad()
            background = method.field.is_static_step(step)
            total(method.losses(batch(background=background), step)).backward()
            optimizer.step()
        with torch.no_grad():
            seen = batch(count=1500)
            error = method.losses(seen, 2)["color"]
        assert error < 0.5 * seen.colors.var(0, unbiased=False).mean()

    def test_a_checkpoint_of_other_times_is_refused(self) -> None:
        with pytest.raises(UserError, match="are not those of"):
            one().load_state_dict({"codes": torch.zeros(1, 3, 1)})

    def test_another_sequence_is_refused(self) -> None:
        with pytest.raises(UserError, match="learned one sequence; there is no sequence 2"):
            one().observe(Observation(sequence=2))

    def test_system(self) -> None:
        method = one()
        method.finish()
        system = method.system()
        assert system is not None and system.names == ("q1", "q1'")
        assert system.rate(system.trajectories[0].start).shape == (2,)


class TestSeveralSequences:
    def test_new_initial_conditions(self) -> None:
        method = many()
        times = torch.tensor(TIMES)
        new = labels(TIMES, 0.45)
        state = method.evolve(method.observe(Observation(initial=new)), times)
        with torch.no_grad():
            positions, _ = method.encoder.decode(state.latent)
        assert (positions[:, 0] - new.positions[:, 0, 0]).abs().max() < 0.15

    def test_labels_and_pictures_teach(self) -> None:
        method = many()
        method.before_step(2, 0.9)
        terms = method.losses(batch(1), 2)
        assert {"pose", "velocity", "color"} <= set(terms)
        total(terms).backward()
        assert method.encoder.encoder.output.weight.grad.abs().max() > 0

    def test_state_dict_round_trip(self) -> None:
        method = many()
        again = build(TINY, MANY)
        again.load_state_dict(method.state_dict())
        first = [m.observe(Observation(sequence=2)).latent for m in (method, again)]
        assert torch.equal(*first)

    def test_system_tells_positions(self) -> None:
        system = many().system()
        assert system is not None and system.positions is not None
        assert system.positions(system.trajectories[0].states).shape == (9, 1, 3)

    def test_the_boxes_of_layers_follow_the_bodies(self) -> None:
        """A scene is what stands in the body's box, moved to where the code says that the body is; the static layer's
        box stays."""
        method = many()
        scenes = [scene_at(method, float(time), Observation(sequence=1)) for time in (TIMES[0], TIMES[4])]
        moved = [scene.centres[0] for scene in scenes]
        assert torch.equal(moved[0][0], moved[1][0]) and (moved[0][1] - moved[1][1]).norm() > 0.1
        known = method.known.positions[1, [0, 4]] * method.known.half_side + method.known.middle
        assert (torch.stack([m[1] for m in moved]) - known).norm(dim=-1).max() < 0.1

    def test_pictures_teach_where_bodies_are(self) -> None:
        method = many()
        method.before_step(2, 0.9)
        with torch.no_grad():
            method.field.voxels.values.normal_()
        method.losses(batch(1), 2)["color"].backward()
        assert method.encoder.decoder.output.weight.grad.abs().max() > 0

    def test_without_labels_it_is_refused(self) -> None:
        with pytest.raises(UserError, match="needs the bodies' positions"):
            build(TINY, changed(MANY, bodies=((), (), ())))
