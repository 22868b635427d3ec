"""Two laws in one data set: does one model tell a pendulum from a ball in a bowl, and forecast each as well as a model
of its own?

    python benchmarks/mixed_dynamics.py --minutes 3

Each seed is other initial conditions (and another training): 8 training sequences and 4 unseen ones of each law, five
cameras and one that no training sees. Beside the one model stand two, each of which learns from one law's sequences
alone, for half of the time: the same time for both together. Takes about twice the minutes and six more for each seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tyro

from common import RESULTS, WORK, Clock, Contestant, evaluate, foreseen, mean, provenance, publish, table, train

SCENE, TRAINED, UNSEEN, CAMERAS = "pendulum-and-ball", 16, 8, 5
LAWS = {"damped-pendulum": "pendulum", "slide-in-bowl": "ball"}
SPLIT = "unseen-sequence"
METRICS = {
    "mask_iou": "mask IoU",
    "mask_iou_ceiling": "ceiling",
    "centroid_error_px": "centroid error [px]",
    "psnr": "PSNR [dB]",
    "psnr_moving": "PSNR, moving [dB]",
}
SOURCES = {"truth": "true pose and velocity", "frames": "its first 5 times, as pictures"}
WHO = Contestant.parse("rigid-ode:fast")


def main(
    seeds: tuple[int, ...] = (0, 1, 2),
    minutes: float = 3.0,
    size: int = 128,
    max_frames: int = 240,
    work: Path = WORK / "mixed_dynamics",
    results: Path = RESULTS,
) -> None:
    """Simulate, train, evaluate, and write the tables.

    Args:
        seeds: Of the initial conditions and the training.
        minutes: Of training of the one model; the two others get half of it each.
        size: Of the pictures [pixels].
        max_frames: Frames that are scored, spread over time, cameras and sequences; of one law half as many.
        work: Where data and runs lie; what is finished there is not done again.
        results: Where the tables go.
    """
    clock = Clock(work / "seconds.txt")
    found: dict[str, dict[str, Any]] = {}
    for seed in seeds:
        found[str(seed)] = one_seed(seed, minutes, size, max_frames, work)
        origin = provenance(clock.seconds(), seeds)
        publish("mixed_dynamics", "Two laws in one model", page(found, minutes), origin, found, results)


def one_seed(seed: int, minutes: float, size: int, max_frames: int, work: Path) -> dict[str, Any]:
    """{"both": {source: metrics}, "alone": {law: metrics}, "told": {source: {sequence: right}}, "grouped": [kinds, of
    which law each of their sequences is]}."""
    data = work / f"data-{seed}-{size}"
    if not data.exists():
        count = ("--sequences", TRAINED + UNSEEN, "--unseen", UNSEEN, "--cameras", CAMERAS)
        foreseen("simulate", SCENE, "--out", data, *count, "--size", size, "--seed", seed)
    run = work / f"both-{seed}-{size}-{minutes:g}min"
    train(WHO, data, run, seed=seed, minutes=minutes)
    scored = ("--splits", SPLIT, "--no-baselines", "--max-frames")
    both = {s: evaluate(run, f"{s}-{max_frames}", *scored, max_frames, "--observe", s) for s in SOURCES}
    alone = {}
    for dynamics, name in LAWS.items():
        part, own = work / f"{name}-{seed}-{size}", work / f"{name}-{seed}-{size}-{minutes / 2:g}min"
        only(data, dynamics, part)
        train(WHO, part, own, seed=seed, minutes=minutes / 2)
        alone[dynamics] = evaluate(own, str(max_frames), *scored, max_frames // 2)
    return {"both": both, "alone": alone, **told_apart(run), "laws": laws_of(data)}


def only(data: Path, dynamics: str, out: Path) -> None:
    """A data set of those sequences alone that follow a law: its list, and links to the files."""
    if (out / "transforms.json").exists():
        return
    content = json.loads((data / "transforms.json").read_text())
    kept = {name for name, own in laws_of(data).items() if own == dynamics}
    content["frames"] = [frame for frame in content["frames"] if frame["sequence"] in kept]
    told = content["foreseen"]["sequences"]
    content["foreseen"]["sequences"] = {name: told[name] for name in told if name in kept}
    out.mkdir(parents=True, exist_ok=True)
    for folder in data.iterdir():
        if folder.is_dir() and not (out / folder.name).exists():
            (out / folder.name).symlink_to(folder.resolve())
    (out / "transforms.json").write_text(json.dumps(content))


def laws_of(data: Path) -> dict[str, str]:
    """The law of each sequence."""
    told = json.loads((data / "transforms.json").read_text())["foreseen"]["sequences"]
    return {name: own["truth"]["law"] for name, own in told.items()}


def told_apart(run: Path) -> dict[str, Any]:
    """ "grouped": for each kind that the run made of its training sequences the laws of those; "told": for each source
    whether each unseen sequence was taken for one of its own law."""
    from foreseen.evaluation.forecast_context import forecast_contexts
    from foreseen.runs import load_run

    loaded = load_run(run)
    method, laws = loaded.method, {s.name: s.truth.dynamics for s in loaded.dataset().sequences if s.truth}
    names = loaded.info.names
    grouped = [sorted({laws[names[int(s)]] for s in method.sequences(cluster)}) for cluster in range(method.clusters)]
    told = {}
    for source in SOURCES:
        new = {
            name: begin for name, begin in forecast_contexts(loaded, loaded.splits(), source).items() if begin.unseen
        }
        clusters = {name: int(loaded.forecast(begin.observation).state.cluster) for name, begin in new.items()}
        told[source] = {name: grouped[cluster] == [laws[name]] for name, cluster in clusters.items()}
    return {"grouped": grouped, "told": told}


def page(found: dict[str, dict[str, Any]], minutes: float) -> str:
    """The text with the tables."""
    half, new = TRAINED // 2, UNSEEN // 2
    pure = sum(sorted(one["grouped"]) == sorted([dynamics] for dynamics in LAWS) for one in found.values())
    lines = [
        f"One run of {minutes:g} minutes over {half} sequences of a pendulum and {half} of a ball in a bowl; nobody "
        f"tells it which is which. {new} unseen sequences of each; means over all forecast frames, and over seeds.",
        f"Alone: two runs of {minutes / 2:g} minutes, each of which sees one law's sequences only, given truth.",
        f"The training sequences were grouped by their law in {pure} of {len(found)} runs.",
    ]
    for source, words in SOURCES.items():
        right = [told for one in found.values() for told in one["told"][source].values()]
        count = f"{sum(right)} of {len(right)}"
        lines.append(f"Given {words}, {count} unseen sequences were taken for one of their own law.")
    rows = []
    for dynamics, name in LAWS.items():
        for source in SOURCES:
            splits = [(one["both"][source]["splits"][SPLIT], one["laws"]) for one in found.values()]
            rows.append(
                [f"{name}, both in one, given {source}", *cells(of_law(s, laws, dynamics) for s, laws in splits)]
            )
        rows.append([f"{name}, alone", *cells(one["alone"][dynamics]["splits"][SPLIT] for one in found.values())])
        for seed, one in found.items():
            entry = of_law(one["both"]["truth"]["splits"][SPLIT], one["laws"], dynamics)
            rows.append([f"{name}, both in one, given truth, seed {seed}", *cells([entry])])
    return "\n\n".join([" ".join(lines), table(["", *METRICS.values()], rows)])


def of_law(split: dict[str, Any], laws: dict[str, str], dynamics: str) -> dict[str, float]:
    """The means over the sequences of a law, each of which has as many frames."""
    mine = [scores for name, scores in split["by_sequence"].items() if laws[name] == dynamics]
    return {metric: mean(s[metric] for s in mine if metric in s) for metric in METRICS}


def cells(entries: Iterable[dict[str, Any]]) -> list[float]:
    """The metrics' means."""
    kept = list(entries)
    return [mean(e[metric] for e in kept if metric in e) for metric in METRICS]


if __name__ == "__main__":
    tyro.cli(main)
