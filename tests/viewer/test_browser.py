"""The viewer in a real browser: Chromium with WebGL in software. Skipped where one of them is absent.

Everything waits for what it expects, and nothing for a time: a slow machine is slow.
"""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from foreseen.cli import main
from foreseen.data.types import Dataset
from foreseen.export.compose import Timeline
from foreseen.methods.deformable_gaussians.model import DeformableGaussians
from foreseen.render import ImageResult
from foreseen.scenes.files import SplatFile
from foreseen.scenes.gaussians import Gaussians
from foreseen.scenes.moving_gaussians import MovingGaussians, Track
from foreseen.training import Run, load_run
from foreseen.viewer.beginning import Knob
from foreseen.viewer.cameras import View
from foreseen.viewer.overlays import HANDLE
from foreseen.viewer.shown import DataShown, RunShown, Shown, SplatShown
from foreseen.viewer.splatting import Splatting
from random_gaussians import random_gaussians
from sliding_square import make_dataset

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
PATIENCE = 60.0
CANVAS = (400, 60, 240, 300)
"""A part of the window (left, top, width, height) that only the scene is in."""
MOST = (0, 160, 660, 480)
"""All of it that is below the browser's notices."""

pytest.importorskip("viser", reason="viser comes with the extra [view]")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright comes with the extra [dev]")
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine", allow_module_level=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield one
        one.close()


class Glow(Shown):
    """A run that glows red in the observed window and blue after it, and brighter to the right."""

    def __init__(self) -> None:
        self.name, self.bounds = "glow", torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
        self._time_goes(Timeline(0.0, 2.0, 1.0, "s"))
        self.asked: set[float] = set()

    def scene(self, time: float) -> str:
        return "glow"

    def look(self, camera: Any, time: float, *, preview: bool = False) -> ImageResult:
        self.asked.add(time)
        size = camera.height, camera.width
        ramp = torch.linspace(0.4, 1, camera.width).expand(size)
        late = float(self.timeline.is_forecast(time))
        rgb = torch.stack([(1 - late) * ramp, 0.1 * ramp, late * ramp], -1)
        return ImageResult(rgb, torch.ones(size), torch.ones(size))


class Learning(Glow):
    """A run that is being trained: it glows green after its next checkpoint."""

    note = "learning: 10 steps"

    def __init__(self, trained: threading.Event) -> None:
        super().__init__()
        self.trained = trained

    def catch_up(self) -> bool:
        if not self.trained.is_set() or self.version > 1:
            return False
        self.version, self.note = 2, "learning: 20 steps"
        return True

    def look(self, camera: Any, time: float, *, preview: bool = False) -> ImageResult:
        seen = super().look(camera, time)
        return seen if self.version == 1 else replace(seen, rgb=seen.rgb.roll(1, -1))


class Served:
    """A viewer in a thread of its own."""

    def __init__(self, make: Callable[[], Sequence[Shown]]) -> None:
        from foreseen.viewer.server import Viewer

        self.stop = threading.Event()
        self.viewer = Viewer(make, "test", "127.0.0.1", 18080)
        self.thread = threading.Thread(target=self.viewer.run, args=(self.stop.is_set,))
        self.thread.start()
        self.pages: list[Any] = []

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        for page in self.pages:  # one of a test that failed would go on to the next test's viewer
            page.close()
        self.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()

    def open(self, browser: Any) -> Any:
        page = browser.new_page(viewport={"width": 1000, "height": 640}, accept_downloads=True)
        self.pages.append(page)
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(self.viewer.address)
        page.get_by_role("button", name="Take picture").wait_for()
        return page


def canvas(page: Any, part: tuple[int, int, int, int] = CANVAS) -> np.ndarray:
    """`[H, W, 3]` of what one sees."""
    left, top, width, height = part
    shot = page.screenshot(clip={"x": left, "y": top, "width": width, "height": height})
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def until(page: Any, good: Callable[[np.ndarray], bool], part: tuple[int, int, int, int] = CANVAS) -> np.ndarray:
    """The canvas, once it looks as it should."""
    end = time.monotonic() + PATIENCE
    while not good(seen := canvas(page, part)):
        assert time.monotonic() < end, f"the canvas looks like {seen.reshape(-1, 3).mean(0)}"
        page.wait_for_timeout(100)
    return seen


