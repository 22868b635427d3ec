"""Several data sets in one run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_files import write_blender, write_nerfstudio

from foreseen.core.scene_info import scene_info
from foreseen.data import load_dataset, load_datasets, make_splits
from foreseen.data.collection import collect
from foreseen.errors import UserError


def test_sequences_keep_their_own_scene(tmp_path: Path) -> None:
    paths = [write_blender(tmp_path / "a", {"train": 4}), write_nerfstudio(tmp_path / "b"), tmp_path / "a"]
    alone = [load_dataset(path) for path in paths]
    alone[1] = replace(alone[1], near=0.5, bounds=2 * alone[1].bounds)
    data = collect(alone)
    assert [s.name for s in data.sequences] == ["a/sequence-0", "b/sequence-0", "a-2/sequence-0"]
    assert data.paths == tuple(paths) and data.format == "several" and data.name == "a + b + a-2"
    assert (data.near, data.far) == (0.5, max(d.far for d in alone))
    assert torch.equal(data.bounds[1], torch.stack([d.bounds[1] for d in alone]).amax(0))
    splits = make_splits(data)
    info = scene_info(data, splits)
    assert info.names == tuple(s.name for s in data.sequences)
    for own, dataset in zip(info.sequences, alone, strict=True):
        assert (own.near, own.far) == (dataset.near, dataset.far)
        assert torch.equal(torch.tensor(own.bounds), dataset.bounds) and own.size == next(dataset.frames).size
    assert torch.equal(torch.tensor(info.bounds), data.bounds) and info.has_alpha


def test_one_path_is_that_data_set(tmp_path: Path) -> None:
    write_blender(tmp_path)
    data = load_datasets([tmp_path])
    assert data.sequences[0].name == "sequence-0" and data.paths == ()
    assert make_splits(data).hash == make_splits(load_dataset(tmp_path)).hash


def test_the_hash_does_not_depend_on_where_the_folders_lie(tmp_path: Path) -> None:
    hashes = []
    for place in ("x", "y"):
        paths = [write_blender(tmp_path / place / "a"), write_nerfstudio(tmp_path / place / "b")]
        hashes.append(make_splits(load_datasets(paths)).hash)
    assert hashes[0] == hashes[1]


def test_data_sets_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    data = load_dataset(write_blender(tmp_path))
    for other, what in (
        (replace(data, ndc=True), "normalised device coordinates True and False"),
        (replace(data, value_range=(0.0, 2.0)), r"range of values \(0.0, 2.0\) and \(0.0, 1.0\)"),
    ):
        with pytest.raises(UserError, match=f"cannot be joined with .*: {what}; give data sets that agree in this"):
            collect([data, other])
    with pytest.raises(UserError, match="no data set is given"):
        load_datasets([])
