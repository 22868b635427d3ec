"""Encodings of coordinates."""

import torch
from torch import Tensor, nn


class PositionalEncoding(nn.Module):
    """`(x, sin x, cos x, sin 2x, cos 2x, ..., sin 2^(L-1) x, cos 2^(L-1) x)` of each of the `dims`
    coordinates.

    Source: Mildenhall et al. 2020 (NeRF), equation 4, which multiplies x by pi. The authors' code, and every field
    that was tuned with it, leaves pi out and keeps x itself; so do we.

    Attributes:
        outputs: width of the encoding, `dims * (2 * levels + include_input)`.
    """

    frequencies: Tensor

    def __init__(self, levels: int, dims: int, include_input: bool = True) -> None:
        super().__init__()
        self.include_input = include_input
        self.outputs = dims * (2 * levels + int(include_input))
        self.register_buffer("frequencies", 2.0 ** torch.arange(levels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., dims]` -> `[..., outputs]`: the input first where included, then sine and cosine level by
        level."""
        angles = x[..., None, None, :] * self.frequencies[:, None, None]
        waves = torch.cat([angles.sin(), angles.cos()], dim=-2).flatten(-3)
        return torch.cat([x, waves], dim=-1) if self.include_input else waves
