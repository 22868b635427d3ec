"""`foreseen evaluate RUN`: scores by split and time, beside baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from foreseen.cli.options import call
from foreseen.cli.progress import progress_bar


def run(args: list[str]) -> None:
    """Evaluates as `args` say."""
    call(evaluate, args, prog="foreseen evaluate")


def evaluate(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    splits: tuple[str, ...] | None = None,
    max_frames: int | None = None,
    max_time: float | None = None,
    observe: Literal["truth", "frames"] | None = None,
    context: int = 5,
    baselines: bool = True,
    lpips_weights: Path | None = None,
    checkpoint: int | None = None,
    device: str = "cpu",
) -> None:
    """Score a run on frames that it has not seen, beside baselines that learn nothing.

    Writes metrics.json into the run's folder, and horizon.json and horizon.png where frames after the
    observed window are scored.

    Args:
        folder: Folder that `foreseen train` wrote.
        splits: Which splits: train, novel-view, interpolation, forecast, unseen-sequence; default: all but train.
        max_frames: Upper bound of the frames of each split, evenly spread over time.
        max_time: Leave out frames later than this, in the data set's unit.
        observe: What is observed of unseen sequences: true pose and velocity at the first time, or the first frames;
            default: truth where there is any.
        context: Number of first times of an unseen sequence that are observed as frames, and are not scored.
        baselines: Also score last frame, nearest frame, constant velocity and the true dynamics.
        lpips_weights: File with AlexNet or VGG16 and the linear heads of LPIPS; without one, LPIPS is left out.
        checkpoint: Step of the checkpoint; default: the last one.
        device: cpu, cuda or auto.
    """
    from rich.console import Console

    from foreseen.evaluation import evaluate_run, metrics_tables
    from foreseen.evaluation.uncertainty import describe_branches
    from foreseen.runs import load_run

    run = load_run(folder, checkpoint, device=device)
    with progress_bar("evaluate") as progress:
        metrics = evaluate_run(
            run,
            splits=splits or None,
            max_frames=max_frames,
            max_time=max_time,
            observe=observe,
            context=context,
            baselines=baselines,
            lpips_weights=lpips_weights,
            progress=progress,
        )
    console = Console()
    console.print(f"{metrics['method']} ({metrics['preset']}): {metrics['protocol']['sentence']}\n")
    for table in metrics_tables(metrics):
        console.print(table, "")
    for split, summary in metrics["splits"].items():
        if numbers := summary.get("uncertainty"):
            console.print(
                f"{split}: {numbers['coverage']:.0%} of the true centres lie in the {numbers['band']:.0%} band, "
                f"{numbers['width']:.3g} {metrics['protocol']['length_unit']} wide."
            )
            for name, shares in numbers["undecided"].items():
                console.print(f"{name} {describe_branches(shares, numbers['ensemble'])}.")
            console.print("")
    console.print(f"wrote {folder / 'metrics.json'}", soft_wrap=True)
