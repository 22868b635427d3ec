"""One browser: what it looks at, and what is done when something is pressed. All of it runs in one thread."""

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
from foreseen.viewer.overlays import Overlays, initial_positions
from foreseen.viewer.panel import (
    SIDE_BY_SIDE,
    TYPED_LABEL,
    ControlPanel,
    bars_html,
    build_panel,
    format_command_options,
    notes,
    set_handle_value,
)
from foreseen.viewer.player import Player
from foreseen.viewer.resolution import MAX_WINDOW_SIDE, AdaptiveResolution, Size
from foreseen.viewer.sources import ViewerSource
from foreseen.viewer.splat_drawing import Draws, SplatDrawing
from foreseen.viewer.state_controls import format_initial_condition
from foreseen.viewer.view_renderer import RenderRequest, ViewRenderer

REFINE_DELAY = 0.35
"""Seconds without a change until a view is refined."""
ENSEMBLE_DELAY = 0.8
"""Seconds without a change until possible futures are looked for, which may take a second or two."""
NOTICE_SECONDS = 12.0
"""Seconds that a notice stays."""
PLAYBACK_SECONDS = 6.0
"""Seconds in which the whole range is played at speed 1, where the unit of time is not a second."""
JPEG_QUALITY, FINE_JPEG_QUALITY = 85, 92
"""Of JPEG pictures, while things move and at rest."""


