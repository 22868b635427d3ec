"""The network of the original NeRF, with an optional code for the scene or the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foreseen.nn.encodings import PositionalEncoding
from foreseen.nn.lipschitz import applied_weight
from foreseen.nn.mlp import LinearFactory


class NeRFNetwork(nn.Module):
    """Positions, directions and a code -> density and colour.

    Source: Mildenhall et al. 2020 (NeRF), appendix A, figure 7. The code is joined to the input of the first
    layer and of the layer that sees the direction.

    Args:
        code: width of the code; 0: none.
        width, layers: of the trunk; the layer that sees the direction is half as wide.
        skip: index of the trunk layer whose output is joined with the encoded position again.
        position_levels, direction_levels: octaves of the encodings, identity included.
        linear: makes the layers.
        rectify: makes the density positive.
    """

    def __init__(
        self,
        code: int = 0,
        *,
        width: int = 256,
        layers: int = 8,
        skip: int = 4,
        position_levels: int = 10,
        direction_levels: int = 4,
        linear: LinearFactory = nn.Linear,
        rectify: Callable[[Tensor], Tensor] = torch.relu,
    ) -> None:
        super().__init__()
        self.skip, self.rectify = skip, rectify
        self.encode_position = PositionalEncoding(position_levels, 3)
        self.encode_direction = PositionalEncoding(direction_levels, 3)
        position, direction = self.encode_position.outputs, self.encode_direction.outputs
        inputs = [position + code, *(width + (position if i == skip else 0) for i in range(layers - 1))]
        self.trunk = nn.ModuleList(linear(n, width) for n in inputs)
        self.density = linear(width + (position if skip == layers - 1 else 0), 1)
        self.feature = linear(self.density.in_features, width)
        self.view = linear(width + direction + code, width // 2)
        self.color = linear(width // 2, 3)

    def forward(
        self, positions: Tensor, directions: Tensor, codes: Tensor | None = None, which: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Density `[M]` per unit of `positions`, and colour `[M, 3]` in 0..1.

        Args:
            positions: `[M, 3]`, best within -pi..pi: the lowest wave has that period.
            directions: `[M, 3]` unit vectors.
            codes: `[U, code]`, None where the network has none.
            which: `[M]` int64, the code of each point; not needed where U = 1.
        """
        x = self.encode_position(positions)
        h = joined(self.trunk[0], [x], codes, which).relu_()
        for i, layer in enumerate(self.trunk[1:]):
            h = joined(layer, [x, h] if i == self.skip else [h]).relu_()
        parts = [x, h] if self.skip == len(self.trunk) - 1 else [h]
        seen = [joined(self.feature, parts), self.encode_direction(directions)]
        color = self.color(joined(self.view, seen, codes, which).relu_()).sigmoid()
        return self.rectify(joined(self.density, parts)[..., 0]), color


def shifted_softplus(x: Tensor) -> Tensor:
    """softplus(x - 1). A field that has become empty everywhere still gets a gradient, where ReLU has none
    and training never recovers. Source: Barron et al. 2021 (mip-NeRF), appendix."""
    return F.softplus(x - 1)


def joined(
    layer: nn.Module, parts: Sequence[Tensor], codes: Tensor | None = None, which: Tensor | None = None
) -> Tensor:
    """`layer(cat([*parts, codes[which]]))` for `parts` `[M, n_i]` and `codes` `[U, m]`.

    The joined rows are not stored: each code is multiplied with its columns of the weights once instead of M times, and
    no copy is kept for the backward pass.
    """
    assert isinstance(layer, nn.Linear)
    weight = applied_weight(layer)
    widths = [part.shape[-1] for part in parts]
    first, *others = weight[:, : sum(widths)].split(widths, dim=1)
    result = F.linear(parts[0], first, layer.bias)
    for part, columns in zip(parts[1:], others, strict=True):
        result = result.add_(F.linear(part, columns))
    if codes is None:
        return result
    shift = F.linear(codes, weight[:, -codes.shape[-1] :])
    if len(codes) > 1:
        assert which is not None, "with several codes, `which` must give the code of each point"
        shift = shift[which]
    return result.add_(shift)
