"""What the page says: groups and means, curves, tables, and what is missing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pretend_runs import TIMES, make_run, metrics, scores

from foreseen.cli import main
from foreseen.errors import UserError
from foreseen.report import write_report
from foreseen.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, charts
from foreseen.report.groups import arrange, mean_curve
from foreseen.report.record import read_record
from foreseen.report.tables import ReportTable, cost_table, scores_table, seeds_table


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.description: list[str] = []
        self._skip = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._skip = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self.description.append(data)


def words(page: Path) -> str:
    """The text of a page, its blanks single."""
    reader = _Words()
    reader.feed(page.read_text())
    return " ".join(" ".join(reader.description).split())


def report(*runs: Path, **options: Any) -> Path:
    """The page of runs, without what needs their weights."""
    return write_report(runs, runs[0].parent / "out" / "report.html", clips=0, analyze=False, **options)


def row(table: ReportTable, label: str) -> list[str]:
    (cells,) = (cells for name, cells in table.rows if name == label)
    return [" ".join(filter(None, [c.text, c.small])) + ("*" if c.best else "") for c in cells]


def test_seeds_are_one_group_with_its_mean_and_each(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"r{s}", v, seed=s) for s, v in enumerate((0.7, 0.8, 0.9))]
    (scene,) = arrange([read_record(run) for run in runs])
    (group,) = scene.groups
    table = scores_table(scene, "forecast")
    assert [c.name for c in table.columns] == ["d-nerf", "last-frame"]
    assert row(table, "mask IoU") == ["0.800 ± 0.100*", "0.300 ± 0.000"]
    assert row(table, "mask IoU, ceiling") == ["0.950 ± 0.000", ""]
    each = seeds_table(group, "forecast")
    assert each is not None and row(each, "mask IoU") == ["0.700", "0.800", "0.900"]
    said = words(report(*runs))
    assert "d-nerf has a mask IoU of 0.800, of at most 0.950" in said
    assert "The best baseline, last-frame, has 0.300." in said
    assert "Mean over 3 seeds" in said and "seeds 0, 1, 2" in said and "d-nerf, seed by seed" in said


def test_methods_on_the_same_data_stand_side_by_side(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", 0.9, method="rigid-ode")
    (scene,) = arrange([read_record(one), read_record(other)])
    assert row(scores_table(scene, "forecast"), "mask IoU") == ["0.500", "0.900*", "0.300"]
    lines = {line.name: line.style for line in charts(scene, "forecast")[0].lines}
    assert lines == {"last-frame": "b0", "d-nerf": "m0", "rigid-ode": "m1", "ceiling": "ceiling"}


def test_other_settings_are_another_group_and_named(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"r{w}", 0.5, width=w) for w in (16, 64)]
    (scene,) = arrange([read_record(run) for run in runs])
    first, second = (g.label for g in scene.groups)
    assert first == "d-nerf fast" and re.fullmatch(r"d-nerf fast \(width 16 -> 64\)", second)


def test_what_was_scored_otherwise_is_not_compared(tmp_path: Path) -> None:
    other = metrics(0.9)
    other["protocol"]["max_frames"] = 200
    runs = [make_run(tmp_path / "a", 0.5), make_run(tmp_path / "b", other, seed=1)]
    assert [len(s.records) for s in arrange([read_record(r) for r in runs])] == [1, 1]


def test_simulations_of_one_kind_with_their_own_seeds_are_one_group(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"r{s}", 0.5, seed=s, data=f"/data/hill-{s}") for s in range(2)]
    (scene,) = arrange([read_record(r) for r in runs])
    assert len(scene.groups) == 1 and scene.names == ["hill-0", "hill-1"]
    assert "data hill-0, hill-1" in words(report(*runs))


def test_other_data_with_the_same_seed_are_two_scenes(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / d, 0.5, data=f"/data/{d}") for d in ("cat", "dog")]
    runs += [make_run(tmp_path / f"{d}1", 0.5, seed=1, data=f"/data/{d}") for d in ("cat", "dog")]
    scenes = arrange([read_record(r) for r in runs])
    assert [s.names for s in scenes] == [["cat"], ["dog"]]
    assert [[r.config.train.seed for r in s.records] for s in scenes] == [[0, 1], [0, 1]]


def test_a_baseline_on_fewer_frames_is_not_marked_and_the_method_stands_beside(tmp_path: Path) -> None:
    few = scores(0.99, count=5, method_on_same_frames={"mask_iou": 0.6, "psnr": 18.0})
    found = metrics(0.5, baselines={"constant-velocity": {"forecast": few}, "true-dynamics": {"forecast": few}})
    (scene,) = arrange([read_record(make_run(tmp_path / "a", found))])
    table = scores_table(scene, "forecast")
    assert [c.name for c in table.columns] == [
        "d-nerf",
        "constant-velocity",
        "true-dynamics",
        "d-nerf, the same frames",
    ]
    assert row(table, "mask IoU") == ["0.500", "0.990", "0.990", "0.600"]
    assert row(table, "frames") == ["8", "5", "5", "5"]


def test_after_the_last_frame_the_nearest_is_not_told_twice(tmp_path: Path) -> None:
    both = {"forecast": scores(0.3), "novel-view": scores(0.4)}
    found = metrics(0.5, baselines={"last-frame": both, "nearest-frame": both})
    found["splits"]["novel-view"] = scores(0.6)
    (scene,) = arrange([read_record(make_run(tmp_path / "a", found))])
    assert list(scene.baselines("forecast")) == ["last-frame"]
    assert list(scene.baselines("novel-view")) == ["last-frame", "nearest-frame"]


def test_curves_are_drawn_where_the_numbers_are(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"r{s}", v, seed=s) for s, v in enumerate((0.7, 0.9))]
    (scene,) = arrange([read_record(run) for run in runs])
    chart = next(c for c in charts(scene, "forecast") if c.label == "mask IoU")
    (mean,) = (line for line in chart.lines if line.name == "d-nerf" and not line.single)
    assert len([line for line in chart.lines if line.single]) == 2
    points = [tuple(map(float, point.split(","))) for point in mean.points.split()]
    across = [LEFT + t / TIMES[-1] * (WIDTH - LEFT - RIGHT) for t in TIMES]
    assert [x for x, _ in points] == pytest.approx(across, abs=0.1)
    # The scale that the ticks tell, at the mean of both seeds.
    (low, first), (high, last) = ((y, float(label)) for y, label in (chart.y_ticks[0], chart.y_ticks[-1]))
    values = [first + (y - low) / (high - low) * (last - first) for _, y in points]
    assert values == pytest.approx([0.8 - t for t in TIMES], abs=0.005)
    assert all(0 <= y <= HEIGHT - BOTTOM for _, y in points)


def test_courses_are_averaged_where_all_have_a_value() -> None:
    assert mean_curve([[(0.0, 1.0), (1.0, 3.0)], [(1.0, 5.0), (2.0, 7.0)]]) == [(1.0, 4.0)]
    assert mean_curve([]) == []


def test_physics_and_uncertainty(tmp_path: Path) -> None:
    found = metrics(0.5)
    found["splits"]["forecast"] |= {
        "consistency": {"clips": 1, "frames": 8, "permanence": 0.875, "truth": {"frames": 8, "permanence": 1.0}},
        "uncertainty": {
            "band": 0.9,
            "coverage": 0.93,
            "width": 0.12,
            "count": 8,
            "ensemble": 17,
            "undecided": {"one": [13 / 17, 4 / 17]},
        },
    }
    said = words(report(make_run(tmp_path / "a", found)))
    assert "object permanence 0.875 1.000 1" in said
    assert "forecast: 93% of the true centres lie in the 90% band, which is 0.12 m wide" in said
    assert "one could go either way: of 17 sampled trajectories 13, 4 end together." in said


def test_the_most_memory_of_any_run_is_told(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(seed), 0.5, seed=seed) for seed in (0, 1, 2)]
    for run, state in zip(runs, ({"memory_mb": {"process": 812.4}}, {"memory_mb": {"process": 1200, "gpu": 99.6}}, {})):
        place = run / "checkpoints" / "step-000100"
        place.mkdir(parents=True)
        (place / "state.json").write_text(json.dumps(state))
    (scene,) = arrange(list(map(read_record, runs)))
    assert row(cost_table(scene), "memory while training") == ["1,200 MB, 100 MB of the GPU"]
    (place / "state.json").write_text('{"memory_mb": {"process": "much"}}')
    with pytest.raises(UserError, match=r"memory_mb\.process is no finite number: remove that checkpoint"):
        read_record(runs[-1])


def test_a_run_without_scores_says_how_to_get_them(tmp_path: Path) -> None:
    bare, other = make_run(tmp_path / "bare", None), make_run(tmp_path / "a", 0.5, seed=1)
    assert f"{bare} has no scores yet: foreseen evaluate {bare}" in words(report(bare))
    odd = make_run(tmp_path / "x; rm -r y", None)
    assert f"foreseen evaluate '{odd}'" in words(report(odd))  # harmless where it is pasted
    said = words(report(bare, other))
    assert "has no scores yet" in said and "mask IoU of 0.500" in said


def test_a_run_without_weights_or_data_has_no_clips_and_says_why(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 0.5)
    before = sorted(run.rglob("*"))
    said = words(write_report([run], tmp_path / "report.html"))
    assert "neither clips nor dynamics: the run in" in said and "has no checkpoint yet" in said
    assert sorted(run.rglob("*")) == before


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "a", 0.5), tmp_path / "report.html"
    for runs, page, options, why in (
        ([], out, {}, "give at least one run"),
        ([run, tmp_path / "." / "a"], out, {}, "is given twice"),
        ([tmp_path], out, {}, "holds no run"),
        ([run], tmp_path / "report.pdf", {}, "end the name in .html"),
        ([run], out, {"clips": -1}, "--clips -1"),
        ([run], out, {"frames": 1}, "--frames 1"),
    ):
        with pytest.raises(UserError, match=why):
            write_report(runs, page, **options)
    assert not out.exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(make_run(tmp_path / f"r{s}", 0.5, seed=s)) for s in range(2)]
    out = tmp_path / "page.html"
    main(["report", *runs, "--out", str(out), "--clips", "0", "--no-analyze"])
    assert f"wrote {out}" in " ".join(capsys.readouterr().out.split())
    assert words(out).startswith("d-nerf on pendulum")
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(tmp_path / "nothing"), "--out", str(out)])
    assert "holds no run" in capsys.readouterr().err
