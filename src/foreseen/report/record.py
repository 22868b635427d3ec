"""What a page needs of one run: config.json, metrics.json, sizes and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foreseen.evaluation.physics import RULES
from foreseen.evaluation.physics_clips import NAME as CONSISTENCY
from foreseen.evaluation.physics_clips import TRUTH
from foreseen.evaluation.scores import METRICS
from foreseen.evaluation.uncertainty import NAME as UNCERTAINTY
from foreseen.report import files
from foreseen.runs.checkpoints import MODEL, OPTIMIZER, STATE, list_checkpoints
from foreseen.runs.config import FILE as CONFIG_FILE
from foreseen.runs.config import RunConfig, read_config

METRICS_FILE = "metrics.json"
SAME_FRAMES = "method_on_same_frames"
_FIX = "run `foreseen evaluate` again"


@dataclass(frozen=True)
class SplitSummary:
    """Scores of the method or a baseline on one split.

    Attributes:
        count: number of frames.
        means: metric -> mean.
        by_time: metric -> rows (time after the observed window, value).
        same_frames: the method's means on the frames that this baseline predicts, where those are fewer.
        consistency: rule of physics -> value, and "frames", "energy_frames".
        truth: the same for the true videos.
        uncertainty: {"band", "coverage", "width", "ensemble"}.
        undecided: sequence -> shares of the clusters in which its trajectories end.
    """

    count: int
    means: Mapping[str, float]
    by_time: Mapping[str, tuple[tuple[float, float], ...]]
    same_frames: Mapping[str, float] = field(default_factory=dict)
    consistency: Mapping[str, float] = field(default_factory=dict)
    truth: Mapping[str, float] = field(default_factory=dict)
    uncertainty: Mapping[str, float] = field(default_factory=dict)
    undecided: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunScores:
    """The content of metrics.json.

    Attributes:
        splits: of the method.
        baselines: name -> split -> scores.
        protocol: on what the scores depend, as text.
        sequences: names of the scored sequences.
        observe, context: what was observed of unseen sequences; None and 0 where the file does not say.
    """

    step: int
    train_seconds: float
    splits: Mapping[str, SplitSummary]
    baselines: Mapping[str, Mapping[str, SplitSummary]]
    protocol: Mapping[str, str]
    sequences: tuple[str, ...]
    observe: str | None
    context: int


@dataclass(frozen=True)
class RunRecord:
    """A run's folder.

    Attributes:
        scores: None where the run was not evaluated.
        weights: bytes of the newest checkpoint's weights; 0 where there is none.
        memory_mb: peak memory of training [MB]: "process", "gpu"; empty where unknown.
    """

    folder: Path
    config: RunConfig
    scores: RunScores | None
    weights: int
    memory_mb: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's name."""
        return files.text(self.folder.resolve().name)

    @property
    def data_name(self) -> str:
        """Name of the data set's folder; of several joined by "+"."""
        return files.text("+".join(path.name for path in self.config.train.data))

    @property
    def method_and_preset(self) -> str:
        """Such as "d-nerf fast"."""
        return files.text(f"{self.config.train.method} {self.config.train.preset}")


def read_record(folder: Path) -> RunRecord:
    """Reads a run's folder.

    Raises:
        UserError: no run there, a broken file, a link out of the folder, or a path that climbs.
    """
    files.inside(folder, CONFIG_FILE)
    config = read_config(folder)
    for _, step in list_checkpoints(folder):
        for name in (MODEL, OPTIMIZER, STATE):
            files.check_stays_inside(folder, step / name)
    path = files.inside(folder, METRICS_FILE)
    scores = None if path is None else _scores(files.read_object(path, _FIX), str(path))
    return RunRecord(folder, config, scores, _weights(folder), _memory(folder))


def _weights(folder: Path) -> int:
    saved = [step / MODEL for _, step in list_checkpoints(folder)]
    return next((path.stat().st_size for path in saved if path.is_file()), 0)


def _memory(folder: Path) -> dict[str, float]:
    """Peak memory, as the newest checkpoint says."""
    for _, step in list_checkpoints(folder)[:1]:
        path, fix = files.inside(folder, str(step.relative_to(folder) / STATE)), "remove that checkpoint"
        if path is not None:
            sizes = files.mapping(files.read_object(path, fix).get("memory_mb", {}), f"{path}: memory_mb", fix)
            names = [name for name in ("process", "gpu") if name in sizes]
            return {name: files.number(sizes[name], f"{path}: memory_mb.{name}", fix) for name in names}
    return {}


def _scores(document: dict[str, Any], where: str) -> RunScores:
    protocol = files.mapping(document.get("protocol"), f"{where}: protocol", _FIX)
    splits = files.mapping(document.get("splits"), f"{where}: splits", _FIX)
    baselines = files.mapping(document.get("baselines"), f"{where}: baselines", _FIX)
    sequences = protocol.get("sequences")
    observe, context = protocol.get("observe"), protocol.get("context")
    return RunScores(
        step=int(files.number(document.get("step"), f"{where}: step", _FIX)),
        train_seconds=files.number(document.get("train_seconds"), f"{where}: train_seconds", _FIX),
        splits=_by_split(splits, f"{where}: splits"),
        baselines={
            files.text(name): _by_split(files.mapping(found, f"{where}: baselines.{name}", _FIX), f"{where}: {name}")
            for name, found in baselines.items()
        },
        protocol={name: files.text(value) for name, value in protocol.items() if not isinstance(value, dict | list)},
        sequences=tuple(s for s in sequences if isinstance(s, str)) if isinstance(sequences, list) else (),
        observe=observe if observe in ("truth", "frames") else None,
        context=context if isinstance(context, int) and context > 0 else 0,
    )


def _by_split(found: dict[str, Any], where: str) -> dict[str, SplitSummary]:
    return {files.text(split): _summary(one, f"{where}.{split}") for split, one in found.items()}


def _summary(found: Any, where: str) -> SplitSummary:
    found = files.mapping(found, where, _FIX)
    rows = found.get("by_time", [])
    physics = _object(found, CONSISTENCY, where)
    uncertainty = _object(found, UNCERTAINTY, where)
    rules = (*RULES, "frames", "energy_frames")
    return SplitSummary(
        count=int(files.number(found.get("count"), f"{where}.count", _FIX)),
        means=_numbers(found, METRICS, where),
        by_time=_curves(rows if isinstance(rows, list) else [], where),
        same_frames=_numbers(_object(found, SAME_FRAMES, where), METRICS, where),
        consistency=_numbers(physics, rules, where),
        truth=_numbers(_object(physics, TRUTH, where), rules, where),
        uncertainty=_numbers(uncertainty, ("band", "coverage", "width", "ensemble"), where),
        undecided={
            files.text(name): tuple(files.number(s, f"{where}.undecided", _FIX) for s in shares)
            for name, shares in _object(uncertainty, "undecided", where).items()
            if isinstance(shares, list)
        },
    )


def _object(found: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    return files.mapping(found.get(name, {}), f"{where}.{name}", _FIX)


def _numbers(found: dict[str, Any], names: Any, where: str) -> dict[str, float]:
    return {name: files.number(found[name], f"{where}.{name}", _FIX) for name in names if name in found}


def _curves(rows: list[Any], where: str) -> dict[str, tuple[tuple[float, float], ...]]:
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        row = files.mapping(row, f"{where}.by_time", _FIX)
        after = files.number(row.get("after"), f"{where}.by_time.after", _FIX)
        for name, value in _numbers(row, METRICS, f"{where}.by_time").items():
            curves.setdefault(name, []).append((after, value))
    return {name: tuple(curve) for name, curve in curves.items()}
