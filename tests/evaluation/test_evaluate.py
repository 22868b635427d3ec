"""The whole evaluation on the sliding square, by runs that know the truth or drift away from it."""

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from foreseen.data.types import Dataset
from foreseen.errors import UserError
from foreseen.evaluation import evaluate_run, metrics_tables
from foreseen.evaluation.frames import choose_frames, is_next_frame
from foreseen.evaluation.method_predictor import BACKGROUND_TIMES
from foreseen.geometry.cameras import Camera
from foreseen.render import ImageResult
from sliding_square import CAMERAS, DT, OBSERVED, OBSERVED_UNTIL, STEPS, WIDTH, PretendRun, make_dataset

LATE = STEPS - OBSERVED


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("slide"))


def overlap(shift: int) -> float:
    """IoU of two squares of side 6, one `shift` columns off."""
    return max(6 - shift, 0) / (6 + min(shift, 6))


def test_a_run_that_knows_the_truth(dataset: Dataset, tmp_path: Path) -> None:
    metrics = evaluate_run(PretendRun(tmp_path, dataset))
    assert metrics == json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["method"], metrics["preset"], metrics["seed"], metrics["commit"]) == (
        "rigid-ode",
        "fast",
        3,
        "c0ffee",
    )
    assert (metrics["train_seconds"], metrics["step"]) == (12.5, 100)
    assert set(metrics["splits"]) == {"novel-view", "forecast"}
    forecast = metrics["splits"]["forecast"]
    assert forecast["count"] == LATE * len(CAMERAS)
    assert forecast["psnr"] > 50 and forecast["psnr_moving"] > 50  # 8 bit files, exact otherwise
    assert forecast["ssim"] == pytest.approx(1, abs=1e-3)
    assert forecast["mask_iou"] == forecast["mask_iou_ceiling"] == 1.0
    assert forecast["centroid_error_px"] == forecast["centroid_error"] == 0.0
    assert forecast["render_seconds"] > 0
    assert "ms_ssim" not in forecast and "lpips" not in forecast  # too small, no weights


def test_the_protocol_says_what_the_numbers_depend_on(dataset: Dataset, tmp_path: Path) -> None:
    protocol = evaluate_run(PretendRun(tmp_path, dataset), splits=["forecast"], max_frames=2)["protocol"]
    assert protocol["split_hash"] == "abc123"
    assert (protocol["observe"], protocol["context"]) == (None, 5)
    assert protocol["sentence"] == "the first 8 of 12 steps are observed"
    assert protocol["observed_until"] == pytest.approx(OBSERVED_UNTIL + 0.05)
    assert protocol["last_observed"] == pytest.approx(OBSERVED_UNTIL)
    assert protocol["moving_part"] == "instance masks"
    assert protocol["lpips"] == "not computed: no --lpips-weights given"
    assert (protocol["max_frames"], protocol["downscale"], protocol["time_unit"]) == (2, 1, "s")


def test_drift_and_baselines_by_hand(dataset: Dataset, tmp_path: Path) -> None:
    metrics = evaluate_run(PretendRun(tmp_path, dataset, drift=-1), splits=["forecast"])  # falls behind, a pixel a step
    found = metrics["splits"]["forecast"]
    still = metrics["baselines"]["last-frame"]["forecast"]
    assert [row["after"] for row in found["by_time"]] == pytest.approx([DT * k for k in range(1, LATE + 1)])
    assert [row["count"] for row in found["by_time"]] == [2] * LATE
    expected = [overlap(k) for k in range(1, LATE + 1)]
    assert [row["mask_iou"] for row in found["by_time"]] == pytest.approx(expected)
    assert found["mask_iou"] == pytest.approx(sum(expected) / LATE)
    mean_error = sum(range(1, LATE + 1)) / LATE
    assert found["centroid_error_px"] == pytest.approx(mean_error)
    assert found["centroid_error"] == pytest.approx(mean_error / WIDTH)
    # A square that stops is one that falls behind by a pixel a step; the left camera was observed until the
    # end.
    left = [overlap(k) for k in range(1, LATE + 1)]
    right = [overlap(abs(k - 4)) for k in range(1, LATE + 1)]  # borrowed from the left camera, four pixels ahead
    assert [r["mask_iou"] for r in still["by_time"]] == pytest.approx([(a + b) / 2 for a, b in zip(left, right)])
    straight = metrics["baselines"]["constant-velocity"]["forecast"]
    assert straight["count"] == LATE  # only the observed camera has an appearance to paste
    assert straight["method_on_same_frames"]["mask_iou"] == pytest.approx(sum(expected) / LATE)
    assert "method_on_same_frames" not in still
    assert straight["mask_iou"] == pytest.approx(1.0)
    assert straight["psnr_moving"] > 30 > still["psnr_moving"]


