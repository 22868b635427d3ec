"""A cloud of Gaussians, deformed by feature planes, and a learned ODE for principal components of the deformation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from foreseen.core.observation import Observation, check_sequence_index
from foreseen.core.scene_info import SceneInfo
from foreseen.core.window import outside_window
from foreseen.dynamics.sequence_dynamics import SequenceDynamics
from foreseen.methods.gaussian_ode.components import PrincipalComponents
from foreseen.methods.gaussian_ode.config import GaussianODEConfig
from foreseen.nn.splines import UniformBSpline
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.planes import CHANGES, PlaneGaussians


@dataclass(frozen=True)
class GaussianODEState:
    """A time, and the predicted deformation there. Leading axes are times.

    Attributes:
        normalized_time: `[...]` float64, 0 at the start of the observed window and 1 at its end.
        coefficients: `[..., K]` float64, predicted coefficients of the principal components. 0 inside the window, where
            they are not used: the planes give the deformation.
    """

    normalized_time: Tensor
    coefficients: Tensor


class GaussianODE(PlaneGaussians[GaussianODEState]):
    """Inside the observed window feature planes deform the cloud; outside, learned dynamics predict the coefficients of
    the principal components of this deformation. See README.md.

    Attributes:
        residuals: `[2, N, C]`, deformation at the window's start and end minus its prediction by the dynamics.
        fit_stage: `[]`, number of entries of `fit_at` at which the dynamics were fitted.
    """

    config: GaussianODEConfig
    residuals: Tensor
    fit_stage: Tensor

    def __init__(self, config: GaussianODEConfig, info: SceneInfo) -> None:
        frames = len(info.times[0])
        nodes = max(config.time_nodes, round(frames / config.frames_per_node))
        super().__init__("gaussian-ode", replace(config, time_nodes=nodes), info)
        self.controls = max(config.min_controls, min(config.max_controls, round(frames / config.frames_per_control)))
        self.components = PrincipalComponents(config.cloud.budget, config.components, sum(CHANGES))
        self.motion = SequenceDynamics(config.dynamics, config.components)
        self.register_buffer("residuals", torch.zeros(2, config.cloud.budget, sum(CHANGES)))
        self.register_buffer("fit_stage", torch.tensor(0))

    # Observe, evolve, scene.

    def observe(self, observation: Observation) -> GaussianODEState:
        """The start of the observed window."""
        check_sequence_index(observation.sequence, 1)
        zeros = self.residuals.new_zeros(self.config.components, dtype=torch.float64)
        return GaussianODEState(zeros[0], zeros)

    def evolve(self, state: GaussianODEState, times: Tensor) -> GaussianODEState:
        """Inside the window only the time is set. Outside, the coefficients are the solution of the dynamics from the
        nearer end of the window."""
        before, after = outside_window(times, *self.info.time_range)
        outside = before | after
        normalized_time = torch.tensor(
            [self.normalized_time(t) for t in times.tolist()], dtype=torch.float64, device=times.device
        )
        normalized_time = torch.where(outside, normalized_time, normalized_time.clamp(0, 1))
        coefficients = state.coefficients.new_zeros(len(times), self.config.components)
        if outside.any() and self.motion.fitted:
            coefficients[outside] = self.motion.extrapolate(normalized_time[outside]).to(coefficients)
        return GaussianODEState(normalized_time, coefficients)

    def scene(self, state: GaussianODEState) -> Gaussians:
        """The deformed cloud. Before the dynamics are fitted, it is static outside the window. Outside the window the
        residual at its nearer end is added and fades out exponentially, so that there is no jump."""
        canonical, normalized_time = self.canonical(), float(state.normalized_time)
        clamped_time = min(max(normalized_time, 0.0), 1.0)
        if normalized_time == clamped_time or not self.motion.fitted:
            return self.deformed(canonical, clamped_time)
        count = len(canonical.means)
        fade = torch.exp(torch.tensor(-abs(normalized_time - clamped_time) / self.config.fade))
        changes = self.components.decode(state.coefficients, count) + fade * self.residuals[int(clamped_time), :count]
        return self.apply_changes(canonical, changes)

    # Training.

    def before_step(self, step: int, progress: float) -> str | None:
        """Densification; fits the dynamics when progress passes an entry of `fit_at`."""
        lines = [super().before_step(step, progress)]
        stage = sum(progress >= p for p in self.config.dynamics.fit_at)
        if stage > int(self.fit_stage):
            self.fit_stage.fill_(stage)
            lines.append(self.fit_dynamics())
        return " ".join(line for line in lines if line) or None

    def finish(self) -> str:
        """Fits the dynamics once more, to the final cloud."""
        return f"{super().finish()} {self.fit_dynamics()}"

    @torch.no_grad()
    def fit_dynamics(self) -> str:
        """Fits the principal components of the deformation, and the dynamics of their coefficients. Returns a message
        for the user."""
        samples = self.config.samples_per_control * self.controls + 1
        canonical, times = self.canonical(), torch.linspace(0, 1, samples, dtype=torch.float64)
        changes = torch.stack([self.changes(canonical, float(t)) for t in times.tolist()])
        # Weights of the Gaussians: opacity times the area of the largest cross-section.
        weights = canonical.opacities * canonical.scales.topk(2, dim=-1).values.prod(-1)
        coefficients = self.components.fit(changes, weights).cpu()
        # Planes are piecewise linear in time, with jumps of velocity: the dynamics are fitted to a smooth spline.
        basis = UniformBSpline(self.controls).basis(times)
        self.motion.fit(basis @ torch.linalg.lstsq(basis, coefficients, driver="gelsd").solution)
        self._store_residuals(changes)
        return self._describe_fit()

    def _store_residuals(self, changes: Tensor) -> None:
        """Stores the first and the last of `changes` `[T, N, 10]` minus what the dynamics predict for these times, so
        that a forecast starts without a jump."""
        ends, count = torch.tensor([0.0, 1.0], dtype=torch.float64), changes.shape[1]
        predicted = self.motion.extrapolate(ends)
        for residual, observed, coefficients in zip(self.residuals, (changes[0], changes[-1]), predicted):
            residual.zero_()
            residual[:count] = observed - self.components.decode(coefficients, count)

    def _describe_fit(self) -> str:
        dynamics = self.motion.dynamics
        if not dynamics.fitted:
            return (
                "no dynamics predict the end of the observed window: after it everything moves on at constant velocity."
            )
        size, explained = dynamics.manifold.size, 1 - float(dynamics.manifold.residual) ** 2
        return (
            f"dynamics on {size} coordinate{'' if size == 1 else 's'} ({explained:.1%} of the motion) follow the "
            f"observed window with a misfit of {float(dynamics.misfit):.2%}."
        )


build = GaussianODE
