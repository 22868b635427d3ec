"""3D Gaussians at one time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from foreseen.errors import UserError
from foreseen.scenes.attribute_track import AttributeTrack

DEGREES = (0, 1, 2, 3)
"""Of spherical harmonics; degree k has (k + 1)^2 coefficients for each colour."""


@dataclass(frozen=True)
class Gaussians:
    """N ellipsoids of normal density, composited front to back (Kerbl et al. 2023).

    Attributes:
        means: `[N, 3]`, in scene units.
        quaternions: `[N, 4]` real part first, of any length above 0: from a Gaussian's own axes to the world's.
        scales: `[N, 3]` standard deviations along its own axes, above 0, in scene units.
        opacities: `[N]` in 0..1.
        harmonics: `[N, K, 3]` real spherical harmonics of the colour by the direction from the camera, K = 1, 4, 9 or
            16; colour = 0.5 + harmonics . basis, below 0 cut.
        background: colour behind everything.
        extras: `[N, E]` other channels (features, flow, object ids), composited on 0, or None.
        antialiased: a Gaussian that is widened to a pixel's size loses opacity for it (Yu et al. 2024).
        extra_names: name and width of each block of columns of `extras`, in order, such as (("flow", 3), ("blend", 1)).
            Empty: all columns are one block named "extras". Files do not store the names.

    Static Gaussians have the interface of `MovingGaussians`: `times`, `time_unit`, `tracks`, `first` and `at`.
    """

    means: Tensor
    quaternions: Tensor
    scales: Tensor
    opacities: Tensor
    harmonics: Tensor
    background: tuple[float, float, float]
    extras: Tensor | None = None
    antialiased: bool = False
    extra_names: tuple[tuple[str, int], ...] = ()
    time_unit: ClassVar[str] = ""

    @property
    def times(self) -> Tensor:
        """`[0]` float64: static Gaussians know no times."""
        return torch.zeros(0, dtype=torch.float64)

    @property
    def tracks(self) -> Mapping[str, AttributeTrack]:
        """Empty: nothing changes over time."""
        return {}

    @property
    def first(self) -> Gaussians:
        """The Gaussians at the first time: these."""
        return self

    def at(self, time: float) -> Gaussians:
        """The Gaussians at any time: these."""
        del time
        return self

    def named_channels(self, values: Tensor | None) -> dict[str, Tensor]:
        """`values` `[..., E]`, such as the splatted `extras`, by the names of their blocks; none where they are
        None."""
        if values is None:
            return {}
        blocks = self.extra_names or (("extras", values.shape[-1]),)
        return dict(zip((name for name, _ in blocks), values.split([width for _, width in blocks], dim=-1)))

    def check(self) -> None:
        """Raises `UserError` where a tensor has not the shape that is stated above, or another type than the means."""
        count, bases = len(self.means), [(degree + 1) ** 2 for degree in DEGREES]
        wanted: dict[str, list[tuple[int, ...]]] = {
            "means": [(count, 3)],
            "quaternions": [(count, 4)],
            "scales": [(count, 3)],
            "opacities": [(count,)],
            "harmonics": [(count, basis, 3) for basis in bases],
        }
        if self.extras is not None:
            width = sum(width for _, width in self.extra_names) if self.extra_names else self.extras.shape[-1]
            wanted["extras"] = [(count, width)]
        for name, shapes in wanted.items():
            tensor: Tensor = getattr(self, name)
            if tensor.shape not in shapes:
                words = " or ".join(str(list(shape)) for shape in shapes)
                raise UserError(f"Gaussians: {name} are {list(tensor.shape)}, and must be {words}.")
            if (tensor.dtype, tensor.device) != (self.means.dtype, self.means.device):
                raise UserError(
                    f"Gaussians: {name} are {tensor.dtype} on {tensor.device}, and the means {self.means.dtype} on "
                    f"{self.means.device}: all must be alike."
                )

    def only(self, selection: Tensor) -> Gaussians:
        """The selected Gaussians, by `selection` `[N]` bool or indices."""
        names = ("means", "quaternions", "scales", "opacities", "harmonics")
        extras = None if self.extras is None else self.extras[selection]
        return replace(self, **{name: getattr(self, name)[selection] for name in names}, extras=extras)
