"""A run from a stranger can neither run code, nor make the page carry files of the reader, nor call home."""

import base64
import hashlib
import json
import os
import pickle
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin
from pretend_runs import EVIL, assert_harmless, evil_metrics, make_run, metrics, tags

from foreseen.errors import UserError
from foreseen.report import write_report
from foreseen.report.clips import make_clips
from foreseen.report.record import read_record
from sliding_square import PretendRun, make_dataset


def test_markup_from_a_run_is_text(tmp_path: Path) -> None:
    more = {"data": f"/data/{EVIL.replace('/', '')}", "commit": EVIL, "cpu": EVIL, "protocol": EVIL, "bodies": EVIL}
    run = make_run(tmp_path / EVIL.replace("/", ""), evil_metrics(), **more)
    page = write_report([run, make_run(tmp_path / "b", 0.5)], tmp_path / "report.html", clips=0, analyze=False)
    assert "&lt;script&gt;alert(1)" in page.read_text()  # it did arrive, as text
    assert_harmless(page)


def test_the_page_forbids_scripts_and_the_network(tmp_path: Path) -> None:
    page = write_report([make_run(tmp_path / "a", 0.5)], tmp_path / "report.html", clips=0, analyze=False)
    (policy,) = (a["content"] for t, a in tags(page) if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "default-src 'none'" in policy and "script" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", page.read_text(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "http://" not in page.read_text() and "https://" not in page.read_text()


def test_a_data_path_that_climbs_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 0.5, data="../../home/private")
    with pytest.raises(UserError, match=r"train\.data is '../../home/private', which climbs out of its folder: write"):
        write_report([run], tmp_path / "report.html", clips=0, analyze=False)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "analysis.json", "ensemble.png"])
def test_links_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "a", 0.5)
    secret = tmp_path / "secret"
    secret.write_bytes((run / name).read_bytes() if (run / name).exists() else b"{}")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to("../secret")
    with pytest.raises(UserError, match=rf"{re.escape(name)} leads out of the run's folder by a link"):
        write_report([run], tmp_path / "report.html", clips=0, analyze=False)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_checkpoints_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    """Of all steps: where the newest cannot be read, an older one is."""
    run = make_run(tmp_path / "a", 0.5)
    for step in ("step-000001", "step-000002"):
        (run / "checkpoints" / step).mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"{}")
    (run / "checkpoints/step-000001" / name).symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match=rf"step-000001/{name} leads out of the run's folder by a link: put the"):
        write_report([run], tmp_path / "report.html", clips=0, analyze=False)


@pytest.mark.parametrize("name", ["images", "masks", "backgrounds"])
def test_pictures_of_the_data_that_lead_out_are_not_shown(tmp_path: Path, name: str) -> None:
    """Elsewhere links in a data set are its owner's affair; a report is sent to others."""
    run = PretendRun(tmp_path, make_dataset(tmp_path / "data"))
    record = read_record(make_run(tmp_path / "a", 0.5))
    assert make_clips(run, record, 1, 2, lambda share, doing: None)  # type: ignore[arg-type]
    (tmp_path / "data" / name).rename(tmp_path / "private")
    (tmp_path / "data" / name).symlink_to("../private")
    with pytest.raises(UserError, match=rf"data/{name}/\w+\.png leads out of the data set's folder by a link: put the"):
        make_clips(run, record, 1, 2, lambda share, doing: None)  # type: ignore[arg-type]


def test_names_in_an_analysis_are_no_markup(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 0.5)
    (run / "analysis.json").write_text(json.dumps(analysis("[/x]")))
    page = write_report([run], tmp_path / "report.html", clips=0, analyze=False)
    assert page.read_text().count("[/x]") >= 4
    assert_harmless(page)


