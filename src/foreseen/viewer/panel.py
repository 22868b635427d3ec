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
from foreseen.render import as_gaussians
from foreseen.viewer.channels import CHANNELS
from foreseen.viewer.sources import ViewerSource
from foreseen.viewer.splat_drawing import DRAWS

if TYPE_CHECKING:
    from foreseen.viewer.session import BrowserSession

SIDE_BY_SIDE = "side by side"
UNLOCKED_LABEL = "(free)"
TYPED_LABEL = "(begins by hand)"
BAR, SLIDER = -2.0, -1.0
"""The bar and the slider stand first, the slider also where it is a new one."""
LAYERS: dict[str, Layer | None] = {"all": None, "static": "static", "dynamic": "dynamic"}
SPEEDS = ("0.1", "0.25", "0.5", "1", "2", "4")


@dataclass
class ControlPanel:
    """Handles of the controls that the session writes to."""

    gui: viser.GuiApi
    times: viser.GuiFolderHandle
    bar: viser.GuiHtmlHandle
    time: viser.GuiSliderHandle[float]
    play: viser.GuiButtonHandle
    camera_lock: viser.GuiDropdownHandle[Any]
    sequence: viser.GuiDropdownHandle[Any] | None
    state_controls: list[viser.GuiSliderHandle[float]]
    typed: viser.GuiHtmlHandle | None
    record: viser.GuiButtonHandle
    path: viser.GuiHtmlHandle
    notes: viser.GuiHtmlHandle
    _line: Timeline | None = None

    def set_timeline(self, source: ViewerSource, session: BrowserSession) -> None:
        """Another slider, where the range or the border of what was observed is another one."""
        if self._line == source.timeline:
            return
        self._line = source.timeline
        self.time.remove()
        with self.times:
            self.time = add_time_slider(self.gui, source, session)

    def list_cameras(self, source: ViewerSource) -> tuple[str, ...]:
        """Names the cameras that one can stand in."""
        ids = camera_ids(source)
        if self.camera_lock.options != (UNLOCKED_LABEL, *ids):
            self.camera_lock.options = (UNLOCKED_LABEL, *ids)
            self.camera_lock.visible = bool(ids)
        return ids


def on_user_change(session: BrowserSession, handle: Any, act: Callable[[Any], None]) -> Any:
    """What a user, not the program, does to a control is done by the session's thread."""

    def updated(event: viser.GuiEvent[Any]) -> None:
        value = valid_value(event.target)
        if event.client is not None and value is not None:
            session.submit(lambda: act(value))

    handle.on_update(updated)
    return handle


def valid_value(handle: Any) -> Any | None:
    """What a control was set to, within what it offers; None for what is no such thing: a browser can send anything."""
    value = handle.value
    if isinstance(handle, viser.GuiDropdownHandle):
        return value if value in handle.options else None
    if isinstance(value, bool):
        return value
    return min(max(value, handle.min), handle.max) if math.isfinite(value) else None


def build_panel(gui: viser.GuiApi, session: BrowserSession) -> ControlPanel:
    """Adds the controls of what the session shows."""

    told = partial(on_user_change, session)

    def pressed(handle: viser.GuiButtonHandle, act: Callable[[], None]) -> viser.GuiButtonHandle:
        handle.on_click(lambda _: session.submit(act))
        return handle

    source = session.sources[0]
    times = gui.add_folder("Time")
    with times:
        bar = gui.add_html(bars_html(session.sources, source.timeline.start), order=BAR)
        slider = add_time_slider(gui, source, session)
        slider.visible = source.moves
        play = pressed(gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY, visible=source.moves), session.toggle)
        told(gui.add_dropdown("speed", SPEEDS, initial_value="1", visible=source.moves), session.set_speed)
        told(gui.add_checkbox("loop", True, visible=source.moves), session.set_loop)
    with gui.add_folder("View"):
        _add_views(gui, session, told)
        ids = camera_ids(source)
        camera_lock = gui.add_dropdown(
            "stand in", [UNLOCKED_LABEL, *ids], initial_value=UNLOCKED_LABEL, visible=bool(ids)
        )
        told(camera_lock, session.camera_lock.lock_to)
    sequence = None
    sequences = list(dict.fromkeys(name for one in session.sources for name in one.sequences))
    if len(sequences) > 1 or source.state_controls:
        extra = [TYPED_LABEL] if source.state_controls else []
        with gui.add_folder("Sequence"):
            sequence = told(gui.add_dropdown("sequence", [*sequences, *extra]), session.choose)
    state_controls, typed = _add_state_controls(gui, session, told) if source.state_controls else ([], None)
    clips = any(s.supports_clips for s in session.sources)
    with gui.add_folder("Keep"):
        pressed(gui.add_button("Take picture", icon=viser.Icon.CAMERA), session.capture.take_picture)
        pressed(gui.add_button("Add view to path", icon=viser.Icon.PLUS, visible=clips), session.capture.add_view)
        told(
            gui.add_number("seconds between views", 2.0, min=0.1, max=60.0, step=0.1, visible=clips),
            session.capture.set_seconds_between,
        )
        record = gui.add_button("Record", icon=viser.Icon.PLAYER_RECORD, visible=clips)
        pressed(record, session.capture.toggle_recording)
        pressed(gui.add_button("Save path", icon=viser.Icon.DOWNLOAD, visible=clips), session.capture.save_path)
        pressed(gui.add_button("Clear path", icon=viser.Icon.TRASH, visible=clips), session.capture.clear_path)
        path = gui.add_html(describe_path(0, 0.0), visible=clips)
    with gui.add_folder("Quality", expand_by_default=False):
        maximum = session.resolution
        told(gui.add_slider("finest lines", 60, 1080, 20, maximum.lines), session.set_lines)
        told(gui.add_slider("frames a second", 2, 30, 1, int(maximum.rate)), session.set_rate)
        if any(as_gaussians(s.cached_scene(s.timeline.start)) is not None for s in session.sources):
            told(gui.add_dropdown("Gaussians drawn by", DRAWS), session.set_draws)
    told_of = gui.add_html(notes(session.sources), visible=bool(notes(session.sources)))
    return ControlPanel(
        gui,
        times,
        bar,
        slider,
        play,
        camera_lock,
        sequence,
        state_controls,
        typed,
        record,
        path,
        told_of,
        source.timeline,
    )


