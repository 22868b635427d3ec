"""What one browser is shown, step by step."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from foreseen.data.types import Dataset
from foreseen.export.camera_path import MAX_SECONDS
from foreseen.export.compose import Timeline
from foreseen.render import ImageResult
from foreseen.viewer.state_controls import StateControl
from sliding_square import CAMERAS, make_dataset

pytest.importorskip("viser", reason="viser comes with the extra [view]")

from foreseen.viewer.controls import UNLOCKED_LABEL
from foreseen.viewer.panel import SIDE_BY_SIDE
from foreseen.viewer.recorder import RECORD_INTERVAL
from foreseen.viewer.resolution import MAX_WINDOW_SIDE
from foreseen.viewer.session import BrowserSession
from foreseen.viewer.source import ViewerSource
from foreseen.viewer.sources import DatasetSource
from visitor import visited, wait


class Ramp(ViewerSource):
    """A run that is brighter to the right, and has an ensemble of two after its border."""

    def __init__(self, name: str = "ramp", border: float = 1.0) -> None:
        self.name, self.bounds = name, torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
        self._set_timeline(Timeline(0.0, 2.0, border, "s"))
        self.appearances = 0

    def scene(self, time: float) -> str:
        return "ramp"

    def render_view(self, camera: Any, time: float, *, preview: bool = False) -> ImageResult:
        self.appearances += 1
        size = camera.height, camera.width
        ramp = torch.linspace(0.2, 1, camera.width).expand(size)
        return ImageResult(ramp[..., None].expand(*size, 3), torch.ones(size), torch.ones(size))

    def ensemble(self, times: Sequence[float]) -> Tensor:
        return torch.zeros(2, len(times), 1, 3)


class Clock:
    """Time that goes on where a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for name in ("session", "camera_lock", "capture"):
        monkeypatch.setattr(f"foreseen.viewer.{name}.clock", clock)
    return clock


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notifications of the browser."""
    said: list[str] = []
    monkeypatch.setattr(
        "viser.ClientHandle.add_notification", lambda self, title, text, **_: said.append(f"{title}: {text}")
    )
    return said


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return make_dataset(tmp_path / "data")


def steps(session: BrowserSession, time: Clock, seconds: float = 2.0) -> None:
    """Lets a view rest for so long."""
    for _ in range(20):
        time.now += seconds / 20
        while session.step():
            time.now += 0.001


def do(session: BrowserSession, act: Callable[[], None]) -> None:
    session.submit(act)
    session.step()


def control(session: BrowserSession, label: str) -> Any:
    return next(h for h in session.client.gui._gui_input_handle_from_uuid.values() if h.label == label)


@pytest.mark.parametrize("name", ["![](/etc/hostname)", "<img src=x onerror=alert(1)>", "a.b`**c**"])
def test_names_of_bodies_are_no_markup(name: str, time: Clock) -> None:
    class Thrown(Ramp):
        state_controls = (StateControl(f"{name}.x", 0, 0, False, -1.0, 1.0, 0.0),)
        note = f"{name}: 10 steps"

        def set_initial_condition(self, values: Sequence[float]) -> None:
            self.version += 1

    with visited(Thrown()) as (session, _):
        do(session, lambda: session.set_initial_value(0, 0.5))
        command, notes = session.panel.command, session.panel.notes
        assert command is not None and "=0.5" in command.content and "10 steps" in notes.content
        for handle in (command, notes, session.panel.path):
            assert type(handle).__name__ == "GuiHtmlHandle"
            assert "<img" not in handle.content and "data:" not in handle.content


def test_the_run_that_is_seen_alone_tells_time_and_ensemble(time: Clock) -> None:
    with visited(Ramp("early", 0.5), Ramp("late", 1.5)) as (session, _):
        do(session, lambda: session.seek(1.0))
        steps(session, time)
        bar = session.panel.bar
        assert "early: forecast" in bar.content and "late: observed" in bar.content  # a bar for each border
        assert "left:25.00%" in bar.content and "left:75.00%" in bar.content
        do(session, lambda: session.set_columns("late"))
        steps(session, time)
        assert ">observed<" in bar.content and "forecast<" not in bar.content and "left:25.00%" not in bar.content
        assert "now" not in session.overlays._dots and session.overlays._times[0] == 1.5
        do(session, lambda: session.set_columns("early"))
        steps(session, time)
        assert ">forecast<" in bar.content and "now" in session.overlays._dots
        assert session.overlays._times[0] == 0.5


def test_runs_of_one_border_share_a_bar(time: Clock) -> None:
    with visited(Ramp("a"), Ramp("b")) as (session, _):
        assert session.panel.bar.content.count("linear-gradient") == 1 and ">observed<" in session.panel.bar.content


def test_handles_are_those_of_the_run_that_is_seen(time: Clock) -> None:
    class Thrown(Ramp):
        state_controls = (StateControl("x", 0, 0, False, -1.0, 1.0, 0.0),)

        def set_initial_condition(self, values: Sequence[float]) -> None:
            self.version += 1

    with visited(Thrown("thrown"), Ramp("still")) as (session, _):
        steps(session, time)
        assert list(session.overlays.handles) == [0]
        do(session, lambda: session.set_columns("still"))
        steps(session, time)
        assert not session.overlays.handles
        before = session.sources[1].version
        do(session, lambda: session.set_initial_value(0, 0.25))
        assert session.panel.command is not None and "still takes other initial" in session.panel.command.content
        assert session.sources[1].version == before


def test_a_run_that_lacks_a_sequence_is_named(time: Clock, messages: list[str]) -> None:
    class Told(Ramp):
        def __init__(self, name: str, *sequences: str) -> None:
            super().__init__(name)
            self.sequences, self.sequence = sequences, sequences[0]

        def choose(self, sequence: str) -> None:
            self.sequence = sequence

    with visited(Told("a", "one"), Told("b", "one", "two")) as (session, _):
        assert session.panel.sequence is not None and session.panel.sequence.options == ("one", "two")
        do(session, lambda: session.choose("two"))
        assert [s.sequence for s in session.sources] == ["one", "two"]
        assert messages == ["Not in all runs: a has no sequence two, and is unchanged."]


def two_sequences(data: Dataset) -> Dataset:
    """The second one was captured by a camera of another name."""
    (first,) = data.sequences
    frames = tuple(replace(f, sequence="other", camera_id=f"far {f.camera_id}") for f in first.frames)
    return replace(data, sequences=(first, replace(first, name="other", frames=frames)))


def test_the_list_names_the_cameras_of_what_is_seen(time: Clock, data: Dataset) -> None:
    with visited(DatasetSource(two_sequences(data))) as (session, _):
        camera_lock = session.panel.camera_lock
        assert camera_lock.options == (UNLOCKED_LABEL, *CAMERAS)
        do(session, lambda: session.camera_lock.lock_to("left"))
        assert camera_lock.value == "left" and not session.camera_lock.free
        do(session, lambda: session.choose("other"))
        assert camera_lock.value == UNLOCKED_LABEL and session.camera_lock.free
        assert camera_lock.options == (UNLOCKED_LABEL, *(f"far {c}" for c in CAMERAS))


def test_one_stays_where_one_stands_while_one_compares(time: Clock, data: Dataset) -> None:
    first, second = Ramp("a"), Ramp("b")
    first.frames = second.frames = tuple(data.frames)
    third = Ramp("c")
    with visited(first, second, third) as (session, _):
        do(session, lambda: session.camera_lock.lock_to("left"))
        do(session, lambda: session.set_columns("b"))
        assert session.panel.camera_lock.value == "left" and not session.camera_lock.free
        do(session, lambda: session.set_cameras(True))
        steps(session, time, 0.8)
        assert {name: h.visible for name, (h, _) in session.overlays.frustums.items()} == {"left": False, "right": True}
        do(session, lambda: session.set_columns("c"))
        assert session.panel.camera_lock.value == UNLOCKED_LABEL and session.panel.camera_lock.options == (
            UNLOCKED_LABEL,
        )
        do(session, lambda: session.set_columns(SIDE_BY_SIDE))
        assert session.panel.camera_lock.options == (UNLOCKED_LABEL, *CAMERAS)


def test_a_picture_that_cannot_be_read_is_reported_once(time: Clock, data: Dataset, messages: list[str]) -> None:
    first = next(f for f in data.frames if f.camera_id == "left")
    first.image_path.write_bytes(first.image_path.read_bytes()[:60])
    disconnected = [f for f in data.frames if f.camera_id == "right"][-1]
    disconnected.image_path.unlink()
    with visited(DatasetSource(data)) as (session, _):
        steps(session, time)
        frustums = session.overlays.frustums
        assert frustums["left"][0].image is None and frustums["right"][0].image is not None
        assert len(messages) == 1 and str(first.image_path) in messages[0] and "truncated" in messages[0]
        do(session, lambda: session.seek(session.front.timeline.end))
        steps(session, time)
        assert frustums["right"][0].image is None and frustums["left"][0].image is not None
        assert len(messages) == 2 and str(disconnected.image_path) in messages[1]
        do(session, lambda: session.seek(0.0))
        steps(session, time)
        assert len(messages) == 2 and not session.step()


def test_pictures_on_frustums_come_one_at_a_time(time: Clock, data: Dataset) -> None:
    with visited(DatasetSource(data)) as (session, _):
        counts = []
        for _ in range(40):
            session.step()
            time.now += 0.05
            counts.append(sum(h.image is not None for h, _ in session.overlays.frustums.values()))
        assert sorted(set(counts)) == [0, 1, 2]


class Failing(Ramp):
    def render_view(self, camera: Any, time: float, *, preview: bool = False) -> ImageResult:
        seen = super().render_view(camera, time)
        if not preview:
            raise ValueError("no light")
        return seen


def test_a_refinement_that_fails_is_not_tried_again(time: Clock) -> None:
    source = Failing()
    with visited(source) as (session, _):
        for _ in range(3):
            session.step()
        time.now += 0.5
        failures = 0
        for _ in range(50):
            try:
                more = session.step()
            except ValueError:
                failures, more = failures + 1, True
            time.now += 0.05
        assert failures == 1 and not more
        assert session.request() is not None and source.appearances < 10


def test_a_warning_is_shown_again_after_the_user_has_done_something(time: Clock) -> None:
    with visited(Ramp()) as (session, _):
        assert (
            session.is_new_warning("no light")
            and session.is_new_warning("no space")
            and not session.is_new_warning("no light")
        )
        do(session, lambda: session.seek(0.5))
        assert session.is_new_warning("no light")


def test_a_picture_is_taken_in_pieces(time: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[bytes] = []
    monkeypatch.setattr("viser.ClientHandle.send_file_download", lambda self, name, content, **_: files.append(content))
    with visited(Ramp()) as (session, _):
        steps(session, time)
        session.resolution.static_seconds_per_pixel = 1.0
        do(session, session.capture.take_picture)
        pieces = 0
        while not files:
            assert session.step()
            pieces += 1
        assert pieces == 48 / 8 - 1
        from PIL import Image

        assert Image.open(io.BytesIO(files[0])).size == (64, 48)


def test_a_browser_that_does_not_draw_its_picture(
    time: Clock, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def left(*_: object, **__: object) -> np.ndarray:
        raise RuntimeError("the client disconnected")

    with visited(Ramp()) as (session, _):
        session.step()
        monkeypatch.setattr(session.client, "get_render", left)
        session.in_browser = True
        do(session, session.capture.take_picture)
        wait(lambda: session.step() and messages)
        assert messages == ["No picture: The browser did not draw it. Try again."]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(time: Clock, value: float) -> None:
    with visited(Ramp()) as (session, visitor):
        visitor.set(session.panel.time, value)
        visitor.set(control(session, "loop"), False)  # what was asked first has been done by then
        wait(lambda: session.step() and not session.player.loop)
        assert session.player.time == 0.0
        visitor.set(session.panel.time, 99.0)  # beyond the slider
        wait(lambda: session.step() and session.player.time == 2.0)
        visitor.render_view(position=(value, 0.0, 0.0))
        wait(lambda: not math.isfinite(session.client.camera.position[0]))
        assert session.request() is None and not session.step()


def test_what_a_list_does_not_offer_is_refused(time: Clock) -> None:
    with visited(Ramp("a"), Ramp("b")) as (session, visitor):
        speed = control(session, "speed")
        visitor.set(speed, "-1")
        visitor.set(control(session, "loop"), False)
        wait(lambda: session.step() and not session.player.loop)
        assert session.player.speed == 1.0
        visitor.set(speed, "2")
        wait(lambda: session.step() and session.player.speed == 2.0)


def test_a_window_is_not_larger_than_any_screen(time: Clock) -> None:
    with visited(Ramp()) as (session, visitor):
        visitor.render_view(image_width=10**9, image_height=10**9)
        wait(lambda: session.client.camera.image_width > 10**8)
        request = session.request()
        assert request is not None and request.window == (MAX_WINDOW_SIDE, MAX_WINDOW_SIDE)


def test_a_recording_ends_where_a_path_must(time: Clock, messages: list[str]) -> None:
    with visited(Ramp()) as (session, _):
        do(session, session.capture.toggle_recording)
        assert session.panel.record.label == "Stop recording" and session.capture.recorder.views
        time.now += MAX_SECONDS + RECORD_INTERVAL
        session.step()
        assert session.panel.record.label == "Record" and not session.capture.recorder.recording
        assert len(messages) == 1 and "The recording has ended" in messages[0]


def test_paths_are_recorded_of_runs_only(time: Clock, data: Dataset) -> None:
    for source, visible in ((DatasetSource(data), False), (Ramp(), True)):
        with visited(source) as (session, _):
            assert session.panel.record.visible == visible and session.panel.path.visible == visible
