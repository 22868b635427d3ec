"""What a method needs of the data is checked in one place, before anything is written."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_files import frame, write_nerfstudio

from foreseen.core.method import Traits
from foreseen.core.requirements import check_requirements
from foreseen.core.scene_info import SceneInfo, scene_info
from foreseen.data import load_dataset, make_splits
from foreseen.errors import UserError
from foreseen.training.launch import train


def info() -> SceneInfo:
    box = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
    return SceneInfo.of_one_scene(box, 0.1, 2.0, ((0.0, 1.0),), (1.0, 1.0, 1.0), False, False, True)


def refusal(traits: Traits, scene: SceneInfo) -> str:
    with pytest.raises(UserError) as caught:
        check_requirements("some-method", traits, scene)
    assert str(caught.value).startswith("some-method needs ") and "\n" not in str(caught.value)
    return str(caught.value)


def test_each_trait_has_its_requirement() -> None:
    check_requirements("some-method", Traits(), info())
    without_cameras, five_channels = replace(info(), has_cameras=False), replace(info(), channels=5)
    assert "these pictures have none: estimate poses" in refusal(Traits(), without_cameras)
    check_requirements("some-method", Traits(needs_cameras=False), without_cameras)
    assert "these have 5 channels from 0 to 1: convert them" in refusal(Traits(), five_channels)
    check_requirements("some-method", Traits(needs_colour=False), five_channels)
    (one,) = info().sequences
    instant = replace(info(), sequences=(replace(one, times=(0.0,)),))
    assert "at 2 times or more; there is 1: give more frames" in refusal(Traits(), instant)
    check_requirements("some-method", Traits(static=True), instant)


def test_what_moves_is_not_learned_from_one_instant(tmp_path: Path) -> None:
    write_nerfstudio(tmp_path / "d", count=5, frames=[frame(i, 5, time=2.0) for i in range(5)])
    with pytest.raises(UserError, match="d-nerf needs training frames at 2 times or more; there is 1"):
        train("d-nerf", tmp_path / "d", tmp_path / "run", max_steps=1, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_static_method_learns_five_pictures_of_one_instant(tmp_path: Path, shared_data: Path) -> None:
    shutil.copytree(shared_data / "colmap/flame_steak_5view", tmp_path / "d")
    (tmp_path / "d" / "times.txt").write_text("0\n" * 5)
    data = load_dataset(tmp_path / "d", ndc=False)
    assert [f.track for f in data.frames] == [f"camera-{i}" for i in range(5)] and not data.ndc
    splits = make_splits(data)
    assert {name: len(frames) for name, frames in splits.frames.items()} == {"train": 4, "novel-view": 1}
    run = train("gaussians", data, tmp_path / "run", downscale=8, max_steps=3, progress=False)
    assert run.info.times == ((0.0,),) and run.info == scene_info(data.downscale(8), make_splits(data.downscale(8)))
    (held_out,) = run.splits().frames["novel-view"]
    image = run.render(held_out.camera, held_out.time).rgb
    assert image.shape == held_out.image().shape and bool(image.isfinite().all())
