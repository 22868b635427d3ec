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
from foreseen.viewer.beginning import words
from foreseen.viewer.cameras import View
from foreseen.viewer.channels import CHANNELS
from foreseen.viewer.keeping import Keeping
from foreseen.viewer.overlays import Overlays, begin_places
from foreseen.viewer.painting import Painter, Wanted
from foreseen.viewer.panel import BESIDE, TYPED, Panel, bars_html, build_panel, knob_words, notes, put
from foreseen.viewer.player import Player
from foreseen.viewer.resolution import LARGEST, Resolution, Size
from foreseen.viewer.shown import Shown
from foreseen.viewer.splatting import Draws, Splatting
from foreseen.viewer.standing import Standing

REST = 0.35
"""Seconds without a change until a view is refined."""
LONG_REST = 0.8
"""Seconds without a change until possible futures are looked for, which may take a second or two."""
TOLD = 12.0
"""Seconds that a notice stays."""
WHOLE_RANGE = 6.0
"""Seconds in which the whole range is played at speed 1, where the unit of time is not a second."""
QUALITY, FINE_QUALITY = 85, 92
"""Of JPEG pictures, while things move and at rest."""


class Session:
    """What one browser shows. Callbacks of the browser come from other threads: they only `tell`."""

    def __init__(self, client: viser.ClientHandle, shown: Sequence[Shown], wake: Callable[[], None]) -> None:
        self.client, self.shown, self._wake = client, list(shown), wake
        self.resolution = Resolution()
        self.painter = Painter(self.shown, self.resolution)
        line = self.shown[0].timeline
        rate = 1.0 if line.unit == "s" else max(line.end - line.start, 1e-9) / WHOLE_RANGE
        self.player = Player(line.start, line.end, line.start, rate)
        self.channel = CHANNELS[0]
        self.columns = tuple(range(len(self.shown)))
        self.truth, self.futures = False, True
        self.cameras = self.path_shown = not self.shown[0].renders
        self.values = [k.value for k in self.shown[0].knobs]
        self._todo: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._warned: set[str] = set()
        self.standing = Standing(self)
        self.keeping = Keeping(self)
        self.gone = False  # the browser has left while something was painted for it
        self._last: Wanted | None = None
        self.in_browser, self._dragging = False, False
        self.splatting = Splatting(self)
        self.size: Size = (0, 0)  # of the picture that was rendered last
        self._exact = False  # what is seen is no preview
        self._changed = self._tick = clock.monotonic()
        self._work: Iterator[np.ndarray | None] | None = None
        self._dirty = {"cameras", "path", "futures"}
        self._begun: list[float] | None = None
        self._reached: tuple[int, float] | None = None
        self.overlays = Overlays(client)
        self.panel: Panel = build_panel(client.gui, self)
        client.camera.on_update(lambda _: self._wake())

    @property
    def front(self) -> Shown:
        """What time, bar, list of cameras and all that lies in the scene belong to: the first column."""
        return self.shown[self.columns[0]]

    # --- from other threads

    def tell(self, act: Callable[[], None]) -> None:
        """Has something done by the session's own thread, soon."""
        self._todo.put(act)
        self._wake()

    # --- the loop

    def step(self) -> bool:
        """Does a small piece of what there is to do. Returns whether there is more."""
        now = clock.monotonic()
        self._obey()
        if self.player.advance(now - self._tick):
            self._tell_time()
        self._tick = now
        self._begin()
        self._catch_up()
        want = self.wanted()
        if want is None:
            return False
        self.keeping.tick(now, want)
        taking = self.keeping.paint_on()
        if want != self._last:
            if self.in_browser and now - self._changed < 1 / self.resolution.rate:
                return True  # more Gaussians than the browser draws would only pile up
            self._show_moving(want, now)
            return True
        if now - self._changed < REST:
            return True
        return self._rest(want) or self._refine(want) or self._load_picture() or taking or self.player.playing

    def _obey(self) -> None:
        with suppress(Empty):
            while True:
                act = self._todo.get_nowait()
                self._warned.clear()
                try:
                    act()
                except UserError as error:
                    self.say("That does not work", str(error))

    def say(self, title: str, text: str) -> None:
        """Tells the user something in the browser."""
        self.client.add_notification(title, text, auto_close_seconds=TOLD)

    def is_news(self, warning: str) -> bool:
        """It was not told before, or the user has done something since."""
        known = warning in self._warned
        self._warned.add(warning)
        return not known

    def wanted(self) -> Wanted | None:
        """What is to be seen now; None before the browser has said how large it is."""
        camera = self.client.camera
        window = min(camera.image_width, LARGEST), min(camera.image_height, LARGEST)
        place = (*camera.wxyz.tolist(), *camera.position.tolist())
        if min(window) < 8 or not 0 < camera.fov < math.pi or not all(map(math.isfinite, place)):
            return None
        view = View(place[:4], place[4:], float(camera.fov))
        moment = self.front.snapped(self.player.time)
        versions = tuple(s.version for s in self.shown)
        standing = self.standing.where(view)
        return Wanted(view, window, moment, self.channel, self.columns, self.truth, standing, versions)

    def _show_moving(self, want: Wanted, now: float) -> None:
        self.overlays.show(want.alone)
        self.overlays.hide_camera(want.standing)
        self._last, self._changed, self._work = want, now, None
        self.in_browser = self.splatting.show(want)
        if self.in_browser:
            return
        self.size, self._exact = self.resolution.moving(self.resolution.finest(want.window)), False
        for picture in self.painter.paint(want, self.size, steadily=True):
            if picture is not None:
                self._send(picture, QUALITY)
        if self.player.playing:
            self.overlays.update_futures(self.front, want.time)

    def _refine(self, want: Wanted) -> bool:
        """A piece of a finer picture of what rests."""
        if self.in_browser:
            return False
        if self._work is None:
            finest = self.resolution.finest(want.window)
            finer = self.resolution.finer(self.size, finest)
            if finer is None and self._exact:
                return False
            finer, self._exact = finer or finest, True
            self.size, self._work = finer, self.painter.paint(want, finer, steadily=False)
        try:
            picture = next(self._work)
        except Exception:
            self.size, self._work = self.resolution.finest(want.window), None  # it would go wrong again
            raise
        if picture is not None:
            self._send(picture, FINE_QUALITY)
            self._work = None
        return True

    def _rest(self, want: Wanted) -> bool:
        """What can wait until nothing moves: frustums, paths and futures. Returns whether something was done."""
        first, reached = self.front, (self.front.version, want.time)
        late = {"futures"} if clock.monotonic() - self._changed < LONG_REST else set()
        dirty = self._dirty - late
        if not dirty and self._reached == reached:
            return False
        self._dirty, self._reached = self._dirty & late, reached  # what goes wrong is not tried for ever
        if "cameras" in dirty:
            self.overlays.set_cameras(first, want.time, self._on_frustum, self.cameras)
            self.overlays.hide_camera(want.standing)
        else:
            self.overlays.update_cameras(first, want.time)
        if "path" in dirty:
            self.overlays.set_path(first, self.path_shown)
        if "futures" in dirty:
            self.overlays.set_futures(first, self.futures)
            if not self._dragging:
                self._place_handles()
        self.overlays.update_futures(first, want.time)
        return True

    def _load_picture(self) -> bool:
        """One picture more on a frustum. Returns whether there was one to load."""
        try:
            return self.overlays.load_picture()
        except UserError as error:
            self.say("A camera is shown without its picture", str(error))
            return True

    def _send(self, picture: np.ndarray, quality: int) -> None:
        if not self.gone:
            self.client.scene.set_background_image(picture, format="jpeg", jpeg_quality=quality)

    # --- time

    def seek(self, time: float, slider: bool = False) -> None:
        """Goes to a time, with the slider or because of it."""
        self.player.seek(time)
        self._tell_time(slider)

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

    def _tell_time(self, slider: bool = True) -> None:
        now = self.front.snapped(self.player.time)
        if slider:
            put(self.panel.time, min(max(now, self.front.timeline.start), self.panel.time.max))
        self.panel.bar.content = bars_html([self.shown[i] for i in self.columns], now)
        if not self.player.playing and self.panel.play.label == "Pause":
            self.panel.play.label, self.panel.play.icon = "Play", viser.Icon.PLAYER_PLAY

    # --- views

    def set_channel(self, channel: str) -> None:
        """Colours, depth, opacity or motion."""
        self.channel = next(c for c in CHANNELS if c == channel)
        self.painter.colours.forget()

    def set_layer(self, which: Layer | None) -> None:
        """All, or what is at rest or moves alone."""
        for shown in self.shown:
            shown.show_layer(which)

    def set_columns(self, name: str) -> None:
        """One run, or all of them side by side."""
        names = [s.name for s in self.shown]
        before = self.front
        self.columns = tuple(range(len(names))) if name == BESIDE else (names.index(name),)
        if self.front is not before:
            self._dirty.add("cameras")
            self.standing.renew()
        self._shows_anew()

    def set_truth(self, beside: bool) -> None:
        """Puts what was filmed beside; for that one stands where it was filmed."""
        self.truth = beside
        if beside and self.standing.free and self.front.frames:
            self.standing.stand(self.front.frames[0].camera_id)

    def set_cameras(self, visible: bool) -> None:
        """Frustums."""
        self.cameras = visible
        self._dirty.add("cameras")

    def set_path(self, visible: bool) -> None:
        """The true path."""
        self.path_shown = visible
        self._dirty.add("path")

    def set_futures(self, visible: bool) -> None:
        """Possible futures."""
        self.futures = visible
        self._dirty.add("futures")

    def set_lines(self, lines: float) -> None:
        """Height of the finest picture."""
        self.resolution.lines = int(lines)
        self.look_again()

    def look_again(self) -> None:
        """Shows what is wanted anew."""
        self._last = None

    def set_draws(self, draws: Draws) -> None:
        """Who draws Gaussians."""
        self.splatting.choose(draws)
        self.look_again()

    def set_rate(self, rate: float) -> None:
        """Frames a second while things move."""
        self.resolution.rate = float(rate)

    # --- what is shown

    def choose(self, sequence: str) -> None:
        """Another sequence, in all runs that know it."""
        if sequence == TYPED:
            self._begun = list(self.values)
            return
        for shown in self.shown:
            if sequence in shown.sequences:
                shown.choose(sequence)
            else:
                self.say("Not all runs know it", f"{shown.name} has no sequence {sequence}, and shows what it did.")
        self.standing.leave()
        self._shows_anew()

    def turn(self, index: int, value: float) -> None:
        """Turns a knob of the initial conditions."""
        self.values[index] = value
        self._begun = list(self.values)

    def _moved(self, body: int, place: Sequence[float], held: bool) -> None:
        """A handle was dragged there; `held`: it still is."""
        self._dragging = held
        for index, knob in enumerate(self.shown[0].knobs):
            if knob.body == body and not knob.velocity:
                self.values[index] = min(max(place[knob.axis], knob.low), knob.high)
                put(self.panel.knobs[index], self.values[index])
        self._begun = list(self.values)

    def _begin(self) -> None:
        """What was turned last, once: what was turned meanwhile is passed over."""
        values, self._begun = self._begun, None
        if values is None:
            return
        try:
            for shown in filter(self._is_turned, self.shown):
                shown.begin(values)
        except UserError as error:
            self.say("It cannot begin so", str(error))
            return
        if self.panel.typed is not None:
            others = [shown.name for shown in self.shown if not self._is_turned(shown)]
            self.panel.typed.content = knob_words(words(self.shown[0].knobs, values), others)
        if self.panel.sequence is not None:
            put(self.panel.sequence, TYPED)
        self._shows_anew()

    def _is_turned(self, shown: Shown) -> bool:
        """It has the knobs of the panel: those of the first run."""
        return [k.name for k in shown.knobs] == [k.name for k in self.shown[0].knobs]

    def _catch_up(self) -> None:
        """Runs that are still being trained, as they are by now."""
        if sum(shown.catch_up() for shown in self.shown):
            self.panel.notes.content = notes(self.shown)
            self._dirty.add("futures")

    def _shows_anew(self) -> None:
        line = self.front.timeline
        self.player.span(line.start, line.end)
        self.panel.set_timeline(self.front, self)
        self._tell_time()
        self._dirty |= {"futures", "path"} | ({"cameras"} if self.front.sequence is not None else set())

    def _place_handles(self) -> None:
        """Handles, where one begins by hand; not while one drags."""
        first = self.front
        places: dict[int, np.ndarray] = {}
        if first.knobs and self._is_turned(first):
            found = first.futures([first.timeline.start])
            places = begin_places(first, self.values, None if found is None else found[0, 0].double().numpy())
        self.overlays.set_handles(first, places, self._on_handle)

    def _on_frustum(self, camera_id: str) -> None:
        self.tell(lambda: self.standing.stand(camera_id))

    def _on_handle(self, body: int, place: Sequence[float], held: bool) -> None:
        self.tell(lambda: self._moved(body, place, held))
