"""Node-RF's paper preset on several sequences: shapes, schedule, labels, gradients, time, and that its law learns."""

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
from foreseen.data.labels import PoseLabels
from foreseen.errors import UserError
from foreseen.geometry.rays import Rays
from foreseen.methods.node_rf.config import PRESETS, MultiSequenceConfig, NodeRFPaperConfig
from foreseen.methods.node_rf.model import build
from foreseen.methods.node_rf.ode_rnn import AutonomousODE
from foreseen.methods.node_rf.paper_multi_sequence import PaperMultiSequenceNodeRF
from foreseen.nn.lipschitz import LipschitzLinear
from foreseen.render import render_rays
from foreseen.scenes import RadianceField

MANY = MultiSequenceConfig(
    warm_up_steps=40, levels=3, encoder_width=24, encoder_layers=3, encoder_skip=1, decoder_width=24
)
TINY = NodeRFPaperConfig(
    code_width=16,
    ode_width=24,
    field_width=16,
    field_layers=3,
    field_skip=1,
    position_levels=2,
    direction_levels=1,
    rays=32,
    samples=8,
    importance_samples=8,
    centre_crop_steps=5,
    lr=3e-3,
    multi_sequence=MANY,
)
TIMES = ((10.0, 10.5, 11.0, 12.0, 12.5, 13.0, 13.5, 14.0), (20.0, 20.5, 21.0, 22.0, 22.5, 23.0), (0.0, 1.0, 2.0, 4.0))
BODIES = ("ball",)
INFO = SceneInfo.of_one_scene(
    bounds=((-2.0, -2.0, -1.0), (2.0, 2.0, 1.0)),
    near=1.0,
    far=5.0,
    times=TIMES,
    background=(1.0, 1.0, 1.0),
    has_alpha=False,
    ndc=False,
    static_cameras=True,
    names=("first", "second", "third"),
    bodies=(BODIES,) * 3,
)
CAMERA_MOVE_SECONDS = MANY.warm_up_steps
"""A step after the first warm-up."""


def labels(times: tuple[float, ...], start: tuple[float, float], bodies: tuple[str, ...] = BODIES) -> PoseLabels:
    """A swing along x around the origin, of 0.8 radians a time unit, from a position and a velocity."""
    t = torch.tensor(times, dtype=torch.float64)
    angle, (p, v) = 0.8 * (t - t[0]), start
    one = torch.zeros(len(t), len(bodies), 3, dtype=torch.float64)
    other = torch.zeros_like(one)
    one[..., 0] = (p * angle.cos() + v / 0.8 * angle.sin())[:, None]
    other[..., 0] = (v * angle.cos() - p * 0.8 * angle.sin())[:, None]
    return PoseLabels(bodies, t, one, other, torch.eye(3, dtype=torch.float64).expand(len(t), len(bodies), 3, 3))


STARTS = ((1.2, 0.0), (-0.5, 0.6), (0.3, -1.0))
LABELS = [labels(times, start) for times, start in zip(TIMES, STARTS)]


def tiny(
    info: SceneInfo = INFO, multi_sequence: dict[str, object] | None = None, **changes: object
) -> PaperMultiSequenceNodeRF:
    torch.manual_seed(0)
    method = build(replace(TINY, multi_sequence=replace(MANY, **(multi_sequence or {})), **changes), info)
    assert isinstance(method, PaperMultiSequenceNodeRF)
    method.warm_start((), LABELS)
    return method


def batch_at(sequence: int, time_index: int, count: int = 32) -> RayBatch:
    """Parallel rays along z, with colours that mean nothing."""
    origins = torch.cat([3 * torch.rand(count, 2) - 1.5, torch.full((count, 1), -3.0)], dim=-1)
    directions = torch.tensor([0.0, 0.0, 1.0]).expand(count, 3)
    sequences, pixel_indices = torch.full((count,), sequence), torch.full((count,), time_index)
    times = torch.full((count,), TIMES[sequence][time_index])
    return RayBatch(Rays(origins, directions, directions), torch.rand(count, 3), None, times, sequences, pixel_indices)


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack([value for name, value in terms.items() if not name.startswith("_")]).sum()


