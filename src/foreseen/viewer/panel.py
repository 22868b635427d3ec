"""The controls at the side of the window. They tell the session what was pressed, and hold no state of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import viser

from foreseen.export.compose import FORECAST, OBSERVED, Timeline
from foreseen.methods.base import Portion
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
PORTIONS: dict[str, Portion | None] = {"all": None, "at rest": "static", "moving": "moving"}
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
    typed: viser.GuiMarkdownHandle | None
    record: viser.GuiButtonHandle
    path: viser.GuiMarkdownHandle
    notes: viser.GuiMarkdownHandle
    _line: Timeline | None = None

    def set_timeline(self, shown: Shown, seek: Callable[[float], None]) -> None:
        """Another slider, where the range or the border of what was observed is another one."""
        if self._line == shown.timeline:
            return
        self._line = shown.timeline
        self.time.remove()
        with self.times:
            self.time = add_time_slider(self.gui, shown)

        @self.time.on_update
        def _(event: viser.GuiEvent[Any]) -> None:
            if event.client is not None:
                seek(event.target.value)


def build_panel(gui: viser.GuiApi, session: Session) -> Panel:
    """Adds the controls of what the session shows."""

    def told(handle: Any, act: Callable[[Any], None]) -> Any:
        """What a user, not the program, does to a control is done by the session's thread."""

        def updated(event: viser.GuiEvent[Any]) -> None:
            if event.client is not None:
                session.tell(lambda: act(event.target.value))

        handle.on_update(updated)
        return handle

    def pressed(handle: viser.GuiButtonHandle, act: Callable[[], None]) -> viser.GuiButtonHandle:
        handle.on_click(lambda _: session.tell(act))
        return handle

    shown = session.shown[0]
    times = gui.add_folder("Time")
    with times:
        start = shown.timeline.start
        bar = gui.add_html(bar_html(shown.timeline, start, shown.words(start)), order=BAR)
        slider = told(add_time_slider(gui, shown), session.seek)
        slider.visible = shown.moves
        play = pressed(gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY, visible=shown.moves), session.toggle)
        told(gui.add_dropdown("speed", SPEEDS, initial_value="1", visible=shown.moves), session.set_speed)
        told(gui.add_checkbox("loop", True, visible=shown.moves), session.set_loop)
    with gui.add_folder("View"):
        _add_views(gui, session, told)
        ids = list(dict.fromkeys(f.camera_id for f in shown.frames))
        standing = gui.add_dropdown("stand in", [FREE, *ids], initial_value=FREE, visible=bool(ids))
        told(standing, session.stand)
    sequence = None
    if len(shown.sequences) > 1 or shown.knobs:
        extra = [TYPED] if shown.knobs else []
        with gui.add_folder("Sequence"):
            sequence = told(gui.add_dropdown("sequence", [*shown.sequences, *extra]), session.choose)
    knobs, typed = _add_knobs(gui, session, told) if shown.knobs else ([], None)
    with gui.add_folder("Keep"):
        pressed(gui.add_button("Take picture", icon=viser.Icon.CAMERA), session.keeping.take_picture)
        pressed(gui.add_button("Add view to path", icon=viser.Icon.PLUS), session.keeping.add_view)
        told(
            gui.add_number("seconds between views", 2.0, min=0.1, max=60.0, step=0.1),
            session.keeping.set_seconds_between,
        )
        record = pressed(gui.add_button("Record", icon=viser.Icon.PLAYER_RECORD), session.keeping.toggle_recording)
        pressed(gui.add_button("Save path", icon=viser.Icon.DOWNLOAD), session.keeping.save_path)
        pressed(gui.add_button("Clear path", icon=viser.Icon.TRASH), session.keeping.clear_path)
        path = gui.add_markdown(path_words(0, 0.0))
    with gui.add_folder("Quality", expand_by_default=False):
        most = session.resolution
        told(gui.add_slider("finest lines", 60, 1080, 20, most.lines), session.set_lines)
        told(gui.add_slider("frames a second", 2, 30, 1, int(most.rate)), session.set_rate)
        if any(isinstance(s.made(s.timeline.start), Gaussians) for s in session.shown):
            told(gui.add_dropdown("Gaussians drawn by", DRAWS), session.set_draws)
    told_of = gui.add_markdown(notes(session.shown), visible=bool(notes(session.shown)))
    return Panel(gui, times, bar, slider, play, standing, sequence, knobs, typed, record, path, told_of, shown.timeline)


def notes(shown: Sequence[Shown]) -> str:
    """What there is to say of all that is shown, for a reader of markdown."""
    return "\n\n".join(escape(one.note) for one in shown if one.note)


def add_time_slider(gui: viser.GuiApi, shown: Shown) -> viser.GuiSliderHandle[float]:
    """With the border of what was observed marked on it."""
    line = shown.timeline
    end = max(line.end, line.start + shown.moment)
    marks = [(line.start, f"{line.start:.3g}"), (end, f"{end:.3g}")]
    if line.start < line.observed_until < line.end:
        marks.insert(1, (line.observed_until, "forecast ▸"))
    unit = "" if line.unit == "unknown" else f" [{line.unit}]"
    return gui.add_slider(f"t{unit}", line.start, end, shown.moment, line.start, marks=tuple(marks), order=SLIDER)


def _add_views(gui: viser.GuiApi, session: Session, told: Callable[..., Any]) -> None:
    shown = session.shown[0]
    renders = any(s.renders for s in session.shown)
    channels = told(gui.add_dropdown("channel", CHANNELS, visible=renders), session.set_channel)
    channels.hint = "motion: optical flow to the next frame; the hue says where to"
    if any(s.tells_apart for s in session.shown):
        told(gui.add_dropdown("parts", tuple(PORTIONS)), lambda name: session.set_portion(PORTIONS[name]))
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
) -> tuple[list[viser.GuiSliderHandle[float]], viser.GuiMarkdownHandle]:
    sliders = []
    with gui.add_folder("Begin by hand"):
        for index, knob in enumerate(session.shown[0].knobs):
            step = (knob.high - knob.low) / 400
            slider = gui.add_slider(knob.name, knob.low, knob.high, step, knob.value)
            sliders.append(told(slider, lambda value, own=index: session.turn(own, value)))
        typed = gui.add_markdown("Drag a slider, or the handle in the scene.")
    return sliders, typed


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
    """What a recorded path holds."""
    if not views:
        return "No views in the path yet."
    return f"{views} view{'s' if views > 1 else ''}, {seconds:.1f} s. Render it: `foreseen render RUN --path FILE`"


def knob_words(line: str) -> str:
    """What was typed, for the command line."""
    return f'`--initial "{line}"`'


def put(handle: Any, value: Any) -> None:
    """Writes into a control; viser's types know it as one that is only read."""
    handle.value = value