def test_flow_is_scored_between_consecutive_frames_only(dataset: Dataset, tmp_path: Path) -> None:
    class Rounded(PretendRun):
        """Gives 8 bit pictures, as the files are: then the flows of both are the same."""

        def render(self, camera: Camera, time: float) -> ImageResult:
            exact = super().render(camera, time)
            return ImageResult((exact.rgb * 255).round() / 255, exact.depth, exact.opacity)

    run = Rounded(tmp_path, dataset)
    every = evaluate_run(run, splits=["train"])
    found = every["splits"]["train"]
    assert found["flow_iou"] == 1.0
    # A pixel a step is just what counts as motion: in some pairs the flow finds less, and no mask is
    # compared.
    assert found["count"] == OBSERVED and 1 <= found["defined_on"]["flow_iou"] <= OBSERVED - 1
    assert every["baselines"]["last-frame"]["train"]["flow_iou"] == 0.0  # nothing moves, and that is wrong
    sparse = evaluate_run(run, splits=["train"], max_frames=3, baselines=False)
    assert "flow_iou" not in sparse["splits"]["train"]


def test_many_times_are_thinned_in_pairs(dataset: Dataset) -> None:
    first = dataset.sequences[0].frames[0]
    frames = tuple(replace(first, camera_id=c, time=0.1 * i) for i in range(90) for c in ("left", "right"))
    kept = choose_frames({"train": frames}, 48, None)["train"]
    steps = [round(10 * f.time) for f in kept if f.camera_id == "left"]
    assert len(kept) == 48 and len(steps) == 24
    assert [b - a for a, b in zip(steps[::2], steps[1::2])] == [1] * 12
    assert (steps[0], steps[-1]) == (0, 89) and max(b - a for a, b in zip(steps[1::2], steps[2::2])) <= 8


def test_what_counts_as_consecutive(dataset: Dataset) -> None:
    sequence = dataset.sequences[0]
    left = [f for f in sequence.frames if f.camera_id == "left"]
    right = [f for f in sequence.frames if f.camera_id == "right"]
    assert is_next_frame(left[3], left[2], sequence)
    assert not is_next_frame(left[4], left[2], sequence)
    assert not is_next_frame(left[2], left[3], sequence)
    assert not is_next_frame(right[3], left[2], sequence)


def test_a_split_is_thinned_evenly_and_cut(dataset: Dataset, tmp_path: Path) -> None:
    run = PretendRun(tmp_path, dataset)
    found = evaluate_run(run, splits=["train"], max_frames=3, baselines=False)["splits"]["train"]
    assert [round(row["time"] / DT) for row in found["by_time"]] == [0, 4, 7]
    assert len(run.rendered) == 3 + BACKGROUND_TIMES
    late = evaluate_run(run, splits=["forecast"], max_frames=5, baselines=False)["splits"]["forecast"]
    assert [row["count"] for row in late["by_time"]] == [2, 2]  # whole times: both cameras at each
    one = evaluate_run(run, splits=["forecast"], max_frames=1, baselines=False)["splits"]["forecast"]
    assert one["count"] == 1
    cut = evaluate_run(run, max_time=0.85, baselines=False)["splits"]
    assert [round(row["time"] / DT) for row in cut["forecast"]["by_time"]] == [8]


def test_horizon_is_written_with_every_contestant(dataset: Dataset, tmp_path: Path) -> None:
    evaluate_run(PretendRun(tmp_path, dataset, drift=-1))
    horizon = json.loads((tmp_path / "horizon.json").read_text())
    assert horizon["last_observed"] == pytest.approx(OBSERVED_UNTIL)
    curves = horizon["metrics"]["mask_iou"]["curves"]
    assert set(curves) == {"rigid-ode", "last-frame", "nearest-frame", "constant-velocity", "ceiling"}
    assert [after for after, _ in curves["rigid-ode"]] == pytest.approx([DT * k for k in range(1, LATE + 1)])
    assert [value for _, value in curves["rigid-ode"]] == pytest.approx([overlap(k) for k in range(1, LATE + 1)])
    assert horizon["metrics"]["centroid_error_px"]["better"] == "lower"
    with Image.open(tmp_path / "horizon.png") as plot:
        assert min(plot.size) > 300

    evaluate_run(PretendRun(tmp_path, dataset), splits=["novel-view"])
    assert not (tmp_path / "horizon.json").exists() and not (tmp_path / "horizon.png").exists()


