"""The viewer of data sets and of files of Gaussians in a real browser: Chromium with WebGL in software. Skipped where
one of them is absent."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsing import PATIENCE, Served, choose, on_screen, press, splats_in, steady, until

from foreseen.scenes.files import SplatFile
from foreseen.scenes.gaussians import Gaussians
from foreseen.scenes.moving_gaussians import AttributeTrack, MovingGaussians
from foreseen.viewer.sources import DatasetSource, SplatFileSource
from foreseen.viewer.splat_drawing import SplatDrawing
from random_gaussians import random_gaussians
from sliding_square import make_dataset

CLICKABLE = """Object.entries(window.__viserSceneTree.getState())
    .filter(([name, node]) => name.includes("/camera-") && node.clickBindings.length).length"""
"""How many frustums there are in the browser that know what a click on them does."""


def moving_splats() -> SplatFile:
    """A cloud of green Gaussians that is gone at the end."""
    rest = random_gaussians(400, 0)
    rest = Gaussians(
        0.3 * rest.means, rest.quaternions, 0 * rest.scales + 0.08, 0 * rest.opacities + 0.9,
        torch.tensor([-1.7, 1.7, -1.7]).expand(400, 1, 3).clone(), (0.0, 0.0, 0.0),
    )  # fmt: skip
    away = torch.stack([rest.means, rest.means + 100])
    track = AttributeTrack(torch.arange(400), away)
    return SplatFile(Path("cloud.safetensors"), "4D", MovingGaussians(rest, torch.tensor([0.0, 1.0]), {"means": track}))


def green(seen: np.ndarray) -> bool:
    return bool((seen[..., 1] > seen[..., 0] + 60).mean() > 0.03)


@pytest.mark.parametrize("draws", ["auto", "browser", "server"])
def test_gaussians_are_drawn_and_move(browser: Any, draws: str) -> None:
    with Served(lambda: [SplatFileSource(moving_splats())]) as served:
        page = served.open(browser)
        if draws != "auto":
            page.get_by_text("Quality").click()
            choose(page, "Gaussians drawn by", draws)
            until(page, lambda _: splats_in(page) == (draws == "browser"))
        until(page, green)
        press(page, "End")
        until(page, lambda seen: not green(seen))
        page.close()


def test_a_slow_browser_gets_pictures_of_gaussians(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    took = []
    seconds = SplatDrawing._seconds

    def measured(self: SplatDrawing) -> float:
        took.append(seconds(self))
        return 5.0 * len(took) if self.client.client_id == 0 else 1.0 / len(took)

    monkeypatch.setattr(SplatDrawing, "_seconds", measured)
    with Served(lambda: [SplatFileSource(moving_splats())]) as served:
        slow = served.open(browser)
        until(slow, lambda _: len(took) == 2 and not splats_in(slow))
        until(slow, green)
        quick = served.open(browser)
        until(quick, lambda seen: len(took) == 4 and splats_in(quick) and green(seen))
        assert all(0 < one < PATIENCE for one in took)
        slow.close()
        quick.close()


def test_a_click_on_a_frustum_takes_one_there(browser: Any, tmp_path: Path) -> None:
    with Served(lambda: [DatasetSource(make_dataset(tmp_path / "data"))]) as served:
        page = served.open(browser)
        until(page, lambda _: bool(served.viewer.sessions))
        (session,) = served.viewer.sessions
        until(page, lambda _: len(session.overlays.frustums) == 2)
        until(page, lambda _: page.evaluate(CLICKABLE) == 2)
        steady(page)  # they are drawn: a click finds what is
        frame = next(f for f in session.sources[0].frames if f.camera_id == "left")
        handle, _ = session.overlays.frustums["left"]
        pose = frame.camera.camera_to_world.double().numpy()
        half = math.tan(handle.fov / 2)
        ahead = handle.scale / (half * half * handle.aspect / 3) ** (1 / 3)  # viser keeps a frustum's volume
        page.mouse.click(*on_screen(session, pose[:3, 3] + ahead * pose[:3, 2]))
        until(page, lambda _: page.get_by_role("combobox", name="camera lock").input_value() == "left")
        until(page, lambda seen: seen.mean() > 60)
        assert np.allclose(session.client.camera.position, pose[:3, 3], atol=1e-3)
        page.close()


def test_a_data_set_is_seen_through_its_cameras(browser: Any, tmp_path: Path) -> None:
    data = make_dataset(tmp_path / "data")
    with Served(lambda: [DatasetSource(data)]) as served:
        page = served.open(browser)
        page.get_by_role("combobox").filter(visible=True).nth(1).click()
        page.get_by_role("option", name="left").click()
        wall = until(page, lambda seen: seen.mean() > 60)
        assert wall[..., 2].mean() > wall[..., 0].mean()  # the bluish wall
        press(page, "End")
        until(page, lambda seen: np.abs(seen - wall).max() > 60)  # the red square has come by
        page.close()
