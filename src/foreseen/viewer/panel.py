"""The controls at the side of the window. They tell the session what was pressed, and hold no state of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import viser

from foreseen.core.capabilities import Layer
from foreseen.export.compose import FORECAST, OBSERVED, Timeline
from foreseen.scenes.gaussians import Gaussians
from foreseen.viewer.channels import CHANNELS
from foreseen.viewer.shown import Shown
from foreseen.viewer.splatting import DRAWS

if TYPE_CHECKING:
    from foreseen.viewer.session import Session

BESIDE = "side by side"
FREE = "(free)"
TYPED = "(begins by hand)"
BAR, SLIDER = -2.0, -1.0
"""The bar and the slider stand first, the slider also where it is a new one."""
LAYERS: dict[str, Layer | None] = {"all": None, "static": "static", "dynamic": "dynamic"}
SPEEDS = ("0.1", "0.25", "0.5", "1", "2", "4")


@dataclass
class Panel:
    """Handles of the controls that the session writes to."""

    gui: viser.GuiApi
    times: viser.GuiFolderHandle
    bar: viser.GuiHtmlHandle
    time: viser.GuiSliderHandle[float]
    play: viser.GuiButtonHandle
    standing: viser.GuiDropdownHandle[Any]
    sequence: viser.GuiDropdownHandle[Any] | None
    knobs: list[viser.GuiSliderHandle[float]]
    typed: viser.GuiHtmlHandle | None
    record: viser.GuiButtonHandle
    path: viser.GuiHtmlHandle
    notes: viser.GuiHtmlHandle
    _line: Timeline | None = None

    def set_timeline(self, shown: Shown, session: Session) -> None:
        """Another slider, where the range or the border of what was observed is another one."""
        if self._line == shown.timeline:
            return
        self._line = shown.timeline
        self.time.remove()
        with self.times:
            self.time = add_time_slider(self.gui, shown, session)

    def list_cameras(self, shown: Shown) -> tuple[str, ...]:
        """Names the cameras that one can stand in."""
        ids = camera_ids(shown)
        if self.standing.options != (FREE, *ids):
            self.standing.options = (FREE, *ids)
            self.standing.visible = bool(ids)
        return ids


def when_set(session: Session, handle: Any, act: Callable[[Any], None]) -> Any:
    """What a user, not the program, does to a control is done by the session's thread."""

    def updated(event: viser.GuiEvent[Any]) -> None:
        value = asked(event.target)
        if event.client is not None and value is not None:
            session.tell(lambda: act(value))

    handle.on_update(updated)
    return handle


def asked(handle: Any) -> Any | None:
    """What a control was set to, within what it offers; None for what is no such thing: a browser can send anything."""
    value = handle.value
    if isinstance(handle, viser.GuiDropdownHandle):
        return value if value in handle.options else None
    if isinstance(value, bool):
        return value
    return min(max(value, handle.min), handle.max) if math.isfinite(value) else None


