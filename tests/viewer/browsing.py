"""A viewer that is served, its page in Chromium, and what one sees and does there.

Everything waits for what it expects, and nothing for a time: a slow machine is slow.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("viser", reason="viser comes with the extra [view]")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright comes with the extra [dev]")

from foreseen.viewer.cameras import ViewerCamera  # noqa: E402
from foreseen.viewer.source import ViewerSource  # noqa: E402

PATIENCE = 300.0
Box = tuple[int, int, int, int]
CANVAS: Box = (0, 160, 676, 480)
"""The part of the window (left, top, width, height) that only the scene is in: below the browser's notices."""


class Served:
    """A viewer in a thread of its own."""

    def __init__(self, make: Callable[[], Sequence[ViewerSource]]) -> None:
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
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def open(self, browser: Any) -> Any:
        page = browser.new_page(viewport={"width": 1000, "height": 640}, accept_downloads=True)
        self.pages.append(page)
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(self.viewer.address)
        page.get_by_role("button", name="Take picture").wait_for()
        until(page, lambda _: self._docked())
        return page

    def _docked(self) -> bool:
        """The panel has taken its part of the window, and the newest page has a picture in the form of what is left:
        it rests and is being refined."""
        newest = self.viewer.sessions[-1:]
        return any(one.in_browser or (one._exact and one.size[0] < 1.2 * one.size[1]) for one in newest)


def canvas(page: Any, part: Box = CANVAS) -> np.ndarray:
    """`[H, W, 3]` of what one sees."""
    left, top, width, height = part
    shot = page.screenshot(clip={"x": left, "y": top, "width": width, "height": height})
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def until(page: Any, good: Callable[[np.ndarray], bool], part: Box = CANVAS) -> np.ndarray:
    """The canvas, once it looks as it should."""
    end = time.monotonic() + PATIENCE
    while not good(seen := canvas(page, part)):
        assert time.monotonic() < end, f"the canvas looks like {seen.reshape(-1, 3).mean(0)}"
        page.wait_for_timeout(100)
    return seen


def drawn(seen: np.ndarray) -> bool:
    """It is not blank, and no plain colour."""
    return bool(seen.std((0, 1)).min() > 3)


def steady(page: Any) -> np.ndarray:
    """The canvas, once something is drawn and looks the same twice."""
    shots = [canvas(page)]

    def same(seen: np.ndarray) -> bool:
        shots.append(seen)
        return drawn(seen) and differs(*shots[-2:]) < 0.005

    return until(page, same)


def differs(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the pixels that are of another colour: refinement alone changes none of them so much."""
    return float((np.abs(one - other).max(-1) > 25).mean())


def nearer(seen: np.ndarray, one: np.ndarray, other: np.ndarray) -> bool:
    """It is like the one and not like the other, whatever thin lines lie over them."""
    return 2 * differs(seen, one) < differs(seen, other)


def press(page: Any, key: str, slider: int = 0) -> None:
    """A key, on the slider of time, which is the first, or on another one."""
    thumb = page.get_by_role("slider").nth(slider)
    thumb.focus()
    thumb.press(key)


def click(page: Any, button: str) -> None:
    page.get_by_role("button", name=button, exact=True).click()


def download(page: Any, button: str) -> Path:
    """The file that the browser keeps."""
    with page.expect_download() as info:
        click(page, button)
    return Path(info.value.path())


def choose(page: Any, name: str, option: str) -> None:
    box, request = page.get_by_role("combobox", name=name), page.get_by_role("option", name=option, exact=True)
    end = time.monotonic() + PATIENCE
    while box.input_value() != option:  # a list that comes while a folder opens goes again
        assert time.monotonic() < end, f"{name} is {box.input_value()}"
        with suppress(sync_api.TimeoutError):
            if not request.is_visible():
                box.click(timeout=15_000)
            request.click(timeout=15_000)


def tick(page: Any, name: str, on: bool) -> None:
    """A checkbox."""
    page.get_by_role("checkbox", name=name).set_checked(on)


def splats_in(page: Any) -> bool:
    """The browser has Gaussians of its own."""
    return bool(page.evaluate("Object.keys(window.__viserSceneTree.getState()).some(name => name == '/gaussians')"))


def on_screen(session: Any, position: Sequence[float]) -> tuple[float, float]:
    """Where in the window a point of the scene is seen."""
    camera = session.client.camera
    size = camera.image_width, camera.image_height
    view = ViewerCamera(tuple(camera.wxyz), tuple(camera.position), camera.fov).camera(
        size, session.sources[0].reference
    )
    pose = view.camera_to_world.double().numpy()
    x, y, z = pose[:3, :3].T @ (np.array(position) - pose[:3, 3])
    return view.fx * x / z + view.cx, view.fy * y / z + view.cy
