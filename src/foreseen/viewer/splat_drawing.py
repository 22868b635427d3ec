"""Who draws Gaussians: the browser, or the server."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from foreseen.scenes.gaussians import Gaussians
from foreseen.viewer.view_renderer import RenderRequest

if TYPE_CHECKING:
    from foreseen.viewer.session import BrowserSession

Draws = Literal["auto", "browser", "server"]
DRAWS: tuple[Draws, ...] = ("auto", "browser", "server")

TRIAL_GAUSSIANS = 20_000
"""So many Gaussians are drawn to find out how fast a browser is."""
MAX_SECONDS_PER_GAUSSIAN, NEGLIGIBLE_SECONDS = 4e-6, 0.03
"""Seconds for each Gaussian that a browser may take, and seconds that nobody notices. Software WebGL takes about five
times as long, a graphics processor next to nothing."""
BROWSER_TIMEOUT = 30.0
"""A browser that has not answered by then [s] is slow."""


class SplatDrawing:
    """Gaussians of one session. A browser with a graphics processor draws them itself; for any other the server does,
    which sends pictures. Which one it is is tried out once, where nobody says."""

    def __init__(self, session: BrowserSession) -> None:
        self.session = session
        self.draws: Draws = "auto"
        self._quick: bool | None = None
        self._trial: threading.Thread | None = None
        self._sent: tuple[int, float, tuple[int, ...]] | None = None

    @property
    def decided(self) -> bool:
        """It is known who draws."""
        return self.draws != "auto" or self._quick is not None

    def choose(self, draws: Draws) -> None:
        """Says who is to draw."""
        self.draws = draws

    def show(self, request: RenderRequest) -> bool:
        """Puts wanted Gaussians into the browser, or takes them away. Returns whether the browser draws what is
        wanted."""
        gaussians = self.session.painter.gaussians(request)
        if gaussians is None or not self._by_browser(gaussians):
            if self._sent is not None:
                self.session.overlays.set_splats(None)
            self._sent = None
            return False
        key = (request.columns[0], request.time, request.versions)
        if key != self._sent:
            self.session.overlays.set_splats(gaussians)
        if self._sent is None:
            colour = np.round(255 * np.array(gaussians.background)).astype(np.uint8)
            self.session.client.scene.set_background_image(np.tile(colour, (2, 2, 1)), format="png")
        self._sent = key
        return True

    def _by_browser(self, gaussians: Gaussians) -> bool:
        if self.draws != "auto":
            return self.draws == "browser"
        if self._quick is None and self._trial is None and len(gaussians.means):
            self._trial = threading.Thread(target=self._try, args=(gaussians,), daemon=True)
            self._trial.start()
        return bool(self._quick)

    def _try(self, gaussians: Gaussians) -> None:
        """Lets the browser draw the scene without Gaussians, and with some."""
        count = len(gaussians.means)
        some = torch.linspace(0, count - 1, min(count, TRIAL_GAUSSIANS)).long()
        try:
            without = self._seconds()
            self.session.overlays.set_splats(gaussians.only(some))
            quick = self._seconds() - without <= max(MAX_SECONDS_PER_GAUSSIAN * len(some), NEGLIGIBLE_SECONDS)
        except (RuntimeError, TimeoutError):  # it has left, or is too busy to answer
            quick = False
        self.session.submit(lambda: self._tried(quick))

    def _seconds(self) -> float:
        """How long the browser takes for a picture. The first one has things to prepare."""
        client, seconds = self.session.client, []
        for _ in range(3):
            begin = time.perf_counter()
            client.get_render(client.camera.image_height, client.camera.image_width, timeout=BROWSER_TIMEOUT)
            seconds.append(time.perf_counter() - begin)
        return min(seconds[1:])

    def _tried(self, quick: bool) -> None:
        self._quick, self._sent = quick, None
        self.session.overlays.set_splats(None)  # they were some of them only
        self.session.refresh_view()
