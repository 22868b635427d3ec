"""A deforming cloud, and learned dynamics of the principal components of its displacements."""

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
    """Leading axes are times.

    Attributes:
        normalized_time: `[...]` float64, a time as a share of the training window.
        coefficients: `[..., K]` float64, coefficients of the displacements' components that the dynamics predict; 0
            inside the window, where the planes give the displacements.
    """

    normalized_time: Tensor
    coefficients: Tensor


class GaussianODE(PlaneGaussians[GaussianODEState]):
    """Inside the observed window feature planes displace the cloud; outside, learned dynamics do. See README.md."""

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

    # The verbs.

    def observe(self, observation: Observation) -> GaussianODEState:
        """The start of the window."""
        check_sequence_index(observation.sequence, 1)
        zeros = self.residuals.new_zeros(self.config.components, dtype=torch.float64)
        return GaussianODEState(zeros[0], zeros)

    def evolve(self, state: GaussianODEState, times: Tensor) -> GaussianODEState:
        """Inside the window the time alone; outside, the solution of the dynamics from the nearer end of the window."""
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
        """The displaced cloud. Before dynamics are fitted, nothing moves outside the window."""
        canonical, normalized_time = self.canonical(), float(state.normalized_time)
        edge = min(max(normalized_time, 0.0), 1.0)
        if normalized_time == edge or not self.motion.fitted:
            return self.deformed(canonical, edge)
        count = len(canonical.means)
        fading = torch.exp(torch.tensor(-abs(normalized_time - edge) / self.config.fade))
        changes = self.components.decode(state.coefficients, count) + fading * self.residuals[int(edge), :count]
        return self.apply_changes(canonical, changes)

    # How it learns.

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
        """Finds the components of the displacements, and fits dynamics to their coefficients. Returns a line for the
        user."""
        samples = self.config.samples_per_control * self.controls + 1
        canonical, times = self.canonical(), torch.linspace(0, 1, samples, dtype=torch.float64)
        changes = torch.stack([self.changes(canonical, float(t)) for t in times.tolist()])
        visibility = canonical.opacities * canonical.scales.topk(2, dim=-1).values.prod(-1)
        coefficients = self.components.fit(changes, visibility).cpu()
        # Planes are linear between their nodes, so velocities jump at each node: fit to a smooth spline instead.
        basis = UniformBSpline(self.controls).basis(times)
        self.motion.fit(basis @ torch.linalg.lstsq(basis, coefficients, driver="gelsd").solution)
        self._keep_residuals(changes)
        return self._describe_fit()

    def _keep_residuals(self, changes: Tensor) -> None:
        """Keeps what the components leave out of the first and the last of `changes` `[T, N, 10]`, so that a forecast
        starts without a jump."""
        edges, count = torch.tensor([0.0, 1.0], dtype=torch.float64), changes.shape[1]
        at_edges = self.motion.extrapolate(edges)
        for residual, observed, coefficients in zip(self.residuals, (changes[0], changes[-1]), at_edges):
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