def test_what_is_unknown_is_left_out(tmp_path: Path) -> None:
    bare = make_dataset(tmp_path / "data", masks=False, backgrounds=False, with_truth=False)
    metrics = evaluate_run(PretendRun(tmp_path, bare))
    found = metrics["splits"]["forecast"]
    assert "psnr" in found and "ssim" in found
    assert not {"psnr_moving", "mask_iou", "mask_iou_ceiling", "centroid_error_px"} & set(found)
    assert set(metrics["baselines"]) == {"last-frame", "nearest-frame"}
    assert metrics["protocol"]["moving_part"] == "unknown"
    assert set(json.loads((tmp_path / "horizon.json").read_text())["metrics"]) >= {"psnr", "ssim"}


def test_progress_reaches_the_end(dataset: Dataset, tmp_path: Path) -> None:
    told: list[float] = []
    evaluate_run(PretendRun(tmp_path, dataset), progress=lambda share, text: told.append(share), baselines=False)
    assert told == sorted(told) and told[0] == 0.0 and told[-1] == 1.0


def test_tables_fit_a_terminal_and_mark_the_best(dataset: Dataset, tmp_path: Path) -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO(), force_terminal=True)
    for table in metrics_tables(evaluate_run(PretendRun(tmp_path, dataset, drift=-1))):
        console.print(table)
    text = console.export_text(clear=False)
    assert "velocity" in text and "PSNR, moving [dB]" in text and "…" not in text
    rows = [line.split()[2:] for line in text.splitlines() if line.startswith("mask IoU  ")]
    assert rows[1] == [
        "0.437",
        "0.537",
        "0.537",
        "1.000",
        "0.437",
    ]  # last: the method where the last but one can
    best = [line for line in console.export_text(styles=True).splitlines() if "centroid error [px]" in line][1]
    # Constant velocity is scored on half of the frames, so the best on all of them is marked.
    assert "\x1b[1m2.00" in best.replace(" ", "") and "\x1b[1m0.00" not in best.replace(" ", "")


def test_errors_name_the_mend(dataset: Dataset, tmp_path: Path) -> None:
    run = PretendRun(tmp_path, dataset)
    with pytest.raises(UserError, match="no split 'forcast': did you mean 'forecast'"):
        evaluate_run(run, splits=["forcast"])
    with pytest.raises(UserError, match="--max-frames 0: give 1 or more"):
        evaluate_run(run, max_frames=0)
    with pytest.raises(UserError, match="lies at or before --max-time -1: give a later time"):
        evaluate_run(run, max_time=-1)
    with pytest.raises(UserError, match="no such LPIPS weights file"):
        evaluate_run(run, lpips_weights=tmp_path / "none.pt")
    assert run.rendered == [] and not (tmp_path / "metrics.json").exists()


def test_sequences_that_were_not_observed_are_left_out(dataset: Dataset, tmp_path: Path) -> None:
    run = PretendRun(tmp_path, dataset)
    other = replace(dataset.sequences[0].frames[-1], sequence="other")
    run._splits.frames["unseen-sequence"] = (other,)
    assert "unseen-sequence" not in evaluate_run(run, baselines=False)["splits"]
    with pytest.raises(UserError, match="'unseen-sequence' has no frame that this run can forecast"):
        evaluate_run(run, splits=["unseen-sequence"])


def test_a_diverged_run_is_named(dataset: Dataset, tmp_path: Path) -> None:
    class Diverged(PretendRun):
        def render(self, camera: Camera, time: float) -> ImageResult:
            good = super().render(camera, time)
            return ImageResult(good.rgb * math.nan, good.depth, good.opacity)

    with pytest.raises(UserError, match=r"the rendering at time 0\.8 has values that are not finite"):
        evaluate_run(Diverged(tmp_path, dataset), splits=["forecast"])
    assert not (tmp_path / "metrics.json").exists()
