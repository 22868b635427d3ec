"""Node-RF for several sequences with the same dynamics, with the paper's shapes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.core.method import Callback
from foreseen.core.observation import Observation, check_sequence_index
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.methods.node_rf.conditioned import ConditionedNeRF, NodeRFState
from foreseen.methods.node_rf.config import NodeRFPaperConfig
from foreseen.methods.node_rf.labelled_motion import LabelledMotion
from foreseen.methods.node_rf.losses import label_losses
from foreseen.methods.node_rf.systems import latent_system
from foreseen.nn.encodings import PositionalEncoding
from foreseen.nn.mlp import MLP
from foreseen.scenes import RadianceField


class PaperMultiSequenceNodeRF(ConditionedNeRF):
    """Position and velocity at one time -> ODE -> code, positions and velocities at later ones; Lipschitz-bounded
    coarse and fine NeRF. See README.md, "several sequences".

    Raises:
        UserError: as `LabelledMotion`.
    """

    observes = ("sequence", "initial")
    start_message = "the field learns the static scene; then the ODE gives the codes."

    def __init__(self, config: NodeRFPaperConfig, info: SceneInfo) -> None:
        many = config.multi_sequence
        super().__init__(config, info, steps=many.steps, warm_up_steps=many.warm_up_steps, lr_decay=many.lr_decay)
        self.ray_spec = replace(self.ray_spec, even_sequences=True)
        self.labelled_motion = LabelledMotion(info)
        self.encode = PositionalEncoding(many.levels, self.labelled_motion.width)
        self.static_code = self._random_code()
        self.canonical_code = self._random_code()
        self.encoder = MLP(
            self.encode.outputs,
            many.position_width,
            width=many.encoder_width,
            layers=many.encoder_layers,
            skip=many.encoder_skip,
        )
        dims = many.position_width + self.encode.outputs + config.code_width
        self.ode = self._make_ode(dims)
        outputs_of_labels = self.encode.outputs if many.targets == "encoded" else self.labelled_motion.width
        self.decoders = nn.ModuleDict(
            {
                name: MLP(dims, outputs, width=many.decoder_width, layers=2)
                for name, outputs in (
                    ("code", config.code_width),
                    ("pose", outputs_of_labels),
                    ("velocity", outputs_of_labels),
                )
            }
        )
        self.networks = self._make_networks(many.lipschitz)

    def _random_code(self) -> nn.Parameter:
        width = self.config.code_width
        return nn.Parameter(torch.randn(width) * self.config.code_std / math.sqrt(width))

    def callbacks(self) -> tuple[Callback, ...]:
        """Labels are kept before training; then the warm-up."""
        return (Callback(before_training=self.warm_start), *super().callbacks())

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> None:
        """Keeps the labels among the weights: a learned sequence starts from its own first label."""
        del frames
        self.labelled_motion.set_labels(labels)

    def observe(self, observation: Observation) -> NodeRFState:
        """The state at the first label of a training sequence, or at given initial conditions."""
        motion = self.labelled_motion
        if observation.initial is not None:
            first = observation.initial.at(0)
            positions, velocities = motion.in_units(first)
            return NodeRFState(self._state(positions[0], velocities[0]), positions.new_tensor(float(first.times[0])))
        index = observation.sequence
        check_sequence_index(index, len(motion.counts))
        latent = self._state(motion.positions[index, 0], motion.velocities[index, 0])
        return NodeRFState(latent, latent.new_tensor(motion.start_times[index]))

    def _state(self, positions: Tensor, velocities: Tensor) -> Tensor:
        """The ODE's state for bodies at `positions` with `velocities`, `[3 * B]` each, in the units of
        `LabelledMotion`. Only the positions go through an encoder."""
        return torch.cat([self.encoder(self.encode(positions)), self.encode(velocities), self.canonical_code])

    def evolve(self, state: NodeRFState, times: Tensor) -> NodeRFState:
        """The latent trajectory at `times` `[T]`; before the state's own time the ODE runs backward."""
        times = times.to(state.latent)
        return NodeRFState(self._flow(state.latent, 0.0, (times - state.time) / self.labelled_motion.length), times)

    def scene(self, state: NodeRFState) -> RadianceField:
        """The radiance field, conditioned on the decoded state."""
        return self._field(self._code(state.latent)[None], None)

    def _code(self, latent: Tensor) -> Tensor:
        return self.decoders["code"](latent) + self.static_code

    @torch.no_grad()
    def system(self, cluster: int = 0) -> DynamicalSystem:
        """The latent ODE, with the observed window of each sequence."""
        del cluster
        trajectories = []
        for sequence, times in enumerate(self.info.times):
            state = self.observe(Observation(sequence))
            trajectories.append((times, self.evolve(state, torch.tensor(times, dtype=torch.float64)).latent))
        code, positions = self._code_decoder(), self._position_decoder()
        return latent_system(self.ode, trajectories, self.labelled_motion.length, code, positions)

    def _code_decoder(self) -> Callable[[Tensor], Tensor]:
        decoder, static = copy.deepcopy(self.decoders["code"]).double(), self.static_code.detach().double()
        return lambda y: decoder(y) + static

    def _position_decoder(self) -> Callable[[Tensor], Tensor]:
        """States to positions in scene units; the first outputs of an encoding are the encoded values themselves."""
        decoder, motion = copy.deepcopy(self.decoders["pose"]).double(), self.labelled_motion
        return lambda y: decoder(y)[..., : motion.width].unflatten(-1, (-1, 3)) * motion.half_side + motion.middle

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Colour errors of both networks, the product of the Lipschitz bounds, and after the warm-up the errors of the
        decoded positions and velocities at all times after a random start."""
        bounded = self.config.multi_sequence.lipschitz
        if self.is_warm_up(step):
            return self._picture_losses(self.static_code[None], None, batch, bounded)
        sequence, time_index = _frame_of(batch)
        start = self._draw_start(sequence, time_index)
        later = slice(start + 1, self.labelled_motion.counts[sequence])
        trajectory = self._trajectory(sequence, start, later)
        code = self._code(trajectory[time_index - start - 1])
        return self._label_losses(trajectory, sequence, later) | self._picture_losses(code[None], None, batch, bounded)

    def _draw_start(self, sequence: int, time_index: int) -> int:
        """A random time index before `time_index`, within `start_share` of the sequence."""
        if time_index < 1:
            raise ValueError("a batch must have the times of batch_spec only")
        starts = max(1, int(self.config.multi_sequence.start_share * self.labelled_motion.counts[sequence]))
        return int(torch.randint(min(time_index, starts), ()))

    def _trajectory(self, sequence: int, start: int, later: slice) -> Tensor:
        """The ODE's solution `[T, D]` at the training times `later` of a sequence, from its label at index `start`."""
        motion = self.labelled_motion
        latent = self._state(motion.positions[sequence, start], motion.velocities[sequence, start])
        return self._flow(latent, 0.0, motion.times[sequence, later] - motion.times[sequence, start])

    def _label_losses(self, trajectory: Tensor, sequence: int, later: slice) -> dict[str, Tensor]:
        motion, many = self.labelled_motion, self.config.multi_sequence
        positions, velocities = self.decoders["pose"](trajectory), self.decoders["velocity"](trajectory)
        pairs = {
            "pose": (positions, motion.positions[sequence, later], many.pose_weight),
            "velocity": (velocities, motion.velocities[sequence, later], many.velocity_weight),
        }
        return label_losses(pairs, self.encode if many.targets == "encoded" else None)

    def batch_spec(self, step: int) -> RaySpec:
        """In the warm-up rays of the static scene; then any frame but the first of a sequence."""
        spec = super().batch_spec(step)
        if self.is_warm_up(step):
            return replace(spec, background_only=True)
        return replace(spec, time_indices=tuple(range(1, max(self.labelled_motion.counts))))


def _frame_of(batch: RayBatch) -> tuple[int, int]:
    """The sequence and the time index that all rays of the batch share."""
    pairs = torch.stack([batch.sequences, batch.time_indices], dim=1).unique(dim=0)
    if len(pairs) != 1:
        raise ValueError("a batch must come from one frame, as batch_spec says")
    sequence, time_index = pairs[0].tolist()
    return sequence, time_index
