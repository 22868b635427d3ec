"""`foreseen demo`: simulates, learns and forecasts a small scene with known physics."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreseen.cli.options import call
from foreseen.cli.progress import progress_bar
from foreseen.errors import UserError
from foreseen.version import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from foreseen.runs import Run
    from foreseen.simulate import SimulateOptions

MARKER_FILE = "demo.json"
METRICS, HORIZON, CLIP = "metrics.json", "horizon.png", "forecast.mp4"
SCENARIO = "pendulum"
SHOWN_METRICS = {"psnr": "PSNR [dB]", "psnr_moving": "PSNR, moving [dB]", "mask_iou": "mask IoU"}


@dataclass(frozen=True)
class DemoSize:
    """How large a demo is.

    Attributes:
        frames, cameras, pixels: of the simulation: times, training cameras (one more is held out), width of an image.
        observe_until: fraction of the time range that training sees.
        scored: upper bound of the scored frames of each split.
        max_steps: upper bound of training steps, beside the time.
        overrides: changed settings of the method.
    """

    frames: int
    cameras: int
    pixels: int
    observe_until: float
    scored: int
    max_steps: int | None = None
    overrides: dict[str, Any] = field(default_factory=dict)


FULL_SIZE = DemoSize(frames=108, cameras=4, pixels=128, observe_until=0.4, scored=150)
"""5.4 s of a pendulum, of which training sees 2.1 s: one and a half periods. The forecast is longer than that."""
QUICK_SIZE = DemoSize(
    frames=24,
    cameras=3,
    pixels=32,
    observe_until=0.6,
    scored=4,
    max_steps=20,
    overrides={"static_samples": 48, "part_samples": 16, "grid_resolution": 16, "width": 16},
)


def run(args: list[str]) -> None:
    """The demo, as `args` say."""
    call(demo, args, prog="foreseen demo")


def demo(out: Path = Path("demo"), seed: int = 0, minutes: float = 3.0, quick: bool = False) -> None:
    """Simulate a pendulum, learn it from its first periods, forecast the rest, and score the forecast.

    Writes forecast.mp4 (truth, forecast, difference), horizon.png and metrics.json. The same command resumes a stopped
    demo.

    Args:
        out: The demo's folder; must not exist, be empty, or hold a demo of the same seed.
        seed: Seed of the pendulum's initial condition and of the training.
        minutes: Training time [min]; everything else takes about as long again on two cores.
        quick: A tiny scene and a few training steps, to check that everything works; little is learned.
    """
    from rich.console import Console

    if not minutes > 0:
        raise UserError(f"--minutes {minutes:g}: give a number above 0.")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    began = time.monotonic()
    _claim(out, {"version": __version__, "seed": seed, "quick": quick})
    size = QUICK_SIZE if quick else FULL_SIZE
    _simulate(out / SCENARIO, size, seed, console)
    trained = _train(out, size, seed, minutes, console)
    metrics = _evaluate(trained, out, size, console)
    _render_clip(trained, out, console)
    _report(out, metrics, time.monotonic() - began)


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Marks `out` as this demo's folder. Raises `UserError` where it holds something else."""
    from foreseen.runs.files import full_disk_is_named, write_atomically

    mark = out / MARKER_FILE
    if mark.is_file():
        try:
            saved = json.loads(mark.read_text())
        except ValueError:
            saved = None
        if not isinstance(saved, dict) or saved.keys() != settings.keys():
            raise UserError(f"{mark} is damaged: give another --out, or remove {out} and start again.")
        differing = [f"{name} {saved[name]}, not {value}" for name, value in settings.items() if saved[name] != value]
        if differing:
            raise UserError(f"{out} holds another demo ({'; '.join(differing)}): give another --out.")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not a demo's folder: give another --out.")
    with full_disk_is_named(out):
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(mark, json.dumps(settings, indent=1).encode())