def build_panel(gui: viser.GuiApi, session: Session) -> Panel:
    """Adds the controls of what the session shows."""

    told = partial(when_set, session)

    def pressed(handle: viser.GuiButtonHandle, act: Callable[[], None]) -> viser.GuiButtonHandle:
        handle.on_click(lambda _: session.tell(act))
        return handle

    shown = session.shown[0]
    times = gui.add_folder("Time")
    with times:
        bar = gui.add_html(bars_html(session.shown, shown.timeline.start), order=BAR)
        slider = add_time_slider(gui, shown, session)
        slider.visible = shown.moves
        play = pressed(gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY, visible=shown.moves), session.toggle)
        told(gui.add_dropdown("speed", SPEEDS, initial_value="1", visible=shown.moves), session.set_speed)
        told(gui.add_checkbox("loop", True, visible=shown.moves), session.set_loop)
    with gui.add_folder("View"):
        _add_views(gui, session, told)
        ids = camera_ids(shown)
        standing = gui.add_dropdown("stand in", [FREE, *ids], initial_value=FREE, visible=bool(ids))
        told(standing, session.standing.stand)
    sequence = None
    sequences = list(dict.fromkeys(name for one in session.shown for name in one.sequences))
    if len(sequences) > 1 or shown.knobs:
        extra = [TYPED] if shown.knobs else []
        with gui.add_folder("Sequence"):
            sequence = told(gui.add_dropdown("sequence", [*sequences, *extra]), session.choose)
    knobs, typed = _add_knobs(gui, session, told) if shown.knobs else ([], None)
    clips = any(s.makes_clips for s in session.shown)
    with gui.add_folder("Keep"):
        pressed(gui.add_button("Take picture", icon=viser.Icon.CAMERA), session.keeping.take_picture)
        pressed(gui.add_button("Add view to path", icon=viser.Icon.PLUS, visible=clips), session.keeping.add_view)
        told(
            gui.add_number("seconds between views", 2.0, min=0.1, max=60.0, step=0.1, visible=clips),
            session.keeping.set_seconds_between,
        )
        record = gui.add_button("Record", icon=viser.Icon.PLAYER_RECORD, visible=clips)
        pressed(record, session.keeping.toggle_recording)
        pressed(gui.add_button("Save path", icon=viser.Icon.DOWNLOAD, visible=clips), session.keeping.save_path)
        pressed(gui.add_button("Clear path", icon=viser.Icon.TRASH, visible=clips), session.keeping.clear_path)
        path = gui.add_html(path_words(0, 0.0), visible=clips)
    with gui.add_folder("Quality", expand_by_default=False):
        most = session.resolution
        told(gui.add_slider("finest lines", 60, 1080, 20, most.lines), session.set_lines)
        told(gui.add_slider("frames a second", 2, 30, 1, int(most.rate)), session.set_rate)
        if any(isinstance(s.made(s.timeline.start), Gaussians) for s in session.shown):
            told(gui.add_dropdown("Gaussians drawn by", DRAWS), session.set_draws)
    told_of = gui.add_html(notes(session.shown), visible=bool(notes(session.shown)))
    return Panel(gui, times, bar, slider, play, standing, sequence, knobs, typed, record, path, told_of, shown.timeline)


def camera_ids(shown: Shown) -> tuple[str, ...]:
    """Of the cameras that filmed it."""
    return tuple(dict.fromkeys(f.camera_id for f in shown.frames))


def plain(*lines: str) -> str:
    """HTML of lines in which nothing is markup: names come from files of anybody's."""
    return "".join(f'<div style="padding:0.2em 1em;font-size:0.85em">{escape(line)}</div>' for line in lines)


def notes(shown: Sequence[Shown]) -> str:
    """What there is to say of all that is shown, as HTML."""
    return plain(*(one.note for one in shown if one.note))


def add_time_slider(gui: viser.GuiApi, shown: Shown, session: Session) -> viser.GuiSliderHandle[float]:
    """With the border of what was observed marked on it."""
    line = shown.timeline
    end = max(line.end, line.start + shown.moment)
    marks = [(line.start, f"{line.start:.3g}"), (end, f"{end:.3g}")]
    if line.start < line.observed_until < line.end:
        marks.insert(1, (line.observed_until, "forecast ▸"))
    unit = "" if line.unit == "unknown" else f" [{line.unit}]"
    slider = gui.add_slider(f"t{unit}", line.start, end, shown.moment, line.start, marks=tuple(marks), order=SLIDER)
    when_set(session, slider, session.seek)
    return slider


