"""The examples of docs/data.md work."""

import json
import re
from pathlib import Path

import pytest
from tiny_files import picture

import foreseen
from foreseen.data import FORMATS, make_splits
from foreseen.data.splits import SPLITS

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def test_the_file_by_hand_is_read(tmp_path: Path) -> None:
    text, truth = re.findall(r"```json\n(.*?)```", PAGE, re.S)
    (tmp_path / "transforms.json").write_text(text)
    for name in ("0", "1"):
        picture(tmp_path / f"images/{name}.png", size=(160, 120))
    data = foreseen.load_dataset(tmp_path)
    assert (data.near, data.far, data.time_unit, data.warnings) == (1.0, 6.0, "s", ())
    assert [(f.camera_id, f.time) for f in data.sequences[0].frames] == [("left", 0.0), ("left", 0.1)]
    assert json.loads(truth)["bodies"] == ["bob"]
    camera = data.sequences[0].frames[0].camera
    assert camera.camera_to_world[:3, 2].tolist() == pytest.approx([0, 1, 0])  # it looks along y, into the bounds
    assert make_splits(data).frames["train"] == data.sequences[0].frames


def test_the_page_names_every_format_and_split() -> None:
    for name in (*FORMATS, *SPLITS):
        assert f"| `{name}` |" in PAGE
