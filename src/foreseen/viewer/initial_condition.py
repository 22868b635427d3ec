"""The initial condition that a user sets: sliders, and handles in the scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from foreseen.errors import UserError
from foreseen.viewer.controls import ControlPanel, set_handle_value
from foreseen.viewer.overlays import Overlays, initial_positions
from foreseen.viewer.panel import INITIAL_LABEL
from foreseen.viewer.panel_text import format_command_options
from foreseen.viewer.source import ViewerSource
from foreseen.viewer.state_controls import format_initial_condition


class InitialConditionSession(Protocol):
    """What setting an initial condition needs of its session."""

    sources: list[ViewerSource]
    panel: ControlPanel
    overlays: Overlays

    @property
    def front(self) -> ViewerSource: ...
    def submit(self, act: Callable[[], None]) -> None: ...
    def show_message(self, title: str, text: str) -> None: ...
    def source_changed(self) -> None: ...


class InitialCondition:
    """Values of the initial condition of one session, those of the first run's state controls."""

    def __init__(self, session: InitialConditionSession) -> None:
        self.session = session
        self.values = [control.value for control in session.sources[0].state_controls]
        self._requested: list[float] | None = None
        self._dragging = False

    def request(self) -> None:
        """Has the forecast start from the current values, soon."""
        self._requested = list(self.values)

    def set_value(self, index: int, value: float) -> None:
        """Sets one value."""
        self.values[index] = value
        self.request()

    def apply(self) -> None:
        """Shows the forecast from the values that were requested last; those before them are skipped."""
        values, self._requested = self._requested, None
        if values is None:
            return
        session = self.session
        try:
            for source in filter(self._has_same_controls, session.sources):
                source.set_initial_condition(values)
        except UserError as error:
            session.show_message("Not a possible initial condition", str(error))
            return
        if session.panel.command is not None:
            others = [source.name for source in session.sources if not self._has_same_controls(source)]
            session.panel.command.content = format_command_options(
                format_initial_condition(session.sources[0].state_controls, values), others
            )
        if session.panel.sequence is not None:
            set_handle_value(session.panel.sequence, INITIAL_LABEL)
        session.source_changed()

    def update_handles(self) -> None:
        """Places the handles at the bodies' initial positions; not while the user drags one."""
        if self._dragging:
            return
        front = self.session.front
        positions: dict[int, np.ndarray] = {}
        if front.state_controls and self._has_same_controls(front):
            ensemble = front.ensemble([front.timeline.start])
            predicted = None if ensemble is None else ensemble[0, 0].double().numpy()
            positions = initial_positions(front, self.values, predicted)
        self.session.overlays.set_handles(front, positions, self._on_handle)

    def _has_same_controls(self, source: ViewerSource) -> bool:
        """A source has the controls of the panel: those of the first run."""
        return [c.name for c in source.state_controls] == [c.name for c in self.session.sources[0].state_controls]

    def _on_handle(self, body: int, position: Sequence[float], is_dragging: bool) -> None:
        self.session.submit(lambda: self._moved(body, position, is_dragging))

    def _moved(self, body: int, position: Sequence[float], is_dragging: bool) -> None:
        """A handle was dragged to `position`; `is_dragging`: it still is."""
        self._dragging = is_dragging
        for index, control in enumerate(self.session.sources[0].state_controls):
            if control.body == body and not control.velocity:
                self.values[index] = min(max(position[control.axis], control.low), control.high)
                set_handle_value(self.session.panel.state_controls[index], self.values[index])
        self.request()
