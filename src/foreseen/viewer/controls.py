"""Handles of the controls at the side of the window, and how their values are read and written."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import viser

from foreseen.export.compose import Timeline
from foreseen.viewer.source import ViewerSource

UNLOCKED_LABEL = "(free)"
BAR_ORDER, SLIDER_ORDER = -2.0, -1.0
"""The bar and the slider stay first in their folder, also when the slider is replaced."""

Submit = Callable[[Callable[[], None]], None]
"""Has something done by the session's own thread."""
Seek = Callable[[float], None]
"""Goes to a time."""


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
    command: viser.GuiHtmlHandle | None
    record: viser.GuiButtonHandle
    path: viser.GuiHtmlHandle
    notes: viser.GuiHtmlHandle
    timeline: Timeline

    def set_timeline(self, source: ViewerSource, submit: Submit, seek: Seek) -> None:
        """Replaces the slider where the range or the end of the observed window has changed."""
        if self.timeline == source.timeline:
            return
        self.timeline = source.timeline
        self.time.remove()
        with self.times:
            self.time = add_time_slider(self.gui, source, submit, seek)

    def list_cameras(self, source: ViewerSource) -> tuple[str, ...]:
        """Lists the cameras that the view can be locked to."""
        ids = camera_ids(source)
        if self.camera_lock.options != (UNLOCKED_LABEL, *ids):
            self.camera_lock.options = (UNLOCKED_LABEL, *ids)
            self.camera_lock.visible = bool(ids)
        return ids


def camera_ids(source: ViewerSource) -> tuple[str, ...]:
    """The ids of the cameras that captured it."""
    return tuple(dict.fromkeys(f.camera_id for f in source.frames))


def on_user_change(submit: Submit, handle: Any, act: Callable[[Any], None]) -> Any:
    """Calls `act` in the session's thread when a user, not the program, changes a control. Returns the handle."""

    def updated(event: viser.GuiEvent[Any]) -> None:
        value = valid_value(event.target)
        if event.client is not None and value is not None:
            submit(lambda: act(value))

    handle.on_update(updated)
    return handle


def valid_value(handle: Any) -> Any | None:
    """The value of a control, within its range; None for an invalid one: a browser can send anything."""
    value = handle.value
    if isinstance(handle, viser.GuiDropdownHandle):
        return value if value in handle.options else None
    if isinstance(value, bool):
        return value
    return min(max(value, handle.min), handle.max) if math.isfinite(value) else None


def set_handle_value(handle: Any, value: Any) -> None:
    """Writes into a control; viser's types declare the value as read-only."""
    handle.value = value


def add_time_slider(
    gui: viser.GuiApi, source: ViewerSource, submit: Submit, seek: Seek
) -> viser.GuiSliderHandle[float]:
    """A slider over the source's range, with a mark at the end of the observed window."""
    line = source.timeline
    end = max(line.end, line.start + source.time_step)
    marks = [(line.start, f"{line.start:.3g}"), (end, f"{end:.3g}")]
    if line.start < line.observed_until < line.end:
        marks.insert(1, (line.observed_until, "forecast ▸"))
    unit = "" if line.unit == "unknown" else f" [{line.unit}]"
    slider = gui.add_slider(
        f"t{unit}", line.start, end, source.time_step, line.start, marks=tuple(marks), order=SLIDER_ORDER
    )
    on_user_change(submit, slider, seek)
    return slider
