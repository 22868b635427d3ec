"""What only some methods can do: a protocol each, asked for here and nowhere else."""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.core.method import Method
from foreseen.core.observation import ObservationKind
from foreseen.scenes import Scene

Layer = Literal["static", "dynamic"]


@runtime_checkable
class HasLayers(Protocol):
    """Tells static and dynamic content apart."""

    def layer(self, state: Any, which: Layer) -> Scene | None:
        """The static or the dynamic part of the scene of a state at one time; None where it is not known."""
        ...


@runtime_checkable
class HasEnsemble(Protocol):
    """Forecasts an ensemble of trajectories."""

    def ensemble(self, state: Any, times: Tensor) -> Tensor | None:
        """Centres of the moving objects at `times` `[T]` in E equally likely trajectories: `[E, T, K, 3]`, the first
        being that of `evolve`; None where only one trajectory is known."""
        ...


@runtime_checkable
class HasDynamics(Protocol):
    """Has learned autonomous dynamics."""

    def system(self, cluster: int = 0) -> DynamicalSystem | None:
        """The dynamics of a cluster; None where none were found."""
        ...


@runtime_checkable
class HasClusters(Protocol):
    """Tells clusters of sequences that move alike apart, with dynamics for each."""

    @property
    def clusters(self) -> int:
        """Number of dynamics clusters."""
        ...


@runtime_checkable
class TakesInitialConditions(Protocol):
    """Observes more than the sequences that it was trained on."""

    observes: tuple[ObservationKind, ...]
    """The kinds of observation that `observe` takes."""


def observation_kinds(method: Method[Any, Any]) -> tuple[ObservationKind, ...]:
    """The kinds of observation that a method takes; every one takes a learned sequence."""
    return method.observes if isinstance(method, TakesInitialConditions) else ("sequence",)


def layer_of(method: Method[Any, Any], state: Any, which: Layer) -> Scene | None:
    """The static or dynamic part of a scene; None where the method does not tell them apart."""
    return method.layer(state, which) if isinstance(method, HasLayers) else None


def ensemble_of(method: Method[Any, Any], state: Any, times: Tensor) -> Tensor | None:
    """An ensemble `[E, T, K, 3]` of trajectories; None where the method has one trajectory only."""
    return method.ensemble(state, times) if isinstance(method, HasEnsemble) else None


def has_dynamics(method: Method[Any, Any]) -> bool:
    """Whether a method learns autonomous dynamics."""
    return isinstance(method, HasDynamics)


def clusters_of(method: Method[Any, Any]) -> int:
    """Number of dynamics clusters; 1 for methods that tell none apart."""
    return method.clusters if isinstance(method, HasClusters) else 1


def system_of(method: Method[Any, Any], cluster: int = 0) -> DynamicalSystem | None:
    """The dynamics of a cluster; None where the method has none."""
    return method.system(cluster) if isinstance(method, HasDynamics) else None
