"""Preset `latent`: a deformable cloud, and a law on the few numbers that tell its displacements."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.dynamics.single import Motion
from foreseen.methods.gaussian_ode.components import Components
from foreseen.methods.gaussian_ode.config import LatentConfig
from foreseen.nn.splines import UniformBSpline
from foreseen.scenes.gaussians import Gaussians
from foreseen.splatting.planes import CHANGES, PlaneGaussians

FEWEST = 8
"""Control points at least."""
FINER = 3
"""Even times of the window at which displacements are looked at, for each control point."""


@dataclass(frozen=True)
class LatentState:
    """Leading axes are times.

    Attributes:
        since: `[...]` float64, a time as a share of the training window.
        numbers: `[..., K]` float64, what the law says of the displacements then; 0 inside the window, where they are
            known without it.
    """

    since: Tensor
    numbers: Tensor


class LatentGaussians(PlaneGaussians):
    """See README.md, "latent"."""

    config: LatentConfig
    gaps: Tensor
    law_stage: Tensor

    def __init__(self, config: LatentConfig, info: SceneInfo) -> None:
        frames = len(info.times[0])
        nodes = max(config.time_nodes, round(frames / config.frames_per_node))
        super().__init__("gaussian-ode", replace(config, time_nodes=nodes), info)
        self.controls = max(FEWEST, min(config.most_controls, round(frames / config.frames_per_control)))
        self.components = Components(config.cloud.budget, config.components, sum(CHANGES))
        self.motion = Motion(config.law, config.components)
        self.register_buffer("gaps", torch.zeros(2, config.cloud.budget, sum(CHANGES)))
        self.register_buffer("law_stage", torch.tensor(0))

    # The verbs.

    def observe(self, observation: Observation) -> LatentState:  # type: ignore[override]
        """The beginning of the window."""
        super().observe(observation)
        nothing = self.gaps.new_zeros(self.config.components, dtype=torch.float64)
        return LatentState(nothing[0], nothing)

    def evolve(self, state: LatentState, times: Tensor) -> LatentState:  # type: ignore[override]
        """Inside the window what the planes have learned; outside, the law from the window's ends."""
        # Compared as float32, as which times come: the last observed one must not count as after the window.
        first, last = torch.tensor(self.info.time_range)
        outside = (times.float() < first) | (times.float() > last)
        since = torch.tensor([self.since(t) for t in times.tolist()], dtype=torch.float64, device=times.device)
        since = torch.where(outside, since, since.clamp(0, 1))
        numbers = state.numbers.new_zeros(len(times), self.config.components)
        if outside.any() and self.motion.fitted:
            numbers[outside] = self.motion.extrapolate(since[outside]).to(numbers)
        return LatentState(since, numbers)

    def scene(self, state: LatentState) -> Gaussians:  # type: ignore[override]
        """The cloud as the planes displace it, or as the law does. Before a law is known nothing moves on."""
        rest, since = self.rest(), float(state.since)
        edge = min(max(since, 0.0), 1.0)
        if since == edge or not self.motion.fitted:
            return self.moved(rest, edge)
        count = len(rest.means)
        fading = torch.exp(torch.tensor(-abs(since - edge) / self.config.fade))
        told = self.components.decode(state.numbers, count) + fading * self.gaps[int(edge), :count]
        return self.changed(rest, told)

    # How it learns.

    def before_step(self, step: int, progress: float) -> str | None:
        """As of any cloud; and fits the law at its times."""
        lines = [super().before_step(step, progress)]
        stage = sum(progress >= p for p in self.config.law.law_at)
        if stage > int(self.law_stage):
            self.law_stage.fill_(stage)
            lines.append(self.fit_law())
        return " ".join(line for line in lines if line) or None

    def finish(self) -> str:
        """The law of what was learned to the end."""
        return f"{super().finish()} {self.fit_law()}"

    @torch.no_grad()
    def fit_law(self) -> str:
        """Finds components of the displacements, and the law that their numbers follow. Says how well."""
        rest, times = self.rest(), torch.linspace(0, 1, FINER * self.controls + 1, dtype=torch.float64)
        changes = torch.stack([self.changes(rest, float(t)) for t in times.tolist()])
        weights = rest.opacities * rest.scales.topk(2, dim=-1).values.prod(-1)
        numbers = self.components.fit(changes, weights).cpu()
        # Between their nodes planes run straight: a law would find a blow at each of them.
        basis = UniformBSpline(self.controls).basis(times)
        self.motion.fit(basis @ torch.linalg.lstsq(basis, numbers, driver="gelsd").solution)
        edges = torch.tensor([0.0, 1.0], dtype=torch.float64)
        count = len(rest.means)
        for gap, seen, numbers in zip(self.gaps, (changes[0], changes[-1]), self.motion.extrapolate(edges)):
            gap.zero_()
            gap[:count] = seen - self.components.decode(numbers, count)
        dynamics = self.motion.dynamics
        if not dynamics.fitted:
            return "no law foretells how the observed window ends: after it everything coasts straight on."
        size, told = dynamics.manifold.size, 1 - float(dynamics.manifold.left) ** 2
        return (
            f"a law of motion on {size} coordinate{'' if size == 1 else 's'} ({told:.1%} of the motion) follows the "
            f"observed window with a misfit of {float(dynamics.misfit):.2%}."
        )
