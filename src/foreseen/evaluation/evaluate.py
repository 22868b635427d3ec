"""A run compared with frames that it has not seen, beside forecasts that need no training."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from foreseen.data.types import Frame
from foreseen.evaluation.baselines import BASELINES, Baseline, ObservedFrames
from foreseen.evaluation.ensemble_plot import FILE as ENSEMBLE_FILE
from foreseen.evaluation.ensemble_plot import plot_ensembles
from foreseen.evaluation.forecast_context import CONTEXT, ForecastContext, Source, forecast_contexts
from foreseen.evaluation.frames import choose_frames, is_next_frame, select_splits
from foreseen.evaluation.horizon import SPLITS as HORIZON_SPLITS
from foreseen.evaluation.horizon import horizon_split, remove_horizon, write_horizon
from foreseen.evaluation.lpips import LPIPS, load_lpips
from foreseen.evaluation.method_predictor import method_predictor
from foreseen.evaluation.moving_pixels import background_picture, truth_mask
from foreseen.evaluation.physics_clips import TRUTH, PhysicsChecker
from foreseen.evaluation.protocol import describe_forecast_contexts, describe_protocol, describe_run
from foreseen.evaluation.scores import FrameTarget, Scores, mean_scores, score, summarise
from foreseen.evaluation.uncertainty import ForecastEnsemble, coverage, find_ensembles
from foreseen.runs import Forecast, Run
from foreseen.runs.files import write_atomically

FILE = "metrics.json"
Progress = Callable[[float, str], None]
_Table = dict[str, list[tuple[int, Frame, Scores]]]
"""Predictor -> (index of the frame, the frame, scores) of the frames that it can predict."""


def evaluate_run(
    run: Run,
    *,
    splits: Sequence[str] | None = None,
    max_frames: int | None = None,
    max_time: float | None = None,
    observe: Source | None = None,
    context: int = CONTEXT,
    baselines: bool = True,
    lpips_weights: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Renders the held-out frames, scores them, and writes `metrics.json`, `horizon.json`, `horizon.png`, and
    `ensemble.png` where the method forecasts an ensemble.

    Args:
        run: the run, at the checkpoint with which it was loaded.
        splits: names of the splits; None for all but "train".
        max_frames: at most so many frames of each split, evenly spread over time.
        max_time: leave out later frames, in the data set's unit.
        observe, context: what is observed of unseen sequences (see `forecast_contexts`).
        baselines: also score the forecasts that need no training.
        lpips_weights: file of weights (see `load_lpips`); without it LPIPS is not computed.
        progress: called with the share that is done (0..1) and what is done now.

    Returns:
        The content of `metrics.json` (see docs/evaluation.md).

    Raises:
        UserError: an unknown split, no frames left, an unusable weights file, or a rendering that is not
        finite.
    """
    lpips = load_lpips(lpips_weights) if lpips_weights is not None else None
    all_splits = run.splits()
    contexts = forecast_contexts(run, all_splits, observe, context)
    chosen = choose_frames(select_splits(all_splits, splits, contexts), max_frames, max_time)
    comparison = _Comparison(run, contexts, baselines, lpips)
    results = comparison.compare(chosen, progress or _no_progress)
    options = {
        "sequences": sorted({frame.sequence for frames in chosen.values() for frame in frames}),
        "unseen": describe_forecast_contexts(contexts, chosen.get("unseen-sequence", ()), context),
        "observe": observe,
        "context": context,
        "max_frames": max_frames,
        "max_time": max_time,
        "lpips": lpips.network if lpips else None,
    }
    metrics = {**describe_run(run), "protocol": describe_protocol(run, all_splits, options), **results}
    write_atomically(run.path / FILE, json.dumps(metrics, indent=1, allow_nan=False).encode())
    if horizon_split(metrics) is not None:
        write_horizon(run.path, metrics)
    else:
        remove_horizon(run.path)
    (run.path / ENSEMBLE_FILE).unlink(missing_ok=True)
    if comparison.ensembles:
        data = run.dataset()
        write_atomically(
            run.path / ENSEMBLE_FILE, plot_ensembles(comparison.ensembles, data.time_unit, data.length_unit)
        )
    return metrics


def _no_progress(share: float, doing: str) -> None:
    del share, doing


