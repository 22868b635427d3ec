"""3D Gaussians at one time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from foreseen.errors import UserError

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
    """

    means: Tensor
    quaternions: Tensor
    scales: Tensor
    opacities: Tensor
    harmonics: Tensor
    background: tuple[float, float, float]
    extras: Tensor | None = None
    antialiased: bool = False

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
            wanted["extras"] = [(count, self.extras.shape[-1])]
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

    def only(self, some: Tensor) -> Gaussians:
        """Some of them, by `some` `[N]` bool or indices."""
        names = ("means", "quaternions", "scales", "opacities", "harmonics")
        extras = None if self.extras is None else self.extras[some]
        return replace(self, **{name: getattr(self, name)[some] for name in names}, extras=extras)
