"""Preset `latent`: a deformable cloud, and a law on the few numbers that tell its displacements."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.dynamics.sequence_dynamics import SequenceDynamics
from foreseen.methods.gaussian_ode.components import PrincipalComponents
from foreseen.methods.gaussian_ode.config import LatentGaussianODEConfig
from foreseen.nn.splines import UniformBSpline
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.planes import CHANGES, PlaneGaussians

MIN_CONTROLS = 8
"""Control points at least."""
SAMPLES_PER_CONTROL = 3
"""Even times of the window at which displacements are looked at, for each control point."""


@dataclass(frozen=True)
class GaussianLatentState:
    """Leading axes are times.

    Attributes:
        since: `[...]` float64, a time as a share of the training window.
        numbers: `[..., K]` float64, what the law says of the displacements then; 0 inside the window, where they are
            known without it.
    """

    normalized_time: Tensor
    coefficients: Tensor


class LatentGaussianODE(PlaneGaussians):
    """See README.md, "latent"."""

    config: LatentGaussianODEConfig
    residuals: Tensor
    fit_stage: Tensor

    def __init__(self, config: LatentGaussianODEConfig, info: SceneInfo) -> None:
        frames = len(info.times[0])
        nodes = max(config.time_nodes, round(frames / config.frames_per_node))
        super().__init__("gaussian-ode", replace(config, time_nodes=nodes), info)
        self.controls = max(MIN_CONTROLS, min(config.max_controls, round(frames / config.frames_per_control)))
        self.components = PrincipalComponents(config.cloud.budget, config.components, sum(CHANGES))
        self.motion = SequenceDynamics(config.dynamics, config.components)
        self.register_buffer("residuals", torch.zeros(2, config.cloud.budget, sum(CHANGES)))
        self.register_buffer("fit_stage", torch.tensor(0))

    # The verbs.

    def observe(self, observation: Observation) -> GaussianLatentState:  # type: ignore[override]
        """The beginning of the window."""
        super().observe(observation)
        nothing = self.residuals.new_zeros(self.config.components, dtype=torch.float64)
        return GaussianLatentState(nothing[0], nothing)

    def evolve(self, state: GaussianLatentState, times: Tensor) -> GaussianLatentState:  # type: ignore[override]
        """Inside the window what the planes have learned; outside, the law from the window's ends."""
        # Compared as float32, as which times come: the last observed one must not count as after the window.
        first, last = torch.tensor(self.info.time_range)
        outside = (times.float() < first) | (times.float() > last)
        normalized_time = torch.tensor(
            [self.normalized_time(t) for t in times.tolist()], dtype=torch.float64, device=times.device
        )
        normalized_time = torch.where(outside, normalized_time, normalized_time.clamp(0, 1))
        coefficients = state.coefficients.new_zeros(len(times), self.config.components)
        if outside.any() and self.motion.fitted:
            coefficients[outside] = self.motion.extrapolate(normalized_time[outside]).to(coefficients)
        return GaussianLatentState(normalized_time, coefficients)

    def scene(self, state: GaussianLatentState) -> Gaussians:  # type: ignore[override]
        """The cloud as the planes displace it, or as the law does. Before a law is known nothing moves on."""
        canonical, normalized_time = self.canonical(), float(state.normalized_time)
        edge = min(max(normalized_time, 0.0), 1.0)
        if normalized_time == edge or not self.motion.fitted:
            return self.deformed(canonical, edge)
        count = len(canonical.means)
        fading = torch.exp(torch.tensor(-abs(normalized_time - edge) / self.config.fade))
        told = self.components.decode(state.coefficients, count) + fading * self.residuals[int(edge), :count]
        return self.apply_changes(canonical, told)

    # How it learns.

    def before_step(self, step: int, progress: float) -> str | None:
        """As of any cloud; and fits the law at its times."""
        lines = [super().before_step(step, progress)]
        stage = sum(progress >= p for p in self.config.dynamics.fit_at)
        if stage > int(self.fit_stage):
            self.fit_stage.fill_(stage)
            lines.append(self.fit_dynamics())
        return " ".join(line for line in lines if line) or None

    def finish(self) -> str:
        """The law of what was learned to the end."""
        return f"{super().finish()} {self.fit_dynamics()}"

    @torch.no_grad()
    def fit_dynamics(self) -> str:
        """Finds components of the displacements, and the law that their numbers follow. Says how well."""
        canonical, times = (
            self.canonical(),
            torch.linspace(0, 1, SAMPLES_PER_CONTROL * self.controls + 1, dtype=torch.float64),
        )
        changes = torch.stack([self.changes(canonical, float(t)) for t in times.tolist()])
        weights = canonical.opacities * canonical.scales.topk(2, dim=-1).values.prod(-1)
        coefficients = self.components.fit(changes, weights).cpu()
        # Between their nodes planes run straight: a law would find a blow at each of them.
        basis = UniformBSpline(self.controls).basis(times)
        self.motion.fit(basis @ torch.linalg.lstsq(basis, coefficients, driver="gelsd").solution)
        edges = torch.tensor([0.0, 1.0], dtype=torch.float64)
        count = len(canonical.means)
        for gap, seen, coefficients in zip(self.residuals, (changes[0], changes[-1]), self.motion.extrapolate(edges)):
            gap.zero_()
            gap[:count] = seen - self.components.decode(coefficients, count)
        dynamics = self.motion.dynamics
        if not dynamics.fitted:
            return "no law foretells how the observed window ends: after it everything coasts straight on."
        size, told = dynamics.manifold.size, 1 - float(dynamics.manifold.residual) ** 2
        return (
            f"a law of motion on {size} coordinate{'' if size == 1 else 's'} ({told:.1%} of the motion) follows the "
            f"observed window with a misfit of {float(dynamics.misfit):.2%}."
        )