def camera_ids(source: ViewerSource) -> tuple[str, ...]:
    """Of the cameras that filmed it."""
    return tuple(dict.fromkeys(f.camera_id for f in source.frames))


def escape_html(*lines: str) -> str:
    """HTML of lines in which nothing is markup: names come from files of anybody's."""
    return "".join(f'<div style="padding:0.2em 1em;font-size:0.85em">{escape(line)}</div>' for line in lines)


def notes(source: Sequence[ViewerSource]) -> str:
    """What there is to say of all that is shown, as HTML."""
    return escape_html(*(one.note for one in source if one.note))


def add_time_slider(gui: viser.GuiApi, source: ViewerSource, session: BrowserSession) -> viser.GuiSliderHandle[float]:
    """With the border of what was observed marked on it."""
    line = source.timeline
    end = max(line.end, line.start + source.time_step)
    marks = [(line.start, f"{line.start:.3g}"), (end, f"{end:.3g}")]
    if line.start < line.observed_until < line.end:
        marks.insert(1, (line.observed_until, "forecast ▸"))
    unit = "" if line.unit == "unknown" else f" [{line.unit}]"
    slider = gui.add_slider(f"t{unit}", line.start, end, source.time_step, line.start, marks=tuple(marks), order=SLIDER)
    on_user_change(session, slider, session.seek)
    return slider


def _add_views(gui: viser.GuiApi, session: BrowserSession, told: Callable[..., Any]) -> None:
    source = session.sources[0]
    renders = any(s.renders for s in session.sources)
    channels = told(gui.add_dropdown("channel", CHANNELS, visible=renders), session.set_channel)
    channels.hint = "motion: optical flow to the next frame; the hue says where to"
    if any(s.has_layers for s in session.sources):
        told(gui.add_dropdown("parts", tuple(LAYERS)), lambda name: session.set_layer(LAYERS[name]))
    if len(session.sources) > 1:
        names = [s.name for s in session.sources]
        told(gui.add_dropdown("run", [SIDE_BY_SIDE, *names], initial_value=SIDE_BY_SIDE), session.set_columns)
    captured = bool(source.frames)
    told(gui.add_checkbox("truth beside", False, visible=captured and renders), session.set_truth)
    told(gui.add_checkbox("cameras", not renders, visible=captured), session.set_cameras)
    told(gui.add_checkbox("true path", not renders, visible=source.truth is not None), session.set_path)
    told(gui.add_checkbox("possible futures", renders, visible=renders and source.moves), session.set_ensemble)


def _add_state_controls(
    gui: viser.GuiApi, session: BrowserSession, told: Callable[..., Any]
) -> tuple[list[viser.GuiSliderHandle[float]], viser.GuiHtmlHandle]:
    sliders = []
    with gui.add_folder("Begin by hand"):
        for index, knob in enumerate(session.sources[0].state_controls):
            step = (knob.high - knob.low) / 400
            slider = gui.add_slider(knob.name, knob.low, knob.high, step, knob.value)
            sliders.append(told(slider, lambda value, own=index: session.set_initial_value(own, value)))
        typed = gui.add_html(escape_html("Drag a slider, or the handle in the scene."))
    return sliders, typed


def bars_html(source: Sequence[ViewerSource], time: float) -> str:
    """The first one's range of time; a bar for each, where the border or what the time is differs."""
    lines = [replace(source[0].timeline, observed_until=one.timeline.observed_until) for one in source]
    said = [one.describe_time(time) for one in source]
    if len(set(zip(lines, said))) == 1:
        return bar_html(lines[0], time, said[0])
    return "".join(bar_html(line, time, f"{one.name}: {words}") for line, one, words in zip(lines, source, said))


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


def describe_path(views: int, seconds: float) -> str:
    """What a recorded path holds, as HTML."""
    if not views:
        return escape_html("No views in the path yet.")
    held = f"{views} view{'s' if views > 1 else ''}, {seconds:.1f} s."
    return escape_html(f"{held} Render it: foreseen render RUN --path FILE")


def format_command_options(line: str, others: Sequence[str]) -> str:
    """What was typed, for the command line, as HTML; `others`: runs that it does not concern."""
    stay = (f"{name} takes other initial conditions, and stays as it is." for name in others)
    return escape_html(f'--initial "{line}"', *stay)


def set_handle_value(handle: Any, value: Any) -> None:
    """Writes into a control; viser's types know it as one that is only read."""
    handle.value = value