class TestPaperShapes:
    """The preset itself, against the sizes that are published, for positions in three dimensions."""

    method = build(PRESETS["paper"], INFO)

    def sizes(self, module: nn.Module) -> list[tuple[int, int]]:
        return [(m.in_features, m.out_features) for m in module.modules() if isinstance(m, nn.Linear)]

    def test_one_sequence_has_a_class_of_its_own(self) -> None:
        assert isinstance(self.method, PaperMultiSequenceNodeRF)
        one = changed(INFO, times=TIMES[:1], names=("first",), bodies=(BODIES,))
        assert not isinstance(build(TINY, one), PaperMultiSequenceNodeRF)

    def test_codes(self) -> None:
        for code in (self.method.static_code, self.method.canonical_code):
            assert code.shape == (512,)
            assert float(code.detach().std()) == pytest.approx(0.01 / math.sqrt(512), rel=0.15)

    def test_dynamics(self) -> None:
        state = 8 + 63 + 512
        assert self.sizes(self.method.encoder) == [
            (63, 256),
            *[(256, 256)] * 4,
            (256 + 63, 256),
            *[(256, 256)] * 2,
            (256, 8),
        ]
        assert self.sizes(self.method.ode) == [(state, 100), (100, 100), (100, state)]
        for name, out in (("code", 512), ("pose", 3), ("velocity", 3)):
            assert self.sizes(self.method.decoders[name]) == [(state, 256), (256, 256), (256, out)]

    def test_field_is_bounded(self) -> None:
        for name in ("coarse", "fine"):
            layers = [m for m in self.method.networks[name].modules() if isinstance(m, nn.Linear)]
            assert len(layers) == 12 and all(isinstance(m, LipschitzLinear) for m in layers)

    def test_schedule(self) -> None:
        assert self.method.traits.default_steps == 700_000
        assert [i for i in range(7000) if self.method.is_warm_up(i)] == [*range(2201), *range(6000, 6201)]
        spec = self.method.batch_spec(3000)
        assert (spec.rays, spec.frames, spec.even_sequences, spec.background_only) == (500, 1, True, False)
        for step in (0, 500_000, 700_000):
            rate = self.method.parameter_groups(step / 700_000)[0]["lr"]
            assert rate == pytest.approx(5e-4 * 0.1 ** (step / 500_000), rel=2e-3)


class TestWarmUp:
    def test_batches(self) -> None:
        method = tiny()
        early, late = method.batch_spec(0), method.batch_spec(CAMERA_MOVE_SECONDS)
        assert early.background_only and early.time_indices is None
        assert not late.background_only and late.time_indices == tuple(range(1, 8)), "some frame before every target"

    def test_a_short_budget_shortens_the_opening(self) -> None:
        method = tiny(multi_sequence={"warm_up_steps": 2000})
        line = method.before_step(0, 0.0)
        assert line is not None and "static scene" in line
        assert method.is_warm_up(59)
        assert method.before_step(60, 0.1) is None
        assert not method.is_warm_up(60) and method.batch_spec(60).centre_crop_steps == 0

    def test_trains_field_and_static_code_alone(self) -> None:
        method = tiny()
        terms = method.losses(batch_at(1, 0), 0)
        assert {name for name in terms if name[0] != "_"} == {"color", "color_coarse", "lipschitz"}
        total(terms).backward()
        learned = {name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None}
        assert learned == {"static_code", "networks"}

    def test_feeds_the_static_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        method = tiny()
        seen: list[Tensor] = []
        field = method._field

        def spy(codes: Tensor, which: Tensor | None) -> RadianceField:
            seen.append(codes.detach())
            return field(codes, which)

        monkeypatch.setattr(method, "_field", spy)
        method.losses(batch_at(0, 1), 0)
        method.losses(batch_at(0, 1), CAMERA_MOVE_SECONDS)
        assert torch.equal(seen[0][0], method.static_code.detach())
        assert not torch.allclose(seen[1][0], method.static_code.detach(), atol=1e-4)


