"""Decides whether the browser or the server draws Gaussians."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import viser

from foreseen.scenes.gaussians import Gaussians
from foreseen.viewer.overlays import Overlays
from foreseen.viewer.view_renderer import RenderRequest, ViewRenderer

DrawnBy = Literal["auto", "browser", "server"]
DRAWN_BY: tuple[DrawnBy, ...] = ("auto", "browser", "server")

TRIAL_GAUSSIANS = 20_000
"""Number of Gaussians that are drawn to measure how fast a browser is."""
MAX_SECONDS_PER_GAUSSIAN, NEGLIGIBLE_SECONDS = 4e-6, 0.03
"""A browser draws Gaussians itself if it takes at most the first [s] for each Gaussian, or the second [s] in total.
Software WebGL takes about five times as long, a graphics processor almost nothing."""
BROWSER_TIMEOUT = 30.0
"""A browser that has not answered by then [s] is slow."""


class SplatDrawing:
    """Gaussians of one session. A browser with a graphics processor draws them itself; for other browsers the server
    renders pictures. Which way is faster is measured once, unless the user chooses.

    Args:
        submit: has something done by the session's own thread.
        refresh: shows the view again.
    """

    def __init__(
        self,
        client: viser.ClientHandle,
        renderer: ViewRenderer,
        overlays: Overlays,
        submit: Callable[[Callable[[], None]], None],
        refresh: Callable[[], None],
    ) -> None:
        self.client, self.renderer, self.overlays = client, renderer, overlays
        self._submit, self._refresh = submit, refresh
        self.drawn_by: DrawnBy = "auto"
        self._quick: bool | None = None
        self._trial: threading.Thread | None = None
        self._sent: tuple[int, float, tuple[int, ...]] | None = None

    @property
    def decided(self) -> bool:
        """The user has chosen, or the measurement is done."""
        return self.drawn_by != "auto" or self._quick is not None

    def choose(self, drawn_by: DrawnBy) -> None:
        """Sets who draws."""
        self.drawn_by = drawn_by

    def show(self, request: RenderRequest) -> bool:
        """Sends the requested Gaussians to the browser, or removes them. Returns whether the browser draws the
        request."""
        gaussians = self.renderer.gaussians(request)
        if gaussians is None or not self._by_browser(gaussians):
            if self._sent is not None:
                self.overlays.set_splats(None)
            self._sent = None
            return False
        key = (request.columns[0], request.time, request.versions)
        if key != self._sent:
            self.overlays.set_splats(gaussians)
        if self._sent is None:
            colour = np.round(255 * np.array(gaussians.background)).astype(np.uint8)
            self.client.scene.set_background_image(np.tile(colour, (2, 2, 1)), format="png")
        self._sent = key
        return True

    def _by_browser(self, gaussians: Gaussians) -> bool:
        if self.drawn_by != "auto":
            return self.drawn_by == "browser"
        if self._quick is None and self._trial is None and len(gaussians.means):
            self._trial = threading.Thread(target=self._try, args=(gaussians,), daemon=True)
            self._trial.start()
        return bool(self._quick)

    def _try(self, gaussians: Gaussians) -> None:
        """Measures how long the browser takes without and with Gaussians."""
        count = len(gaussians.means)
        subset = torch.linspace(0, count - 1, min(count, TRIAL_GAUSSIANS)).long()
        try:
            without = self._seconds()
            self.overlays.set_splats(gaussians.only(subset))
            quick = self._seconds() - without <= max(MAX_SECONDS_PER_GAUSSIAN * len(subset), NEGLIGIBLE_SECONDS)
        except (RuntimeError, TimeoutError):  # it has disconnected, or is too busy to answer
            quick = False
        self._submit(lambda: self._tried(quick))

    def _seconds(self) -> float:
        """How long the browser takes for a picture; the first of three includes preparations and is left out."""
        client, seconds = self.client, []
        for _ in range(3):
            begin = time.perf_counter()
            client.get_render(client.camera.image_height, client.camera.image_width, timeout=BROWSER_TIMEOUT)
            seconds.append(time.perf_counter() - begin)
        return min(seconds[1:])

    def _tried(self, quick: bool) -> None:
        self._quick, self._sent = quick, None
        self.overlays.set_splats(None)  # the trial showed a subset only
        self._refresh()
