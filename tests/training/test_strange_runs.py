"""A run's folder from somebody else: what does not fit is one line, and nothing goes by it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from foreseen.cli import main
from foreseen.errors import UserError
from foreseen.runs import load_run
from foreseen.runs.checkpoints import list_checkpoints, newest_checkpoint, read_checkpoint, write_checkpoint
from foreseen.runs.config import read_config, write_config
from foreseen.runs.train_config import preset_config
from foreseen.training import train

QUIET: dict[str, Any] = {"progress": False, "device": "cpu", "save_every_seconds": None}

pytestmark = pytest.mark.usefixtures("tiny_method")


@pytest.fixture
def run(blender_data: Path, tmp_path: Path) -> Path:
    """A good one, of one step."""
    train("tiny", blender_data, tmp_path / "run", max_steps=1, **QUIET)
    return tmp_path / "run"


def with_weights(run: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], **more: Any) -> None:
    saved = newest_checkpoint(run, print)
    assert saved is not None
    shutil.rmtree(run / "checkpoints")
    write_checkpoint(run, replace(saved, model=change(saved.model), **more))


def as_node_rf(run: Path) -> None:
    record = read_config(run)
    train = replace(record.train, method="rigid-ode", preset="fast", config=preset_config("rigid-ode", "fast"))
    write_config(run, replace(record, train=train))


def two_boxes(layout: Tensor) -> dict[str, Tensor]:
    return {
        "parts.half_extents": torch.ones(1, 3),
        "appearance.half_extents": torch.ones(2, 3),
        "appearance.voxels.layout": layout,
        "appearance.voxels.index": torch.full((16,), -1, dtype=torch.int32),
        "appearance.voxels.values": torch.zeros(0, 7),
    }


def test_weights_that_lead_out_of_memory_are_refused(run: Path) -> None:
    as_node_rf(run)
    with_weights(run, lambda _: two_boxes(torch.tensor([[[0, 2]], [[10**9, 2]]])))
    expected = (
        r"the checkpoint of step 1 in .*run does not fit its config.json \(voxels: layout: 2\^3 nodes from 1000000000 "
        r"on are not in an index of 16\): restore both, or train into a new folder\."
    )
    with pytest.raises(UserError, match=expected):
        load_run(run)


def test_weights_that_lack_a_tensor_are_one_line(run: Path) -> None:
    as_node_rf(run)
    with pytest.raises(
        UserError, match=r"step 1 in .*run does not fit its config.json \('parts.half_extents' is absent\)"
    ):
        load_run(run)


def test_a_scene_that_is_none_is_one_line(run: Path) -> None:
    config = read_config(run)
    write_config(run, replace(config, scene=replace(config.scene, sequences=())))
    with pytest.raises(UserError, match=r"does not fit its config\.json \("):
        load_run(run)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("colors/exp_avg", torch.zeros(1), r"colors/exp_avg is torch.float32 \[1\], of a parameter \[10, 3\]"),
        ("late/exp_avg_sq", torch.zeros(3).double(), r"late/exp_avg_sq is torch.float64 \[3\], of a parameter \[3\]"),
        ("late/other", torch.zeros(3), "late/other is torch.float32"),
        ("nobody/exp_avg", torch.zeros(3), "'nobody' is absent"),
    ],
)
def test_training_does_not_go_on_with_an_optimiser_of_something_else(
    run: Path, blender_data: Path, name: str, value: Tensor, message: str
) -> None:
    """The fused form of Adam writes as far as its parameter reaches."""
    with_weights(run, lambda model: model, optimizer={name: value})
    with pytest.raises(UserError, match=message):
        train("tiny", blender_data, run, max_steps=2, **QUIET)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, r"config\.json is not valid JSON"),
        ({"method": []}, r"config\.json: train\.method is \[\]; it takes str"),
        ({"preset": {}}, r"config\.json: train\.preset is \{\}; it takes str"),
        ({"data": "here"}, r"config\.json: train\.data is 'here'; it takes list"),
        ({"seed": 1.5}, r"config\.json: train\.seed is 1\.5; it takes int"),
    ],
)
def test_a_broken_config_is_one_line(run: Path, content: Any, message: str) -> None:
    file = run / "config.json"
    plain = json.loads(file.read_text())
    file.write_text(content if isinstance(content, str) else json.dumps(plain | {"train": plain["train"] | content}))
    with pytest.raises(UserError, match=message):
        load_run(run)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, r"state\.json is damaged \("),
        ({"step": 1e999}, r"state\.json is damaged \(OverflowError: "),
        ({"random": []}, r"state\.json is damaged \(AttributeError: "),
    ],
)
def test_a_broken_state_is_one_line(run: Path, content: Any, message: str) -> None:
    (_, folder), *_ = list_checkpoints(run)
    file = folder / "state.json"
    file.write_text(content if isinstance(content, str) else json.dumps(json.loads(file.read_text()) | content))
    with pytest.raises(UserError, match=message):
        read_checkpoint(folder)


@pytest.mark.parametrize("path", ["../private", "/data/../home/private", r"a\..\..\private"])
def test_data_by_a_path_that_climbs_is_not_read(run: Path, path: str) -> None:
    config = read_config(run)
    write_config(run, replace(config, train=replace(config.train, data=(Path(path),))))
    with pytest.raises(UserError, match=r"config\.json: train\.data is '.*', which climbs out of its folder: write"):
        load_run(run)


@pytest.mark.parametrize("verb", ["view", "render", "evaluate"])
def test_no_command_follows_a_path_that_climbs(run: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    if verb == "view":
        pytest.importorskip("viser", reason="viser comes with the extra [view]")
    config = read_config(run)
    write_config(run, replace(config, train=replace(config.train, data=(Path(f"{run}/../data"),))))
    with pytest.raises(SystemExit) as end:
        main([verb, str(run)])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 2 and "which climbs out of its folder: write the full path, without '..'." in line