def red(seen: np.ndarray) -> bool:
    return bool((seen[..., 0] > seen[..., 2] + 60).mean() > 0.9)


def blue(seen: np.ndarray) -> bool:
    return bool((seen[..., 2] > seen[..., 0] + 60).mean() > 0.9)


def press(page: Any, key: str) -> None:
    slider = page.get_by_role("slider").first
    slider.focus()
    slider.press(key)


def test_the_slider_goes_past_the_border_and_clients_come_and_go(browser: Any) -> None:
    with Served(lambda: [Glow()]) as served:
        assert served.viewer.address.startswith("http://127.0.0.1:18")
        first = served.open(browser)
        seen = until(first, red)
        assert seen[:, -40:, 0].mean() > seen[:, :40, 0].mean() + 20  # it is no plain colour
        second = served.open(browser)
        until(second, red)
        press(first, "End")
        until(first, blue)
        assert "forecast" in first.content() and "t = 2.000 s" in first.content()
        assert red(canvas(second))  # everybody has a time of their own
        second.close()
        press(first, "Home")
        until(first, red)
        until(first, lambda _: len(served.viewer.sessions) == 1)
        first.get_by_role("button", name="Play").click()
        until(first, blue)
        first.get_by_role("button", name="Pause").click()
        with first.expect_download() as info:
            first.get_by_role("button", name="Take picture").click()
        assert Image.open(info.value.path()).size[1] >= 500
        first.get_by_role("button", name="Add view to path").click()
        first.get_by_role("button", name="Add view to path").click()
        with first.expect_download() as info:
            first.get_by_role("button", name="Save path").click()
        saved = json.loads(Path(info.value.path()).read_text())
        assert saved["format"] == "foreseen camera path" and [v["at"] for v in saved["views"]] == [0.0, 2.0]
        first.close()


def test_a_run_is_seen_as_it_learns(browser: Any) -> None:
    trained = threading.Event()
    with Served(lambda: [Learning(trained)]) as served:
        page = served.open(browser)
        until(page, red)
        page.get_by_text("learning: 10 steps").wait_for()
        trained.set()
        until(page, lambda seen: bool((seen[..., 1] > seen[..., 0] + 60).mean() > 0.9))
        page.get_by_text("learning: 20 steps").wait_for()
        page.close()


def moving_splats() -> SplatFile:
    """A cloud of green Gaussians that is gone at the end."""
    rest = random_gaussians(400, 0)
    rest = Gaussians(
        0.3 * rest.means, rest.quaternions, 0 * rest.scales + 0.08, 0 * rest.opacities + 0.9,
        torch.tensor([-1.7, 1.7, -1.7]).expand(400, 1, 3).clone(), (0.0, 0.0, 0.0),
    )  # fmt: skip
    away = torch.stack([rest.means, rest.means + 100])
    track = Track(torch.arange(400), away)
    return SplatFile(Path("cloud.safetensors"), "4D", MovingGaussians(rest, torch.tensor([0.0, 1.0]), {"means": track}))


def green(seen: np.ndarray) -> bool:
    return bool((seen[..., 1] > seen[..., 0] + 60).mean() > 0.03)


def choose(page: Any, name: str, option: str) -> None:
    box, wanted = page.get_by_role("combobox", name=name), page.get_by_role("option", name=option, exact=True)
    end = time.monotonic() + PATIENCE
    while box.input_value() != option:  # a list that comes while a folder opens goes again
        assert time.monotonic() < end, f"{name} is {box.input_value()}"
        with suppress(sync_api.TimeoutError):
            if not wanted.is_visible():
                box.click(timeout=3000)
            wanted.click(timeout=3000)