def _simulate(folder: Path, size: DemoSize, seed: int, console: Console) -> None:
    from foreseen.simulate import simulate

    console.print(f"1/4 simulate: {size.frames} frames of a {SCENARIO} in {size.cameras} + 1 cameras")
    if folder.exists():
        console.print(f"    done before: {folder}")
        return
    with progress_bar("    simulate") as progress:
        simulate(SCENARIO, folder, _simulation(size, seed), progress)


def _simulation(size: DemoSize, seed: int) -> SimulateOptions:
    from foreseen.simulate import SimulateOptions

    return SimulateOptions(frames=size.frames, cameras=size.cameras, size=size.pixels, seed=seed)


def _train(out: Path, size: DemoSize, seed: int, minutes: float, console: Console) -> Run:
    from foreseen.training import train

    share = f"the first {size.observe_until:.0%} of the time"
    console.print(f"2/4 train: rigid-ode learns from {share}, {minutes:g} min at most")
    return train(
        "rigid-ode",
        out / SCENARIO,
        out / "run",
        seed=seed,
        overrides=size.overrides,
        max_steps=size.max_steps,
        max_minutes=minutes,
        observe_until=size.observe_until,
    )


def _evaluate(trained: Run, out: Path, size: DemoSize, console: Console) -> dict[str, Any]:
    """The metrics of the trained run; copies of them and of the horizon plot lie in `out`."""
    from foreseen.evaluation import evaluate_run
    from foreseen.runs.files import write_atomically

    console.print("3/4 evaluate: frames that training has not seen, beside baselines")
    saved = _read_metrics(out / METRICS)
    if saved is not None and saved.get("step") == trained.step:
        console.print(f"    done before: {out / METRICS}")
        return saved
    for name in (METRICS, HORIZON, CLIP):  # of an earlier, shorter training
        (out / name).unlink(missing_ok=True)
    with progress_bar("    evaluate") as progress:
        metrics = evaluate_run(trained, max_frames=size.scored, progress=progress)
    for name in (HORIZON, METRICS):
        write_atomically(out / name, (trained.path / name).read_bytes())
    return metrics


def _read_metrics(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _render_clip(trained: Run, out: Path, console: Console) -> None:
    from foreseen.export import plan_clip, write_clip

    console.print("4/4 video: truth, forecast and their difference")
    if (out / CLIP).exists():
        console.print(f"    done before: {out / CLIP}")
        return
    clip_frames = plan_clip(trained, "fixed", with_truth=True)
    fps = (len(clip_frames) - 1) / (clip_frames[-1].time - clip_frames[0].time)
    with progress_bar("    video") as progress:
        write_clip(trained, clip_frames, out / CLIP, channel="side-by-side", fps=fps, progress=progress)


def _report(out: Path, metrics: dict[str, Any], seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from foreseen.runs.durations import readable_time

    table = Table(title="forecast: frames after the observed window", title_justify="left", box=None)
    for heading in ("", "frames", *SHOWN_METRICS.values()):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, found in _rows(metrics):
        numbers = (found.get(metric) for metric in SHOWN_METRICS)
        cells = ["" if number is None else f"{number:.2f}" for number in numbers]
        table.add_row(name, str(found["count"]), *cells)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table, "")
    for name, words in ((CLIP, "video"), (HORIZON, "scores over time"), (METRICS, "all scores")):
        console.print(f"{out / name}  {words}")
    console.print(f"{readable_time(seconds)} in all. Another view: foreseen render {out / 'run'} --path orbit")


def _rows(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The method and the baselines on the split "forecast"; after a baseline that cannot predict all frames, the method
    on the same frames."""
    method = metrics["method"]
    rows = [(method, metrics["splits"]["forecast"])]
    for name, splits in metrics["baselines"].items():
        found = splits.get("forecast")
        if found is None or name == "nearest-frame":  # after the last frame, the nearest one is the last one
            continue
        rows.append((name, found))
        if same := found.get("method_on_same_frames"):
            rows.append((f"{method}, same frames", {"count": found["count"], **same}))
    return rows
