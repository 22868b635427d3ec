"""Node-RF on several sequences of one motion, preset `latent`: from initial conditions through a latent ODE to one
conditioned field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan

import torch
from torch import Tensor, nn

from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.methods.node_rf.body_sizes import body_half_sizes
from foreseen.methods.node_rf.conditioned import NodeRFState
from foreseen.methods.node_rf.coordinate_choice import LabelledPaths, choose_coordinates
from foreseen.methods.node_rf.fast_base import FastNodeRFBase
from foreseen.methods.node_rf.fast_config import ConditionedLayerConfig, Coordinates, NodeRFFastConfig
from foreseen.methods.node_rf.labelled_motion import LabelledMotion
from foreseen.methods.node_rf.latent_encoder import StateEncoder, fitting_encoder
from foreseen.methods.node_rf.latent_field import LatentField
from foreseen.methods.node_rf.latent_ode import cut_segments, fit_ode

COORDINATE_NAMES: dict[Coordinates, str] = {
    "surface": "distances along the surface they lie on",
    "projection": "projection on principal axes",
}


class FastMultiSequenceNodeRF(FastNodeRFBase):
    """See README.md, "fast, several sequences". Raises `UserError` as `LabelledMotion`."""

    observes = ("sequence", "initial")

    def __init__(self, config: NodeRFFastConfig, info: SceneInfo) -> None:
        super().__init__(config, info)
        self.known = LabelledMotion(info)
        self.encoder = StateEncoder(self.known.width, self.dims, config.encoder)
        self.ridge = self.dynamics.ridge

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str:
        """Stores the labels, and fits encoder, decoder and ODE to them."""
        self.known.set_labels(labels)
        known = self.known
        paths = LabelledPaths(known.positions, known.velocities * known.speed, self.times, self.valid)
        choice = choose_coordinates(paths, self.config.encoder, self.dynamics)
        self.ridge = choice.ridge
        encoder = fitting_encoder(known.positions[self.valid], self.config.encoder, choice.coordinates)
        codes = encoder(known.positions, known.positions)[..., : encoder.dims].detach()
        positions = {
            (name, float(time)): place
            for name, label in zip(self.info.names, labels)
            if label is not None
            for time, place in zip(label.times, label.positions)
        }
        c, bodies = self.config, len(known.bodies)
        sizes = body_half_sizes(frames, bodies, positions, self.info, c.silhouettes, c.body_sizes)
        self._initialize(codes, LatentField.around_bodies(self.config, self.info, encoder.dims, sizes))
        self._set_encoder(encoder)
        dims = f"{self.dims} dimension{'s' if self.dims > 1 else ''}"
        error = f"; positions of sequences left out are off by {choice.error:.0%} of their spread"
        return (
            f"codes of {dims}, the positions' {COORDINATE_NAMES[choice.coordinates]}"
            f"{'' if isnan(choice.error) else error}; {self._start_ode_stage()}"
        )

    def _take_shapes(self, tensors: Mapping[str, Tensor]) -> None:
        super()._take_shapes(tensors)
        self._set_encoder(StateEncoder(self.known.width, self.dims, self.config.encoder))

    @property
    def layers(self) -> ConditionedLayerConfig:
        """One for each body."""
        return self.config.body

    def _curriculum_radius(self) -> float:
        """All codes from the start: the boxes follow the bodies, so that the warp need not find large displacements."""
        return 2.0

    def _set_encoder(self, encoder: StateEncoder) -> None:
        """Makes the layers' boxes follow the decoded positions."""
        self.encoder = encoder
        self.field.bodies_at = self._bodies_at

    def _bodies_at(self, codes: Tensor) -> Tensor:
        """Positions `[R, B, 3]` in the scene, under codes `[R, D]`."""
        return self.encoder.decoder(codes).unflatten(-1, (-1, 3)) * self.known.half_side + self.known.middle.to(codes)

    def _fit(self) -> None:
        """Fits the ODE to segments of the labelled trajectories."""
        states = self._encoded(self.known.positions, self.known.velocities).detach()
        c = self.dynamics
        for i, share in enumerate(c.segment_shares):
            segments, first = cut_segments(states, self.times, self.valid, share)
            fit_ode(self.ode, segments, c, first, initialize=i == 0, ridge=self.ridge, shares=(1.0,))

    def _encoded(self, positions: Tensor, velocities: Tensor) -> Tensor:
        """States `[..., 2 D]` of positions and velocities `[..., 3 B]` in the units of `LabelledMotion`."""
        return self.encoder(positions, velocities * self.known.speed)

    def first_states(self) -> Tensor:
        """Encoded from the first labels."""
        return self._encoded(self.known.positions[:, 0], self.known.velocities[:, 0])

    def observe(self, observation: Observation) -> NodeRFState:
        """The state at the first label of a training sequence, or at given initial conditions."""
        if observation.initial is None:
            return super().observe(observation)
        first = observation.initial.at(0)
        positions, velocities = self.known.in_units(first)
        state = self._encoded(positions[0], velocities[0])
        return NodeRFState(state, state.new_tensor(float(first.times[0])))

    def path_losses(self, paths: Tensor) -> dict[str, Tensor]:
        """Node-RF's errors of the decoded positions and velocities."""
        known, c = self.known, self.config
        positions, velocities = self.encoder.decode(paths)
        position_error = (positions - known.positions)[self.valid].abs().mean()
        velocity_error = (velocities / known.speed - known.velocities)[self.valid].abs().mean()
        return {"pose": c.position_weight * position_error, "velocity": c.velocity_weight * velocity_error}

    def _ode_parameters(self) -> list[nn.Parameter]:
        return [*super()._ode_parameters(), *self.encoder.parameters()]

    @torch.no_grad()
    def system(self, cluster: int = 0) -> DynamicalSystem:
        """With the decoded positions."""
        system, known, decoder = super().system(cluster), self.known, self.encoder.double_decoder()
        dims = self.dims

        def positions(y: Tensor) -> Tensor:
            return decoder(y[..., :dims]).unflatten(-1, (-1, 3)) * known.half_side + known.middle

        assert system is not None
        return replace(system, positions=positions)
