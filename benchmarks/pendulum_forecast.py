"""A pendulum, of which a quarter of the time is seen: how good is the forecast soon after, and four windows on?

    python benchmarks/pendulum_forecast.py --seeds 0 1 2 --minutes 5

Each seed is another swing (and another training). The table "soon" covers what follows the observed window up to 4/3 of
it, so that the first three quarters of that stretch are seen and the last one is forecast; "long" goes to 4 times the
window. Takes about (minutes + 4) for each seed and method.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tyro

from common import RESULTS, WORK, Clock, Contestant, evaluate, foreseen, mean, provenance, publish, table, train

METRICS = {
    "psnr_moving": "PSNR, moving [dB]",
    "mask_iou": "mask IoU",
    "psnr": "PSNR [dB]",
    "centroid_error_px": "centroid error [px]",
}
BASELINES = ("last-frame", "constant-velocity")
Row = tuple[str, dict[str, Any]]


def main(
    seeds: tuple[int, ...] = (0, 1, 2),
    minutes: float = 5.0,
    methods: tuple[str, ...] = ("rigid-ode:fast", "d-nerf:fast"),
    frames: int = 216,
    size: int = 160,
    observe_until: float = 0.25,
    max_frames: int = 200,
    work: Path = WORK / "pendulum_forecast",
    results: Path = RESULTS,
) -> None:
    """Simulate, train, evaluate, and write the tables.

    Args:
        seeds: Of the swing and the training.
        minutes: Of training.
        methods: METHOD:PRESET each.
        frames: Of the simulation, 20 a second.
        size: Of the pictures [pixels].
        observe_until: Fraction of the time that training sees.
        max_frames: Frames that are scored in each of the two forecasts, spread over time and cameras.
        work: Where data and runs lie; what is finished there is not done again.
        results: Where the tables go.
    """
    clock = Clock(work / "seconds.txt")
    contestants = [Contestant.parse(text) for text in methods]
    found: dict[str, dict[str, Any]] = {}
    for seed in seeds:
        data = work / f"data-{seed}-{frames}-{size}"
        if not data.exists():
            foreseen("simulate", "pendulum", "--out", data, "--frames", frames, "--size", size, "--seed", seed)
        for who in contestants:
            run = work / f"{who.method}-{who.preset}-{minutes:g}min-{frames}-{size}-{observe_until:g}-{seed}"
            train(who, data, run, seed=seed, minutes=minutes, more=("--observe-until", observe_until))
            long = evaluate(run, f"long-{max_frames}", "--splits", "forecast", "--max-frames", max_frames)
            window = long["protocol"]["observed_until"]
            until = f"{window * 4 / 3:.6f}"
            soon = evaluate(
                run, f"soon-{max_frames}", "--splits", "forecast", "--max-frames", max_frames, "--max-time", until
            )
            found.setdefault(str(who), {})[str(seed)] = {"soon": soon, "long": long}
        seconds = clock.seconds()
        done = seeds[: seeds.index(seed) + 1]
        publish(
            "pendulum_forecast",
            "Pendulum: forecasts",
            page(found, minutes, observe_until),
            provenance(seconds, done),
            found,
            results,
        )


def page(found: dict[str, dict[str, Any]], minutes: float, observe_until: float) -> str:
    """The text with both tables."""
    some = next(iter(next(iter(found.values())).values()))["long"]["protocol"]
    window = some["observed_until"]
    parts = [
        f"One swing a seed, {some['image_size'][0]} x {some['image_size'][1]} pixels, four cameras that are trained on "
        f"and one that is not, all scored. Observed: the first {window:.2f} {some['time_unit']}, "
        f"{observe_until:.0%} of the time. {minutes:g} minutes of training each. Means over the seeds."
    ]
    for span, words in (
        ("soon", f"The first third of a window after it (to {window * 4 / 3:.2f} {some['time_unit']})"),
        ("long", f"All that follows, to {1 / observe_until:g} times the window"),
    ):
        rows = averaged(found, span)
        parts += [f"## {words}", _table(rows), _each_seed(found, span)]
    return "\n\n".join(parts)


def averaged(found: dict[str, dict[str, Any]], span: str) -> list[Row]:
    """Methods and baselines, each metric averaged over the seeds. Baselines that cannot do every frame are followed by
    the methods on the frames that they can do."""
    seeds = [rows_of({who: runs[seed][span] for who, runs in found.items()}) for seed in _complete(found)]
    rows = []
    for index, (name, first) in enumerate(seeds[0]):
        values = {m: mean(rows[index][1][m] for rows in seeds if m in rows[index][1]) for m in METRICS}
        rows.append((name, {"count": first["count"], **values}))
    return rows


def _complete(found: dict[str, dict[str, Any]]) -> list[str]:
    """The seeds that every method has finished."""
    return [seed for seed in next(iter(found.values())) if all(seed in runs for runs in found.values())]


def rows_of(metrics: dict[str, dict[str, Any]]) -> list[Row]:
    """The rows of one seed from the methods' metrics."""
    rows = [(who, found["splits"]["forecast"]) for who, found in metrics.items()]
    some = next(iter(metrics.values()))
    for name in BASELINES:
        own = some["baselines"].get(name, {}).get("forecast")
        if own is None:
            continue
        rows.append((name.replace("-", " "), own))
        for who, found in metrics.items():
            if same := found["baselines"][name]["forecast"].get("method_on_same_frames"):
                rows.append((f"{who}, on the frames of {name.replace('-', ' ')}", {"count": own["count"], **same}))
    return rows


def _table(rows: list[Row]) -> str:
    cells = ([name, found["count"], *(float(found.get(m, "nan")) for m in METRICS)] for name, found in rows)
    return table(["", "frames a seed", *METRICS.values()], cells)


def _each_seed(found: dict[str, dict[str, Any]], span: str) -> str:
    rows = []
    for seed in _complete(found):
        for name, values in rows_of({who: runs[seed][span] for who, runs in found.items()}):
            rows.append([f"seed {seed}: {name}", *(float(values.get(m, "nan")) for m in METRICS)])
    return "<details><summary>every seed</summary>\n\n" + table(["", *METRICS.values()], rows) + "\n\n</details>"


if __name__ == "__main__":
    tyro.cli(main)