def splats_in(page: Any) -> bool:
    """The browser has Gaussians of its own."""
    return bool(page.evaluate("Object.keys(window.__viserSceneTree.getState()).some(name => name == '/gaussians')"))


@pytest.mark.parametrize("draws", ["auto", "browser", "server"])
def test_gaussians_are_drawn_and_move(browser: Any, draws: str) -> None:
    with Served(lambda: [SplatShown(moving_splats())]) as served:
        page = served.open(browser)
        if draws != "auto":
            page.get_by_text("Quality").click()
            choose(page, "Gaussians drawn by", draws)
            until(page, lambda _: splats_in(page) == (draws == "browser"))
        until(page, green)
        press(page, "End")
        until(page, lambda seen: not green(seen))
        page.close()


def test_a_slow_browser_gets_pictures_of_gaussians(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    took = []
    seconds = Splatting._seconds

    def measured(self: Splatting) -> float:
        took.append(seconds(self))
        return 5.0 * len(took) if self.session.client.client_id == 0 else 1.0 / len(took)

    monkeypatch.setattr(Splatting, "_seconds", measured)
    with Served(lambda: [SplatShown(moving_splats())]) as served:
        slow = served.open(browser)
        until(slow, lambda _: len(took) == 2 and not splats_in(slow))
        until(slow, green)
        quick = served.open(browser)
        until(quick, lambda seen: len(took) == 4 and splats_in(quick) and green(seen))
        assert all(0 < one < PATIENCE for one in took)
        slow.close()
        quick.close()


@pytest.fixture(scope="module")
def sliding(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of red Gaussians of which half slide, and slide on after what was observed."""
    folder = tmp_path_factory.mktemp("sliding")
    data = str(folder / "pendulum")
    size = ["--frames", "6", "--cameras", "2", "--size", "32", "--samples", "1", "--background", "plain"]
    main(["simulate", "pendulum", "--out", data, *size])
    cloud = ["--cloud.budget", "300", "--cloud.start-points", "300", "--max-steps", "1", "--device", "cpu"]
    main(["train", "deformable-gaussians", "--data", data, "--out", str(folder / "run"), *cloud])
    run = load_run(folder / "run")
    method = run.method
    assert isinstance(method, DeformableGaussians)
    with torch.no_grad():
        method.cloud.log_scales.fill_(math.log(0.05))
        method.cloud.opacity_logits.fill_(4.0)
        method.cloud.color.copy_(torch.tensor([1.5, -1.5, -1.5]).expand_as(method.cloud.color))

    def moved(rest: Gaussians, since: float) -> Gaussians:
        return replace(rest, means=rest.means + torch.tensor([0.5 * since, 0, 0]) * (torch.arange(300)[:, None] % 2))

    method.moved = moved  # type: ignore[method-assign]
    return run


@pytest.mark.parametrize("draws", ["browser", "server"])
def test_a_run_of_gaussians_is_seen_past_its_last_frame(browser: Any, sliding: Run, draws: str) -> None:
    def reds(seen: np.ndarray) -> float:
        return float((seen[..., 0] > seen[..., 2] + 60).mean())

    with Served(lambda: [RunShown(sliding, "slide")]) as served:
        page = served.open(browser)
        page.get_by_text("Quality").click()
        choose(page, "Gaussians drawn by", draws)
        until(page, lambda _: splats_in(page) == (draws == "browser"))
        observed = reds(until(page, lambda seen: reds(seen) > 0.02, MOST))
        press(page, "End")
        page.get_by_text("forecast", exact=True).wait_for()
        last = max(f.time for f in sliding.dataset().frames)
        assert float(re.findall(r"t = ([\d.]+)", page.content())[0]) > 1.4 * last
        later = reds(until(page, lambda seen: reds(seen) > 1.15 * observed, MOST))  # both halves are seen now
        choose(page, "parts", "moving")
        until(page, lambda seen: 0.1 * later < reds(seen) < 0.85 * later, MOST)
        page.close()


class Thrown(Glow):
    """A run that takes initial conditions, and glows green when it begins far to the right."""

    knobs = (Knob("x", 0, 0, False, -1.0, 1.0, 0.0), Knob("z", 0, 2, False, -1.0, 1.0, 0.0))

    def __init__(self) -> None:
        super().__init__()
        self.values = [0.0, 0.0]

    def begin(self, values: Sequence[float]) -> None:
        self.values = list(values)
        self.version += 1

    def look(self, camera: Any, time: float, *, preview: bool = False) -> ImageResult:
        seen = super().look(camera, time)
        return seen if self.values[0] < 0.3 else replace(seen, rgb=seen.rgb.roll(1, -1))


def on_screen(session: Any, place: Sequence[float]) -> tuple[float, float]:
    """Where in the window a point of the scene is seen."""
    camera = session.client.camera
    size = camera.image_width, camera.image_height
    view = View(tuple(camera.wxyz), tuple(camera.position), camera.fov).camera(size, session.shown[0].reference)
    pose = view.camera_to_world.double().numpy()
    x, y, z = pose[:3, :3].T @ (np.array(place) - pose[:3, 3])
    return view.fx * x / z + view.cx, view.fy * y / z + view.cy


def test_a_handle_is_dragged_by_the_mouse_and_the_forecast_follows(browser: Any) -> None:
    with Served(lambda: [Thrown()]) as served:
        page = served.open(browser)
        until(page, red)
        (session,) = served.viewer.sessions
        until(page, lambda _: bool(session.overlays.handles))
        page.wait_for_timeout(500)  # the browser has drawn it
        reach = HANDLE * session.shown[0].extent
        start, end = (on_screen(session, (x, 0.0, 0.0)) for x in (0.7 * reach, 0.7 * reach + 0.6))
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=5)
        page.mouse.move(*end, steps=5)
        until(page, lambda seen: bool((seen[..., 1] > seen[..., 0] + 60).mean() > 0.8))  # while it is held
        page.mouse.up()
        assert 0.4 < session.shown[0].values[0] < 0.8 and abs(session.shown[0].values[1]) < 0.01
        assert "--initial" in page.content() and f"x={session.shown[0].values[0]:.3g}"[:5] in page.content()
        page.close()


def test_a_click_on_a_frustum_takes_one_there(browser: Any, tmp_path: Path) -> None:
    with Served(lambda: [DataShown(make_dataset(tmp_path / "data"))]) as served:
        page = served.open(browser)
        until(page, lambda _: bool(served.viewer.sessions))
        (session,) = served.viewer.sessions
        until(page, lambda _: len(session.overlays.frustums) == 2)
        page.wait_for_timeout(1000)
        frame = next(f for f in session.shown[0].frames if f.camera_id == "left")
        handle, _ = session.overlays.frustums["left"]
        pose = frame.camera.camera_to_world.double().numpy()
        half = math.tan(handle.fov / 2)
        ahead = handle.scale / (half * half * handle.aspect / 3) ** (1 / 3)  # viser keeps a frustum's volume
        page.mouse.click(*on_screen(session, pose[:3, 3] + ahead * pose[:3, 2]))
        until(page, lambda _: page.get_by_role("combobox", name="stand in").input_value() == "left")
        until(page, lambda seen: seen.mean() > 60)
        assert np.allclose(session.client.camera.position, pose[:3, 3], atol=1e-3)
        page.close()


def test_a_data_set_is_seen_through_its_cameras(browser: Any, tmp_path: Path) -> None:
    data: Dataset = make_dataset(tmp_path / "data")
    with Served(lambda: [DataShown(data)]) as served:
        page = served.open(browser)
        page.get_by_role("combobox").filter(visible=True).nth(1).click()
        page.get_by_role("option", name="left").click()
        wall = until(page, lambda seen: seen.mean() > 60)
        assert wall[..., 2].mean() > wall[..., 0].mean()  # the bluish wall
        press(page, "End")
        until(page, lambda seen: np.abs(seen - wall).max() > 60)  # the red square has come by
        page.close()
