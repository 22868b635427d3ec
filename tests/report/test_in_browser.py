"""The page of a real run, with its clip, and in a real browser: wide, narrow, light, dark, printed."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image
from pretend_runs import assert_harmless, evil_metrics, make_run

from foreseen.evaluation import evaluate_run
from foreseen.report import write_report
from foreseen.simulate import SimulateOptions, simulate
from foreseen.training import train

TINY = {"width": 16, "layers": 2, "skip": 1, "samples": 8, "importance_samples": 4, "rays": 64}
FRAMES = 6
PATIENCE = 300_000
"""Milliseconds that a busy machine may take for anything."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run that hardly learned, and of one that was written by hand."""
    folder = tmp_path_factory.mktemp("report")
    options = SimulateOptions(sequences=1, frames=12, cameras=2, size=32, samples=2)
    data = simulate("pendulum", folder / "data", options)
    run = train(
        "d-nerf", data, folder / "run", preset="paper", overrides=TINY, max_steps=2, observe_until=0.7, device="cpu",
        progress=False,
    )  # fmt: skip
    evaluate_run(run, max_frames=6)
    before = {p: p.stat().st_mtime_ns for p in (folder / "run").rglob("*")}
    runs = [folder / "run", make_run(folder / "strange", evil_metrics())]
    Image.new("RGB", (64, 32), "white").save(runs[1] / "ensemble.png")
    found = write_report(runs, folder / "report.html", clips=1, frames=FRAMES)
    assert {p: p.stat().st_mtime_ns for p in (folder / "run").rglob("*")} == before
    return found


def test_the_clip_travels_in_the_page(page: Path) -> None:
    assert_harmless(page)
    (video,) = re.findall(r'src="data:video/mp4;base64,([^"]+)"', page.read_text())
    with av.open(io.BytesIO(base64.b64decode(video))) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    assert len(frames) == FRAMES
    assert (abs(frames[0].astype(int) - frames[-1]).max(-1) > 60).mean() > 0.005  # something moves, if only the bar
    stills = re.findall(r'<img src="data:image/jpeg;base64,', page.read_text())
    assert len(stills) == 2  # of the two forecast frames


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens(browser: Any, page: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE)
    tab, said, requested = context.new_page(), [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("dialog", lambda dialog: said.append("a dialog"))
    tab.on("request", lambda request: requested.append(request.url))
    tab.goto(page.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= width  # only tables scroll sideways
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(re.findall(r"\d+", paper)[0])
    assert red > 200 if scheme == "light" else red < 60
    plot = Image.open(io.BytesIO(tab.locator("figure.plot img").screenshot())).convert("L").resize((1, 1))
    assert abs(plot.getpixel((0, 0)) - red) < 30, "no glaring white in the dark"
    tab.wait_for_function("document.querySelector('video').readyState >= 2")
    assert tab.evaluate("document.querySelector('polyline').getBoundingClientRect().width") > 100
    assert not said
    assert all(url.startswith(("data:", page.as_uri())) for url in requested)
    context.close()


def test_a_script_that_slipped_through_does_not_run(browser: Any, page: Path, tmp_path: Path) -> None:
    slipped = tmp_path / "slipped.html"
    bad = "<script>document.title = 'it ran'</script><img src='https://example.org/x.png'>"
    slipped.write_text(page.read_text().replace("</main>", f"{bad}</main>"))
    tab = browser.new_page()
    tab.set_default_timeout(PATIENCE)
    requested: list[str] = []
    tab.on("requestfinished", lambda request: requested.append(request.url))
    tab.goto(slipped.as_uri())
    assert tab.title() != "it ran"
    assert not [url for url in requested if "example.org" in url]
    slipped.write_text(slipped.read_text().replace("Content-Security-Policy", "x"))
    tab.route("**/x.png", lambda route: route.abort())
    tab.goto(slipped.as_uri())
    assert tab.title() == "it ran"  # the policy it was that held it
    tab.close()


def test_it_prints(browser: Any, page: Path) -> None:
    """Stills stand in for the clip, and what is folded is opened."""
    tab = browser.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.goto(page.as_uri())
    shown = "e => getComputedStyle(document.querySelector(e)).display"
    assert (tab.evaluate(shown, "video"), tab.evaluate(shown, ".stills")) == ("block", "none")
    tab.emulate_media(media="print", color_scheme="dark")
    assert (tab.evaluate(shown, "video"), tab.evaluate(shown, ".stills")) == ("none", "block")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.pdf(format="A4", print_background=True).startswith(b"%PDF")
    tab.close()
