"""What is in a file of Gaussians, and what looks doubtful about it."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from foreseen.data.inspection_report import InspectionSection, between, counted, number, numbers
from foreseen.scenes.files import read_splats
from foreseen.scenes.gaussians import Gaussians
from foreseen.scenes.moving_gaussians import MovingGaussians

QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
INVISIBLE = 1 / 255
"""Renderers skip Gaussians whose opacity is below this everywhere."""

LARGE_SHARE = 0.2
FAR_EXTENTS = 20.0
"""A Gaussian is far off if it lies beyond so many times the extent of the middle ninety per cent."""


def inspect_splats(path: Path) -> tuple[InspectionSection, ...]:
    """Sections of the report. Raises `UserError` where the file cannot be read."""
    file = read_splats(path)
    scene, first = file.scene, file.scene.first
    degree = math.isqrt(first.harmonics.shape[1]) - 1
    rows = [
        ("format", file.format),
        ("Gaussians", str(len(first.means))),
        ("spherical harmonics", f"degree {degree}"),
        ("background", numbers(first.background)),
    ]
    if first.extras is not None:
        rows.append(("extra channels", str(first.extras.shape[1])))
    if first.antialiased:
        rows.append(("antialiased", "yes"))
    contents = InspectionSection("What is there", tuple(rows), tuple(f"{note}." for note in file.notes))
    return (contents, *([_motion(scene)] if len(scene.times) else []), _place(first), _sizes(first))


def _motion(moving: Gaussians | MovingGaussians) -> InspectionSection:
    unit = f" {moving.time_unit}".rstrip()
    rows = [("times", f"{counted(len(moving.times), 'time')}, {between(moving.times.tolist())}{unit}")]
    rows += [(f"changing {name}", f"of {len(track.index)} Gaussians") for name, track in moving.tracks.items()]
    return InspectionSection("Motion", tuple(rows), () if moving.tracks else ("Nothing moves or changes.",))


def _place(gaussians: Gaussians) -> InspectionSection:
    means = gaussians.means.double()
    low, high = (_quantiles(means, (q,))[0] for q in (0.05, 0.95))
    centre, extent = (low + high) / 2, float((high - low).norm())
    far = int(((means - centre).norm(dim=-1) > FAR_EXTENTS * max(extent, 1e-12)).sum()) if len(means) > 20 else 0
    rows = (
        ("lowest corner", numbers(means.amin(0))),
        ("highest corner", numbers(means.amax(0))),
        ("nine of ten, each axis", f"{numbers(low)} to {numbers(high)}"),
    )
    doubts = (
        [f"{counted(far, 'Gaussian')} more than {FAR_EXTENTS:g} times further out than nine of ten."] if far else []
    )
    return InspectionSection("Place", rows, tuple(doubts))


def _sizes(gaussians: Gaussians) -> InspectionSection:
    scales, opacities = gaussians.scales.double(), gaussians.opacities.double()
    longest, shortest = scales.amax(-1), scales.amin(-1)
    extent = float((gaussians.means.amax(0) - gaussians.means.amin(0)).norm())
    unseen = float((opacities < INVISIBLE).double().mean())
    huge = int((longest > extent).sum()) if len(scales) > 1 else 0
    doubts = []
    if unseen > LARGE_SHARE:
        doubts.append(f"{unseen:.0%} of the Gaussians are too transparent to be seen (opacity below 1/255).")
    if huge:
        doubts.append(
            f"{counted(huge, 'Gaussian')} larger than the whole scene (a standard deviation above its extent)."
        )
    if float(opacities.amin()) == float(opacities.amax()) and len(opacities) > 1:
        doubts.append(f"All opacities are {number(opacities[0].item())}.")
    rows = (
        ("quantiles", ", ".join(f"{q:.0%}" for q in QUANTILES)),
        ("opacity", _format_quantiles(opacities)),
        ("longest axis", _format_quantiles(longest)),
        ("shortest axis", _format_quantiles(shortest)),
    )
    return InspectionSection("Opacity and scale", rows, tuple(doubts))


def _format_quantiles(values: torch.Tensor) -> str:
    return ", ".join(number(v) for v in _quantiles(values, QUANTILES).tolist())


def _quantiles(values: torch.Tensor, shares: tuple[float, ...]) -> torch.Tensor:
    """`[len(shares), ...]` along the leading axis; torch's own takes no more than 16 million values."""
    ordered = values.sort(dim=0).values
    return ordered[[round(share * (len(ordered) - 1)) for share in shares]]
