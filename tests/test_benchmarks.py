"""The benchmarks' tables, from made-up numbers; what they run is tested elsewhere."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def load(name: str) -> ModuleType:
    from importlib import import_module

    module = import_module(name)
    assert Path(str(module.__file__)).parent == BENCHMARKS
    sys.modules.pop(name)
    return module


def entry(count: int, psnr: float, **more: Any) -> dict[str, Any]:
    numbers = {"psnr": psnr, "psnr_moving": psnr - 10, "ssim": 0.9, "ms_ssim": 0.95, "mask_iou": 0.8}
    return {"count": count, **numbers, "centroid_error_px": 2.0, "render_seconds": 0.5, **more}


def metrics(psnr: float, splits: tuple[str, ...] = ("forecast",)) -> dict[str, Any]:
    same = {"method_on_same_frames": {"psnr": psnr + 1, "psnr_moving": psnr - 9, "mask_iou": 0.85}}
    return {
        "method": "rigid-ode",
        "step": 300,
        "train_seconds": 60.0,
        "commit": "c0ffee",
        "protocol": {
            "observed_until": 2.7,
            "time_unit": "s",
            "image_size": [160, 160],
            "sentence": "Some.",
        },
        "splits": {split: entry(10, psnr) for split in splits},
        "baselines": {
            "last-frame": {split: entry(10, 15.0) for split in splits},
            "nearest-frame": {split: entry(10, 16.0) for split in splits},
            "constant-velocity": {split: entry(8, 17.0, **same) for split in splits},
        },
    }


def test_pooled_counts_only_the_frames_where_a_metric_is_defined() -> None:
    pooled = load("common").pooled
    splits = [entry(10, 20.0), entry(30, 40.0), entry(5, 0.0, defined_on={"mask_iou": 1}, mask_iou=0.0)]
    assert pooled(splits, "psnr") == pytest.approx((200 + 1200) / 45)
    assert pooled(splits, "mask_iou") == pytest.approx(0.8 * 40 / 41)
    assert pooled([], "psnr") != pooled([], "psnr")


def test_a_table_leaves_out_what_is_not_a_number() -> None:
    table = load("common").table
    assert table(["", "a"], [["x", 1.234], ["y", float("nan")]]) == "| --- | ---: |".join(
        ["|  | a |\n", "\n| x | 1.23 |\n| y |  |"]
    )


@pytest.mark.parametrize(("name", "words"), [
    ("AMD EPYC 7763 64-Core Processor", "AMD EPYC"),
    ("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", "Intel Xeon Platinum"),
    ("Apple M1", "Apple"),
    ("", ""),
])  # fmt: skip
def test_the_machine_in_words(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import foreseen.runs.machine as machine

    monkeypatch.setattr(machine, "cpu_name", lambda: name)
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    assert load("common").machine_words().startswith(f"2 cores, {words or 'unknown'}, ")


def test_forecasts_are_averaged_over_the_seeds_that_all_have_finished() -> None:
    module = load("pendulum_forecast")
    found = {
        "node-rf fast": {
            s: {"soon": metrics(p), "long": metrics(p)} for s, p in (("0", 30.0), ("1", 34.0), ("2", 90.0))
        },
        "d-nerf fast": {s: {"soon": metrics(20.0), "long": metrics(18.0)} for s in ("0", "1")},
    }
    rows = dict(module.averaged(found, "soon"))
    assert rows["node-rf fast"]["psnr"] == pytest.approx(32) and rows["node-rf fast"]["count"] == 10
    assert rows["d-nerf fast"]["psnr_moving"] == pytest.approx(10)
    assert rows["last frame"]["psnr"] == pytest.approx(15)
    assert rows["node-rf fast, on the frames of constant velocity"]["psnr"] == pytest.approx(33)
    page = module.page(found, 5.0, 0.25)
    assert "2.70 s" in page and "3.60 s" in page and "to 4 times the window" in page
    assert "| node-rf fast | 10 | 22.00 | 0.80 | 32.00 | 2.00 |" in page and "seed 1: d-nerf fast" in page


def test_scenes_that_are_not_finished_stay_empty() -> None:
    module = load("dnerf_scenes")
    both = ("interpolation", "novel-view")
    found = {
        "node-rf fast": {"a": metrics(30.0, both), "b": metrics(34.0, both)},
        "d-nerf fast": {"a": metrics(20.0, both)},
    }
    page = module.page(found, 10.0)
    assert "| node-rf fast | 30.00 | 34.00 | 32.00 |" in page
    assert "| d-nerf fast | 20.00 |  | " in page
    assert "| nearest frame | 16.00 | 16.00 | 16.00 |" in page
    assert "interpolation 10, novel-view 10" in page


def test_unseen_sequences_by_scene_and_seed() -> None:
    module = load("many_sequences")
    runs = {"0": metrics(30.0, ("unseen-sequence",)), "1": metrics(40.0, ("unseen-sequence",))}
    for run in runs.values():
        run["protocol"]["unseen"] = "given: the truth"
        run["splits"]["unseen-sequence"]["mask_iou_ceiling"] = 0.95
        run["splits"]["unseen-sequence"]["uncertainty"] = {"coverage": 0.9}
    runs["0"]["from_frames"] = {"mask_iou": 0.7, "psnr": 20.0, "uncertainty": {"coverage": 0.85}}
    page = module.page({"node-rf fast": {"bifurcating-hill": runs}}, 3.0)
    assert "| node-rf fast, from the first 5 frames alone | 0.70 |  |  | 20.00 |  | 0.85 |" in page
    assert "| node-rf fast | 0.80 |  | 2.00 | 35.00 | 25.00 | 0.90 |" in page
    assert "| node-rf fast, seed 1 | 0.80 |  | 2.00 | 40.00 | 30.00 | 0.90 |" in page
    assert "| last-frame | 0.80 |  | 2.00 | 15.00 | 5.00 |  |" in page
    assert "| ceiling | 0.95 |" in page and "| paper, on its own data |  | 0.48 |" in page


def test_two_laws_in_one_model(tmp_path: Path) -> None:
    module = load("mixed_dynamics")
    laws = {"a": "damped-pendulum", "b": "slide-in-bowl", "c": "damped-pendulum"}
    both = metrics(30.0, ("unseen-sequence",))
    scores = {name: {"count": 5, "psnr": 30.0 + i, "mask_iou": 0.5 + 0.1 * i} for i, name in enumerate(laws)}
    both["splits"]["unseen-sequence"]["by_sequence"] = scores
    one = {
        "both": {"truth": both, "frames": both},
        "alone": {dynamics: metrics(20.0, ("unseen-sequence",)) for dynamics in laws.values()},
        "told": {"truth": {"a": True, "b": True}, "frames": {"a": True, "b": False}},
        "grouped": [["damped-pendulum"], ["slide-in-bowl"]],
        "laws": laws,
    }
    page = module.page({"0": one}, 3.0)
    assert "grouped by their law in 1 of 1 runs" in page and "two runs of 1.5 minutes" in page
    assert "2 of 2 unseen sequences were taken" in page and "1 of 2 unseen sequences were taken" in page
    assert "| pendulum, both in one, given truth | 0.60 |  |  | 31.00 |  |" in page
    assert "| ball, both in one, given frames | 0.60 |  |  | 31.00 |  |" in page
    assert "| ball, alone | 0.80 |  | 2.00 | 20.00 | 10.00 |" in page


def test_the_law_part_by_part() -> None:
    module = load("law_ablation")
    entry = {"error": 0.25, "median": 0.125, "near": 0.5, "seconds": 8.0}
    page = module.page({"as shipped": {"bifurcating-hill": [entry, {**entry, "near": 1.0}]}})
    assert "| as shipped | 0.250 | 0.1250 | 0.75 | 8.00 |" in page


def test_forecasts_of_what_collides() -> None:
    module = load("impacts")
    near, far = {"all": 30.0, "0-0.2": 10.0}, {"all": 90.0, "0-0.2": 50.0}
    entry = {
        "seed": 0,
        "law": "impacts",
        "what": "5 walls",
        "seconds": 6.2,
        "chosen": near,
        "impacts": near,
        "coasting": far,
    }
    other = {"seed": 1, "law": "coasting", "what": "no impacts", "seconds": 2.0, "chosen": far, "coasting": far}
    page = module.page({"three balls, 0.5 seen": [entry, other]})
    assert "|  | 0-0.2 s | all |" in page and "| chosen | 30 | 60 |" in page and "| coasting | 50 | 90 |" in page
    assert "| impacts (1 of 2) | 10 | 30 |" in page and "last position |" not in page
    assert "seed 0: impacts (5 walls; 6 s), seed 1: coasting (no impacts; 2 s)." in page


def test_the_cost_of_sequences() -> None:
    module = load("many_cost")
    cost = {"warm_seconds": 5.0, "step_seconds": 0.02, "peak_mb": 900.4}
    page = module.page({"10": cost, "100": {**cost, "step_seconds": 0.03}})
    assert "| 10 | 20.0 | 1.00 | 5.00 | 900 |" in page and "| 100 | 30.0 | 1.50 | 5.00 | 900 |" in page


def test_the_hand(tmp_path: Path) -> None:
    module = load("hand_capture")
    page = module.page({"d-nerf fast": metrics(20.0)}, 10.0, {"d-nerf fast": tmp_path / "run" / "held-out"}, tmp_path)
    assert "| d-nerf fast | 10 | 20.00 | 0.90 | 0.95 | 300 |" in page and "`run/held-out`" in page


def test_splatting_beside_its_twin() -> None:
    module = load("splat_speed")
    times = {"forward": [1.0, 2.0, 3.0], "both": [4.0, 5.0, 9.0], "kernels": [3.0], "step": [8.0]}
    entry = {"name": "W3", "threads": 2, "milliseconds": times, "memory_mb": 512.4}
    twin = {**entry, "name": "W1", "milliseconds": {**times, "twin forward": [100.0], "twin both": [400.0]}}
    page = module.page([twin, entry])
    assert "| W1, 2 threads | 2.0 (1.0) | 5.0 (4.0) | 3.0 (3.0) | 8.0 (8.0) | 125.00 | 100.0 (100.0) |" in page
    assert "| 400.0 (400.0) | 80.00 | 512 |" in page and "| 125.00 |  |  |  | 512 |" in page


def test_a_splatting_workload_is_measured() -> None:
    module = load("splat_speed")
    found = module.measure(module.Workload("W", 40, 24, 2.0, True), 1, 2, 1)
    times = found["milliseconds"]
    assert {k: len(v) for k, v in times.items() if not k.startswith("twin")} == dict.fromkeys(
        ("forward", "both", "kernels", "step"), 2
    )
    assert len(times["twin both"]) == 1 and times["twin both"][0] > times["twin forward"][0]
    assert all(k <= b for k, b in zip(times["kernels"], times["both"]))


def test_equal_rays_and_samples() -> None:
    fields = load("train_speed").at_rays_and_samples(1500.0, 60_000.0)
    assert fields == {"rays": 1500, "samples": 10, "importance_samples": 20}
    assert fields["rays"] * (2 * fields["samples"] + fields["importance_samples"]) == 60_000


def test_the_twin_takes_the_place_of_the_kernels_and_leaves_again() -> None:
    import torch

    from foreseen.nn.voxels import VoxelGrids, VoxelTable
    from foreseen.render import marching

    voxels = VoxelGrids(VoxelTable.build([(3, 5)], torch.ones(1, 2, 2, 2, dtype=torch.bool)))
    points, box = torch.rand(20, 3), torch.zeros(20, dtype=torch.int64)
    kept = VoxelGrids.compiled, marching.composite
    compiled = voxels.features(points, box)
    with load("train_speed").plain_torch():
        assert marching.composite is marching.composite_reference
        twin = voxels.features(points, box)
        assert twin.grad_fn is not None and "_Features" not in twin.grad_fn.name()
    assert "_Features" in compiled.grad_fn.name()
    assert (VoxelGrids.compiled, marching.composite) == kept
    torch.testing.assert_close(compiled, twin)


def test_a_page_says_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    common = load("common")
    monkeypatch.setattr(sys, "argv", ["benchmarks/x.py", "--work", "/a", "--minutes", "5", "--results=/b"])
    origin = common.provenance(600.0, [0, 1])
    common.publish("x", "Title", "text", origin, {"run": metrics(30.0)}, tmp_path)
    page = (tmp_path / "x.md").read_text()
    assert page.startswith("# Title\n\ntext\n\n`python benchmarks/x.py --minutes 5` · commit c0ffee · seeds 0, 1 · ")
    assert "10 min of wall time" in page
    assert {p.name for p in tmp_path.iterdir()} == {"x.md", "x.json"}


def test_the_scene_at_rest_is_drawn_with_held_out_views(tmp_path: Path) -> None:
    from foreseen.data import load_dataset
    from foreseen.data.splits import make_splits

    bench = load("static_gaussians")
    bench.draw(tmp_path / "scene", views=10, size=16, seed=0)
    splits = make_splits(load_dataset(tmp_path / "scene"))
    assert {name: len(found) for name, found in splits.frames.items()} == {"train": 10, "interpolation": 1}
    picture = splits.frames["train"][0].rgba()
    assert picture.shape == (16, 16, 4) and 0.2 < float(picture[..., 3].mean()) < 0.9
    page = bench.page({"gaussians fast": metrics(36.0, ("interpolation",))}, 5.0, 10)
    assert "10 training views, 160 x 160 pixels, 5 minutes" in page
    assert "| gaussians fast | 36.00 | 0.90 | 0.50 | 300 | 5.00 |" in page


def test_the_viewers_speed_says_who_draws() -> None:
    for name in ("playwright", "viser"):
        pytest.importorskip(name)
    found = {
        "gaussians, as the viewer chooses": {
            "pictures_per_second": 11.26,
            "lines": 480,
            "draws": "server",
            "others": 2.0,
        },
        "gaussians, drawn by the browser": {"pictures_per_second": 3.0, "lines": 0, "draws": "browser", "others": 2.5},
    }
    page = load("viewer_speed").page(found, 20_000)
    assert "| 20,000 Gaussians, as the viewer chooses | server | 11.26 | 480 | 2.00 |" in page
    assert "| 20,000 Gaussians, drawn by the browser | browser | 3.00 |  | 2.50 |" in page


def test_node_rf_fast_by_scene_and_seed() -> None:
    module = load("node_rf_fast")
    found = {
        "pendulum": {"0": metrics(30.0), "1": metrics(34.0)},
        "oscillating-ball": {"0": metrics(20.0, ("unseen-sequence",))},
    }
    page = module.page(found, 10.0)
    swings, balls = page.split("## ")[1:]
    assert "| node-rf fast | 0.80 |  | 2.00 | 32.00 | 22.00 |" in swings and "| seed 1 | 0.80 |" in swings
    assert "| last-frame | 0.80 |  | 2.00 | 15.00 | 5.00 |" in swings
    assert "| node-rf fast | 0.80 |  | 2.00 | 20.00 | 10.00 |" in balls


def test_before_and_after_side_by_side() -> None:
    module = load("before_and_after")
    splats = [{"name": "W1", "threads": 2, "milliseconds": {"forward": [3.0, 2.0], "both": [5.0], "step": [7.0]}}]
    faster = [{"name": "W1", "threads": 2, "milliseconds": {"forward": [1.5, 4.0], "both": [5.0], "step": [6.0]}}]
    runs = {"hill": {"before": metrics(30.0), "after": metrics(31.0, ("forecast", "novel-view"))}}
    page = module.page({"runs": runs, "splats": {"before": splats, "after": faster}})
    assert "| hill | forecast | PSNR | 30 | 31 |" in page and "novel-view" not in page
    assert "| W1, 2 threads | forward | 2.00 | 1.50 |" in page
