"""Folders that look like those of evaluated runs, written by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from foreseen.core.scene_info import SceneInfo
from foreseen.runs.config import DatasetRecord, MachineInfo, RunConfig, SplitRecord, write_config
from foreseen.runs.train_config import TrainConfig, preset_config

TIMES = (0.1, 0.2, 0.4)


def scores(value: float, count: int = 8, **more: Any) -> dict[str, Any]:
    """A contestant's summary: mask IoU `value`, falling by a tenth a time; PSNR 30 times that."""
    rows = [
        {"time": 1 + t, "after": t, "count": 2, "mask_iou": value - t, "mask_iou_ceiling": 0.95, "psnr": 30 * value}
        for t in TIMES
    ]
    return {"count": count, "psnr": 30 * value, "mask_iou": value, "by_time": rows, **more}


def metrics(value: float, **more: Any) -> dict[str, Any]:
    """A small metrics.json; `more` replaces parts of it."""
    protocol = {"sentence": "half is hidden", "split_hash": "abc", "time_unit": "s", "length_unit": "m"}
    protocol |= {"last_observed": 1.0, "max_frames": 8, "sequences": ["one"], "unseen": None}
    return {
        "step": 100,
        "train_seconds": 60.0,
        "protocol": protocol,
        "splits": {"forecast": scores(value, mask_iou_ceiling=0.95, render_seconds=0.25)},
        "baselines": {"last-frame": {"forecast": scores(0.3)}},
        **more,
    }


def make_run(
    folder: Path,
    value: float | dict[str, Any] | None,
    *,
    method: str = "d-nerf",
    preset: str = "fast",
    seed: int = 0,
    data: str = "/data/pendulum",
    commit: str = "c0ffee",
    cpu: str = "a processor",
    protocol: str = "half is hidden",
    bodies: str = "ball",
    **settings: Any,
) -> Path:
    """A run's folder, with metrics of that mask IoU, or these; None: it was not evaluated."""
    folder.mkdir(parents=True)
    times = ((0.0, 0.5, 1.0),)
    info = SceneInfo.of_one_scene(
        ((-1, -1, -1), (1, 1, 1)), 0.1, 5.0, times, (1, 1, 1), False, False, True, ("one",), ((bodies,),)
    )
    own = replace(preset_config(method, preset), **settings)
    config = RunConfig(
        2, "0.1.0", commit,
        TrainConfig(method, (Path(data),), preset, own, seed, observe_until=0.5),
        DatasetRecord("nerfstudio", (1.0, 1.0, 1.0), 64, 48),
        SplitRecord("abc", 1.0, protocol),
        info,
        MachineInfo(cpu, 2, "2.10", "3.11", "Linux"),
    )  # fmt: skip
    write_config(folder, config)
    if value is not None:
        found = metrics(value) if isinstance(value, float) else value
        (folder / "metrics.json").write_text(json.dumps(found))
    return folder


EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)><a href='javascript:alert(3)'>"
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "nav", "h1", "h2"),
    *("h3", "h4", "p", "a", "dl", "dt", "dd", "div", "table", "thead", "tbody", "tr", "th", "td", "b", "small"),
    *("figure", "figcaption", "svg", "line", "text", "polyline", "ul", "li", "span", "details", "summary", "img"),
    *("video", "code"),
}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags(page: Path) -> list[tuple[str, dict[str, str | None]]]:
    """Every tag of a page, with its attributes."""
    reader = _Tags()
    reader.feed(page.read_text())
    return reader.found


def assert_harmless(page: Path) -> None:
    """Nothing in it but what the template has: no script, no handler, no address outside of the page."""
    for tag, attributes in tags(page):
        assert tag in TAGS, tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", tag
            if name in ("src", "href", "poster"):
                assert str(value).startswith(("data:image/", "data:video/mp4;", "#scene-")), value


def evil_metrics() -> dict[str, Any]:
    """Markup wherever a metrics.json has a name."""
    found = metrics(0.5, baselines={EVIL: {"forecast": scores(0.3), EVIL: scores(0.2)}})
    found["splits"][EVIL] = scores(0.4)
    found["splits"]["forecast"]["uncertainty"] = {
        "band": 0.9, "coverage": 1.0, "width": 1.0, "ensemble": 9, "undecided": {EVIL: [0.5, 0.5]},
    }  # fmt: skip
    found["protocol"] |= dict.fromkeys(("time_unit", "length_unit", "unseen", "moving_part", "lpips"), EVIL)
    return found
