"""Several data sets as one: sequences keep their own cameras, sizes, bounds and backgrounds."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import fields, replace

import torch

from foreseen.data.types import Dataset, Sequence
from foreseen.errors import UserError


def collect(datasets: Many[Dataset]) -> Dataset:
    """The sequences of all data sets, named "NAME/SEQUENCE"; equal names get a number.

    Near, far and bounds of the whole hold those of all; every sequence keeps its own.

    Raises:
        UserError: no data set; data sets that differ in channels, range of values, the space of rays, in whether
            cameras are known, or in the options with which they were read.
    """
    if not datasets:
        raise UserError("no data set is given: give one folder or more")
    first = datasets[0]
    if len(datasets) == 1:
        return first
    for other in datasets[1:]:
        _check_alike(first, other)
    names = _names(datasets)
    box = torch.stack([dataset.bounds for dataset in datasets])
    return replace(
        first,
        name=" + ".join(names),
        format=first.format if len({d.format for d in datasets}) == 1 else "several",
        sequences=tuple(_renamed(d, s, name) for d, name in zip(datasets, names, strict=True) for s in d.sequences),
        near=min(dataset.near for dataset in datasets),
        far=max(dataset.far for dataset in datasets),
        bounds=torch.stack([box[:, 0].amin(0), box[:, 1].amax(0)]),
        time_unit=_common(dataset.time_unit for dataset in datasets),
        length_unit=_common(dataset.length_unit for dataset in datasets),
        warnings=tuple(f"{name}: {text}" for d, name in zip(datasets, names, strict=True) for text in d.warnings),
        paths=tuple(dataset.path for dataset in datasets),
    )


def _check_alike(first: Dataset, other: Dataset) -> None:
    properties = {
        "channels": (first.channels, other.channels),
        "range of values": (first.value_range, other.value_range),
        "normalised device coordinates": (first.ndc, other.ndc),
        "known cameras": (first.has_cameras, other.has_cameras),
    }
    for option in fields(first.options):  # a run records each of them once, for all of its data sets
        properties[f"option {option.name}"] = tuple(getattr(d.options, option.name) for d in (first, other))
    for name, (expected, stated) in properties.items():
        if expected != stated:
            raise UserError(
                f"{other.path} cannot be joined with {first.path}: {name} {stated} and {expected}; give data sets that"
                " agree in this"
            )


def _names(datasets: Many[Dataset]) -> list[str]:
    names: list[str] = []
    for dataset in datasets:
        name, number = dataset.name, 2
        while name in names:
            name, number = f"{dataset.name}-{number}", number + 1
        names.append(name)
    return names


def _renamed(dataset: Dataset, sequence: Sequence, name: str) -> Sequence:
    full = f"{name}/{sequence.name}"
    frames = tuple(replace(frame, sequence=full) for frame in sequence.frames)
    return replace(sequence, name=full, frames=frames, extent=dataset.extent_of(sequence))


def _common(units: Iterable[str]) -> str:
    different = set(units)
    return different.pop() if len(different) == 1 else "unknown"
