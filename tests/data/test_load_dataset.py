"""Which reader reads a folder, and what a folder can lack."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_files import frame, write_blender, write_document, write_nerfstudio

import foreseen.data
from foreseen.data import FORMATS, find_format, load_dataset, make_splits
from foreseen.errors import UserError


def message(path: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset(path, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("name", "file"), [(n, f) for n, entry in FORMATS.items() for f in entry.files])
def test_a_file_tells_the_format(tmp_path: Path, name: str, file: str) -> None:
    (tmp_path / file).touch()
    assert find_format(tmp_path) == name
    assert (Path(foreseen.data.__file__).parent / "readers" / f"{name}.py").is_file()


def test_the_format_may_be_said(tmp_path: Path) -> None:
    write_nerfstudio(write_blender(tmp_path))
    assert load_dataset(tmp_path).format == "nerfstudio"
    assert load_dataset(tmp_path, format="blender").format == "blender"


def test_folders_without_data(tmp_path: Path) -> None:
    assert message(tmp_path / "none") == f"{tmp_path / 'none'} does not exist: give the folder of a data set"
    assert message(tmp_path) == f"{tmp_path} is empty: give the folder of a data set"
    (tmp_path / "notes.txt").touch()
    assert message(tmp_path / "notes.txt") == f"{tmp_path / 'notes.txt'} is a file: give the folder of a data set"
    assert message(tmp_path) == (
        f"{tmp_path} holds no data set (none of transforms.json, transforms_train.json, transforms_val.json,"
        " transforms_test.json, precomputed.json, poses_bounds.npy): give its folder, the path of a video or array,"
        " or the format"
    )
    assert message(tmp_path, format="blender") == (
        f"{tmp_path} has none of transforms_train.json, transforms_val.json, transforms_test.json: restore them"
    )
    assert "transforms.json is absent: restore it, or give the folder that holds it" in message(
        tmp_path, format="nerfstudio"
    )


def test_unknown_names_are_answered_with_the_nearest(tmp_path: Path) -> None:
    write_blender(tmp_path)
    assert message(tmp_path, format="blendr") == "unknown data format 'blendr': did you mean 'blender'?"
    assert message(tmp_path, format="xyz").startswith(
        "unknown data format 'xyz': known: array, blender, llff, nerfstudio"
    )


def test_a_background_is_a_colour(tmp_path: Path) -> None:
    write_blender(tmp_path)
    assert message(tmp_path, background=(0, 0, 255)) == "--background 0 0 255: give red, green and blue from 0 to 1"
    assert message(tmp_path, background=(0, 1)) == "--background 0 1: give red, green and blue from 0 to 1"


def test_a_capture_of_one_instant_holds_every_eighth_picture_out(tmp_path: Path) -> None:
    write_nerfstudio(tmp_path, frames=[frame(i, 9, time=2.0) for i in range(9)], count=9)
    splits = make_splits(load_dataset(tmp_path))
    assert [f.image_path.name for f in splits.frames["novel-view"]] == ["000.png", "008.png"]
    assert len(splits.frames["train"]) == 7 and splits.observed_until == 2.0
    assert splits.protocol.startswith("All frames have one time")


def test_the_memory_budget_reaches_the_frames(tmp_path: Path) -> None:
    frames = list(load_dataset(write_blender(tmp_path), memory_budget_mb=3).frames)
    assert {id(f.cache) for f in frames} == {id(frames[0].cache)} and frames[0].cache.budget_mb == 3


def test_downscaling_keeps_what_is_seen(tmp_path: Path) -> None:
    data = load_dataset(write_blender(tmp_path))
    small = next(iter(data.downscale(2).frames))
    full = next(iter(data.frames))
    assert small.image().shape == (3, 4, 3) and data.downscale(1) is data
    assert (small.camera.fx, small.camera.cx) == (full.camera.fx / 2, full.camera.cx / 2)


def test_broken_json_names_the_line_through_the_top_level_function(tmp_path: Path) -> None:
    write_document(tmp_path / "transforms_train.json", {})
    assert message(tmp_path).endswith("transforms_train.json has no 'frames': a transforms file lists at least one")


def test_what_the_room_offers() -> None:
    names = "FORMATS Dataset Frame GroundTruth ImageCache ReaderEntry Sequence Splits find_format load_dataset"
    assert foreseen.data.__all__ == [*names.split(), "load_datasets", "make_splits"]
    assert all(hasattr(foreseen.data, name) for name in foreseen.data.__all__)


def test_readers_are_loaded_when_used() -> None:
    code = "import sys, foreseen.data; print([m for m in sys.modules if m.startswith('foreseen.data.readers.')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_folders_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    write_blender(tmp_path)
    monkeypatch.setattr(Path, "is_dir", refuse)
    assert message(tmp_path) == f"{tmp_path} may not be read: change its permissions"