class _Comparison:
    """The method and the baselines, scored on the same frames."""

    def __init__(self, run: Run, contexts: Mapping[str, ForecastContext], baselines: bool, lpips: LPIPS | None) -> None:
        self.method = run.config.train.method
        self.lpips = lpips
        self.sequences = {s.name: s for s in run.dataset().sequences}
        frames = [frame for context in contexts.values() for frame in context.frames]
        ends = {name: context.end for name, context in contexts.items()}
        unseen = {name for name, context in contexts.items() if context.unseen}
        observed = ObservedFrames(run.dataset(), frames, ends, unseen)
        self.last_times = observed.last_times
        self.clips = PhysicsChecker(self.sequences)
        self.forecasts: dict[str, Forecast] = {}
        self.ensembles: list[ForecastEnsemble] = []
        self.predictors: dict[str, Baseline] = {self.method: method_predictor(run, contexts, self.forecasts)}
        if baselines:
            self.predictors |= {name: make(observed) for name, make in BASELINES.items()}

    def compare(self, chosen: dict[str, list[Frame]], progress: Progress) -> dict[str, Any]:
        """The "splits" and "baselines" of `metrics.json`."""
        total, done = sum(len(frames) for frames in chosen.values()), 0
        summaries: dict[str, dict[str, Any]] = {name: {} for name in self.predictors}
        for split, frames in chosen.items():
            table: _Table = {name: [] for name in self.predictors}
            last = _ScoredStep()
            for frame in frames:
                progress(done / total, f"{split}: {frame.camera_id} at {frame.time:.4g}")
                last = self._score_frame(frame, last, table)
                done += 1
            consistency = self.clips.finish(self.method)
            for name in self.predictors:
                if table[name]:
                    summaries[name][split] = self._summarise(table, name) | consistency.get(name, {})
            ensembles = find_ensembles(frames, self.sequences, self.forecasts)
            summaries[self.method][split] |= coverage(ensembles)
            if split in HORIZON_SPLITS:
                self.ensembles += ensembles
        progress(1.0, "scored")
        baselines = {name: by_split for name, by_split in summaries.items() if name != self.method and by_split}
        return {"splits": summaries[self.method], "baselines": baselines}

    def _summarise(self, table: _Table, name: str) -> dict[str, Any]:
        """A predictor's means; for a baseline that cannot predict every frame also the method's on those frames."""
        summary = summarise([(f.time, self._after(f), scores) for _, f, scores in table[name]])
        names = dict.fromkeys(f.sequence for _, f, _ in table[name])
        if len(names) > 1:
            rows = {one: [scores for _, f, scores in table[name] if f.sequence == one] for one in names}
            summary["by_sequence"] = {one: {"count": len(own), **mean_scores(own)} for one, own in rows.items()}
        predicted, every = {index for index, _, _ in table[name]}, table[self.method]
        if len(predicted) < len(every):
            same = [scores for index, _, scores in every if index in predicted]
            summary["method_on_same_frames"] = {k: v for k, v in mean_scores(same).items() if k in summary}
        return summary

    def _after(self, frame: Frame) -> float:
        """Time since the last observed frame of the sequence; rounded, so that times of several sequences that differ
        in the last digit are the same."""
        return round(frame.time - self.last_times[frame.sequence], 9)

    def _score_frame(self, frame: Frame, last: _ScoredStep, table: _Table) -> _ScoredStep:
        """Scores all predictors on one frame; returns what the flow of the next frame needs."""
        sequence = self.sequences[frame.sequence]
        consecutive = last.frame is not None and is_next_frame(frame, last.frame, sequence)
        previous = last.image if consecutive else None
        target = FrameTarget(frame.image(), truth_mask(frame), background_picture(frame, sequence), previous)
        now = _ScoredStep(frame, target.image)
        index = len(table[self.method])
        self.clips.add(TRUTH, frame, target.image, target.background)
        for name, predict in self.predictors.items():
            started = time.perf_counter()
            prediction = predict(frame)
            if prediction is None:
                continue
            seconds = time.perf_counter() - started
            self.clips.add(name, frame, prediction.image, target.background_of(prediction))
            scores = score(prediction, target, last.predictions.get(name), self.lpips)
            if name == self.method:
                scores |= {"mask_iou_ceiling": target.ceiling(), "render_seconds": seconds}
            table[name].append((index, frame, scores))
            now.predictions[name] = prediction.image
        return now


class _ScoredStep:
    """The last scored frame, and all predictions of it."""

    def __init__(self, frame: Frame | None = None, image: Tensor | None = None) -> None:
        self.frame = frame
        self.image = image
        self.predictions: dict[str, Tensor] = {}
