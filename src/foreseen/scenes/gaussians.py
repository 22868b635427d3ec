"""3D Gaussians at one time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

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

    def only(self, some: Tensor) -> Gaussians:
        """Some of them, by `some` `[N]` bool or indices."""
        names = ("means", "quaternions", "scales", "opacities", "harmonics")
        extras = None if self.extras is None else self.extras[some]
        return replace(self, **{name: getattr(self, name)[some] for name in names}, extras=extras)
