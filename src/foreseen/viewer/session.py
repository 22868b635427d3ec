"""One browser: what it shows, and what its controls do. All of it runs in one thread."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

import numpy as np
import viser

from foreseen.core.capabilities import Layer
from foreseen.errors import UserError
from foreseen.viewer.camera_lock import CameraLock
from foreseen.viewer.cameras import ViewerCamera
from foreseen.viewer.capture import Capture
from foreseen.viewer.channels import CHANNELS
from foreseen.viewer.controls import ControlPanel, set_handle_value
from foreseen.viewer.initial_condition import InitialCondition
from foreseen.viewer.overlays import Overlays
from foreseen.viewer.panel import INITIAL_LABEL, SIDE_BY_SIDE, build_panel
from foreseen.viewer.panel_text import bars_html, notes
from foreseen.viewer.player import Player
from foreseen.viewer.resolution import MAX_WINDOW_SIDE, AdaptiveResolution, Size
from foreseen.viewer.source import ViewerSource
from foreseen.viewer.splat_drawing import DrawnBy, SplatDrawing
from foreseen.viewer.view_renderer import RenderRequest, ViewRenderer

REFINE_DELAY = 0.35
"""Seconds without a change until a view is refined."""
ENSEMBLE_DELAY = 0.8
"""Seconds without a change until an ensemble is computed, which may take a second or two."""
NOTICE_SECONDS = 12.0
"""Seconds that a notification is shown."""
PLAYBACK_SECONDS = 6.0
"""Seconds that playing the whole range takes at speed 1, where the unit of time is not a second."""
JPEG_QUALITY, FINE_JPEG_QUALITY = 85, 92
"""Quality of JPEG pictures while the view moves, and while it is static."""


class BrowserSession:
    """What one browser shows. Callbacks of the browser run in other threads: they only `submit`."""

    def __init__(self, client: viser.ClientHandle, source: Sequence[ViewerSource], wake: Callable[[], None]) -> None:
        self.client, self.sources, self._wake = client, list(source), wake
        self.resolution = AdaptiveResolution()
        self.renderer = ViewRenderer(self.sources, self.resolution)
        line = self.sources[0].timeline
        rate = 1.0 if line.unit == "s" else max(line.end - line.start, 1e-9) / PLAYBACK_SECONDS
        self.player = Player(line.start, line.end, line.start, rate)
        self.channel = CHANNELS[0]
        self.columns = tuple(range(len(self.sources)))
        self.truth, self.ensemble = False, True
        self.cameras = self.path_shown = not self.sources[0].renders
        self._callbacks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._warned: set[str] = set()
        self.camera_lock = CameraLock(self)
        self.capture = Capture(self)
        self.initial_condition = InitialCondition(self)
        self.disconnected = False  # the browser has left while something was rendered for it
        self._last: RenderRequest | None = None
        self.in_browser = False  # the browser draws the view itself
        self.size: Size = (0, 0)  # of the picture that was rendered last
        self._exact = False  # the picture is no preview
        self._changed = self._tick = clock.monotonic()
        self._work: Iterator[np.ndarray | None] | None = None
        self._dirty = {"cameras", "path", "ensemble"}
        self._overlays_at: tuple[int, float] | None = None
        self.overlays = Overlays(client)
        self.splatting = SplatDrawing(client, self.renderer, self.overlays, self.submit, self.refresh_view)
        self.panel: ControlPanel = build_panel(client.gui, self)
        client.camera.on_update(lambda _: self._wake())

    @property
    def front(self) -> ViewerSource:
        """The source of the first column. Slider, bar, list of cameras and overlays belong to it."""
        return self.sources[self.columns[0]]

    # --- from other threads

    def submit(self, act: Callable[[], None]) -> None:
        """Has something done by the session's own thread."""
        self._callbacks.put(act)
        self._wake()

    # --- the loop

    def step(self) -> bool:
        """Does a small piece of the work. Returns whether there is more."""
        now = clock.monotonic()
        self._run_callbacks()
        if self.player.advance(now - self._tick):
            self._update_time()
        self._tick = now
        self.initial_condition.apply()
        self._reload()
        request = self.request()
        if request is None:
            return False
        self.capture.tick(now, request)
        capturing = self.capture.continue_picture()
        if request != self._last:
            if self.in_browser and now - self._changed < 1 / self.resolution.rate:
                return True  # Gaussians sent faster than the browser draws them would pile up
            self._show_moving(request, now)
            return True
        if now - self._changed < REFINE_DELAY:
            return True
        more = self._update_overlays(request) or self._refine(request) or self._load_picture()
        return more or capturing or self.player.playing

    def _run_callbacks(self) -> None:
        with suppress(Empty):
            while True:
                act = self._callbacks.get_nowait()
                self._warned.clear()
                try:
                    act()
                except UserError as error:
                    self.show_message("Not possible", str(error))

    def show_message(self, title: str, text: str) -> None:
        """Shows a notification in the browser."""
        self.client.add_notification(title, text, auto_close_seconds=NOTICE_SECONDS)

    def is_new_warning(self, warning: str) -> bool:
        """The warning was not shown before, or the user has done something since."""
        is_new = warning not in self._warned
        self._warned.add(warning)
        return is_new

    def request(self) -> RenderRequest | None:
        """What is to be shown now; None before the browser has sent its size."""
        camera = self.client.camera
        window = min(camera.image_width, MAX_WINDOW_SIDE), min(camera.image_height, MAX_WINDOW_SIDE)
        position = (*camera.wxyz.tolist(), *camera.position.tolist())
        if min(window) < 8 or not 0 < camera.fov < math.pi or not all(map(math.isfinite, position)):
            return None
        view = ViewerCamera(position[:4], position[4:], float(camera.fov))
        time = self.front.snap_time(self.player.time)
        versions = tuple(s.version for s in self.sources)
        camera_lock = self.camera_lock.current_camera(view)
        return RenderRequest(view, window, time, self.channel, self.columns, self.truth, camera_lock, versions)

    def _show_moving(self, request: RenderRequest, now: float) -> None:
        self.overlays.show(request.alone)
        self.overlays.hide_camera(request.camera_lock)
        self._last, self._changed, self._work = request, now, None
        self.in_browser = self.splatting.show(request)
        if self.in_browser:
            return
        self.size, self._exact = self.resolution.moving(self.resolution.finest(request.window)), False
        for picture in self.renderer.render(request, self.size, preview=True):
            if picture is not None:
                self._send(picture, JPEG_QUALITY)
        if self.player.playing:
            self.overlays.update_ensemble(self.front, request.time)

    def _refine(self, request: RenderRequest) -> bool:
        """Renders a piece of a finer picture of a static view. Returns whether there was something to do."""
        if self.in_browser:
            return False
        if self._work is None:
            finest = self.resolution.finest(request.window)
            finer = self.resolution.refine(self.size, finest)
            if finer is None and self._exact:
                return False
            finer, self._exact = finer or finest, True
            self.size, self._work = finer, self.renderer.render(request, finer, preview=False)
        try:
            picture = next(self._work)
        except Exception:
            self.size, self._work = self.resolution.finest(request.window), None  # it would fail again
            raise
        if picture is not None:
            self._send(picture, FINE_JPEG_QUALITY)
            self._work = None
        return True

    def _update_overlays(self, request: RenderRequest) -> bool:
        """Updates what can wait until the view is static: frustums, paths, ensemble. Returns whether something was
        done."""
        first, at = self.front, (self.front.version, request.time)
        late = {"ensemble"} if clock.monotonic() - self._changed < ENSEMBLE_DELAY else set()
        dirty = self._dirty - late
        if not dirty and self._overlays_at == at:
            return False
        self._dirty, self._overlays_at = self._dirty & late, at  # what fails is not tried again and again
        if "cameras" in dirty:
            self.overlays.set_cameras(first, request.time, self._on_frustum, self.cameras)
            self.overlays.hide_camera(request.camera_lock)
        else:
            self.overlays.update_cameras(first, request.time)
        if "path" in dirty:
            self.overlays.set_path(first, self.path_shown)
        if "ensemble" in dirty:
            self.overlays.set_ensemble(first, self.ensemble)
            self.initial_condition.update_handles()
        self.overlays.update_ensemble(first, request.time)
        return True

    def _load_picture(self) -> bool:
        """Loads one picture onto its frustum. Returns whether there was one to load."""
        try:
            return self.overlays.load_picture()
        except UserError as error:
            self.show_message("A camera is shown without its picture", str(error))
            return True

    def _send(self, picture: np.ndarray, quality: int) -> None:
        if not self.disconnected:
            self.client.scene.set_background_image(picture, format="jpeg", jpeg_quality=quality)

    # --- time

    def seek(self, time: float, slider: bool = False) -> None:
        """Goes to a time; `slider`: also moves the slider."""
        self.player.seek(time)
        self._update_time(slider)

    def toggle(self) -> None:
        """Plays or stops."""
        self.player.toggle()
        self.panel.play.label = "Pause" if self.player.playing else "Play"
        self.panel.play.icon = viser.Icon.PLAYER_PAUSE if self.player.playing else viser.Icon.PLAYER_PLAY

    def set_speed(self, text: str) -> None:
        """Sets the speed, as a factor of real time."""
        self.player.speed = float(text)

    def set_loop(self, loop: bool) -> None:
        """Whether playing continues at the start after the end."""
        self.player.loop = loop

    def _update_time(self, slider: bool = True) -> None:
        now = self.front.snap_time(self.player.time)
        if slider:
            set_handle_value(self.panel.time, min(max(now, self.front.timeline.start), self.panel.time.max))
        self.panel.bar.content = bars_html([self.sources[i] for i in self.columns], now)
        if not self.player.playing and self.panel.play.label == "Pause":
            self.panel.play.label, self.panel.play.icon = "Play", viser.Icon.PLAYER_PLAY

    # --- views

    def set_channel(self, channel: str) -> None:
        """Shows colours, depth, opacity or motion."""
        self.channel = next(c for c in CHANNELS if c == channel)
        self.renderer.colours.reset_range()

    def set_layer(self, which: Layer | None) -> None:
        """Shows the static or the dynamic layer alone; None: all."""
        for source in self.sources:
            source.show_layer(which)

    def set_columns(self, name: str) -> None:
        """Shows one run, or all of them side by side."""
        names = [s.name for s in self.sources]
        before = self.front
        self.columns = tuple(range(len(names))) if name == SIDE_BY_SIDE else (names.index(name),)
        if self.front is not before:
            self._dirty.add("cameras")
            self.camera_lock.refresh()
        self.source_changed()

    def set_truth(self, beside: bool) -> None:
        """Shows the ground truth beside the rendering, and locks the view to a camera if it is free."""
        self.truth = beside
        if beside and self.camera_lock.free and self.front.frames:
            self.camera_lock.lock_to(self.front.frames[0].camera_id)

    def set_cameras(self, visible: bool) -> None:
        """Shows or hides the frustums."""
        self.cameras = visible
        self._dirty.add("cameras")

    def set_path(self, visible: bool) -> None:
        """Shows or hides the true trajectory."""
        self.path_shown = visible
        self._dirty.add("path")

    def set_ensemble(self, visible: bool) -> None:
        """Shows or hides the ensemble."""
        self.ensemble = visible
        self._dirty.add("ensemble")

    def set_lines(self, lines: float) -> None:
        """Sets the height [pixels] of the finest picture."""
        self.resolution.lines = int(lines)
        self.refresh_view()

    def refresh_view(self) -> None:
        """Renders the view again."""
        self._last = None

    def set_drawn_by(self, drawn_by: DrawnBy) -> None:
        """Sets who draws Gaussians."""
        self.splatting.choose(drawn_by)
        self.refresh_view()

    def set_rate(self, rate: float) -> None:
        """Sets the frames per second while the view moves."""
        self.resolution.rate = float(rate)

    # --- what is shown

    def choose(self, sequence: str) -> None:
        """Shows another sequence, in all runs that have it."""
        if sequence == INITIAL_LABEL:
            self.initial_condition.request()
            return
        for source in self.sources:
            if sequence in source.sequences:
                source.choose(sequence)
            else:
                self.show_message("Not in all runs", f"{source.name} has no sequence {sequence}, and is unchanged.")
        self.camera_lock.unlock()
        self.source_changed()

    def set_initial_value(self, index: int, value: float) -> None:
        """Sets one value of the initial condition."""
        self.initial_condition.set_value(index, value)

    def _reload(self) -> None:
        """Loads new checkpoints of runs that are still being trained."""
        if sum(source.reload() for source in self.sources):
            self.panel.notes.content = notes(self.sources)
            self._dirty.add("ensemble")

    def source_changed(self) -> None:
        """Takes over the times of what is shown now, and updates all overlays."""
        line = self.front.timeline
        self.player.span(line.start, line.end)
        self.panel.set_timeline(self.front, self.submit, self.seek)
        self._update_time()
        self._dirty |= {"ensemble", "path"} | ({"cameras"} if self.front.sequence is not None else set())

    def _on_frustum(self, camera_id: str) -> None:
        self.submit(lambda: self.camera_lock.lock_to(camera_id))
