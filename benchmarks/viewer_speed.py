"""Pictures a second that the viewer shows in Chromium without a graphics processor, while one drags.

    python benchmarks/viewer_speed.py

A real mouse turns the scene for some seconds. Where the server draws, a picture counts when the browser has taken it
for what it shows; where the browser draws, when it has drawn. Chromium draws by software (SwiftShader), on the same
cores as the server: the worst case. It needs playwright (the extra [dev]) and a Chromium on the path.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import tyro
from playwright.sync_api import sync_playwright

from common import RESULTS, WORK, Clock, Contestant, foreseen, provenance, publish, say, table, train
from foreseen.runs import load_run
from foreseen.scenes.files import SplatFile
from foreseen.scenes.gaussians import Gaussians
from foreseen.viewer.server import Viewer
from foreseen.viewer.session import BrowserSession
from foreseen.viewer.source import ViewerSource
from foreseen.viewer.sources import RunSource, SplatFileSource

FLAGS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
WINDOW = {"width": 1000, "height": 640}
NUM_DISPLACEMENTS = 60
"""Movements of the mouse a second."""
COUNT = """() => {
  window.pictures = 0;
  let before = null;
  const look = () => {
    const now = window.__viserMutable.backgroundMaterial.uniforms.colorMap.value;
    if (now !== before) { before = now; window.pictures++; }
    requestAnimationFrame(look);
  };
  look();
}"""
BY_BROWSER = "gaussians, drawn by the browser"
READ = "() => [window.pictures, window.__viserTestpoints.rendererInfo.render.frame]"


def main(
    count: int = 20_000,
    minutes: float = 1.0,
    seconds: float = 10.0,
    work: Path = WORK / "viewer_speed",
    results: Path = RESULTS,
) -> None:
    """Open, drag, count, and write the table.

    Args:
        count: Gaussians.
        minutes: Of training of the run of voxels.
        seconds: Of dragging, of which three are made; the middle one counts.
        work: Where data and run lie; what is finished there is not done again.
        results: Where the table goes.
    """
    clock = Clock(work / "seconds.txt")
    data, run = work / "pendulum-100-160", work / f"rigid-ode-{minutes:g}"
    if not data.exists():
        foreseen("simulate", "pendulum", "--frames", 100, "--cameras", 4, "--size", 160, "--out", data)
    train(Contestant("rigid-ode", "fast"), data, run, seed=0, minutes=minutes, more=("--observe-until", 0.5))
    learned, some = load_run(run), cloud(count)
    found = {
        BY_BROWSER: measure(lambda: [some], seconds, "browser"),
        "gaussians, drawn by the server": measure(lambda: [some], seconds, "server"),
        "gaussians, as the viewer chooses": measure(lambda: [some], seconds, "auto"),
        "rigid-ode fast": measure(lambda: [RunSource(learned, "rigid-ode")], seconds, None),
    }
    publish("viewer_speed", "The viewer's speed", page(found, count), provenance(clock.seconds(), [0]), found, results)


def cloud(count: int) -> SplatFileSource:
    """Gaussians about as large as those of a trained scene of that many."""
    draw = torch.Generator().manual_seed(0)
    means = torch.randn(count, 3, generator=draw)
    sizes = torch.exp(torch.randn(count, 3, generator=draw) - 4).clamp(0.005, 0.03)
    rotations, colours = torch.randn(count, 4, generator=draw), torch.randn(count, 1, 3, generator=draw)
    opacities = torch.sigmoid(2 * torch.randn(count, generator=draw))
    scene = Gaussians(means, rotations, sizes, opacities, colours, (0.0, 0.0, 0.0))
    return SplatFileSource(SplatFile(Path("cloud"), "made", scene))


def measure(make: Callable[[], Sequence[ViewerSource]], seconds: float, draws: str | None) -> dict[str, Any]:
    """Of a viewer that serves one browser. `draws`: who draws Gaussians; None: there are none."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("this benchmark needs a Chromium on the path.")
    viewer, stop = Viewer(make, "speed", "127.0.0.1", 18080), threading.Event()
    serving = threading.Thread(target=viewer.run, args=(stop.is_set,))
    serving.start()
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport=WINDOW)
            page.set_default_timeout(120_000)
            page.goto(viewer.address)
            page.get_by_role("button", name="Take picture").wait_for()
            (session,) = _until(lambda: viewer.sessions)
            if draws is not None:
                session.submit(lambda: session.set_draws(draws))
                _until(lambda: session.splatting.decided)
            time.sleep(3)  # what rests is refined
            page.evaluate(COUNT)
            drags = [_drag(page, seconds, session) for _ in range(3)]
            browser.close()
    finally:
        stop.set()
        serving.join()
    rate, lines = sorted(drags)[1]
    one = {
        "pictures_per_second": rate,
        "lines": lines,
        "draws": "browser" if lines == 0 else "server",
        "others": os.getloadavg()[0],
    }
    say(str(one))
    return one


def _until(ready: Callable[[], Any]) -> Any:
    end = time.monotonic() + 120
    while not (found := ready()):
        if time.monotonic() > end:
            sys.exit("the viewer or the browser did not answer for two minutes.")
        time.sleep(0.1)
    return found


def _drag(page: Any, seconds: float, session: BrowserSession) -> tuple[float, int]:
    """Pictures a second while the mouse goes in circles, and lines of those that the server sends, 0: none."""
    page.mouse.move(300, 400)
    page.mouse.down()
    begin, before, moves = time.monotonic(), page.evaluate(READ), 0
    while (spent := time.monotonic() - begin) < seconds:
        page.mouse.move(300 + 100 * math.sin(moves / 12), 400 + 60 * math.cos(moves / 15))
        moves += 1
        time.sleep(max(0.0, moves / NUM_DISPLACEMENTS - spent))
    after, spent, lines = page.evaluate(READ), time.monotonic() - begin, session.size[1]
    page.mouse.up()
    time.sleep(1)
    which = int(session.in_browser)
    return float(after[which] - before[which]) / spent, 0 if which else lines


def page(found: dict[str, dict[str, Any]], count: int) -> str:
    """The page in Markdown."""
    rows = [
        (name.replace("gaussians", f"{count:,} Gaussians"), one["draws"], one["pictures_per_second"],
         one["lines"] or "", one["others"])
        for name, one in found.items()
    ]  # fmt: skip
    return "\n".join(
        [
            "Pictures a second that Chromium shows while a mouse turns the scene, in a window of 1000 x 640 with WebGL "
            "in software: browser and server share the cores. Wanted: 10 for 20,000 Gaussians, 5 for the run at the "
            "resolution that it has while things move. *Lines*: of the pictures that the server sends then. *Busy*: "
            "processes that wanted the cores at the end (load average over a minute, this benchmark among them).",
            "",
            table(("what", "who draws", "pictures a second", "lines", "busy"), rows),
            "",
            f"By itself a browser without a graphics processor draws {found[BY_BROWSER]['pictures_per_second']:.1f} "
            "pictures of that many Gaussians a second: less than wanted. So the viewer tries out how fast a browser "
            "is, and has the server draw for such a one: what counts is the row of what it chooses. No browser with a "
            "graphics processor was at hand.",
        ]
    )


if __name__ == "__main__":
    tyro.cli(main)
