"""Runs of every kind of scene in a real browser, past their last frame. Each was trained for a moment."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import (
    Served,
    canvas,
    choose,
    click,
    differs,
    download,
    drawn,
    nearer,
    on_screen,
    press,
    splats_in,
    steady,
    tick,
    until,
)
from PIL import Image

from foreseen.cli import main
from foreseen.export.camera_path import CameraKeyframe, read_path
from foreseen.export.compose import PAPER, to_bytes
from foreseen.runs import Run, load_run
from foreseen.scenes import ComposedField, RadianceField, VoxelScene
from foreseen.scenes.gaussians import Gaussians
from foreseen.viewer.overlays import HANDLE
from foreseen.viewer.sources import RunSource

Trained = Callable[[str], Run]


def told_time(page: Any) -> float:
    """The time that the bar tells."""
    return float(re.findall(r">t = ([\d.]+)", page.content())[0])


@pytest.mark.parametrize(
    ("kind", "scene"),
    [("voxels", VoxelScene), ("composed", ComposedField), ("field", RadianceField), ("multi_sequence", VoxelScene)],
)
def test_a_run_is_seen_past_its_last_frame(browser: Any, trained: Trained, kind: str, scene: type) -> None:
    run = trained(kind)
    with Served(lambda: [RunSource(run, kind)]) as served:
        page = served.open(browser)
        first = steady(page)
        (session,) = served.viewer.sessions
        assert isinstance(session.sources[0].cached_scene(0.0), scene)
        press(page, "End")
        page.get_by_text("forecast", exact=True).wait_for()
        assert told_time(page) > 1.4 * max(f.time for f in run.dataset().frames)
        last = until(page, lambda seen: differs(seen, first) > 0.02)
        press(page, "Home")
        page.get_by_text("observed", exact=True).wait_for()
        until(page, lambda seen: nearer(seen, first, last))


@pytest.mark.parametrize("draws", ["browser", "server"])
def test_gaussians_are_seen_past_the_last_frame_and_their_parts_alone(
    browser: Any, trained: Trained, draws: str
) -> None:
    run = trained("gaussians")
    with Served(lambda: [RunSource(run, "ride")]) as served:
        page = served.open(browser)
        page.get_by_text("Quality").click()
        choose(page, "Gaussians drawn by", draws)
        until(page, lambda _: splats_in(page) == (draws == "browser"))
        tick(page, "ensemble", False)
        first = steady(page)
        assert isinstance(served.viewer.sessions[0].sources[0].cached_scene(0.0), Gaussians)
        press(page, "End")
        page.get_by_text("forecast", exact=True).wait_for()
        last = until(page, lambda seen: differs(seen, first) > 0.02)
        choose(page, "layer", "static")
        rest = until(page, lambda seen: differs(seen, last) > 0.02)
        press(page, "Home")
        page.get_by_text("observed", exact=True).wait_for()
        until(page, lambda seen: differs(seen, first) > 0.02 and nearer(seen, rest, last))  # it does rest
        choose(page, "layer", "dynamic")
        until(page, lambda seen: differs(seen, rest) > 0.02 and differs(seen, first) > 0.02)


def test_clients_come_and_go_and_have_their_own_time(browser: Any, trained: Trained) -> None:
    with Served(lambda: [RunSource(trained("voxels"), "run")]) as served:
        assert served.viewer.address.startswith("http://127.0.0.1:18")
        first, second = served.open(browser), served.open(browser)
        early = steady(first)
        until(second, drawn)
        press(first, "End")
        first.get_by_text("forecast", exact=True).wait_for()
        late = until(first, lambda seen: differs(seen, early) > 0.02)
        assert nearer(canvas(second), early, late)
        second.close()
        until(first, lambda _: len(served.viewer.sessions) == 1)
        press(first, "Home")
        until(first, lambda seen: nearer(seen, early, late))
        assert Image.open(download(first, "Take picture")).size[1] >= 500
        click(first, "Add view to path")
        press(first, "End")
        until(first, lambda seen: nearer(seen, late, early))
        click(first, "Add view to path")
        views = read_path(download(first, "Save path")).views
        assert [v.at for v in views] == [0.0, 2.0] and views[0].time == 0 and views[1].time > 0.8


@pytest.mark.parametrize(("kind", "buttons"), [("voxels", ["Play", "Take picture"]), ("gaussians", ["Take picture"])])
def test_who_leaves_while_served_disturbs_nobody(
    browser: Any, trained: Trained, kind: str, buttons: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    run = trained(kind)
    with Served(lambda: [RunSource(run, kind)]) as served:
        for button in buttons:
            page = served.open(browser)
            if kind == "gaussians":  # the picture is asked of the browser that leaves
                page.get_by_text("Quality").click()
                choose(page, "Gaussians drawn by", "browser")
                until(page, lambda _: splats_in(page))  # noqa: B023
            until(page, drawn)
            click(page, button)
            page.close()
        stays = served.open(browser)
        until(stays, drawn)
        until(stays, lambda _: len(served.viewer.sessions) == 1)
        assert Image.open(download(stays, "Take picture")).size[1] >= 500
    assert "warning" not in capfd.readouterr().err


def gaps(seen: np.ndarray, positions: list[int]) -> list[bool]:
    """Whether there is a gap between two columns at each of these places from the left [pixels]."""
    return [bool(np.abs(seen[:, x - 1 : x + 1] - PAPER).mean() < 30) for x in positions]


def test_two_runs_side_by_side_and_the_truth_beside_them(browser: Any, trained: Trained) -> None:
    runs = [trained("voxels"), trained("composed")]
    with Served(lambda: [RunSource(run, name) for run, name in zip(runs, ("parts", "bent"))]) as served:
        page = served.open(browser)
        both = until(page, lambda seen: gaps(seen, [338]) == [True] and drawn(seen))
        assert drawn(both[:, :330]) and drawn(both[:, 346:]) and differs(both[:, :330], both[:, 346:]) > 0.02
        choose(page, "run", "parts")
        parts = until(page, lambda seen: gaps(seen, [338]) == [False] and drawn(seen))
        choose(page, "run", "bent")
        until(page, lambda seen: gaps(seen, [338]) == [False] and drawn(seen) and differs(seen, parts) > 0.02)
        choose(page, "run", "side by side")
        tick(page, "ground truth", True)
        until(page, lambda seen: gaps(seen, [224, 451]) == [True, True])
        frame = served.viewer.sessions[0].sources[0].frames[0]
        film = np.asarray(Image.fromarray(to_bytes(frame.image())).resize((222, 222), Image.Resampling.BILINEAR))
        truth = (454, 209, 222, 222)
        until(page, lambda seen: nearer(seen, film, np.full_like(film, 255)), truth)
        press(page, "End")
        page.get_by_text("forecast", exact=True).wait_for()
        until(page, lambda seen: np.abs(seen - PAPER).mean() < 8, truth)  # nothing was captured there
        assert drawn(canvas(page, (0, 209, 222, 222)))


def test_every_channel(browser: Any, trained: Trained) -> None:
    with Served(lambda: [RunSource(trained("voxels"), "run")]) as served:
        page = served.open(browser)
        tick(page, "ensemble", False)
        colours = steady(page)
        choose(page, "channel", "depth")
        until(page, lambda seen: drawn(seen) and differs(seen, colours) > 0.9 and np.ptp(seen, axis=-1).max() > 60)
        choose(page, "channel", "opacity")
        until(page, lambda seen: drawn(seen) and np.ptp(seen, axis=-1).max() < 12)
        choose(page, "channel", "motion")
        # What rests is white, what swings has the colour of where to.
        until(page, lambda seen: (seen.min(-1) > 245).mean() > 0.2 and (np.ptp(seen, axis=-1) > 60).mean() > 0.05)


def apart(one: CameraKeyframe, other: CameraKeyframe) -> bool:
    return bool(np.linalg.norm(one.pose[:3, 3] - other.pose[:3, 3]) > 0.1)


def test_speed_loop_and_a_recorded_path(browser: Any, trained: Trained, tmp_path: Path) -> None:
    run = trained("voxels")
    with Served(lambda: [RunSource(run, "run")]) as served:
        page = served.open(browser)
        until(page, drawn)
        choose(page, "speed", "0.25")
        click(page, "Play")
        click(page, "Record")
        told = served.viewer.sessions[0].capture.recorder.views
        page.mouse.move(300, 400)
        page.mouse.down()

        def rotated(_: np.ndarray) -> bool:
            page.mouse.move(300 + 5 * len(told) % 200, 400)
            return len(told) > 8 and apart(told[0], told[-1])

        until(page, rotated)
        page.mouse.up()
        click(page, "Stop recording")
        file = download(page, "Save path").rename(tmp_path / "flight.json")
        views = read_path(file).views
        page.get_by_text(f"{len(views)} views").wait_for()
        rates = np.diff([v.time for v in views]) / np.diff([v.at for v in views])
        assert np.median(rates) == pytest.approx(0.25, rel=0.2)
        assert any(apart(views[0], view) for view in views)
        choose(page, "speed", "1")
        for word in ("forecast", "interpolated", "forecast"):  # around and around
            page.get_by_text(word, exact=True).wait_for()
        tick(page, "loop", False)
        page.get_by_role("button", name="Play", exact=True).wait_for()
        assert told_time(page) == pytest.approx(served.viewer.sessions[0].sources[0].timeline.end, abs=2e-3)
    main(
        ["render", str(run.path), "--path", str(file), "--fps", "4", "--size", "16x12", "--out", str(tmp_path / "out")]
    )
    assert len(list((tmp_path / "out").glob("*.png"))) == round(4 * (views[-1].at - views[0].at)) + 1


def test_a_run_is_seen_as_it_learns(browser: Any, trained: Trained) -> None:
    run = trained("composed")
    half, full = run.step // 2, run.step
    newest = [load_run(run.path, half)]
    with Served(lambda: [RunSource(newest[0], "run", newest=lambda: newest[0])]) as served:
        page = served.open(browser)
        page.get_by_text(f"run: {half} steps").wait_for()
        before = steady(page)
        newest[0] = load_run(run.path, full)
        until(page, lambda seen: differs(seen, before) > 0.02)
        page.get_by_text(f"run: {full} steps").wait_for()


def test_sequences_that_were_learned_and_one_that_was_not(browser: Any, trained: Trained) -> None:
    with Served(lambda: [RunSource(trained("multi_sequence"), "run")]) as served:
        page = served.open(browser)
        one = steady(page)
        choose(page, "sequence", "sequence-001")
        other = until(page, lambda seen: differs(seen, one) > 0.02)
        choose(page, "sequence", "sequence-002")
        until(page, lambda seen: min(differs(seen, one), differs(seen, other)) > 0.02)
        source = served.viewer.sessions[0].sources[0]
        assert source.timeline.observed_until == pytest.approx(source.frames[-1].time * 4 / 13, rel=0.01)


def test_a_handle_is_dragged_by_the_mouse_and_the_forecast_follows(browser: Any, trained: Trained) -> None:
    with Served(lambda: [RunSource(trained("multi_sequence"), "run")]) as served:
        page = served.open(browser)
        first = steady(page)
        (session,) = served.viewer.sessions
        until(page, lambda _: bool(session.overlays.handles))
        source, position = session.sources[0], session.overlays.handles[0].position
        before, render_bounds = session.initial_condition.values[0], np.array([HANDLE * source.extent, 0, 0])
        start, end = (on_screen(session, position + share * render_bounds) for share in (0.7, 1.5))

        def hovered(seen: np.ndarray) -> bool:
            page.mouse.move(*start)
            return bool(((seen[..., 1] > seen[..., 2] + 60) & (seen[..., 1] > 180)).any())

        until(page, hovered, (int(start[0]) - 4, int(start[1]) - 4, 8, 8))  # the red arrow turns yellow
        page.mouse.down()
        page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=5)
        page.mouse.move(*end, steps=5)
        far = pytest.approx(before + 0.8 * render_bounds[0], abs=0.25 * render_bounds[0])
        until(
            page, lambda seen: session.initial_condition.values[0] == far and differs(seen, first) > 0.02
        )  # while it is held
        page.mouse.up()
        until(page, lambda _: not session.initial_condition._dragging)
        x = session.initial_condition.values[0]
        page.get_by_text(f"x={x:.3g}"[:5]).wait_for()
        assert page.get_by_role("combobox", name="sequence").input_value() == "(initial condition)"
        press(
            page, "Home", slider=-len(source.state_controls)
        )  # that of x, counted from below: the one of time is made anew
        low = source.state_controls[0].low
        page.get_by_text(f"x={low:.3g}"[:5]).wait_for()
        until(
            page, lambda seen: differs(seen, first) > 0.02 and session.initial_condition.values[0] == pytest.approx(low)
        )
