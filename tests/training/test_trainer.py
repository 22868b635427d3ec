"""Training, stopping, going on: the same weights whatever happened on the way."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest
import torch

import foreseen
from foreseen.batches.images import ImageSpec
from foreseen.errors import UserError
from foreseen.runs import Run, load_run
from foreseen.runs import checkpoints as checkpoint_files
from foreseen.runs.checkpoints import list_checkpoints
from foreseen.runs.durations import readable_time
from foreseen.runs.files import only_one_process
from foreseen.training import TrainingInterrupted, train, trainer
from foreseen.training import run_training as train_run
from foreseen.training.report import Reporter
from foreseen.training.trainer import TrainingBudget

QUIET: dict[str, Any] = {"progress": False, "device": "cpu", "save_every_seconds": None}

pytestmark = pytest.mark.usefixtures("tiny_method")


def fit(data: Path, out: Path, steps: int = 6, **options: Any) -> Run:
    return train("tiny", data, out, max_steps=steps, **{**QUIET, **options})


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.method.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def steps(out: Path) -> list[int]:
    return [step for step, _ in list_checkpoints(out)]


def contents(out: Path) -> list[Path]:
    files = (p.relative_to(out) for p in out.rglob("*"))
    return sorted(p for p in files if p.parts[0] not in ("logs", ".lock"))


def test_it_learns_and_loads_again(blender_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = fit(blender_data, out, 60, overrides={"rate": 0.05, "rays": 200})
    assert run.step == 60 and run.train_seconds > 0 and not run.method.training
    batch = [f.image().mean(dim=(0, 1)) for f in run.splits().frames["train"]]
    order = np.argsort([f.time for f in run.splits().frames["train"]])
    seen = torch.stack([batch[i] for i in order])
    assert float((weights(run)["colors"] - seen).abs().max()) < 0.12
    loaded = load_run(out)
    assert same(weights(loaded), weights(run)) and loaded.config == run.config and loaded.info == run.info
    assert (loaded.step, loaded.train_seconds) == (60, run.train_seconds)
    assert next((out / "logs").iterdir()).name.startswith("events")


def test_config_holds_what_made_the_run(blender_data: Path, tmp_path: Path) -> None:
    run = fit(blender_data, tmp_path / "run", seed=3, observe_until=0.8, downscale=2, overrides={"inner.width": 5})
    plain = json.loads((tmp_path / "run" / "config.json").read_text())
    train = plain["train"]
    assert (train["method"], train["preset"], train["seed"], train["max_steps"]) == ("tiny", "fast", 3, 6)
    assert train["config"]["inner"] == {"width": 5} and train["config"]["sizes"] == [1, 2]
    assert train["downscale"] == 2 and train["observe_until"] == 0.8 and plain["dataset"]["width"] == 6
    assert train["data"] == [str(blender_data)] and train.keys() == {f.name for f in fields(foreseen.TrainConfig)}
    assert plain["machine"]["cores"] >= 1 and plain["version"] == foreseen.__version__
    assert plain["split"]["hash"] == run.splits().hash
    assert run.info.time_range[1] <= 0.8 and not run.info.static_cameras and run.info.has_alpha


def test_a_run_renders_at_any_time(blender_data: Path, tmp_path: Path) -> None:
    run = fit(blender_data, tmp_path / "run", 2)
    camera = next(run.dataset().frames).camera
    result = run.render(camera, time=2.5)
    assert result.rgb.shape == (camera.height, camera.width, 3) and not result.rgb.requires_grad


@pytest.mark.parametrize("stop_at", [1, 5, 8])
def test_going_on_gives_the_weights_of_a_run_that_never_stopped(
    blender_data: Path, tmp_path: Path, stop_at: int
) -> None:
    whole = fit(blender_data, tmp_path / "whole", 9, overrides={"rate": 0.02})
    options = {"overrides": {"rate": 0.02}, "save_every_steps": stop_at}
    out = tmp_path / "parts"
    fit(blender_data, out, 9, **options)
    for step, folder in list_checkpoints(out):
        if step != stop_at:
            shutil.rmtree(folder)
    torch.manual_seed(99)
    parts = fit(blender_data, out, 9, **options)
    assert same(weights(parts), weights(whole))


def test_a_longer_budget_goes_on_and_a_spent_one_says_so(
    blender_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    fit(blender_data, out, 4)
    before = weights(fit(blender_data, out, 4, progress=True))
    assert "is finished (4 steps," in capsys.readouterr().err
    longer = fit(blender_data, out, 6, progress=True)
    assert longer.step == 6 and not same(weights(longer), before)
    said = capsys.readouterr().err
    assert "resuming from step 4." in said and "step 5: half way" in said and "trained 6 steps" in said


def test_what_is_not_given_keeps_its_saved_value(blender_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(blender_data, out, 4, seed=3, max_grad_norm=0.5, memory_mb=64, overrides={"rate": 0.02})
    run = fit(blender_data, out, 6)
    train = run.config.train
    assert (run.step, train.seed, train.max_grad_norm, train.memory_mb, train.config.rate) == (6, 3, 0.5, 64, 0.02)
    assert json.loads((out / "config.json").read_text())["train"]["max_steps"] == 6
    longer = train_run(replace(train, max_steps=None, max_minutes=1e-9), out)
    assert longer.step == 6 and load_run(out).config.train.max_steps is None


def test_two_checkpoints_and_the_final_ones_are_kept(blender_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(blender_data, out, 4, save_every_steps=1)
    assert steps(out) == [4, 3]
    fit(blender_data, out, 9, save_every_steps=1)
    assert steps(out) == [9, 8, 4]
    assert load_run(out, checkpoint=8).step == 8
    with pytest.raises(UserError, match=r"has no checkpoint of step 7: known: 4, 8, 9"):
        load_run(out, checkpoint=7)


def test_training_time_goes_on_and_ends_training(
    blender_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock on which every look takes 1/64 s: the warm start, a step, and what lies between two steps.
    appearances = count()
    for module in ("launch", "trainer"):
        monkeypatch.setattr(
            f"foreseen.training.{module}.time", SimpleNamespace(perf_counter=lambda: next(appearances) / 64)
        )
    out = tmp_path / "run"
    first = train("tiny", blender_data, out, max_minutes=4.5 / 64 / 60, **QUIET)
    assert first.step == 4 and first.train_seconds == 5 / 64
    second = train("tiny", blender_data, out, max_minutes=9.5 / 64 / 60, **QUIET)
    assert second.step == 9 and second.train_seconds == 10 / 64
    assert TrainingBudget(100, 1.0).progress(10, 30.0) == 0.5 and TrainingBudget(10, 1.0).progress(8, 30.0) == 0.8


@pytest.mark.parametrize(("damage", "message"), [
    (lambda p: os.truncate(p / "model.safetensors", 50), "50 bytes"),
    (lambda p: (p / "optimizer.safetensors").unlink(), "optimizer.safetensors is absent"),
    (lambda p: (p / "state.json").write_text('{"step": 6,'), "state.json is damaged"),
    (lambda p: (p / "state.json").write_text('{"step": 6}'), "state.json is damaged"),
    (lambda p: (p / "state.json").write_text("[]"), "state.json is damaged"),
])  # fmt: skip
def test_a_damaged_checkpoint_is_passed_over(
    blender_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    message: str,
) -> None:
    out = tmp_path / "run"
    whole = fit(blender_data, out, 6, save_every_steps=4)
    damage(out / "checkpoints" / "step-000006")
    assert load_run(out).step == 4
    said = capsys.readouterr().err
    assert message in said and "Going on from step-000004." in said and said.count("\n") == 1
    mended = fit(blender_data, out, 6, progress=True)
    assert message in capsys.readouterr().err
    assert same(weights(mended), weights(whole)) and load_run(out).step == 6


def test_only_damaged_checkpoints_is_an_error(blender_data: Path, tmp_path: Path) -> None:
    fit(blender_data, tmp_path / "run", 2)
    (tmp_path / "run" / "checkpoints" / "step-000002" / "state.json").write_text("")
    with pytest.raises(UserError, match=r"no checkpoint in .*checkpoints can be read: restore one"):
        fit(blender_data, tmp_path / "run", 2)


def test_not_a_number_names_the_step_the_term_and_the_parameters(blender_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError, match=r"diverged at step 5: loss term 'late' is nan \(parameters late\)\. The last"):
        fit(blender_data, out, 9, save_every_steps=4, overrides={"nan_at": 5})
    assert steps(out) == [4] and bool(torch.isfinite(load_run(out).method.late).all())  # type: ignore[arg-type]


def test_an_infinite_gradient_of_a_finite_loss_is_found(
    blender_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny_method  # type: ignore[import-not-found]

    def losses(self: Any, batch: Any, step: int) -> dict[str, torch.Tensor]:
        return {"root": self.late.sum().sqrt(), "color": self.colors.sum()}

    monkeypatch.setattr(tiny_method.Tiny, "losses", losses)
    with pytest.raises(UserError, match=r"step 0: loss term 'root' is 0 but its gradient is not finite \(param.*late"):
        fit(blender_data, tmp_path / "run")


def test_gradients_are_clipped(blender_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import foreseen.training.trainer as module

    factors: list[float] = []
    monkeypatch.setattr(module, "scale_gradients", lambda parameters, factor: factors.append(factor))
    fit(blender_data, tmp_path / "never", 6, max_grad_norm=0)
    assert factors == []
    fit(blender_data, tmp_path / "often", 6, max_grad_norm=1e-3)
    assert len(factors) == 6 and all(0 < f < 1 for f in factors)


@pytest.mark.parametrize("place", ["model", "config"])
def test_a_full_disk_leaves_what_was_there(
    blender_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    out = tmp_path / "run"
    stop = {"overrides": {"kill_at": 1, "kill_with": int(signal.SIGINT)}}
    if place == "model":
        with pytest.raises(TrainingInterrupted):
            fit(blender_data, out, 4, **stop)
    before = contents(out)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = "no space left on the disk to write .*" + (
        "step-000004: the checkpoints" if place == "model" else "config"
    )
    with pytest.raises(UserError, match=message):
        fit(blender_data, out, 4, **stop)
    assert contents(out) == before
    monkeypatch.undo()


def test_half_written_checkpoints_are_swept_away(blender_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(blender_data, out, 2)
    beside = out / "checkpoints" / f"{checkpoint_files._BESIDE}step-000003"
    beside.mkdir()
    (beside / "model.safetensors").write_bytes(b"half")
    fit(blender_data, out, 3)
    assert not beside.exists() and steps(out)[0] == 3


def test_another_run_in_the_folder_is_refused(blender_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(blender_data, out, 2)
    before = (out / "config.json").read_bytes()
    cases: list[tuple[str, dict[str, Any]]] = [
        ("the method 'tiny', not 'tiny2': give another --out", {"method": "tiny2"}),
        ("the preset 'fast', not 'other'", {"preset": "other"}),
        (r"other settings \(config.rate: 0.01 -> 0.5\): give another --out", {"overrides": {"rate": 0.5}}),
        (r"\(config.inner.width: 3 -> 4\)", {"overrides": {"inner.width": 4}}),
        (r"\(seed: 0 -> 1\)", {"seed": 1}),
        (r"observe_until: None -> 0.5; .*split", {"observe_until": 0.5}),
        (r"downscale: 1 -> 2", {"downscale": 2}),
        (r"precision: fp32 -> bf16", {"precision": "bf16"}),
        (r"max_grad_norm: None -> 0.5", {"max_grad_norm": 0.5}),
        (r"memory_mb: 1024 -> 64", {"memory_mb": 64}),
    ]
    for message, options in cases:
        with pytest.raises(UserError, match=message):
            train(**{"method": "tiny", "dataset": blender_data, "out": out, "max_steps": 2, **QUIET, **options})
    moved = shutil.copytree(blender_data, tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"data: \[.*/data'\] -> \[.*/elsewhere'\]"):
        fit(moved, out, 3)
    shutil.rmtree(blender_data)
    assert (out / "config.json").read_bytes() == before
    assert fit(moved, out, 3).step == 3
    assert json.loads((out / "config.json").read_text()) == {**json.loads(before), "train": ANY}


def test_one_process_at_a_time(blender_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(blender_data, out, 2)
    with (
        only_one_process(out),
        pytest.raises(UserError, match=r"another process trains in .*run: wait for it"),
    ):
        fit(blender_data, out, 4)
    assert fit(blender_data, out, 4).step == 4


def test_another_version_is_refused(blender_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(blender_data, out, 2)
    plain = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**plain, "version": "0.0.9"}))
    with pytest.raises(UserError, match=r"started with foreseen 0.0.9; this is .* or install foreseen 0.0.9"):
        fit(blender_data, out, 2)
    (out / "config.json").write_text(json.dumps({**plain, "version": "9.0", "layout": 7}))
    with pytest.raises(
        UserError,
        match=r"a run of form 7, written by foreseen 9.0.*; this foreseen .* reads form 2: use the one that wrote",
    ):
        load_run(out)
    (out / "config.json").write_text(json.dumps(plain)[:-9])
    with pytest.raises(UserError, match=r"config.json is not valid JSON"):
        load_run(out)
    plain["train"]["config"]["rate"] = "fast"
    (out / "config.json").write_text(json.dumps(plain))
    with pytest.raises(UserError, match=r"config.json: train.config.rate is 'fast'; it takes float"):
        load_run(out)


def test_bad_requests_get_one_line(blender_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    (tmp_path / "file").write_text("")
    cases: list[tuple[str, dict[str, Any]]] = [
        ("unknown method 'tin': did you mean 'tiny'", {"method": "tin"}),
        ("'tiny' has no preset 'fats': did you mean 'fast'", {"preset": "fats"}),
        ("config of 'tiny' has no field 'rte': did you mean 'rate'", {"overrides": {"rte": 1}}),
        ("config of 'tiny'.rate is 'x'; it takes float", {"overrides": {"rate": "x"}}),
        ("--max-steps is 0: give a number above 0", {"max_steps": 0}),
        ("--downscale is 0: give a whole number from 1 up", {"downscale": 0}),
        ("--downscale is 13, and an image of .* has a side of 12 pixels", {"downscale": 13}),
        ("device is 'gpu'; it takes one of 'auto', 'cpu', 'cuda'", {"device": "gpu"}),
        ("precision is 'fp8'; it takes one of 'fp32', 'bf16'", {"precision": "fp8"}),
        ("training has no option 'max_step': did you mean 'max_steps'", {"max_step": 3}),
        ("file is a file: give a folder as --out", {"out": tmp_path / "file"}),
        ("data is not empty and holds no run", {"out": blender_data}),
    ]
    for message, options in cases:
        with pytest.raises(UserError, match=message):
            train(**{"method": "tiny", "dataset": blender_data, "out": out, "max_steps": 2, **QUIET, **options})
    with pytest.raises(UserError, match=r"holds no run .*config.json is absent.*: give a folder that"):
        load_run(tmp_path / "nowhere")
    assert not out.exists()


def test_no_cuda_is_said(blender_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device is available here: give --device cpu"):
        fit(blender_data, tmp_path / "run", device="cuda")


def test_no_training_frames_before_the_end_of_the_observed_window(blender_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="observe"):
        fit(blender_data, tmp_path / "run", observe_until=-1.0)


def test_a_run_without_its_data(blender_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit(blender_data, out, 2)
    shutil.rmtree(blender_data)
    with pytest.raises(UserError, match=r"is no longer at .*data: put it back"):
        load_run(out).dataset()


def test_what_a_method_cannot_learn_with_is_said_before_anything_is_written(
    blender_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError, match="gaussians learns in float32 with this preset: leave --precision out"):
        train("gaussians", blender_data, out, precision="bf16", max_steps=1, device="cpu")
    monkeypatch.setattr("foreseen.training.launch.find_device", lambda name: "cuda")
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(UserError, match="need gsplat: pip install"):
        train("gaussians", blender_data, out, max_steps=1)
    assert not out.exists()


def test_bf16_trains_in_another_precision(blender_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tiny_method

    kinds = []
    losses = tiny_method.Tiny.losses

    def watched(self: Any, batch: Any, step: int) -> dict[str, torch.Tensor]:
        kinds.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        return losses(self, batch, step)

    monkeypatch.setattr(tiny_method.Tiny, "losses", watched)
    fit(blender_data, tmp_path / "a", 1, precision="bf16")
    run = fit(blender_data, tmp_path / "b", 1)
    assert kinds == [torch.bfloat16, torch.float32]
    assert run.method.colors.dtype == torch.float32


def test_whole_pictures_and_rows_that_begin_anew(
    blender_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny_method

    made, cleared = tiny_method.Tiny.__init__, []

    def init(self: Any, config: Any, info: Any) -> None:
        made(self, config, info)
        self.batch = ImageSpec(2)

    def losses(self: Any, batch: Any, step: int) -> dict[str, torch.Tensor]:
        wanted = torch.stack([image.mean((0, 1)) for image in batch.images])
        return {"colour": (self.colors[batch.time_indices] - wanted).square().mean() + 0 * self.late.sum()}

    def before(self: Any, step: int, progress: float) -> None:
        self.rows = [(self.colors, torch.tensor([1]))] if step == 2 else []

    def watched(optimizer: Any, rows: Any) -> None:
        cleared.append([(tuple(p.shape), r.tolist()) for p, r in rows])

    monkeypatch.setattr(tiny_method.Tiny, "__init__", init)
    monkeypatch.setattr(tiny_method.Tiny, "losses", losses)
    monkeypatch.setattr(tiny_method.Tiny, "before_step", before)
    monkeypatch.setattr(tiny_method.Tiny, "rewritten_rows", lambda self: self.rows)
    monkeypatch.setattr(trainer, "reset_rows", watched)
    run = fit(blender_data, tmp_path / "run", 4)
    assert cleared == [[], [], [(tuple(run.method.colors.shape), [1])], []], "said once, heard once"
    assert run.step == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_leaves(blender_data: Path, tmp_path: Path, number: int) -> None:
    whole = fit(blender_data, tmp_path / "whole", 8)
    out = tmp_path / "run"
    with pytest.raises(TrainingInterrupted, match=r"after step 4, which is saved in .*run: the same command") as caught:
        fit(blender_data, out, 8, overrides={"kill_at": 3, "kill_with": int(number)})
    assert caught.value.exit_code == 128 + number and steps(out) == [4]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    resumed = fit(blender_data, out, 8, overrides={"kill_at": 3, "kill_with": int(number)})
    assert same(weights(resumed), weights(whole))


def test_kill_9_loses_nothing_but_time(
    blender_data: Path, tmp_path: Path, command: Callable[..., list[str]], environment: dict[str, str]
) -> None:
    out = tmp_path / "run"
    words = command("--data", blender_data, "--out", out, "--max-steps", 12, "--save-every-steps", 4, "--kill-at", 10)
    killed = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    assert killed.returncode == -9 and steps(out) == [8, 4], killed.stderr
    # What a kill in the middle of writing leaves, and then a run of the same settings without the kill.
    (out / "checkpoints" / f"{checkpoint_files._BESIDE}step-000012").mkdir()
    plain = (out / "config.json").read_text().replace('"kill_at": 10', '"kill_at": -1')
    (out / "config.json").write_text(plain)
    words = command("--data", blender_data, "--out", out, "--max-steps", 12, "--save-every-steps", 4)
    resumed = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    assert resumed.returncode == 0 and "resuming from step 8." in resumed.stderr, resumed.stderr
    whole = fit(blender_data, tmp_path / "whole", 12)
    assert same(weights(load_run(out)), weights(whole))


@pytest.mark.slow
def test_two_processes_train_as_one(
    blender_data: Path, tmp_path: Path, command: Callable[..., list[str]], environment: dict[str, str]
) -> None:
    out = tmp_path / "run"
    python, _, code, *rest = command("--data", blender_data, "--out", out, "--device", "cpu", "--log-every", 1)
    script = tmp_path / "start.py"
    script.write_text(code.replace("; ", "\n"))
    launcher = [python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    words = [*launcher, *rest, "--save-every-steps", "3", "--max-steps", "6"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and done.stderr.count("trained 6 steps") == 1, done.stderr
    state = json.loads((out / "checkpoints" / "step-000006" / "state.json").read_text())
    assert len(state["samplers"]) == 2 and state["samplers"][0] != state["samplers"][1]
    # Going on, both processes take the first one's weights: had they drifted apart, the ends would differ.
    whole = weights(load_run(out))
    shutil.rmtree(out / "checkpoints" / "step-000006")
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and done.stderr.count("resuming from step 3.") == 1, done.stderr
    assert same(weights(load_run(out)), whole)


def test_progress_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(None, 10, True) as reporter:
        reporter.start(100, 5.0)
        reporter._last_line = -100.0
        reporter.read(110, 0.5, 1000, 7.0, {"_loss": torch.tensor(0.01), "_mse": torch.tensor(0.001)})
        reporter.read(120, 0.6, 1000, 9.0, {"_loss": torch.tensor(0.02), "_mse": torch.tensor(0.001)})
    assert capsys.readouterr().err == "step 110 · loss 0.01 · PSNR 30.0 dB · 5,000 rays/s · 7 s left\n"
    assert reporter.smooth["_loss"] == pytest.approx(0.011)
    assert [readable_time(s) for s in (5, 185, 7260)] == ["5 s", "3 min 05 s", "2 h 01 min"]
