"""What a trained method predicts from an observation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from foreseen.core.capabilities import Layer, ensemble_of, layer_of, observation_kinds
from foreseen.core.method import Method, take
from foreseen.core.observation import Observation
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.render import ImageResult, extend_reach, render
from foreseen.scenes import Scene


class Forecast:
    """States and images that follow from an observation, at any time. `prepare` evolves it to many times at once, which
    is cheaper than one by one."""

    def __init__(self, method: Method[Any, Any], observation: Observation) -> None:
        if observation.kind not in observation_kinds(method):
            raise UserError(_cannot_observe(observation))
        self.method = method
        self.device = method.device
        self._cached: dict[float, Any] = {}
        with torch.no_grad(), torch.device(self.device):
            self.state = method.observe(observation)

    @torch.no_grad()
    def prepare(self, times: Iterable[float]) -> None:
        """Evolves the state to `times` and keeps the result."""
        new = sorted(set(times) - set(self._cached))
        if new:
            with torch.device(self.device):
                evolved = self.method.evolve(self.state, torch.tensor(new, dtype=torch.float32))
            self._cached |= {time: take(evolved, i) for i, time in enumerate(new)}

    def is_cached(self, time: float) -> bool:
        """Whether the state at `time` is there already."""
        return time in self._cached

    def at(self, time: float) -> Any:
        """The state at `time`."""
        self.prepare([time])
        return self._cached[time]

    @torch.no_grad()
    def ensemble(self, times: Iterable[float]) -> torch.Tensor | None:
        """Centres `[E, T, K, 3]` of the moving objects in E sampled trajectories (see `HasEnsemble`), on the CPU; None
        where the method has no ensemble."""
        with torch.device(self.device):
            centres = ensemble_of(self.method, self.state, torch.tensor(list(times), dtype=torch.float32))
        return None if centres is None else centres.cpu()

    @torch.no_grad()
    def scene(self, time: float) -> Scene:
        """The scene at `time`."""
        with torch.device(self.device):
            return self.method.scene(self.at(time))

    @torch.no_grad()
    def layer(self, time: float, which: Layer) -> Scene | None:
        """The static or the dynamic layer of the scene at `time`; None where the method does not separate them."""
        with torch.device(self.device):
            return layer_of(self.method, self.at(time), which)

    @torch.no_grad()
    def render(
        self, camera: Camera, time: float, *, memory_mb: int = 256, render_bounds: torch.Tensor | None = None
    ) -> ImageResult:
        """What `camera` sees at `time`. `render_bounds` `[2, 3]`: lowest and highest corner of a box that rays reach
        from every camera position."""
        with torch.device(self.device):
            scene = self.scene(time)
            reached = scene if render_bounds is None else extend_reach(scene, camera, render_bounds)
            return render(reached, camera, memory_mb=memory_mb, device=self.device)


def _cannot_observe(observation: Observation) -> str:
    words = {"initial": "initial conditions", "frames": "the first frames of a new sequence", "sequence": "a sequence"}
    return (
        f"this run does not forecast from {words[observation.kind]}: "
        "train on a data set of several sequences, with a method and preset that learn shared dynamics from them."
    )
