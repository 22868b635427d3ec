"""Node-RF's paper preset: shapes, schedule, gradients, time, and that it learns."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from changed_info import changed
from foreseen.batches.rays import RayBatch
from foreseen.core.method import scene_at, take
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.errors import UserError
from foreseen.geometry.rays import Rays
from foreseen.methods import METHODS
from foreseen.methods.node_rf.config import PRESETS, NodeRFPaperConfig
from foreseen.methods.node_rf.model import build
from foreseen.methods.node_rf.ode_rnn import OdeRnnEncoder
from foreseen.methods.node_rf.paper import PaperNodeRF
from foreseen.nn.lipschitz import LipschitzLinear
from foreseen.nn.nerf import NeRFNetwork, joined, shifted_softplus
from foreseen.render import render_rays
from foreseen.scenes import RadianceField

TINY = NodeRFPaperConfig(
    code_width=16,
    field_width=32,
    field_layers=3,
    field_skip=1,
    position_levels=3,
    direction_levels=1,
    rays=64,
    samples=12,
    importance_samples=12,
    centre_crop_steps=5,
    warm_up_steps=40,
    lr=3e-3,
)
TIMES = (10.0, 11.0, 12.0, 14.0, 15.0)
INFO = SceneInfo.of_one_scene(
    bounds=((-2.0, -2.0, -2.0), (2.0, 2.0, 2.0)),
    near=1.0,
    far=5.0,
    times=(TIMES,),
    background=(1.0, 1.0, 1.0),
    has_alpha=False,
    ndc=False,
    static_cameras=True,
)


def tiny(info: SceneInfo = INFO, **changes: object) -> PaperNodeRF:
    torch.manual_seed(0)
    method = build(replace(TINY, **changes), info)
    assert isinstance(method, PaperNodeRF)
    return method


def truth(time: float) -> RadianceField:
    """A red ball that crosses the picture in the window."""
    centre = torch.tensor([(time - 12.5) / 4, 0.0, 0.0])

    def query(x: Tensor, d: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
        return 30 * ((x - centre).norm(dim=-1) < 0.6), torch.tensor([0.9, 0.1, 0.1]).expand(len(x), 3)

    return RadianceField(query, INFO.near, INFO.far, INFO.background, options={"samples": 64})


def batch_at(place: int, count: int = 64) -> RayBatch:
    """Parallel rays along z through random places of a square."""
    origins = torch.cat([3 * torch.rand(count, 2) - 1.5, torch.full((count, 1), -3.0)], dim=-1)
    directions = torch.tensor([0.0, 0.0, 1.0]).expand(count, 3)
    rays = Rays(origins, directions, directions)
    colors = render_rays(truth(TIMES[place]), rays).rgb
    pixel_indices = torch.full((count,), place)
    return RayBatch(
        rays, colors, None, torch.tensor(TIMES)[pixel_indices], torch.zeros_like(pixel_indices), pixel_indices
    )


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack([value for name, value in terms.items() if not name.startswith("_")]).sum()


def train(method: PaperNodeRF, steps: int) -> list[float]:
    """What the trainer does, and the fine network's colour error at each step."""
    optimizer = torch.optim.Adam(method.parameter_groups(0.0))
    errors = []
    for step in range(steps):
        method.before_step(step, step / steps)
        optimizer.param_groups[0]["lr"] = method.parameter_groups(step / steps)[0]["lr"]
        allowed = method.batch_spec(step).time_indices or range(len(TIMES))
        terms = method.losses(batch_at(allowed[int(torch.randint(len(allowed), ()))]), step)
        optimizer.zero_grad()
        total(terms).backward()
        optimizer.step()
        errors.append(float(terms["color"].detach()))
    return errors