def analysis(name: str) -> dict[str, Any]:
    """An analysis.json with that name wherever it has one."""
    place = {"position": [0.0, 0.0, 0.0], "stability": name}
    true = {"name": name, "nearest": 0, "distance": 0.1, "share_of_scene_size": 0.01, "same_stability": False}
    point = {"position": None, "out_of_range": False, "deviation": None, "eigenvalues": [[1.0, 0.0]]}
    spread = {"smallest": 0.0, "largest": 1.0, "mean": 0.5}
    return {
        "length_unit": name, "time_unit": name, "notes": [name], "sequences": 1, "scene_size": None,
        "fixed_points": [{**point, "kind": name, "stability": name}], "true_points": [place | true],
        "state": {"size": 2, "second_order": True}, "energy": None, "drag": None, "body_energy": None,
        "lyapunov": {"mean": None, "words": name, "growth_within_window": []},
        "indicator": {"indicator": spread, "divergence": spread, "code": name},
    }  # fmt: skip


def test_pixels_alone_come_through(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 0.5)
    note = PngImagePlugin.PngInfo()
    note.add_text("comment", "a secret of the author", zip=False)
    Image.new("RGB", (60, 40), (200, 30, 30)).save(run / "ensemble.png", pnginfo=note)
    page = write_report([run], tmp_path / "report.html", clips=0, analyze=False).read_text()
    (found,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    content = base64.b64decode(found)
    assert b"a secret" in (run / "ensemble.png").read_bytes() and b"a secret" not in content
    (tmp_path / "seen.png").write_bytes(content)
    with Image.open(tmp_path / "seen.png") as seen:
        assert seen.size == (60, 40) and seen.convert("RGB").getpixel((5, 5)) == (200, 30, 30)


def test_what_is_no_picture_is_not_carried(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 0.5)
    (run / "ensemble.png").write_text("-----BEGIN PRIVATE KEY-----")
    with pytest.raises(UserError, match=r"ensemble\.png is no PNG image: remove it"):
        write_report([run], tmp_path / "report.html", clips=0, analyze=False)


@pytest.mark.parametrize(
    "broken",
    [
        '{"step": 1e999}',
        json.dumps(metrics(0.5) | {"step": EVIL}),
        json.dumps(metrics(0.5) | {"step": 10**400}),
        json.dumps(metrics(0.5) | {"splits": [EVIL]}),
        json.dumps(metrics(0.5) | {"splits": {"forecast": {"count": 3, "psnr": EVIL}}}),
        json.dumps(metrics(0.5) | {"splits": {"forecast": {"count": 3, "by_time": [{"after": float("nan")}]}}}),
        json.dumps(metrics(0.5) | {"baselines": {"x": 3}}),
        "[" * 100_000,
        "not json",
    ],
)
def test_broken_scores_are_one_line(tmp_path: Path, broken: str) -> None:
    run = make_run(tmp_path / "a", 0.5)
    (run / "metrics.json").write_text(broken)
    with pytest.raises(UserError, match=r"metrics\.json.*: run `foreseen evaluate` again"):
        write_report([run], tmp_path / "report.html", clips=0, analyze=False)


@pytest.mark.parametrize("content", ["{}", '{"fixed_points": 3, "length_unit": 1, "notes": []}', "[]"])
def test_a_broken_analysis_is_one_line(tmp_path: Path, content: str) -> None:
    run = make_run(tmp_path / "a", 0.5)
    (run / "analysis.json").write_text(content)
    with pytest.raises(UserError, match=r"analysis\.json.*run `foreseen analyze` again"):
        write_report([run], tmp_path / "report.html", clips=0, analyze=False)


class _Planted:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_code_planted_as_weights_does_not_run(tmp_path: Path) -> None:
    run, mark = make_run(tmp_path / "a", 0.5), tmp_path / "it-ran"
    folder = run / "checkpoints" / "step-000001"
    folder.mkdir(parents=True)
    planted = pickle.dumps(_Planted(mark))
    for name in ("model.safetensors", "optimizer.safetensors"):
        (folder / name).write_bytes(planted)
    sums = {name: zlib.crc32(planted) for name in ("model.safetensors", "optimizer.safetensors")}
    state = {
        "step": 1,
        "train_seconds": 1.0,
        "final": True,
        "versions": {},
        "crc32": sums,
        "samplers": [],
        "random": {},
    }
    (folder / "state.json").write_text(json.dumps(state))
    page = write_report([run], tmp_path / "report.html")
    assert "neither clips nor dynamics:" in page.read_text() and not mark.exists()
    pickle.loads(planted)
    assert mark.exists()  # it would have