class TestLosses:
    @pytest.mark.parametrize("targets", ["raw", "encoded"])
    def test_every_parameter_gets_a_gradient(self, targets: str) -> None:
        method = tiny(multi_sequence={"targets": targets}, lipschitz_weight=1e-3)
        terms = method.losses(batch_at(0, 3), CAMERA_MOVE_SECONDS)
        assert {name for name in terms if name[0] != "_"} == {"color", "color_coarse", "pose", "velocity", "lipschitz"}
        total(terms).backward()
        silent = [name for name, p in method.named_parameters() if p.grad is None or not p.grad.any()]
        assert not silent

    def test_colour_reaches_the_law(self) -> None:
        """Without any weight on labels, through the code."""
        method = tiny(multi_sequence={"pose_weight": 0.0, "velocity_weight": 0.0})
        total(method.losses(batch_at(1, 4), CAMERA_MOVE_SECONDS)).backward()
        for module in (method.encoder, method.ode, method.decoders["code"]):
            assert all(p.grad is not None and p.grad.any() for p in module.parameters())
        assert not any(p.grad.any() for p in method.decoders["pose"].parameters())

    def test_errors_of_positions_and_velocities(self) -> None:
        """By hand: means over all later times, absolute of raw values, or squared of their encodings."""
        for targets in ("raw", "encoded"):
            method = tiny(multi_sequence={"targets": targets, "pose_weight": 0.3, "velocity_weight": 0.7})
            method._draw_start = lambda sequence, time_index: 2  # type: ignore[method-assign]
            terms = method.losses(batch_at(1, 4), CAMERA_MOVE_SECONDS)
            trajectory = method._trajectory(1, 2, slice(3, 6))
            for name, weight, known in (
                ("pose", 0.3, method.labelled_motion.positions),
                ("velocity", 0.7, method.labelled_motion.velocities),
            ):
                said, label = method.decoders[name](trajectory), known[1, 3:6]
                expected = (
                    (said - label).abs().mean() if targets == "raw" else (said - method.encode(label)).square().mean()
                )
                assert torch.allclose(terms[name], weight * expected)

    def test_bounds(self) -> None:
        method = tiny(lipschitz_weight=0.5)
        layers = [m for m in method.networks.modules() if isinstance(m, nn.Linear)]
        with torch.no_grad():
            for layer in layers:
                layer.weight.mul_(5)
        for layer in layers:
            segment = float(layer.normalised_weight().detach().abs().sum(1).max())
            assert segment <= float(layer.bound.detach()) * (1 + 1e-5)
        term = method.losses(batch_at(0, 3), CAMERA_MOVE_SECONDS)["lipschitz"]
        assert float(term.detach()) == pytest.approx(0.5 * math.prod(float(m.bound.detach()) for m in layers), rel=1e-4)
        assert "lipschitz" not in tiny(multi_sequence={"lipschitz": False}).losses(batch_at(0, 3), CAMERA_MOVE_SECONDS)

    def test_starts_come_before_the_target_and_early(self) -> None:
        method = tiny()
        assert {method._draw_start(0, 7) for _ in range(80)} == {0, 1, 2, 3}
        assert {method._draw_start(0, 2) for _ in range(40)} == {0, 1}
        with pytest.raises(ValueError, match="batch_spec"):
            method.losses(batch_at(0, 0), CAMERA_MOVE_SECONDS)

    def test_one_frame_a_batch(self) -> None:
        one, other = batch_at(0, 1), batch_at(1, 1)
        mixed = replace(one, sequences=torch.cat([one.sequences[:16], other.sequences[:16]]))
        with pytest.raises(ValueError, match="one frame"):
            tiny().losses(mixed, CAMERA_MOVE_SECONDS)


