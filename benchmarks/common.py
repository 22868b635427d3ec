"""What the benchmarks share: commands as a user types them, and results that say where they came from."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
WORK = ROOT / "runs" / "benchmarks"
"""Data and runs; a benchmark that is started again goes on with what lies here. Remove it to begin anew."""
SCENES = (
    "scene1_close_proximity",
    "scene2_identical_objects",
    "scene3_collision",
    "scene4_occlusion",
    "scene10_texture",
)
"""Folders of the recorded data in D-NeRF's format."""


@dataclass(frozen=True)
class Contestant:
    """A method and its preset, written METHOD:PRESET."""

    method: str
    preset: str

    @classmethod
    def parse(cls, text: str) -> Contestant:
        """From METHOD:PRESET, or METHOD alone for its preset fast."""
        method, _, preset = text.partition(":")
        return cls(method, preset or "fast")

    def __str__(self) -> str:
        return f"{self.method} {self.preset}"


def shared_data() -> Path:
    """The folder of recorded data (environment variable FORESEEN_DATA, else ../shared/data); leaves where it is
    absent."""
    folder = Path(os.environ.get("FORESEEN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        sys.exit(f"no data at {folder}: set FORESEEN_DATA to the folder of the recorded data sets.")
    return folder


def foreseen(*words: object) -> None:
    """Runs a command of foreseen as a user would; leaves where it fails. The same benchmark then goes on from there."""
    line = [str(word) for word in words]
    say("foreseen " + shlex.join(line))
    code = subprocess.run([sys.executable, "-m", "foreseen", *line], check=False).returncode
    if code:
        sys.exit(f"foreseen {line[0]} ended with code {code}; the same benchmark goes on from there.")


def say(line: str) -> None:
    """A line with the time of day."""
    print(f"[{datetime.now(tz=UTC):%H:%M:%S}] {line}", flush=True)


def train(who: Contestant, data: Path, run: Path, *, seed: int, minutes: float, more: Sequence[object] = ()) -> None:
    """`foreseen train`, unless the run has come to its end before."""
    words = ("--preset", who.preset, "--seed", seed, "--max-minutes", minutes, *more)
    foreseen("train", who.method, "--data", data, "--out", run, *words)


def evaluate(run: Path, name: str, *words: object) -> dict[str, Any]:
    """`foreseen evaluate` with `words`; its metrics are kept as `metrics-NAME.json` and found there the next time."""
    kept = run / f"metrics-{name}.json"
    if not kept.is_file():
        foreseen("evaluate", run, *words)
        write_text(kept, (run / "metrics.json").read_text())
    return dict(json.loads(kept.read_text()))


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean; of nothing it is not a number."""
    found = list(values)
    return sum(found) / len(found) if found else float("nan")


def pooled(splits: Iterable[Mapping[str, Any]], metric: str) -> float:
    """A metric's mean over all frames of several splits, each of them an entry of `metrics.json`."""
    pairs = [(s[metric], s.get("defined_on", {}).get(metric, s["count"])) for s in splits if metric in s]
    total = sum(n for _, n in pairs)
    return sum(value * n for value, n in pairs) / total if total else float("nan")


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], decimals: int = 2) -> str:
    """A Markdown table; numbers with a fraction get so many `decimals`, what is not a number is left empty."""
    cells = ([_cell(value, decimals) for value in row] for row in rows)
    lines = [list(headings), ["---"] + ["---:"] * (len(headings) - 1), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object, decimals: int) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.{decimals}f}"
    return str(value)


def machine_words() -> str:
    """Such as "2 cores, AMD EPYC, no GPU"."""
    import torch

    from foreseen.runs.machine import cpu_name, usable_cores

    words = re.sub(r"\(\w+\)|\b(CPU|Processor)\b", "", cpu_name()).split()
    name = " ".join(takewhile(lambda word: not re.search(r"\d", word), words)) or "unknown"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{usable_cores()} cores, {name}, {gpu}"


def provenance(seconds: float, seeds: Sequence[int]) -> dict[str, Any]:
    """Where a result comes from; `seconds` is the wall time of this call or, better, of all the work behind it."""
    import torch

    import foreseen as package
    from foreseen.runs.machine import current_commit

    return {
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_without_places(sys.argv[1:])]),
        "commit": current_commit(),
        "version": package.__version__,
        "machine": machine_words(),
        "torch": torch.__version__,
        "seeds": list(seeds),
        "wall_seconds": round(seconds, 1),
        "date": f"{datetime.now(tz=UTC):%Y-%m-%d}",
    }


def _without_places(words: Sequence[str]) -> list[str]:
    """Options without those that only say where files lie on this machine."""
    places = ("--work", "--results", "--before", "--after")
    kept, skip = [], False
    for word in words:
        if not skip and word.partition("=")[0] not in places:
            kept.append(word)
        skip = not skip and word in places
    return kept


def _portable(found: Any) -> Any:
    """Without this machine's folders, and with no more digits than anyone reads."""
    if isinstance(found, Mapping):
        return {key: _portable(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_portable(value) for value in found]
    if isinstance(found, str) and Path(found).is_absolute():
        return Path(found).name
    return float(f"{found:.6g}") if isinstance(found, float) else found


def publish(name: str, title: str, body: str, origin: Mapping[str, Any], results: Any, folder: Path = RESULTS) -> None:
    """Writes NAME.json and NAME.md into `folder`, and prints the page."""
    commits = sorted(set(_commits(results))) or [origin["commit"]]
    seeds = ", ".join(map(str, origin["seeds"]))
    foot = (
        f"`{origin['command']}` · commit {', '.join(map(str, commits))} · seeds {seeds} · {origin['machine']}, "
        f"torch {origin['torch']} · {origin['wall_seconds'] / 60:.0f} min of wall time · {origin['date']}"
    )
    page = f"# {title}\n\n{body.strip()}\n\n{foot}\n"
    write_text(folder / f"{name}.json", json.dumps(_portable({"origin": origin, "results": results})) + "\n")
    write_text(folder / f"{name}.md", page)
    print(f"\n{page}\nwrote {folder / name}.md and .json", flush=True)


def _commits(found: Any) -> list[str]:
    """Every "commit" that stands somewhere in the results: runs may have been made at several."""
    if isinstance(found, Mapping):
        own = [found["commit"]] if isinstance(found.get("commit"), str) else []
        return own + [c for value in found.values() for c in _commits(value)]
    return [c for value in found for c in _commits(value)] if isinstance(found, list) else []


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    beside.write_text(text)
    beside.replace(path)


class Clock:
    """Wall time of the work behind a result, kept in a file so that it counts over several calls."""

    def __init__(self, path: Path) -> None:
        self.path, self._began = path, time.monotonic()
        self._before = float(path.read_text()) if path.is_file() else 0.0

    def seconds(self) -> float:
        """Of all calls so far; writes it down."""
        total = self._before + time.monotonic() - self._began
        write_text(self.path, f"{total:.1f}")
        return total
