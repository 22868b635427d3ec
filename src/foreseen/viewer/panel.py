"""Builds the controls at the side of the window. They call the session, and hold no state of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import viser

from foreseen.core.capabilities import Layer
from foreseen.render import as_gaussians
from foreseen.viewer.camera_lock import CameraLock
from foreseen.viewer.capture import Capture
from foreseen.viewer.channels import CHANNELS
from foreseen.viewer.controls import (
    BAR_ORDER,
    UNLOCKED_LABEL,
    ControlPanel,
    add_time_slider,
    camera_ids,
    on_user_change,
)
from foreseen.viewer.panel_text import bars_html, describe_path, escape_html, notes
from foreseen.viewer.resolution import AdaptiveResolution
from foreseen.viewer.source import ViewerSource
from foreseen.viewer.splat_drawing import DRAWN_BY, DrawnBy

SIDE_BY_SIDE = "side by side"
INITIAL_LABEL = "(initial condition)"
LAYERS: dict[str, Layer | None] = {"all": None, "static": "static", "dynamic": "dynamic"}
SPEEDS = ("0.1", "0.25", "0.5", "1", "2", "4")

OnChange = Callable[[Any, Callable[[Any], None]], Any]


class PanelSession(Protocol):
    """What the controls call."""

    sources: list[ViewerSource]
    resolution: AdaptiveResolution
    camera_lock: CameraLock
    capture: Capture

    def submit(self, act: Callable[[], None]) -> None: ...
    def toggle(self) -> None: ...
    def seek(self, time: float) -> None: ...
    def set_speed(self, text: str) -> None: ...
    def set_loop(self, loop: bool) -> None: ...
    def choose(self, sequence: str) -> None: ...
    def set_initial_value(self, index: int, value: float) -> None: ...
    def set_channel(self, channel: str) -> None: ...
    def set_layer(self, which: Layer | None) -> None: ...
    def set_columns(self, name: str) -> None: ...
    def set_truth(self, beside: bool) -> None: ...
    def set_cameras(self, visible: bool) -> None: ...
    def set_path(self, visible: bool) -> None: ...
    def set_ensemble(self, visible: bool) -> None: ...
    def set_lines(self, lines: float) -> None: ...
    def set_rate(self, rate: float) -> None: ...
    def set_drawn_by(self, drawn_by: DrawnBy) -> None: ...


def build_panel(gui: viser.GuiApi, session: PanelSession) -> ControlPanel:
    """Adds the controls of what the session shows."""
    on_change = partial(on_user_change, session.submit)
    source = session.sources[0]
    times = gui.add_folder("Time")
    with times:
        bar = gui.add_html(bars_html(session.sources, source.timeline.start), order=BAR_ORDER)
        slider = add_time_slider(gui, source, session.submit, session.seek)
        slider.visible = source.moves
        play = gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY, visible=source.moves)
        _on_click(session, play, session.toggle)
        on_change(gui.add_dropdown("speed", SPEEDS, initial_value="1", visible=source.moves), session.set_speed)
        on_change(gui.add_checkbox("loop", True, visible=source.moves), session.set_loop)
    with gui.add_folder("View"):
        camera_lock = _add_views(gui, session, on_change)
    sequence = _add_sequences(gui, session, on_change)
    state_controls, command = _add_state_controls(gui, session, on_change) if source.state_controls else ([], None)
    record, path = _add_capture(gui, session, on_change)
    with gui.add_folder("Quality", expand_by_default=False):
        _add_quality(gui, session, on_change)
    notes_handle = gui.add_html(notes(session.sources), visible=bool(notes(session.sources)))
    return ControlPanel(
        gui,
        times,
        bar,
        slider,
        play,
        camera_lock,
        sequence,
        state_controls,
        command,
        record,
        path,
        notes_handle,
        source.timeline,
    )


def _on_click(session: PanelSession, handle: viser.GuiButtonHandle, act: Callable[[], None]) -> None:
    handle.on_click(lambda _: session.submit(act))


def _add_views(gui: viser.GuiApi, session: PanelSession, on_change: OnChange) -> viser.GuiDropdownHandle[Any]:
    """What is shown, and the list of cameras that the view can be locked to."""
    source = session.sources[0]
    renders = any(s.renders for s in session.sources)
    channels = on_change(gui.add_dropdown("channel", CHANNELS, visible=renders), session.set_channel)
    channels.hint = "motion: optical flow to the next frame; the hue is its direction"
    if any(s.has_layers for s in session.sources):
        on_change(gui.add_dropdown("layer", tuple(LAYERS)), lambda name: session.set_layer(LAYERS[name]))
    if len(session.sources) > 1:
        names = [s.name for s in session.sources]
        on_change(gui.add_dropdown("run", [SIDE_BY_SIDE, *names], initial_value=SIDE_BY_SIDE), session.set_columns)
    captured = bool(source.frames)
    on_change(gui.add_checkbox("ground truth", False, visible=captured and renders), session.set_truth)
    on_change(gui.add_checkbox("cameras", not renders, visible=captured), session.set_cameras)
    on_change(gui.add_checkbox("true trajectory", not renders, visible=source.truth is not None), session.set_path)
    on_change(gui.add_checkbox("ensemble", renders, visible=renders and source.moves), session.set_ensemble)
    ids = camera_ids(source)
    camera_lock = gui.add_dropdown(
        "camera lock", [UNLOCKED_LABEL, *ids], initial_value=UNLOCKED_LABEL, visible=bool(ids)
    )
    on_change(camera_lock, session.camera_lock.lock_to)
    return camera_lock


def _add_sequences(
    gui: viser.GuiApi, session: PanelSession, on_change: OnChange
) -> viser.GuiDropdownHandle[Any] | None:
    """The choice of a sequence; None where there is no choice."""
    names = list(dict.fromkeys(name for source in session.sources for name in source.sequences))
    if len(names) <= 1 and not session.sources[0].state_controls:
        return None
    extra = [INITIAL_LABEL] if session.sources[0].state_controls else []
    with gui.add_folder("Sequence"):
        handle: viser.GuiDropdownHandle[Any] = on_change(gui.add_dropdown("sequence", [*names, *extra]), session.choose)
    return handle


def _add_state_controls(
    gui: viser.GuiApi, session: PanelSession, on_change: OnChange
) -> tuple[list[viser.GuiSliderHandle[float]], viser.GuiHtmlHandle]:
    """A slider for each value of the initial condition, and the option of the command line."""
    sliders = []
    with gui.add_folder("Set initial condition"):
        for index, control in enumerate(session.sources[0].state_controls):
            step = (control.high - control.low) / 400
            slider = gui.add_slider(control.name, control.low, control.high, step, control.value)
            sliders.append(on_change(slider, partial(session.set_initial_value, index)))
        command = gui.add_html(escape_html("Drag a slider, or the handle in the scene."))
    return sliders, command


def _add_capture(
    gui: viser.GuiApi, session: PanelSession, on_change: OnChange
) -> tuple[viser.GuiButtonHandle, viser.GuiHtmlHandle]:
    """Pictures and camera paths: the button that records, and the description of the path."""
    clips, capture = any(s.supports_clips for s in session.sources), session.capture
    with gui.add_folder("Capture"):
        _on_click(session, gui.add_button("Take picture", icon=viser.Icon.CAMERA), capture.take_picture)
        _on_click(session, gui.add_button("Add view to path", icon=viser.Icon.PLUS, visible=clips), capture.add_view)
        on_change(
            gui.add_number("seconds between views", 2.0, min=0.1, max=60.0, step=0.1, visible=clips),
            capture.set_seconds_between,
        )
        record = gui.add_button("Record", icon=viser.Icon.PLAYER_RECORD, visible=clips)
        _on_click(session, record, capture.toggle_recording)
        _on_click(session, gui.add_button("Save path", icon=viser.Icon.DOWNLOAD, visible=clips), capture.save_path)
        _on_click(session, gui.add_button("Clear path", icon=viser.Icon.TRASH, visible=clips), capture.clear_path)
        path = gui.add_html(describe_path(0, 0.0), visible=clips)
    return record, path


def _add_quality(gui: viser.GuiApi, session: PanelSession, on_change: OnChange) -> None:
    on_change(gui.add_slider("finest lines", 60, 1080, 20, session.resolution.lines), session.set_lines)
    on_change(gui.add_slider("frames per second", 2, 30, 1, int(session.resolution.rate)), session.set_rate)
    if any(as_gaussians(s.cached_scene(s.timeline.start)) is not None for s in session.sources):
        on_change(gui.add_dropdown("Gaussians drawn by", DRAWN_BY), session.set_drawn_by)