class TestPaperShapes:
    """The preset itself, against the sizes that are published."""

    method = build(PRESETS["paper"], INFO)

    def test_registered(self) -> None:
        entry = METHODS["node-rf"]
        assert entry.load() is build
        assert entry.load_presets()["paper"] == NodeRFPaperConfig()

    def sizes(self, module: nn.Module) -> list[tuple[int, int]]:
        return [(m.in_features, m.out_features) for m in module.modules() if isinstance(m, nn.Linear)]

    def test_codes(self) -> None:
        assert self.method.codes.shape == (2, 512)
        assert float(self.method.codes.detach().std()) == pytest.approx(0.01 / math.sqrt(512), rel=0.1)

    def test_dynamics(self) -> None:
        assert self.sizes(self.method.ode) == [(6, 100), (100, 100), (100, 6)]
        assert self.sizes(self.method.decoder) == [(6, 512)]
        weights = torch.cat([p.detach().flatten() for n, p in self.method.ode.named_parameters() if "weight" in n])
        assert float(weights.std()) == pytest.approx(0.1, rel=0.03)
        assert not any(p.any() for n, p in self.method.ode.named_parameters() if "bias" in n)

    def test_encoder(self) -> None:
        encoder = self.method.encoder
        assert self.sizes(encoder.ode) == [(20, 100), (100, 100), (100, 20)]
        assert self.sizes(encoder.unit.update) == self.sizes(encoder.unit.reset) == [(552, 100), (100, 20)]
        assert self.sizes(encoder.unit.new) == [(552, 100), (100, 40)]
        assert self.sizes(encoder.head) == [(40, 100), (100, 12)]

    @pytest.mark.parametrize("name", ["coarse", "fine"])
    def test_field(self, name: str) -> None:
        trunk = [(63 + 512, 256), *[(256, 256)] * 4, (256 + 63, 256), *[(256, 256)] * 2]
        heads = [(256, 1), (256, 256), (256 + 27 + 512, 128), (128, 3)]
        assert self.sizes(self.method.networks[name]) == trunk + heads

    def test_batch(self) -> None:
        spec = self.method.batch_spec(7000)
        assert self.method.traits.default_steps == 800_000
        assert (spec.rays, spec.frames, spec.centre_crop_steps, spec.time_indices) == (500, 1, 500, None)

    def test_learning_rate_is_the_papers_at_its_budget(self) -> None:
        for step in (0, 100_000, 500_000, 800_000):
            rate = self.method.parameter_groups(step / 800_000)[0]["lr"]
            assert rate == pytest.approx(5e-4 * 0.1 ** (step / 500_000), rel=2e-3)

    def test_scene(self) -> None:
        scene = scene_at(self.method, TIMES[2])
        assert scene.options == {"samples": 64, "importance_samples": 128}
        assert scene.coarse is not None and scene.coarse is not scene.query


class TestSchedule:
    def test_warm_up_and_its_returns(self) -> None:
        method = build(replace(TINY, warm_up_steps=5000), INFO)
        raw = [i for i in range(13_000) if method.is_warm_up(i)]
        assert raw == [*range(5000), *range(6000, 6201), *range(10_000, 10_201)]

    def test_warm_up_draws_from_the_first_two_times(self) -> None:
        method = tiny()
        assert method.batch_spec(0).time_indices == (0, 1)
        assert method.batch_spec(TINY.warm_up_steps).time_indices is None
        assert method.batch_spec(2000).time_indices == (0, 1), "the warm-up comes back"

    def test_a_short_budget_shortens_the_opening(self) -> None:
        method = build(replace(TINY, warm_up_steps=5000, centre_crop_steps=500), INFO)
        line = method.before_step(0, 0.0)
        assert line is not None and "own codes" in line
        assert method.is_warm_up(59) and method.batch_spec(59).centre_crop_steps == 500
        assert method.before_step(60, 0.1) is None
        assert not method.is_warm_up(60)
        assert method.batch_spec(60).time_indices is None
        assert method.batch_spec(60).centre_crop_steps == 0

    def test_warm_up_feeds_raw_codes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        method = tiny()
        seen: list[Tensor] = []
        field = method._field

        def spy(codes: Tensor, which: Tensor | None) -> RadianceField:
            seen.append(codes.detach())
            return field(codes, which)

        monkeypatch.setattr(method, "_field", spy)
        method.losses(batch_at(1), 0)
        method.losses(batch_at(1), TINY.warm_up_steps)
        assert torch.equal(seen[0], method.codes[1:2])
        assert not torch.allclose(seen[1], method.codes[1:2], atol=1e-4)

    def test_warm_up_trains_field_and_codes_alone(self) -> None:
        method = tiny()
        total(method.losses(batch_at(0), 0)).backward()
        learned = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None}
        assert learned == {"codes", "networks"}
        assert method.codes.grad[0].any() and not method.codes.grad[1].any()

    def test_warm_up_refuses_later_times(self) -> None:
        with pytest.raises(ValueError, match="batch_spec"):
            tiny().losses(batch_at(3), 0)


