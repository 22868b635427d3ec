"""The evaluation protocol in metrics.json: the run, data, splits, options and constants on which scores depend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from foreseen.data.splits import Splits
from foreseen.data.types import Frame
from foreseen.evaluation import (
    camera_truth,
    mask_components,
    method_predictor,
    metrics,
    moving_pixels,
    physics,
    true_dynamics,
    uncertainty,
)
from foreseen.evaluation import (
    frames as frame_choice,
)
from foreseen.evaluation.forecast_context import ForecastContext
from foreseen.evaluation.moving_pixels import describe_moving_part
from foreseen.runs import Run
from foreseen.runs.config import describe_machine
from foreseen.runs.machine import current_commit
from foreseen.runs.plain import to_plain

SCORING_MODULES = (
    camera_truth,
    frame_choice,
    mask_components,
    method_predictor,
    metrics,
    moving_pixels,
    physics,
    true_dynamics,
    uncertainty,
)


def describe_run(run: Run) -> dict[str, Any]:
    """The evaluated run: the first entries of `metrics.json`."""
    config = run.config
    return {
        "method": config.train.method,
        "preset": config.train.preset,
        "seed": config.train.seed,
        "commit": config.commit,
        "machine": to_plain(config.machine),
        "train_seconds": run.train_seconds,
        "step": run.step,
    }


def describe_forecast_contexts(
    contexts: Mapping[str, ForecastContext], frames: Iterable[Frame], context_times: int
) -> str | None:
    """A sentence on what was observed of the unseen sequences, and which of their times are scored.

    Args:
        contexts: by name of the sequence.
        frames: the scored frames of unseen sequences; without any, the result is None.
        context_times: number of first times of each unseen sequence that are not scored.
    """
    kinds = {contexts[frame.sequence].observation.kind for frame in frames}
    if not kinds:
        return None
    descriptions = {
        "initial": "true pose and velocity at the first time",
        "frames": f"the images of the first {context_times} times",
    }
    observed = " or ".join(sorted(descriptions[kind] for kind in kinds))
    return f"given: {observed}; scored: what comes after the first {context_times} times"


def scoring_constants() -> dict[str, dict[str, Any]]:
    """Thresholds and other constants that change scores, by module and name. The modules document them."""
    constants: dict[str, dict[str, Any]] = {}
    for module in SCORING_MODULES:
        numeric = {name.lower(): to_plain(v) for name, v in vars(module).items() if name.isupper() and _is_numeric(v)}
        constants[module.__name__.rpartition(".")[2]] = numeric
    return constants


def _is_numeric(value: object) -> bool:
    """Whether it is a number or a tuple of numbers."""
    return all(isinstance(v, int | float) for v in (value if isinstance(value, tuple) else (value,)))


def describe_protocol(run: Run, splits: Splits, options: dict[str, Any]) -> dict[str, Any]:
    """How the run was evaluated: data, splits, options, constants, commit and machine."""
    dataset, train, record = run.dataset(), run.config.train, run.config.dataset
    return {
        "data": {"name": dataset.name, "paths": to_plain(train.data), "format": record.format},
        "sequences": options["sequences"],
        "unseen": options["unseen"],
        "observe": options["observe"],
        "context": options["context"],
        "split_hash": splits.hash,
        "sentence": splits.protocol,
        "observed_until": float(splits.observed_until),
        "last_observed": max(f.time for f in splits.frames["train"]),
        "time_unit": dataset.time_unit,
        "length_unit": dataset.length_unit,
        "background": list(dataset.background),
        "downscale": train.downscale,
        "image_size": [record.width, record.height],
        "moving_part": describe_moving_part(dataset),
        "flow": "Farneback",
        "constants": scoring_constants(),
        "max_frames": options["max_frames"],
        "max_time": options["max_time"],
        "lpips": options["lpips"] or "not computed: no --lpips-weights given",
        "evaluated_with": {"commit": current_commit(), "machine": to_plain(describe_machine())},
    }
