"""The 4D form: read back exactly, and one clear line for what does not fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from foreseen.errors import UserError
from foreseen.scenes.files import moving, read_splats
from foreseen.scenes.moving_gaussians import ATTRIBUTES, AttributeTrack, MovingGaussians, gather_motion
from random_gaussians import random_gaussians

HEADER = {"version": 1, "background": [0.25, 0.5, 1.0], "antialiased": True, "time_unit": "s"}


def moving_gaussians() -> MovingGaussians:
    """Every attribute of some Gaussians changes."""
    rest = random_gaussians(7, 1, extras=2, antialiased=True)
    tracks = {}
    for i, name in enumerate(ATTRIBUTES):
        index = torch.tensor([i % 3, 4, 6])
        values = torch.stack([getattr(rest, name)[index] * share for share in (1, 0.75, 0.5)])
        tracks[name] = AttributeTrack(index, values)
    return MovingGaussians(rest, torch.tensor([0.1, 0.25, 2.0], dtype=torch.float64), tracks, "s")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    given = moving_gaussians()
    path = tmp_path / "a.safetensors"
    path.write_bytes(moving.encode(given))
    found = read_splats(path).scene
    assert isinstance(found, MovingGaussians)
    assert torch.equal(found.times, given.times) and found.time_unit == "s"
    assert found.first.background == given.first.background and found.first.antialiased
    assert set(found.tracks) == set(ATTRIBUTES)
    for time in (-1.0, 0.1, 0.2, 0.25, 1.0, 2.0, 3.0):
        for name in ATTRIBUTES:
            assert torch.equal(getattr(found.at(time), name), getattr(given.at(time), name)), (time, name)


def test_the_file_is_as_its_page_says(tmp_path: Path) -> None:
    """Another program needs safetensors and these names only."""
    rest = random_gaussians(1000, 0)
    means = rest.means.clone()
    means[5] += 1
    later = type(rest)(**(vars(rest) | {"means": means}))
    content = moving.encode(gather_motion([(0.0, rest), (1.0, later)], "s"))
    tensors = load_tensors(content)
    fixed = {"times", "means", "quaternions", "scales", "opacities", "harmonics"}
    assert set(tensors) == fixed | {"means.index", "means.values"}
    assert tensors["means.index"].tolist() == [5] and tensors["means.values"].shape == (2, 1, 3)
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    told = json.loads(metadata["moving_gaussians"])
    assert told == {"version": 1, "background": [0.25, 0.5, 1.0], "antialiased": False, "time_unit": "s"}
    assert len(content) < 1000 * 14 * 4 + 2000


def tensors() -> dict[str, Tensor]:
    return load_tensors(moving.encode(moving_gaussians()))


def change(name: str, to: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    found = tensors()
    return found | {name: to(found[name]).contiguous()}


def drop(name: str) -> dict[str, Tensor]:
    return {key: value for key, value in tensors().items() if key != name}


def nan_at_2(x: Tensor) -> Tensor:
    x[2] = float("nan")
    return x


@pytest.mark.parametrize(("content", "line"), [
    (lambda: drop("scales"), "'scales' is missing"),
    (lambda: drop("times"), "'times' is missing"),
    (lambda: drop("means.index"), "'means.index' is missing"),
    (lambda: drop("extras"), "'extras.values' is there, but not 'extras'"),
    (lambda: change("means", lambda x: x.double()), "'means' is torch.float64, not torch.float32"),
    (lambda: change("means", lambda x: x[:, :2]), r"'means' has the shape \(7, 2\), not \(7, 3\)"),
    (lambda: change("harmonics", lambda x: x[:, :3]), r"'harmonics' has the shape \(7, 3, 3\)"),
    (lambda: change("extras", lambda x: x[:3]), r"'extras' has the shape \(3, 2\)"),
    (
        lambda: change("opacities", nan_at_2),
        r"at the first time: the opacities of Gaussians are to be finite, but at \[2\]",
    ),
    (lambda: change("scales.values", lambda x: -x), "scales.values: the scales of Gaussians are to be above 0"),
    (lambda: change("means.values", lambda x: x[:2]), r"'means.values' has the shape \(2, 3, 3\)"),
    (lambda: change("means.index", lambda x: x + 1), "'means.index' is not ascending within the 7 Gaussians"),
    (lambda: change("means.index", lambda x: x.flip(0)), "'means.index' is not ascending"),
    (lambda: change("times", lambda x: x.flip(0)), "'times' is not a row of finite, ascending numbers"),
    (lambda: change("times", lambda x: x[:0]), "'times' is not a row"),
    (lambda: {name: x[:0] if x.shape[0] == 7 else x for name, x in tensors().items()}, "no Gaussians"),
])  # fmt: skip
def test_tensors_that_do_not_fit(tmp_path: Path, content: Callable[[], dict[str, Tensor]], line: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(save_tensors(content(), {"moving_gaussians": json.dumps(HEADER)}))
    with pytest.raises(UserError, match=line) as caught:
        read_splats(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("metadata", "line"), [
    (None, "holds no moving Gaussians"),
    ({"moving_gaussians": "{"}, "holds no moving Gaussians"),
    ({"moving_gaussians": json.dumps(HEADER | {"version": 2})}, "version 2 of moving Gaussians, not 1"),
    ({"moving_gaussians": json.dumps(HEADER | {"background": [0, 0, 7]})}, "'background' is not three numbers"),
    ({"moving_gaussians": json.dumps(HEADER | {"background": "red"})}, "'background' is not three numbers"),
])  # fmt: skip
def test_headers_that_do_not_fit(tmp_path: Path, metadata: dict[str, Any] | None, line: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(save_tensors(tensors(), metadata))
    with pytest.raises(UserError, match=line):
        read_splats(path)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100), (1 << 60).to_bytes(8, "little") + b"{}"])
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    for damaged in (content, moving.encode(moving_gaussians())[:-5]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"bad.safetensors is truncated or no safetensors file"):
            read_splats(path)


def test_endings_that_are_not_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing.ply is no file: give a file of Gaussians \(.ply, .splat, .spz"):
        read_splats(tmp_path / "nothing.ply")
    (tmp_path / "a.ksplat").touch()
    with pytest.raises(UserError, match=r"a.ksplat does not end as a file of Gaussians does: known are .ply"):
        read_splats(tmp_path / "a.ksplat")
