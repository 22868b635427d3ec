"""2D Gaussians in the plane of a picture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from foreseen.errors import UserError


@dataclass(frozen=True)
class ImageGaussians:
    """N ellipses of normal density, summed: no order, no opacity, no background (as in PredGS, Tang et al. 2026).

    Any leading axes (frames, sequences) are pictures of their own.

    Attributes:
        means: `[..., N, 2]` x and y in pixels; the first pixel's centre is (0.5, 0.5).
        scales: `[..., N, 2]` standard deviations along a Gaussian's own axes, above 0, in pixels.
        angles: `[..., N]` from the picture's x axis to a Gaussian's first axis, towards y [rad].
        weights: `[..., N, C]` height of the peak in every channel, of any sign.
    """

    means: Tensor
    scales: Tensor
    angles: Tensor
    weights: Tensor

    def check(self) -> None:
        """Raises `UserError` where a tensor has not the shape that is stated above, or another type than the means."""
        rows = self.means.shape[:-1]
        wanted = {"means": (*rows, 2), "scales": (*rows, 2), "angles": rows, "weights": (*rows, self.weights.shape[-1])}
        for name, shape in wanted.items():
            tensor: Tensor = getattr(self, name)
            if tensor.shape != shape or tensor.dtype != self.means.dtype:
                raise UserError(
                    f"2D Gaussians: {name} are {list(tensor.shape)} of {tensor.dtype}, and must be {list(shape)} of "
                    f"{self.means.dtype}."
                )