class BrowserSession:
    """What one browser shows. Callbacks of the browser come from other threads: they only `submit`."""

    def __init__(self, client: viser.ClientHandle, source: Sequence[ViewerSource], wake: Callable[[], None]) -> None:
        self.client, self.sources, self._wake = client, list(source), wake
        self.resolution = AdaptiveResolution()
        self.painter = ViewRenderer(self.sources, self.resolution)
        line = self.sources[0].timeline
        rate = 1.0 if line.unit == "s" else max(line.end - line.start, 1e-9) / PLAYBACK_SECONDS
        self.player = Player(line.start, line.end, line.start, rate)
        self.channel = CHANNELS[0]
        self.columns = tuple(range(len(self.sources)))
        self.truth, self.ensemble = False, True
        self.cameras = self.path_shown = not self.sources[0].renders
        self.values = [k.value for k in self.sources[0].state_controls]
        self._todo: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._warned: set[str] = set()
        self.camera_lock = CameraLock(self)
        self.capture = Capture(self)
        self.disconnected = False  # the browser has left while something was painted for it
        self._last: RenderRequest | None = None
        self.in_browser, self._dragging = False, False
        self.splatting = SplatDrawing(self)
        self.size: Size = (0, 0)  # of the picture that was rendered last
        self._exact = False  # what is seen is no preview
        self._changed = self._tick = clock.monotonic()
        self._work: Iterator[np.ndarray | None] | None = None
        self._dirty = {"cameras", "path", "futures"}
        self._begun: list[float] | None = None
        self._reached: tuple[int, float] | None = None
        self.overlays = Overlays(client)
        self.panel: ControlPanel = build_panel(client.gui, self)
        client.camera.on_update(lambda _: self._wake())

    @property
    def front(self) -> ViewerSource:
        """What time, bar, list of cameras and all that lies in the scene belong to: the first column."""
        return self.sources[self.columns[0]]

    # --- from other threads

    def submit(self, act: Callable[[], None]) -> None:
        """Has something done by the session's own thread, soon."""
        self._todo.put(act)
        self._wake()

    # --- the loop

    def step(self) -> bool:
        """Does a small piece of what there is to do. Returns whether there is more."""
        now = clock.monotonic()
        self._run_callbacks()
        if self.player.advance(now - self._tick):
            self._update_time()
        self._tick = now
        self._begin()
        self._reload()
        request = self.request()
        if request is None:
            return False
        self.capture.tick(now, request)
        taking = self.capture.continue_picture()
        if request != self._last:
            if self.in_browser and now - self._changed < 1 / self.resolution.rate:
                return True  # more Gaussians than the browser draws would only pile up
            self._show_moving(request, now)
            return True
        if now - self._changed < REFINE_DELAY:
            return True
        return self._rest(request) or self._refine(request) or self._load_picture() or taking or self.player.playing

    def _run_callbacks(self) -> None:
        with suppress(Empty):
            while True:
                act = self._todo.get_nowait()
                self._warned.clear()
                try:
                    act()
                except UserError as error:
                    self.show_message("That does not work", str(error))

    def show_message(self, title: str, text: str) -> None:
        """Tells the user something in the browser."""
        self.client.add_notification(title, text, auto_close_seconds=NOTICE_SECONDS)

    def is_new_warning(self, warning: str) -> bool:
        """It was not told before, or the user has done something since."""
        known = warning in self._warned
        self._warned.add(warning)
        return not known

    def request(self) -> RenderRequest | None:
        """What is to be seen now; None before the browser has said how large it is."""
        camera = self.client.camera
        window = min(camera.image_width, MAX_WINDOW_SIDE), min(camera.image_height, MAX_WINDOW_SIDE)
        position = (*camera.wxyz.tolist(), *camera.position.tolist())
        if min(window) < 8 or not 0 < camera.fov < math.pi or not all(map(math.isfinite, position)):
            return None
        view = ViewerCamera(position[:4], position[4:], float(camera.fov))
        moment = self.front.snap_time(self.player.time)
        versions = tuple(s.version for s in self.sources)
        camera_lock = self.camera_lock.current_camera(view)
        return RenderRequest(view, window, moment, self.channel, self.columns, self.truth, camera_lock, versions)

    def _show_moving(self, request: RenderRequest, now: float) -> None:
        self.overlays.show(request.alone)
        self.overlays.hide_camera(request.camera_lock)
        self._last, self._changed, self._work = request, now, None
        self.in_browser = self.splatting.show(request)
        if self.in_browser:
            return
        self.size, self._exact = self.resolution.moving(self.resolution.finest(request.window)), False
        for picture in self.painter.render(request, self.size, preview=True):
            if picture is not None:
                self._send(picture, JPEG_QUALITY)
        if self.player.playing:
            self.overlays.update_ensemble(self.front, request.time)

    def _refine(self, request: RenderRequest) -> bool:
        """A piece of a finer picture of what rests."""
        if self.in_browser:
            return False
        if self._work is None:
            finest = self.resolution.finest(request.window)
            finer = self.resolution.refine(self.size, finest)
            if finer is None and self._exact:
                return False
            finer, self._exact = finer or finest, True
            self.size, self._work = finer, self.painter.render(request, finer, preview=False)
        try:
            picture = next(self._work)
        except Exception:
            self.size, self._work = self.resolution.finest(request.window), None  # it would go wrong again
            raise
        if picture is not None:
            self._send(picture, FINE_JPEG_QUALITY)
            self._work = None
        return True

    def _rest(self, request: RenderRequest) -> bool:
        """What can wait until nothing moves: frustums, paths and futures. Returns whether something was done."""
        first, reached = self.front, (self.front.version, request.time)
        late = {"futures"} if clock.monotonic() - self._changed < ENSEMBLE_DELAY else set()
        dirty = self._dirty - late
        if not dirty and self._reached == reached:
            return False
        self._dirty, self._reached = self._dirty & late, reached  # what goes wrong is not tried for ever
        if "cameras" in dirty:
            self.overlays.set_cameras(first, request.time, self._on_frustum, self.cameras)
            self.overlays.hide_camera(request.camera_lock)
        else:
            self.overlays.update_cameras(first, request.time)
        if "path" in dirty:
            self.overlays.set_path(first, self.path_shown)
        if "futures" in dirty:
            self.overlays.set_ensemble(first, self.ensemble)
            if not self._dragging:
                self._update_handles()
        self.overlays.update_ensemble(first, request.time)
        return True

    def _load_picture(self) -> bool:
        """One picture more on a frustum. Returns whether there was one to load."""
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
        """Goes to a time, with the slider or because of it."""
        self.player.seek(time)
        self._update_time(slider)

    def toggle(self) -> None:
        """Plays or stops."""
        self.player.toggle()
        self.panel.play.label = "Pause" if self.player.playing else "Play"
        self.panel.play.icon = viser.Icon.PLAYER_PAUSE if self.player.playing else viser.Icon.PLAYER_PLAY

    def set_speed(self, text: str) -> None:
        """Times the clock on the wall."""
        self.player.speed = float(text)

    def set_loop(self, loop: bool) -> None:
        """Goes on at the start."""
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
        """Colours, depth, opacity or motion."""
        self.channel = next(c for c in CHANNELS if c == channel)
        self.painter.colours.reset_range()

    def set_layer(self, which: Layer | None) -> None:
        """All, or what is at rest or moves alone."""
        for source in self.sources:
            source.show_layer(which)

    def set_columns(self, name: str) -> None:
        """One run, or all of them side by side."""
        names = [s.name for s in self.sources]
        before = self.front
        self.columns = tuple(range(len(names))) if name == SIDE_BY_SIDE else (names.index(name),)
        if self.front is not before:
            self._dirty.add("cameras")
            self.camera_lock.refresh()
        self._source_changed()

    def set_truth(self, beside: bool) -> None:
        """Puts what was filmed beside; for that one stands where it was filmed."""
        self.truth = beside
        if beside and self.camera_lock.free and self.front.frames:
            self.camera_lock.lock_to(self.front.frames[0].camera_id)

    def set_cameras(self, visible: bool) -> None:
        """Frustums."""
        self.cameras = visible
        self._dirty.add("cameras")

    def set_path(self, visible: bool) -> None:
        """The true path."""
        self.path_shown = visible
        self._dirty.add("path")

    def set_ensemble(self, visible: bool) -> None:
        """Possible futures."""
        self.ensemble = visible
        self._dirty.add("futures")

    def set_lines(self, lines: float) -> None:
        """Height of the finest picture."""
        self.resolution.lines = int(lines)
        self.refresh_view()

    def refresh_view(self) -> None:
        """Shows what is wanted anew."""
        self._last = None

    def set_draws(self, draws: Draws) -> None:
        """Who draws Gaussians."""
        self.splatting.choose(draws)
        self.refresh_view()

    def set_rate(self, rate: float) -> None:
        """Frames a second while things move."""
        self.resolution.rate = float(rate)

    # --- what is shown

    def choose(self, sequence: str) -> None:
        """Another sequence, in all runs that know it."""
        if sequence == TYPED_LABEL:
            self._begun = list(self.values)
            return
        for source in self.sources:
            if sequence in source.sequences:
                source.choose(sequence)
            else:
                self.show_message(
                    "Not all runs know it", f"{source.name} has no sequence {sequence}, and shows what it did."
                )
        self.camera_lock.unlock()
        self._source_changed()

    def set_initial_value(self, index: int, value: float) -> None:
        """Turns a knob of the initial conditions."""
        self.values[index] = value
        self._begun = list(self.values)

    def _moved(self, body: int, position: Sequence[float], is_dragging: bool) -> None:
        """A handle was dragged there; `is_dragging`: it still is."""
        self._dragging = is_dragging
        for index, knob in enumerate(self.sources[0].state_controls):
            if knob.body == body and not knob.velocity:
                self.values[index] = min(max(position[knob.axis], knob.low), knob.high)
                set_handle_value(self.panel.state_controls[index], self.values[index])
        self._begun = list(self.values)

    def _begin(self) -> None:
        """What was turned last, once: what was turned meanwhile is passed over."""
        values, self._begun = self._begun, None
        if values is None:
            return
        try:
            for source in filter(self._has_same_controls, self.sources):
                source.set_initial_condition(values)
        except UserError as error:
            self.show_message("It cannot begin so", str(error))
            return
        if self.panel.typed is not None:
            others = [source.name for source in self.sources if not self._has_same_controls(source)]
            self.panel.typed.content = format_command_options(
                format_initial_condition(self.sources[0].state_controls, values), others
            )
        if self.panel.sequence is not None:
            set_handle_value(self.panel.sequence, TYPED_LABEL)
        self._source_changed()

    def _has_same_controls(self, source: ViewerSource) -> bool:
        """It has the knobs of the panel: those of the first run."""
        return [k.name for k in source.state_controls] == [k.name for k in self.sources[0].state_controls]

    def _reload(self) -> None:
        """Runs that are still being trained, as they are by now."""
        if sum(source.reload() for source in self.sources):
            self.panel.notes.content = notes(self.sources)
            self._dirty.add("futures")

    def _source_changed(self) -> None:
        line = self.front.timeline
        self.player.span(line.start, line.end)
        self.panel.set_timeline(self.front, self)
        self._update_time()
        self._dirty |= {"futures", "path"} | ({"cameras"} if self.front.sequence is not None else set())

    def _update_handles(self) -> None:
        """Handles, where one begins by hand; not while one drags."""
        first = self.front
        positions: dict[int, np.ndarray] = {}
        if first.state_controls and self._has_same_controls(first):
            found = first.ensemble([first.timeline.start])
            positions = initial_positions(first, self.values, None if found is None else found[0, 0].double().numpy())
        self.overlays.set_handles(first, positions, self._on_handle)

    def _on_frustum(self, camera_id: str) -> None:
        self.submit(lambda: self.camera_lock.lock_to(camera_id))

    def _on_handle(self, body: int, position: Sequence[float], is_dragging: bool) -> None:
        self.submit(lambda: self._moved(body, position, is_dragging))