class TestLabels:
    def test_units(self) -> None:
        """The longest side is 4, so 1.2 is 0.6 halves; the longest window is 4 long."""
        known = tiny().labelled_motion
        assert float(known.positions[0, 0, 0]) == pytest.approx(0.6)
        fastest = max(float(one.velocities.abs().max()) for one in LABELS)
        assert float(known.speed) == pytest.approx(fastest * 4 / 2)
        assert float(known.velocities.abs().max()) == pytest.approx(1.0)
        assert known.times[1, :6].tolist() == pytest.approx([0, 0.125, 0.25, 0.5, 0.625, 0.75])
        assert not known.positions[2, 4:].any()

    def test_several_bodies(self) -> None:
        two = ("a", "b")
        torch.manual_seed(0)
        method = build(TINY, changed(INFO, bodies=(two,) * 3))
        method.warm_start((), [labels(times, start, two) for times, start in zip(TIMES, STARTS)])
        assert method.labelled_motion.positions.shape == (3, 8, 6)
        assert scene_at(method, 12.0).near == INFO.near
        total(method.losses(batch_at(0, 2), CAMERA_MOVE_SECONDS)).backward()

    def test_resume(self) -> None:
        """A new method with the checkpoint's tensors gives the same pictures, without labels."""
        saved = tiny()
        torch.manual_seed(1)
        other = build(saved.config, INFO)
        tensors = {name: value.clone() for name, value in saved.state_dict().items()}
        other.load_state_dict(tensors)
        rays = batch_at(0, 0).rays
        for observation in (Observation(sequence=1), Observation(initial=LABELS[0].at(2))):
            pictures = [render_rays(scene_at(m, 12.0, observation), rays).rgb for m in (saved, other)]
            assert torch.equal(*pictures)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"bodies": (BODIES, (), BODIES)}, "several sequences, and 'second' lacks them: .* or one sequence"),
            ({"bodies": ()}, "and 'first' lacks them: give a data set with ground truth, or one sequence"),
            ({"bodies": (BODIES, BODIES, ("a", "b"))}, "'first' has 1 body and 'third' 2 bodies"),
            ({"times": (*TIMES[:2], (1.0,))}, "at 2 times or more; 'third' has 1: give more frames"),
        ],
    )
    def test_unfit_data_is_refused(self, change: dict[str, object], message: str) -> None:
        with pytest.raises(UserError, match=message):
            build(TINY, changed(INFO, **change))

    def test_absent_labels_are_refused(self) -> None:
        with pytest.raises(UserError, match="'second' lacks them: give a data set with ground truth, or one sequence"):
            build(TINY, INFO).warm_start((), [LABELS[0], None, LABELS[2]])

    def test_unknown_observations_are_refused(self) -> None:
        method = tiny()
        with pytest.raises(UserError, match="learned 3 sequences; there is no sequence 3"):
            method.observe(Observation(sequence=3))
        with pytest.raises(UserError, match="learned 1 body, and the initial conditions have 2 bodies"):
            method.observe(Observation(initial=labels((0.0,), (1.0, 0.0), ("a", "b"))))


