"""A checkpoint is read back exactly, and is there whole or not at all."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from foreseen.errors import UserError
from foreseen.runs.checkpoints import Checkpoint, newest_checkpoint, read_checkpoint, write_checkpoint
from foreseen.training.random_state import global_random_state, restore_global_random_state, seed_everything


def checkpoint(step: int = 3) -> Checkpoint:
    shared = torch.randn(4, 3)
    return Checkpoint(
        step=step,
        train_seconds=1.25,
        model={
            "a.weight": shared,
            "b.weight": shared,
            "c": shared.T,
            "d": torch.tensor(2, dtype=torch.int64),
        },
        optimizer={"a.weight/step": torch.tensor(3.0), "a.weight/exp_avg": torch.randn(4, 3)},
        samplers=[torch.Generator().manual_seed(s).get_state() for s in (1, 2)],
        random=global_random_state(),
        versions={"torch": torch.__version__},
        memory_mb={"process": 812.5},
    )


def test_read_back_exactly(tmp_path: Path) -> None:
    written = checkpoint()
    read = read_checkpoint(write_checkpoint(tmp_path, written))
    for name in ("model", "optimizer", "random"):
        own, other = getattr(written, name), getattr(read, name)
        assert own.keys() == other.keys() and all(torch.equal(own[k], other[k]) for k in own)
        assert all(own[k].dtype == other[k].dtype for k in own)
    assert all(torch.equal(a, b) for a, b in zip(written.samplers, read.samplers, strict=True))
    assert read.memory_mb == {"process": 812.5}
    assert (read.step, read.train_seconds, read.final, read.versions) == (3, 1.25, False, written.versions)


def test_random_numbers_go_on() -> None:
    seed_everything(5)
    np.random.standard_normal()  # leaves a second one waiting inside the generator
    state = global_random_state()
    expected = (torch.rand(3).tolist(), np.random.standard_normal(3).tolist(), np.random.rand())
    seed_everything(6)
    restore_global_random_state(state)
    assert (torch.rand(3).tolist(), np.random.standard_normal(3).tolist(), np.random.rand()) == expected


def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    said: list[str] = []
    write_checkpoint(tmp_path, checkpoint(1))
    path = write_checkpoint(tmp_path, checkpoint(2)) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model.safetensors is damaged \(.* check sum is not the one in state.json"):
        read_checkpoint(path.parent)
    found = newest_checkpoint(tmp_path, said.append)
    assert found is not None and found.step == 1 and len(said) == 1


def test_the_same_step_is_written_over(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, checkpoint(2))
    path = write_checkpoint(tmp_path, dataclasses.replace(checkpoint(2), train_seconds=9.0))
    assert read_checkpoint(path).train_seconds == 9.0
    assert [p.name for p in path.parent.iterdir()] == ["step-000002"]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path, print) is None