def _add_views(gui: viser.GuiApi, session: Session, told: Callable[..., Any]) -> None:
    shown = session.shown[0]
    renders = any(s.renders for s in session.shown)
    channels = told(gui.add_dropdown("channel", CHANNELS, visible=renders), session.set_channel)
    channels.hint = "motion: optical flow to the next frame; the hue says where to"
    if any(s.tells_apart for s in session.shown):
        told(gui.add_dropdown("parts", tuple(LAYERS)), lambda name: session.set_layer(LAYERS[name]))
    if len(session.shown) > 1:
        names = [s.name for s in session.shown]
        told(gui.add_dropdown("run", [BESIDE, *names], initial_value=BESIDE), session.set_columns)
    filmed = bool(shown.frames)
    told(gui.add_checkbox("truth beside", False, visible=filmed and renders), session.set_truth)
    told(gui.add_checkbox("cameras", not renders, visible=filmed), session.set_cameras)
    told(gui.add_checkbox("true path", not renders, visible=shown.truth is not None), session.set_path)
    told(gui.add_checkbox("possible futures", renders, visible=renders and shown.moves), session.set_futures)


def _add_knobs(
    gui: viser.GuiApi, session: Session, told: Callable[..., Any]
) -> tuple[list[viser.GuiSliderHandle[float]], viser.GuiHtmlHandle]:
    sliders = []
    with gui.add_folder("Begin by hand"):
        for index, knob in enumerate(session.shown[0].knobs):
            step = (knob.high - knob.low) / 400
            slider = gui.add_slider(knob.name, knob.low, knob.high, step, knob.value)
            sliders.append(told(slider, lambda value, own=index: session.turn(own, value)))
        typed = gui.add_html(plain("Drag a slider, or the handle in the scene."))
    return sliders, typed


def bars_html(shown: Sequence[Shown], time: float) -> str:
    """The first one's range of time; a bar for each, where the border or what the time is differs."""
    lines = [replace(shown[0].timeline, observed_until=one.timeline.observed_until) for one in shown]
    said = [one.words(time) for one in shown]
    if len(set(zip(lines, said))) == 1:
        return bar_html(lines[0], time, said[0])
    return "".join(bar_html(line, time, f"{one.name}: {words}") for line, one, words in zip(lines, shown, said))


def bar_html(line: Timeline, time: float, words: str) -> str:
    """The range of time: what was observed, what is forecast, and where one is."""
    border, now = 100 * line.share(line.observed_until), 100 * line.share(time)
    blue, orange = (f"rgb{c}" for c in (OBSERVED, FORECAST))
    colour = orange if line.is_forecast(time) else blue
    unit = "" if line.unit == "unknown" else f" {escape(line.unit)}"
    return (
        '<div style="padding:0.4em 1em 0.2em 1em;font-size:0.85em">'
        f'<div style="position:relative;height:10px;border-radius:3px;'
        f'background:linear-gradient(to right,{blue} {border:.2f}%,{orange} {border:.2f}%)">'
        f'<div style="position:absolute;left:{border:.2f}%;top:-3px;width:2px;height:16px;background:#888"></div>'
        f'<div style="position:absolute;left:calc({now:.2f}% - 3px);top:-4px;width:6px;height:18px;'
        f'border-radius:2px;background:#fff;border:1px solid #333"></div></div>'
        f'<div style="display:flex;justify-content:space-between"><b style="color:{colour}">{escape(words)}</b>'
        f"<span>t = {time:.3f}{unit}</span></div></div>"
    )


def path_words(views: int, seconds: float) -> str:
    """What a recorded path holds, as HTML."""
    if not views:
        return plain("No views in the path yet.")
    held = f"{views} view{'s' if views > 1 else ''}, {seconds:.1f} s."
    return plain(f"{held} Render it: foreseen render RUN --path FILE")


def knob_words(line: str, others: Sequence[str]) -> str:
    """What was typed, for the command line, as HTML; `others`: runs that it does not concern."""
    stay = (f"{name} takes other initial conditions, and stays as it is." for name in others)
    return plain(f'--initial "{line}"', *stay)


def put(handle: Any, value: Any) -> None:
    """Writes into a control; viser's types know it as one that is only read."""
    handle.value = value
