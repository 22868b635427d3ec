"""From a simulated scene through training to scores and a clip, nothing pretended."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreseen.cli import main
from foreseen.evaluation import evaluate_run
from foreseen.runs import Run, load_run
from foreseen.simulate import SimulateOptions, simulate
from foreseen.training import train

SIZE = 32
TINY = {"width": 16, "layers": 2, "skip": 1, "samples": 8, "importance_samples": 4, "rays": 64}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("real")
    options = SimulateOptions(sequences=1, frames=12, cameras=2, size=SIZE, samples=2)
    data = simulate("pendulum", folder / "data", options)
    train(
        "d-nerf", data, folder / "run", preset="paper", overrides=TINY, max_steps=8, observe_until=0.7, device="cpu"
    )  # fmt: skip
    return load_run(folder / "run")


def test_a_real_run_is_scored(run: Run) -> None:
    metrics = evaluate_run(run, max_frames=4)
    assert metrics == json.loads((run.path / "metrics.json").read_text())
    assert metrics["step"] == 8 and metrics["train_seconds"] > 0
    assert metrics["protocol"]["split_hash"] == run.config.split.hash
    assert {"novel-view", "forecast"} <= set(metrics["splits"])
    forecast = metrics["splits"]["forecast"]
    assert forecast["count"] == 3  # one time, all three cameras
    assert all(row["after"] > 0 for row in forecast["by_time"])
    assert 0.5 < forecast["mask_iou_ceiling"] <= 1
    assert {"psnr", "ssim", "psnr_moving", "ssim_moving", "mask_iou"} <= set(forecast)
    assert set(metrics["baselines"]) == {"last-frame", "nearest-frame", "constant-velocity", "true-dynamics"}
    assert (run.path / "horizon.png").is_file()


def test_baselines_of_a_real_scene_make_sense(run: Run) -> None:
    found = evaluate_run(run, splits=["forecast"])["baselines"]
    straight, still, dynamics = (
        found[name]["forecast"]["by_time"] for name in ("constant-velocity", "last-frame", "true-dynamics")
    )
    assert still[-1]["psnr"] > 15 and straight[-1]["psnr"] > 15
    # Soon after the border the pendulum goes straight on; a picture that stands still is behind it at once.
    assert straight[0]["mask_iou"] > 0.4
    assert straight[0]["psnr"] > still[0]["psnr"] + 3
    assert straight[1]["mask_iou"] > 1.5 * still[1]["mask_iou"]
    # Where the bob is, the law knows to the end; the rod's picture does not turn with it.
    assert dynamics[-1]["mask_iou"] > straight[-1]["mask_iou"]


def test_a_real_run_is_rendered(run: Run, tmp_path: Path) -> None:
    camera_id = run.splits().frames["train"][0].camera_id
    words = ["--path", f"train:{camera_id}", "--channel", "side-by-side", "--times", "0:9:3", "--downscale", "2"]
    main(["render", str(run.path), *words, "--out", str(tmp_path / "pictures")])
    frames = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "pictures").iterdir())]
    assert len(frames) == 3 and len({f.shape for f in frames}) == 1
    main(["render", str(run.path), "--path", "orbit", "--times", "0:0:2", "--downscale", "2", "--channel", "depth"])
    assert (run.path / "renders" / "orbit-depth.mp4").stat().st_size > 500
