"""Tiny data sets on disk, and a method that learns in milliseconds."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

SIZE = 12

TINY_METHOD = '''
"""A method for tests: a colour for each time, noise, a changing buffer, a parameter that wakes up late."""

import signal
from dataclasses import dataclass, field

import torch
from torch import nn

from foreseen.methods import METHODS, MethodEntry
from foreseen.batches.rays import RaySpec
from foreseen.core.method import Callback, Method, Traits
from foreseen.scenes import RadianceField


@dataclass(frozen=True)
class Inner:
    width: int = 3


@dataclass(frozen=True)
class TinyConfig:
    rate: float = 0.01
    """Learning rate."""
    rays: int = 16
    """Rays in a batch."""
    nan_at: int = -1
    """Step whose loss is not a number."""
    kill_at: int = -1
    """Step before which the process is sent `kill_with`."""
    kill_with: int = 9
    """A signal's number."""
    sizes: tuple[int, ...] = (1, 2)
    """Nothing."""
    inner: Inner = Inner()


class Tiny(Method):
    traits = Traits(bf16=True)

    def __init__(self, config, info):
        super().__init__()
        self.config, self.info = config, info
        self.batch = RaySpec(rays=config.rays)
        self.colors = nn.Parameter(torch.rand(len(info.times[0]), 3))
        self.late = nn.Parameter(torch.zeros(3))
        self.register_buffer("seen", torch.zeros(3))

    def observe(self, observation):
        return torch.zeros(1)

    def evolve(self, state, times):
        return times[:, None]

    def scene(self, state):
        color = self.colors.mean(0)
        return RadianceField(
            lambda x, d, i: (torch.ones(len(x)), color.expand(len(x), 3).clamp(0, 1)),
            self.info.near, self.info.far, self.info.background, options={"samples": 4},
        )

    def batch_spec(self, step):
        return self.batch

    def rewritten_rows(self):
        return []

    def callbacks(self):
        step, rows = (lambda *now: self.before_step(*now)), (lambda: self.rewritten_rows())
        return (Callback(before_step=step, rewritten_rows=rows),)

    def before_step(self, step, progress):
        if step == self.config.kill_at:
            signal.raise_signal(self.config.kill_with)  # this thread's, which has it before it goes on
        self.seen += torch.rand(3)
        return "half way" if step == 5 else None

    def losses(self, batch, step):
        guess = self.colors[batch.time_indices] + 0.01 * torch.randn(len(batch.colors), 3)
        error = (guess - batch.colors).square().mean()
        terms = {"color": error, "_mse": error.detach()}
        if step >= 4:
            terms["late"] = (self.late - self.seen.detach()).square().mean()
        if step == self.config.nan_at:
            terms["late"] = (self.late * float("nan")).sum()
        return terms

    def parameter_groups(self, progress):
        rate = self.config.rate * 0.1**progress
        return [
            {"params": [self.colors], "lr": rate, "name": "colors"},
            {"params": [self.late], "lr": rate, "name": "late", "betas": (0.8, 0.9), "eps": 1e-8},
        ]


PRESETS = {"fast": TinyConfig(), "other": TinyConfig(rate=0.5)}
METHODS["tiny"] = MethodEntry("tiny_method:Tiny", "tiny_method:PRESETS", "none", "none", "times", "nothing")
METHODS["tiny2"] = MethodEntry("tiny_method:Tiny", "tiny_method:PRESETS", "none", "none", "times", "nothing")
'''


def write_blender(folder: Path, frames: int = 10, alpha: bool = True) -> Path:
    """A data set in D-NeRF's form: a square moves in front of cameras on a circle; times 0..1."""
    generator = np.random.default_rng(0)
    entries = []
    (folder / "train").mkdir(parents=True)
    for index in range(frames):
        picture = generator.integers(0, 255, (SIZE, SIZE, 4), dtype=np.uint8)
        picture[..., 3] = 0 if alpha else 255
        picture[4:8, index % 8 : index % 8 + 4, 3] = 255
        Image.fromarray(picture).save(folder / "train" / f"r_{index:03d}.png")
        angle = 0.3 * index
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        pose[:3, 3] = 4 * pose[:3, 2]
        entries.append(
            {
                "file_path": f"./train/r_{index:03d}",
                "time": index / (frames - 1),
                "transform_matrix": pose.tolist(),
            }
        )
    for split in ("train", "val", "test"):
        content = {"camera_angle_x": 0.7, "frames": entries if split == "train" else entries[:1]}
        (folder / f"transforms_{split}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def blender_data(tmp_path: Path) -> Path:
    """A D-NeRF folder of ten pictures."""
    return write_blender(tmp_path / "data")


@pytest.fixture
def tiny_method(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Registers the method "tiny"; returns the folder to put on the path of a subprocess."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "tiny_method.py").write_text(TINY_METHOD)
    monkeypatch.syspath_prepend(str(folder))
    from foreseen.methods import METHODS

    before = dict(METHODS)
    monkeypatch.delitem(__import__("sys").modules, "tiny_method", raising=False)
    __import__("tiny_method")
    added = dict(METHODS)
    METHODS.clear()
    METHODS.update(before)
    for name, entry in added.items():
        monkeypatch.setitem(METHODS, name, entry)
    return folder


@pytest.fixture
def command(tiny_method: Path) -> Callable[..., list[str]]:
    """The words that run `foreseen train tiny` in a process of its own."""
    import sys

    start = "import tiny_method; from foreseen.cli import main; main()"

    def words(*more: object) -> list[str]:
        return [sys.executable, "-c", start, "train", "tiny", *map(str, more)]

    return words


@pytest.fixture
def environment(tiny_method: Path) -> dict[str, str]:
    """For subprocesses: as many threads as here, and the method's module on the path."""
    path = os.pathsep.join([str(tiny_method), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "CUDA_VISIBLE_DEVICES": "",
    }
