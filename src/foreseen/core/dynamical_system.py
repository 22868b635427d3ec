"""Learned dynamics as mathematics sees them: an autonomous ODE with the states that were observed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Trajectory:
    """States of one learned sequence over what was seen of it.

    Attributes:
        sequence: index of the sequence.
        times: `[T]` float64 ascending, in the data set's unit.
        states: `[T, D]` float64.
        start: `[D]` state at `times[0]` that a forecast begins with.
    """

    sequence: int
    times: Tensor
    states: Tensor
    start: Tensor


@dataclass(frozen=True)
class DynamicalSystem:
    """A learned law as mathematics sees it: y' = rate(y), y `[..., D]` float64. All functions take states with any
    leading axes and can be differentiated by autograd; times are in the data set's unit, lengths in scene units.

    Attributes:
        names: of the D components of a state.
        rate: y -> y' `[..., D]`, per unit of the data set's time.
        seen: the learned sequences; at least one.
        window: longest time that was seen of a sequence.
        second_order: y = (q, q') in halves, so that what is at rest has q' = 0.
        positions: y -> where the B bodies are, `[..., B, 3]`; None where the state does not tell.
        energy: y -> energy `[...]` of the unit of mass that the law has chosen, up to a constant; None where the law
            has none.
        potential: q -> its potential part; None where the law has none.
        code: y -> the code `[..., C]` that the field is asked by; None: the state itself takes the code's place.
        drawn: rates of other laws that what was seen leaves possible.
    """

    names: tuple[str, ...]
    rate: Callable[[Tensor], Tensor]
    trajectories: tuple[Trajectory, ...]
    window: float
    second_order: bool = False
    positions: Callable[[Tensor], Tensor] | None = None
    energy: Callable[[Tensor], Tensor] | None = None
    potential: Callable[[Tensor], Tensor] | None = None
    code: Callable[[Tensor], Tensor] | None = None
    sampled_rates: tuple[Callable[[Tensor], Tensor], ...] = ()

    @property
    def box(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest `[D]` of the seen states."""
        states = torch.cat([one.states for one in self.trajectories])
        return states.amin(0), states.amax(0)
