"""LPIPS from a weights file: features of a fixed convolutional network, compared with learned weights.

Source: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foreseen.errors import UserError

MIN_SIDE = 32
"""LPIPS is not defined for images with a shorter side [pixels]: the deepest layer would be empty."""

# One entry a layer, numbered as in the published networks: (in, out, size, stride, padding) of a convolution
# (with its ReLU in the next number), or a max pool's (size, stride). Features are read after the ReLUs in
# `TAPS`.
_Layer = tuple[int, ...]
ALEXNET: dict[int, _Layer] = {
    0: (3, 64, 11, 4, 2), 2: (3, 2),
    3: (64, 192, 5, 1, 2), 5: (3, 2),
    6: (192, 384, 3, 1, 1), 8: (384, 256, 3, 1, 1), 10: (256, 256, 3, 1, 1),
}  # fmt: skip
VGG16: dict[int, _Layer] = {
    0: (3, 64, 3, 1, 1), 2: (64, 64, 3, 1, 1), 4: (2, 2),
    5: (64, 128, 3, 1, 1), 7: (128, 128, 3, 1, 1), 9: (2, 2),
    10: (128, 256, 3, 1, 1), 12: (256, 256, 3, 1, 1), 14: (256, 256, 3, 1, 1), 16: (2, 2),
    17: (256, 512, 3, 1, 1), 19: (512, 512, 3, 1, 1), 21: (512, 512, 3, 1, 1), 23: (2, 2),
    24: (512, 512, 3, 1, 1), 26: (512, 512, 3, 1, 1), 28: (512, 512, 3, 1, 1),
}  # fmt: skip
NETWORKS = {"alex": ALEXNET, "vgg": VGG16}
TAPS = {"alex": (0, 3, 6, 8, 10), "vgg": (2, 7, 14, 21, 28)}

_BACKBONE = re.compile(r"(?:features|net\.slice\d+)\.(\d+)\.(weight|bias)$")
_HEAD = re.compile(r"lins?\.?(\d)\.model\.1\.weight$")


class LPIPS(nn.Module):
    """The distance as a module. Build it with `load_lpips`."""

    def __init__(self, network: str, backbone: Mapping[tuple[int, str], Tensor], heads: Mapping[int, Tensor]) -> None:
        super().__init__()
        self.network = network
        self.layers = NETWORKS[network]
        for (index, kind), value in backbone.items():
            self.register_buffer(f"{kind}_{index}", value)
        for index, value in heads.items():
            self.register_buffer(f"head_{index}", value)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def _features(self, image: Tensor) -> list[Tensor]:
        x = (2 * image.permute(2, 0, 1)[None] - 1 - self.get_buffer("shift")) / self.get_buffer("scale")
        features = []
        for index, layer in self.layers.items():
            if len(layer) == 2:
                x = F.max_pool2d(x, layer[0], layer[1])
                continue
            weight, bias = self.get_buffer(f"weight_{index}"), self.get_buffer(f"bias_{index}")
            x = F.relu(F.conv2d(x, weight, bias, stride=layer[3], padding=layer[4]))
            if index in TAPS[self.network]:
                features.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return features

    @torch.no_grad()
    def forward(self, image: Tensor, truth: Tensor, mask: Tensor | None = None) -> float | None:
        """Distance of two images `[H, W, 3]`: 0 is identical. With `mask` `[H, W]` each layer's map is
        brought to the image's size and averaged inside. None where a side is below `MIN_SIDE`, or the mask is
        empty."""
        if min(image.shape[:2]) < MIN_SIDE or (mask is not None and not bool(mask.any())):
            return None
        total = 0.0
        for index, (a, b) in enumerate(zip(self._features(image), self._features(truth))):
            distance = F.conv2d((a - b).square(), self.get_buffer(f"head_{index}"))
            if mask is not None:
                full = F.interpolate(distance, size=image.shape[:2], mode="bilinear", align_corners=False)
                distance = full[0, 0][mask]
            total += float(distance.mean())
        return total


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name. Pickled objects are never run."""
    if not path.is_file():
        raise UserError(f"{path}: no such LPIPS weights file; leave --lpips-weights out to go without LPIPS.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{path}: not a readable file of tensors ({str(error).splitlines()[0][:80]}); "
            "give a .safetensors file or a PyTorch state dict."
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds {type(content).__name__}, not a state dict (name -> tensor).")
    return {name: value.float() for name, value in content.items() if isinstance(value, Tensor)}


def _network_of(path: Path, backbone: Mapping[tuple[int, str], Tensor]) -> str:
    """Which network the layers belong to, every shape checked."""
    first = backbone.get((0, "weight"))
    network = "alex" if first is not None and first.shape[-1] == 11 else "vgg"
    for index, layer in NETWORKS[network].items():
        if len(layer) == 2:
            continue
        expected = (layer[1], layer[0], layer[2], layer[2])
        weight, bias = backbone.get((index, "weight")), backbone.get((index, "bias"))
        if weight is None or bias is None or tuple(weight.shape) != expected or tuple(bias.shape) != expected[:1]:
            raise UserError(
                f"{path}: layer features.{index} of the {network} network is missing or not {list(expected)};"
                " give AlexNet or VGG16 with the linear heads lin0 ... lin4."
            )
    return network


def load_lpips(path: Path) -> LPIPS:
    """LPIPS from one file that holds an AlexNet or VGG16 (`features.N.weight`, or `net.sliceK.N.weight` as
    the reference package saves it) and the heads (`linK.model.1.weight`, `[1, C, 1, 1]`).

    Raises:
        UserError: the file is absent, unreadable, or lacks a layer or a head of the right shape.
    """
    tensors = _read_tensors(Path(path))
    backbone = {(int(m[1]), m[2]): v for n, v in tensors.items() if (m := _BACKBONE.search(n)) is not None}
    heads = {int(m[1]): v for n, v in tensors.items() if (m := _HEAD.search(n)) is not None}
    network = _network_of(path, backbone)
    for index, tap in enumerate(TAPS[network]):
        channels = NETWORKS[network][tap][1]
        if index not in heads or tuple(heads[index].shape) != (1, channels, 1, 1):
            raise UserError(f"{path}: linear head lin{index}.model.1.weight is missing or not [1, {channels}, 1, 1].")
    used = {key: value for key, value in backbone.items() if key[0] in NETWORKS[network]}
    return LPIPS(network, used, heads)
