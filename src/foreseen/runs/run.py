"""A trained (or half-trained) run, loaded from its folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from foreseen.core.method import Method
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.data.splits import Splits, make_splits
from foreseen.data.types import Dataset
from foreseen.errors import UserError, suggest
from foreseen.geometry.cameras import Camera
from foreseen.methods import find_method
from foreseen.render import ImageResult
from foreseen.runs.checkpoints import Checkpoint, check_fits, list_checkpoints, newest_checkpoint, read_checkpoint
from foreseen.runs.config import RunConfig, data_changes, read_config
from foreseen.runs.device import find_device
from foreseen.runs.forecast import Forecast
from foreseen.runs.training_data import open_data


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
    method: Method[Any, Any] = field(repr=False)
    info: SceneInfo = field(repr=False)
    step: int
    train_seconds: float
    _dataset: Dataset | None = field(default=None, repr=False)
    _splits: Splits | None = field(default=None, repr=False)

    def forecast(self, observation: Observation | None = None) -> Forecast:
        """The forecast of a sequence: the first learned one, or the one that was observed. Raises `UserError` for an
        observation that the method does not take."""
        return Forecast(self.method, observation or Observation())

    def render(self, camera: Camera, time: float, *, memory_mb: int = 256) -> ImageResult:
        """What `camera` sees of the first learned sequence at `time` (the data set's unit; before, inside or after the
        observed window)."""
        return self.forecast().render(camera, time, memory_mb=memory_mb)

    def dataset(self) -> Dataset:
        """The data that it was trained on, read as it was then. Raises `UserError` where it is gone or has
        changed."""
        if self._dataset is None:
            train = self.config.train
            for folder in train.data:
                if not folder.exists():
                    raise UserError(
                        f"the data of the run in {self.path} is no longer at {folder}: put it back, or "
                        "correct train.data in its config.json."
                    )
            self._dataset = open_data(train)
        return self._dataset

    def splits(self) -> Splits:
        """The training frames and those that were held out. Raises `UserError` where the data gives other splits
        now."""
        if self._splits is None:
            splits = make_splits(self.dataset(), self.config.train.observe_until)
            changed = data_changes(self.config, self.dataset(), splits)
            if changed:
                folders = ", ".join(map(str, self.config.train.data))
                raise UserError(
                    f"the data at {folders} has changed since it was trained on ({changed}): restore it, or train into"
                    " a new folder."
                )
            self._splits = splits
        return self._splits

    def newer(self) -> Run | None:
        """The run at its newest checkpoint; None where no later checkpoint can be read. A running training writes and
        removes checkpoints at any moment."""
        try:
            checkpoints = list_checkpoints(self.path)
            if not checkpoints or checkpoints[0][0] <= self.step:
                return None
            run = load_run(self.path, checkpoints[0][0], device=str(self.method.device))
        except UserError:
            return None
        return replace(run, _dataset=self._dataset, _splits=self._splits)


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
        method = find_method(config.train.method).load()(config.train.config, config.scene)
        method.load_state_dict(saved.model)
    method.to(find_device(device)).eval()
    return Run(path, config, method, config.scene, saved.step, saved.train_seconds)


def _find_checkpoint(path: Path, step: int | None) -> Checkpoint:
    if step is None:
        newest = newest_checkpoint(path, _warn)
        if newest is None:
            raise UserError(f"the run in {path} has no checkpoint yet: let `foreseen train` reach its first one.")
        return newest
    folders = {str(s): folder for s, folder in list_checkpoints(path)}
    if str(step) not in folders:
        raise UserError(f"the run in {path} has no checkpoint of step {step}: {suggest(str(step), folders)}")
    return read_checkpoint(folders[str(step)])


def _warn(line: str) -> None:
    print(f"foreseen: warning: {line}", file=sys.stderr)
