"""What was computed of a dynamical system, before it is drawn or written."""

from __future__ import annotations

from dataclasses import dataclass, field

from foreseen.analysis.fixed_points import FixedPoint, find_fixed_points
from foreseen.analysis.flow import LyapunovExponents, PhaseFlow
from foreseen.analysis.true_fixed_points import TrueFixedPoint
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.data.types import GroundTruth


@dataclass(frozen=True)
class TrueDynamics:
    """What the data set tells about the law.

    Attributes:
        truths: by index of the learned sequence, of those whose law is known in closed form.
        points: where these laws rest.
        time_unit, length_unit: of the data set; "unknown" and "scene units" where it does not say, or is gone.
        note: why nothing is known, where that is so.
    """

    ground_truths: dict[int, GroundTruth] = field(default_factory=dict)
    points: tuple[TrueFixedPoint, ...] = ()
    time_unit: str = "unknown"
    length_unit: str = "scene units"
    note: str = ""


@dataclass(frozen=True)
class SystemAnalysis:
    """What was found of a system; `plots` draws it, and analysis.json is written from it."""

    flow: PhaseFlow
    fixed_points: list[FixedPoint]
    true_dynamics: TrueDynamics
    exponents: LyapunovExponents

    @property
    def system(self) -> DynamicalSystem:
        """What was studied."""
        return self.flow.system

    @classmethod
    def of(
        cls, system: DynamicalSystem, true_dynamics: TrueDynamics, starts: int | None = None, seed: int = 0
    ) -> SystemAnalysis:
        """Looks for everything."""
        flow = PhaseFlow.of(system)
        return cls(flow, find_fixed_points(system, starts, seed), true_dynamics, flow.lyapunov(seed))