class TestTime:
    def test_state_shapes(self) -> None:
        method = tiny()
        state = method.observe(Observation(sequence=1))
        assert state.latent.shape == (8 + 21 + 16,) and float(state.time) == TIMES[1][0]
        later = method.evolve(state, torch.tensor(TIMES[1]))
        assert later.latent.shape == (6, 45) and torch.equal(later.time, torch.tensor(TIMES[1]))
        assert torch.equal(later.latent[0], state.latent)

    def test_the_same_beginning_gives_the_same_state(self) -> None:
        """A sequence that was learned, and one of other times that begins alike."""
        method = tiny()
        known = method.observe(Observation(sequence=1))
        alike = method.observe(Observation(initial=labels((70.0,), STARTS[1])))
        assert torch.allclose(alike.latent, known.latent, atol=1e-5)
        one = method.evolve(known, torch.tensor([21.5, 26.0])).latent
        assert torch.allclose(method.evolve(alike, torch.tensor([71.5, 76.0])).latent, one, atol=1e-5)
        other = method.observe(Observation(initial=labels((70.0,), STARTS[2])))
        assert not torch.allclose(other.latent, known.latent, atol=1e-2)

    def test_training_and_test_agree(self) -> None:
        method = tiny()
        trained = method._trajectory(1, 2, slice(3, 6))
        state = method.observe(Observation(initial=LABELS[1].at(2)))
        assert torch.allclose(method.evolve(state, torch.tensor(TIMES[1][3:])).latent, trained, atol=1e-5)

    @pytest.mark.parametrize("solver", ["euler", "rk4", "dopri5"])
    def test_backward_and_forward_in_any_order(self, solver: str) -> None:
        method = tiny(solver=solver, ode_step=0.01)
        state = method.observe(Observation(sequence=0))
        times = torch.tensor([15.0, 7.0, 10.0, 12.0])
        found = method.evolve(state, times)
        assert torch.equal(found.latent[2], state.latent)
        assert (found.latent[1] - found.latent[2]).abs().max() > 0.05
        again = method.evolve(take(found, 1), torch.tensor([10.0])).latent[0]
        assert torch.allclose(again, state.latent, atol=0.1 if solver == "euler" else 1e-2)


@pytest.mark.parametrize("layers", [3, 5, 7])
def test_a_law_of_any_depth_learns_the_swing(layers: int) -> None:
    """Positions alone, no picture. The best constant leaves 0.117; untrained networks 0.24."""
    method = tiny(ode_layers=layers, lr=2e-3)
    parameters = [p for m in (method.encoder, method.ode, method.decoders) for p in m.parameters()]
    optimizer = torch.optim.Adam([*parameters, method.canonical_code], lr=2e-3)
    errors = []
    for _ in range(300):
        sequence = int(torch.randint(3, ()))
        later = slice(1 + method._draw_start(sequence, len(TIMES[sequence]) - 1), len(TIMES[sequence]))
        error = (
            method._label_losses(method._trajectory(sequence, later.start - 1, later), sequence, later)["pose"] / 1e-2
        )
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert sum(errors[-30:]) / 30 < 0.075


class TestLaw:
    def test_depths(self) -> None:
        for layers in (2, 3, 5, 7):
            ode = AutonomousODE(6, 10, layers)
            assert len([m for m in ode.modules() if isinstance(m, nn.Linear)]) == layers
            assert ode(torch.zeros(()), torch.randn(4, 6)).shape == (4, 6)
        with pytest.raises(UserError, match=r"ode_layers\): give 2 or more"):
            AutonomousODE(6, 10, 1)

    def test_deep_laws_keep_all_directions(self) -> None:
        """What seven plain layers do not: half of the directions shrink tenfold between the first and the last."""
        torch.manual_seed(0)
        ode = AutonomousODE(100, 100, 7)
        first, *inner = ode.net.hidden

        def residual(h: Tensor) -> Tensor:
            for layer in inner:
                h = h + torch.tanh(layer(h)) / len(inner)
            return h

        def plain(h: Tensor) -> Tensor:
            for layer in inner:
                h = torch.tanh(layer(h))
            return h

        h = torch.tanh(first(0.5 * torch.randn(100))).detach()
        kept, lost = (
            torch.linalg.svdvals(torch.autograd.functional.jacobian(f, h)).median() for f in (residual, plain)
        )
        assert kept > 0.5 and lost < 0.2
