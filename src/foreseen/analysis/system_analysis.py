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
    """What the data set says about the true dynamics.

    Attributes:
        ground_truths: by index of the learned sequence, of those whose dynamics are known in closed form.
        points: fixed points of these dynamics.
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
    """The results for one system; `plots` draws them, and analysis.json is written from them."""

    flow: PhaseFlow
    fixed_points: list[FixedPoint]
    true_dynamics: TrueDynamics
    exponents: LyapunovExponents

    @property
    def system(self) -> DynamicalSystem:
        """The analyzed system."""
        return self.flow.system

    @classmethod
    def of(
        cls, system: DynamicalSystem, true_dynamics: TrueDynamics, starts: int | None = None, seed: int = 0
    ) -> SystemAnalysis:
        """Computes everything."""
        flow = PhaseFlow.of(system)
        return cls(flow, find_fixed_points(system, starts, seed), true_dynamics, flow.lyapunov(seed))
