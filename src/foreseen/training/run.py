"""A trained (or half-trained) run, loaded from its folder."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from foreseen.core.capabilities import Layer, ensemble_of, layer_of, observation_kinds
from foreseen.core.method import Method, take
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.data import load_dataset
from foreseen.data.splits import Splits, make_splits
from foreseen.data.types import Dataset
from foreseen.errors import UserError, suggest
from foreseen.geometry.cameras import Camera
from foreseen.methods import find_method
from foreseen.render import ImageResult, extend_reach, render
from foreseen.scenes import Scene
from foreseen.training.checkpoints import Checkpoint, check_fits, list_checkpoints, newest_checkpoint, read_checkpoint
from foreseen.training.config import RunConfig, read_config
from foreseen.training.processes import find_device


@dataclass
class Run:
    """A method with its weights, and where they came from.

    Attributes:
        path: the run's folder.
        config: the content of config.json.
        method: in evaluation mode.
        info: what the method knows of the scene.
        step, train_seconds: how long it was trained.
    """

    path: Path
    config: RunConfig
    method: Method = field(repr=False)
    info: SceneInfo = field(repr=False)
    step: int
    train_seconds: float
    _dataset: Dataset | None = field(default=None, repr=False)
    _splits: Splits | None = field(default=None, repr=False)

    def forecast(self, observation: Observation | None = None) -> Forecast:
        """How a sequence goes on: the first that was learned, or the one observed. Raises `UserError` for what the
        method does not take."""
        return Forecast(self.method, observation or Observation())

    def render(self, camera: Camera, time: float, *, memory_mb: int = 256) -> ImageResult:
        """What `camera` sees at `time` of the first sequence that was learned (the data set's unit; before, inside or
        after what was observed)."""
        return self.forecast().render(camera, time, memory_mb=memory_mb)

    def dataset(self) -> Dataset:
        """The data that it was trained on, read as it was then. Raises `UserError` where it is gone or has
        changed."""
        if self._dataset is None:
            data = self.config.data
            if not Path(data.path).exists():
                raise UserError(
                    f"the data of the run in {self.path} is no longer at {data.path}: put it back, or "
                    "correct data.path in its config.json."
                )
            ndc = self.config.scene.ndc
            loaded = load_dataset(Path(data.path), format=data.format, background=data.background, ndc=ndc)
            self._dataset = loaded.downscale(data.downscale)
        return self._dataset

    def splits(self) -> Splits:
        """What was trained on and what was hidden. Raises `UserError` where the data gives other splits
        now."""
        if self._splits is None:
            splits = make_splits(self.dataset(), self.config.data.observe_until)
            if splits.hash != self.config.split.hash:
                raise UserError(
                    f"the data at {self.config.data.path} has changed since it was trained on (its splits "
                    "differ): restore it, or train into a new folder."
                )
            self._splits = splits
        return self._splits

    def newer(self) -> Run | None:
        """The run as it is by now, of the same data; None where it has no checkpoint after this one that can be read.
        A training that goes on writes and removes checkpoints at any moment."""
        try:
            found = list_checkpoints(self.path)
            if not found or found[0][0] <= self.step:
                return None
            run = load_run(self.path, found[0][0], device=str(self.method.device))
        except UserError:
            return None
        return replace(run, _dataset=self._dataset, _splits=self._splits)

    def evaluate(self, **options: Any) -> dict[str, Any]:
        """Scores by split and time, beside trivial baselines; writes metrics.json. Options as in
        `foreseen.evaluation.evaluate_run`."""
        from foreseen.evaluation import evaluate_run

        return evaluate_run(self, **options)


class Forecast:
    """What follows from an observation, at any time. `prepare` evolves it to many times at once, which is cheaper."""

    def __init__(self, method: Method, observation: Observation) -> None:
        if observation.kind not in observation_kinds(method):
            raise UserError(_cannot_observe(observation))
        self.method = method
        self.device = method.device
        self._cached: dict[float, Any] = {}
        with torch.no_grad(), torch.device(self.device):
            self.state = method.observe(observation)

    @torch.no_grad()
    def prepare(self, times: Iterable[float]) -> None:
        """Evolves the state to `times` and keeps what it finds."""
        new = sorted(set(times) - set(self._cached))
        if new:
            with torch.device(self.device):
                evolved = self.method.evolve(self.state, torch.tensor(new, dtype=torch.float32))
            self._cached |= {time: take(evolved, i) for i, time in enumerate(new)}

    def is_cached(self, time: float) -> bool:
        """Whether the state at `time` has been found already."""
        return time in self._cached

    def at(self, time: float) -> Any:
        """The state at `time`."""
        self.prepare([time])
        return self._cached[time]

    @torch.no_grad()
    def ensemble(self, times: Iterable[float]) -> torch.Tensor | None:
        """`[E, T, K, 3]` centres in E futures (see `HasEnsemble`), on the CPU."""
        with torch.device(self.device):
            found = ensemble_of(self.method, self.state, torch.tensor(list(times), dtype=torch.float32))
        return None if found is None else found.cpu()

    @torch.no_grad()
    def scene(self, time: float) -> Scene:
        """What there is to render at `time`."""
        with torch.device(self.device):
            return self.method.scene(self.at(time))

    @torch.no_grad()
    def layer(self, time: float, which: Layer) -> Scene | None:
        """Of the scene at `time` what is at rest, or what moves; None where the method does not tell them apart."""
        with torch.device(self.device):
            return layer_of(self.method, self.at(time), which)

    @torch.no_grad()
    def render(
        self, camera: Camera, time: float, *, memory_mb: int = 256, render_bounds: torch.Tensor | None = None
    ) -> ImageResult:
        """What `camera` sees at `time`. `render_bounds`: a box `[2, 3]` that rays are to reach wherever the camera
        stands."""
        with torch.device(self.device):
            scene = self.scene(time)
            seen = scene if render_bounds is None else extend_reach(scene, camera, render_bounds)
            return render(seen, camera, memory_mb=memory_mb, device=self.device)


def _cannot_observe(observation: Observation) -> str:
    words = {"initial": "initial conditions", "frames": "the first frames of a new sequence", "sequence": "a sequence"}
    return (
        f"this run does not forecast from {words[observation.kind]}: "
        "train on a data set of several sequences, by a method and preset that learn one law from them."
    )


def load_run(path: Path | str, checkpoint: int | None = None, *, device: str = "cpu") -> Run:
    """The run in a folder, without its data.

    Args:
        path: the run's folder.
        checkpoint: a step; None takes the newest checkpoint that can be read.
        device: "cpu", "cuda" or "auto".

    Raises:
        UserError: no run there, no checkpoint yet, or a checkpoint that does not fit.
    """
    path = Path(path)
    config = read_config(path)
    saved = _find_checkpoint(path, checkpoint)
    with check_fits(saved, path):
        method = find_method(config.method).load()(config.config, config.scene)
        method.load_state_dict(saved.model)
    method.to(find_device(device)).eval()
    return Run(path, config, method, config.scene, saved.step, saved.train_seconds)


def _find_checkpoint(path: Path, step: int | None) -> Checkpoint:
    if step is None:
        found = newest_checkpoint(path, _warn)
        if found is None:
            raise UserError(f"the run in {path} has no checkpoint yet: let `foreseen train` reach its first one.")
        return found
    known = {str(s): folder for s, folder in list_checkpoints(path)}
    if str(step) not in known:
        raise UserError(f"the run in {path} has no checkpoint of step {step}: {suggest(str(step), known)}")
    return read_checkpoint(known[str(step)])


def _warn(line: str) -> None:
    print(f"foreseen: warning: {line}", file=sys.stderr)