@pytest.mark.parametrize("lipschitz", [False, True])
def test_every_parameter_gets_a_gradient_after_the_warm_up(lipschitz: bool) -> None:
    """Encoder, law, decoder, fine, and the coarse network, which the authors' code leaves without."""
    method = tiny(lipschitz=lipschitz)
    terms = method.losses(batch_at(3), TINY.warm_up_steps)
    assert {"color", "color_coarse"} <= set(terms)
    assert ("lipschitz" in terms) == lipschitz
    total(terms).backward()
    silent = [name for name, p in method.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_coarse_and_fine_learn_from_their_own_picture() -> None:
    method = tiny()
    terms = method.losses(batch_at(3), TINY.warm_up_steps)
    for term, own, other in (("color", "fine", "coarse"), ("color_coarse", "coarse", "fine")):
        weights = [method.networks[name].color.weight for name in (own, other)]
        gradients = torch.autograd.grad(terms[term], weights, retain_graph=True, allow_unused=True)
        assert gradients[0].any() and gradients[1] is None


@pytest.mark.parametrize("place", [0, 3])
def test_recomputing_changes_no_gradient(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foreseen.nn.recompute.ROWS", 100)
    step = 0 if place < 2 else TINY.warm_up_steps
    found = []
    for recompute in (False, True):
        method = tiny(recompute=recompute)
        total(method.losses(batch_at(place), step)).backward()
        found.append({name: p.grad for name, p in method.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(g, found[1][name], atol=1e-6, rtol=1e-4) for name, g in found[0].items())


def test_bf16_stays_close() -> None:
    method = tiny()
    found = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms = method.losses(batch_at(3), TINY.warm_up_steps)
        total(terms).backward()
        found.append(float(total(terms).detach()))
    assert found[1] == pytest.approx(found[0], rel=0.05)
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


def test_a_batch_of_several_times_gives_each_ray_its_own() -> None:
    """Two frames in one batch: the loss is the mean of the two frames' own."""
    method = tiny(recompute=True)
    with torch.no_grad():
        method.ode.net.output.bias.copy_(torch.linspace(-3, 3, 6))
        method.decoder.weight.mul_(30)
    one, other = batch_at(1), batch_at(4)
    codes = method._evolved_codes(torch.tensor([1, 4]))
    which = torch.arange(2).repeat_interleave(64)
    both = render_rays(method._field(codes, which), Rays.concatenate([one.rays, other.rays])).rgb
    for i, batch in enumerate((one, other)):
        alone = render_rays(method._field(codes[i : i + 1], None), batch.rays).rgb
        assert torch.allclose(both[64 * i : 64 * (i + 1)], alone, atol=1e-5)
    swapped = render_rays(method._field(codes[:1], None), other.rays).rgb
    assert not torch.allclose(both[64:], swapped, atol=1e-3)


def test_lipschitz_bounds_every_layer_of_the_field() -> None:
    method = tiny(lipschitz=True, lipschitz_weight=0.5)
    layers = [m for m in method.networks.modules() if isinstance(m, nn.Linear)]
    assert all(isinstance(m, LipschitzLinear) for m in layers)
    assert not any(isinstance(m, LipschitzLinear) for m in method.ode.modules())
    term = method.losses(batch_at(3), TINY.warm_up_steps)["lipschitz"]
    assert float(term.detach()) == pytest.approx(0.5 * math.prod(float(m.bound.detach()) for m in layers), rel=1e-4)


class TestTime:
    def moving(self, **changes: object) -> PaperNodeRF:
        """A method whose latent moves visibly without training."""
        method = tiny(**changes)
        with torch.no_grad():
            method.ode.net.output.bias.copy_(torch.linspace(-1, 1, 6))
        return method

    def test_state_shapes(self) -> None:
        method = self.moving()
        state = method.observe(Observation())
        assert state.latent.shape == (6,) and float(state.time) == TIMES[0]
        later = method.evolve(state, torch.tensor(TIMES))
        assert later.latent.shape == (5, 6) and torch.equal(later.time, torch.tensor(TIMES))
        assert torch.equal(later.latent[0], state.latent)
        assert take(later, 2).latent.shape == (6,)

    @pytest.mark.parametrize("solver", ["euler", "midpoint", "rk4", "dopri5"])
    def test_any_order_past_and_before_the_window(self, solver: str) -> None:
        method = self.moving(solver=solver)
        state = method.observe(Observation())
        times = torch.tensor([30.0, 10.0, 14.3, 8.0, 14.3, 12.0])
        shuffled = method.evolve(state, times).latent
        order = times.argsort()
        assert torch.allclose(method.evolve(state, times[order]).latent, shuffled[order], atol=1e-6)
        assert torch.equal(shuffled[1], state.latent)
        speeds = (shuffled[0] - shuffled[5]).abs().max(), (shuffled[3] - shuffled[1]).abs().max()
        assert min(speeds) > 0.1, "it moves on beyond both ends"

    @pytest.mark.parametrize("solver", ["euler", "rk4"])
    def test_evolving_goes_on_from_where_a_state_stands(self, solver: str) -> None:
        """15 is a whole number of steps from 10, so both grids are the same."""
        method = self.moving(solver=solver)
        state = method.observe(Observation())
        midway = take(method.evolve(state, torch.tensor([15.0])), 0)
        assert torch.allclose(
            method.evolve(midway, torch.tensor([22.0])).latent,
            method.evolve(state, torch.tensor([22.0])).latent,
            atol=1e-5,
        )

    def test_training_and_test_agree_on_time(self) -> None:
        """Without spread in the posterior, a training code is the code of the picture at that time."""
        method = self.moving()
        with torch.no_grad():
            method.encoder.head.output.weight[6:] = 0
        trained = method._evolved_codes(torch.tensor([3]))
        state = method.evolve(method.observe(Observation()), torch.tensor([TIMES[3]]))
        assert torch.allclose(method.decoder(state.latent), trained, atol=1e-6)

    def test_mean_or_one_fixed_draw(self) -> None:
        mean, other = self.moving(), self.moving(sample_at_test=True)
        assert torch.equal(mean.observe(Observation()).latent, mean._posterior()[0])
        first, second = (other.observe(Observation()).latent for _ in range(2))
        assert torch.equal(first, second) and not torch.equal(first, mean.observe(Observation()).latent)
        assert "noise" in other.state_dict()

    def test_training_draws(self) -> None:
        method = self.moving()
        a, b = (method._evolved_codes(torch.tensor([2])) for _ in range(2))
        assert not torch.equal(a, b)


def test_units_of_length_do_not_matter() -> None:
    """The same scene in units a thousand times smaller gives the same picture."""
    batch = batch_at(2)
    large = changed(INFO, bounds=((-2e3,) * 3, (2e3,) * 3), near=1e3, far=5e3)
    pictures = []
    for info, factor in ((INFO, 1.0), (large, 1e3)):
        rays = Rays(batch.rays.origins * factor, batch.rays.directions, batch.rays.view_directions)
        pictures.append(render_rays(scene_at(tiny(info), 12.0), rays).rgb)
    assert torch.allclose(*pictures, atol=1e-4)
    assert pictures[0].std() > 1e-3


class TestEncoder:
    def test_reads_every_observation_backward_in_time(self) -> None:
        torch.manual_seed(0)
        encoder = OdeRnnEncoder(8, 6, dims=5, hidden=10)
        observations = torch.randn(3, 8, requires_grad=True)
        times = torch.tensor([0.0, 0.1, 0.4])
        mean, deviation = encoder(observations, times)
        assert mean.shape == deviation.shape == (6,) and (deviation >= 0).all()
        (gradient,) = torch.autograd.grad(mean.sum(), observations)
        sizes = gradient.norm(dim=-1)
        assert (sizes > 0).all()
        assert sizes.argmax() == 0, "the first in time is read last, and weighs most"

    def test_gaps_matter(self) -> None:
        torch.manual_seed(0)
        encoder = OdeRnnEncoder(8, 6, dims=5, hidden=10)
        observations = torch.randn(2, 8)
        near, far = (encoder(observations, torch.tensor([0.0, gap]))[0] for gap in (0.01, 0.8))
        assert not torch.allclose(near, far, rtol=1e-3, atol=0)


class TestNetwork:
    @pytest.mark.parametrize("cluster", [nn.Linear, LipschitzLinear])
    def test_parts_and_codes_join_as_if_concatenated(self, cluster: type[nn.Linear]) -> None:
        x, y, codes = torch.randn(7, 5), torch.randn(7, 2), torch.randn(3, 4)
        which = torch.tensor([0, 2, 1, 1, 0, 2, 2])
        layer = cluster(11, 6)
        if isinstance(layer, LipschitzLinear):
            nn.init.constant_(layer.c, -1.0)
        for several, place in ((codes, which), (codes[:1], None)):
            rows = several[which] if place is not None else several.expand(7, 4)
            expected = layer(torch.cat([x, y, rows], dim=-1))
            result = joined(layer, [x, y], several, place)
            assert torch.allclose(result, expected, atol=1e-6)
            learned = [layer.weight, layer.bias]
            gradients = [torch.autograd.grad(r.square().sum(), learned) for r in (result, expected)]
            assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*gradients))

    def test_ranges_and_no_code(self) -> None:
        net = NeRFNetwork(width=16, layers=3, skip=2)
        density, color = net(torch.randn(20, 3), nn.functional.normalize(torch.randn(20, 3), dim=-1))
        assert density.shape == (20,) and (density >= 0).all()
        assert color.shape == (20, 3) and ((color > 0) & (color < 1)).all()

    def test_an_emptied_field_can_recover(self) -> None:
        """Under ReLU it cannot, which is why the preset departs from the paper here."""
        for rectify, alive in ((shifted_softplus, True), (torch.relu, False)):
            net = NeRFNetwork(width=16, layers=2, rectify=rectify)
            nn.init.constant_(net.density.bias, -5.0)
            density, _ = net(torch.randn(20, 3), torch.randn(20, 3))
            density.sum().backward()
            assert bool(net.density.bias.grad.any()) == alive

    def test_density_does_not_see_the_direction(self) -> None:
        net = NeRFNetwork(4, width=16, layers=3, skip=0)
        x, code = torch.randn(5, 3), torch.randn(1, 4)
        a, b = (net(x, nn.functional.normalize(torch.randn(5, 3), dim=-1), code) for _ in range(2))
        assert torch.equal(a[0], b[0]) and not torch.equal(a[1], b[1])


def test_it_learns_a_moving_ball() -> None:
    """Codes first, then the ODE; the trained picture follows the ball, which a still one could not."""
    method = tiny(warm_up_steps=60, max_warm_up_share=0.3, lr=5e-3, lr_decay=0.3)
    errors = train(method, 300)
    assert sum(errors[-40:]) < 0.3 * sum(errors[:40])
    with torch.no_grad():
        for place in (0, 4):
            batch = batch_at(place, 256)
            own, other = (render_rays(scene_at(method, TIMES[p]), batch.rays).rgb for p in (place, 4 - place))
            assert (own - batch.colors).square().mean() < 0.5 * (other - batch.colors).square().mean()


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((TIMES, TIMES), "node-rf learns one sequence, and the data set has 2"),
        (((1.0,),), "node-rf needs training frames at 2 times or more; there is 1"),
    ],
)
def test_unfit_scenes_are_refused(times: tuple[tuple[float, ...], ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PaperNodeRF(TINY, changed(INFO, times=times))


def test_an_unseen_sequence_is_refused() -> None:
    with pytest.raises(UserError, match=r"there is no sequence 1\."):
        tiny().observe(Observation(sequence=1))
