"""A run records all that opens its data again: every path, and every option that changes what is read."""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from foreseen.data import load_dataset, load_datasets
from foreseen.data.types import Dataset, LoadOptions
from foreseen.errors import UserError
from foreseen.evaluation import evaluate_run
from foreseen.geometry.paths import look_at
from foreseen.runs import Run, TrainConfig, load_run
from foreseen.runs.train_config import default_config
from foreseen.runs.training_data import open_data
from foreseen.simulate import SimulateOptions, simulate
from foreseen.training import train
from foreseen.viewer.sources import RunSource

pytestmark = pytest.mark.usefixtures("tiny_method")
RED = (1.0, 0.0, 0.0)


def fit(data: Any, out: Path, steps: int = 2, **options: Any) -> Run:
    quiet: dict[str, Any] = {"progress": False, "device": "cpu", "save_every_seconds": None}
    return train("tiny", data, out, max_steps=steps, **quiet, **options)


def write_llff(folder: Path, count: int = 9) -> Path:
    """Cameras in a row that face one way: readable in normalised device coordinates and in scene units."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for i, x in enumerate(np.linspace(-1, 1, count)):
        Image.fromarray(np.full((8, 12, 3), 20 * i, np.uint8)).save(folder / "images" / f"{i:02d}.png")
        right, down, forward, position = look_at(np.array([x, 0, 0]), np.array([0, 0, 6.0]), np.array([0, -1.0, 0]))[
            :3
        ].T
        table = np.stack([down, right, -forward, position, np.array([8, 12, 15.0])], axis=-1)
        rows.append([*table.ravel(), 2.0, 9.0])
    np.save(folder / "poses_bounds.npy", np.array(rows))
    return folder


def assert_same_frames(one: Dataset, other: Dataset) -> None:
    """Files, times, cameras and pixels of two data sets are equal."""
    for a, b in zip(one.frames, other.frames, strict=True):
        names = ("sequence", "camera_id", "time", "image_path", "split", "size", "background", "track", "track_index")
        assert [getattr(a, name) for name in names] == [getattr(b, name) for name in names]
        assert torch.equal(a.camera.camera_to_world, b.camera.camera_to_world)
        assert (a.camera.near, a.camera.far, a.camera.ndc is None) == (
            b.camera.near,
            b.camera.far,
            b.camera.ndc is None,
        )
        assert torch.equal(a.image(), b.image())


def test_every_option_of_reading_is_a_setting_that_a_resumed_run_keeps(blender_data: Path, tmp_path: Path) -> None:
    options = {f.name: f.default for f in fields(LoadOptions)}
    assert options == {f.name: f.default for f in fields(TrainConfig) if f.name in options}
    fit(blender_data, tmp_path / "run", format="blender", background=RED)
    assert fit(blender_data, tmp_path / "run", 3).config.train.background == RED  # what is not given keeps its value
    for message, changed in (
        (r"format: blender -> None", {"format": None}),
        (r"background: \[1.0, 0.0, 0.0\] -> \[0.0, 0.0, 0.0\]", {"background": (0, 0, 0)}),
        (r"ndc: True -> False", {"ndc": False}),
    ):
        with pytest.raises(UserError, match=rf"trained with other settings \(.*{message}"):
            fit(blender_data, tmp_path / "run", 4, **changed)


def test_two_data_sets_are_read_again_as_they_were_trained_on(
    blender_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        shutil.copytree(blender_data, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run = fit(["a", "b"], tmp_path / "run", downscale=2, observe_until=0.7, background=RED)
    plain = json.loads((tmp_path / "run" / "config.json").read_text())
    assert plain["train"]["data"] == [str(tmp_path / name) for name in "ab"]
    assert plain["train"]["background"] == list(RED) and plain["dataset"]["format"] == "blender"
    monkeypatch.chdir("/")
    loaded = load_run(tmp_path / "run")
    assert [s.name for s in loaded.dataset().sequences] == ["a/sequence-0", "b/sequence-0"]
    assert {(f.size, f.background) for f in loaded.dataset().frames} == {((6, 6), RED)}
    assert_same_frames(loaded.dataset(), run.dataset())
    assert loaded.splits().frames.keys() == run.splits().frames.keys() and loaded.splits().hash == run.splits().hash
    metrics, expected = (evaluate_run(r, baselines=False) for r in (loaded, run))
    for split, scores in expected["splits"].items():
        assert all(
            metrics["splits"][split][name] == scores[name] for name in ("count", "psnr", "psnr_moving", "mask_iou")
        )
    assert metrics["protocol"]["background"] == list(RED) and len(metrics["protocol"]["data"]["paths"]) == 2


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("ndc", [False, True])
def test_the_space_of_the_rays_is_kept(tmp_path: Path, ndc: bool, several: bool) -> None:
    paths = [write_llff(tmp_path / name) for name in ("a", "b")[: 1 + several]]
    by_path = fit(paths, tmp_path / "by-path", ndc=ndc)
    loaded = fit(load_datasets(paths, ndc=ndc), tmp_path / "loaded")
    assert by_path.config.train == loaded.config.train and by_path.config.scene == loaded.config.scene
    for run in (by_path, loaded):
        again = load_run(run.path)
        assert again.dataset().ndc == ndc == again.config.train.ndc
        assert_same_frames(again.dataset(), run.dataset())
        assert again.splits().hash == run.splits().hash


def test_data_that_is_read_otherwise_now_is_refused(tmp_path: Path) -> None:
    fit(write_llff(tmp_path / "a"), tmp_path / "run", ndc=False)
    file = tmp_path / "run" / "config.json"
    plain = json.loads(file.read_text())
    del plain["train"]["ndc"]  # as runs had it before it was recorded
    file.write_text(json.dumps(plain))
    with pytest.raises(UserError, match=r"has changed since it was trained on \(ndc: False -> True\): restore it"):
        load_run(tmp_path / "run").splits()


def test_frames_per_second_are_a_setting(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    config = replace(default_config("tiny", [tmp_path]), fps=4.0)
    assert [f.time for f in open_data(config).frames] == [0, 0.25, 0.5]
    assert open_data(config, load_dataset(tmp_path, fps=4)).options == LoadOptions(fps=4)
    with pytest.raises(
        UserError, match=r"was loaded with other options \(fps: None -> 4.0\): give them to `load_dataset`"
    ):
        open_data(config, load_dataset(tmp_path))


def test_a_loaded_data_set_states_its_options(blender_data: Path, tmp_path: Path) -> None:
    data = load_dataset(blender_data, background=RED)
    run = fit(data, tmp_path / "run")
    assert run.config.train.background == RED
    assert_same_frames(load_run(run.path).dataset(), data)
    with pytest.raises(
        UserError, match=r"loaded with other options \(background: .* -> \[0.0, 0.0, 0.0\]\): give them"
    ):
        fit(data, tmp_path / "other", background=(0.0, 0.0, 0.0))
    with pytest.raises(UserError, match=r"is downscaled already: give it as it was loaded, and downscale as an option"):
        fit(data.downscale(2), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_data_sets_of_two_sizes_are_trained_on_and_evaluated(tmp_path: Path) -> None:
    """Their cameras have the same names and poses: nothing may be kept by the name or the pose alone."""
    small = {"frames": 6, "samples": 1, "cameras": 2, "sequences": 1}
    for name, size in (("a", 16), ("b", 24)):
        simulate("pendulum", tmp_path / name, SimulateOptions(**small, size=size))  # type: ignore[arg-type]
    run = fit([tmp_path / "a", tmp_path / "b"], tmp_path / "run", observe_until=0.7)
    assert {f.size for f in run.dataset().frames} == {(16, 16), (24, 24)}
    assert evaluate_run(load_run(run.path))["splits"]["forecast"]["count"] > 0


def test_a_run_of_one_instant_is_shown_without_a_time_slider(tmp_path: Path) -> None:
    folder = write_llff(tmp_path / "a")
    (folder / "times.txt").write_text("0\n" * 9)
    quiet: dict[str, Any] = {"progress": False, "device": "cpu", "max_steps": 1}
    static = RunSource(train("gaussians", folder, tmp_path / "static", ndc=False, **quiet), "static")
    assert not static.moves and static.timeline.start == static.timeline.end == 0
    assert RunSource(fit(write_llff(tmp_path / "b"), tmp_path / "run"), "run").moves
