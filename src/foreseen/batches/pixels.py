"""Pixels of the training frames, in memory or read when drawn: colours, and named layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from foreseen.data.images import ImageCache
from foreseen.data.types import Frame
from foreseen.errors import UserError, suggest


def eight_bit(frame: Frame, channels: int) -> Tensor:
    """`[H, W, channels]` uint8, alpha straight; a frame without alpha among others that have it is opaque.

    Eight bits are what nearly all pictures hold; 16-bit and shrunken ones lose at most half a step of 255.
    """
    rgba = (frame.rgba() * 255).round().to(torch.uint8)
    if rgba.shape[-1] < channels:
        rgba = torch.cat([rgba, torch.full_like(rgba[..., :1], 255)], dim=-1)
    return rgba[..., :channels]


class FrameStore:
    """Values of pixels by frame and pixel index: all frames in one tensor, where it fits into memory.

    Args:
        bytes_per_pixel: of what is stored.
        budget_bytes: beyond it frames are read through the data set's image cache when they are drawn.
    """

    def __init__(self, frames: Sequence[Frame], bytes_per_pixel: int, budget_bytes: int) -> None:
        self.frames = frames
        self.widths = torch.tensor([f.size[0] for f in frames])
        counts = self.widths * torch.tensor([f.size[1] for f in frames])
        self.starts = torch.cumsum(counts, 0) - counts
        self.total = int(counts.sum())
        self.bytes = self.total * bytes_per_pixel
        self.resident = self.bytes <= budget_bytes
        self._flat: Tensor | None = None
        if self.resident:
            self._flat = self._read_all()

    def read(self, frame: Frame) -> Tensor:
        """`[H, W, ...]` of one frame, decoded."""
        raise NotImplementedError

    def _read_all(self) -> Tensor:
        passing = ImageCache(budget_mb=0)  # nothing is asked for twice: the data set's cache would hold a second copy
        flat: Tensor | None = None
        for start, frame in zip(self.starts.tolist(), self.frames, strict=True):
            picture = self.read(replace(frame, cache=passing)).flatten(0, 1)
            if flat is None:
                flat = picture.new_empty((self.total, *picture.shape[1:]))
            flat[start : start + len(picture)] = picture
        assert flat is not None
        return flat

    def picture(self, index: int) -> Tensor:
        """`[H, W, ...]` of one frame."""
        if self._flat is None:
            return self.read(self.frames[index])
        width, height = self.frames[index].size
        start = int(self.starts[index])
        return self._flat[start : start + width * height].unflatten(0, (height, width))

    def gather(self, frames: Tensor, pixels: Tensor) -> Tensor:
        """`[N, ...]` at `frames` `[N]` and row-major pixel indices `pixels` `[N]`."""
        if self._flat is not None:
            return self._flat[self.starts[frames] + pixels]
        out: Tensor | None = None
        for index in frames.unique().tolist():
            mine = frames == index
            values = self.picture(index).flatten(0, 1)[pixels[mine]]
            if out is None:
                out = values.new_empty((len(frames), *values.shape[1:]))
            out[mine] = values
        assert out is not None
        return out


class PixelStore(FrameStore):
    """Colours, and opacity where `channels` says so.

    8-bit where the values are `value_range` (0, 1); other ranges are held as float32.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        channels: int,
        memory_mb: int,
        value_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self.channels = channels
        self.is_eight_bit = value_range == (0.0, 1.0)
        super().__init__(frames, channels * (1 if self.is_eight_bit else 4), memory_mb * 2**20)

    def read(self, frame: Frame) -> Tensor:
        """`[H, W, channels]` uint8, or float32 in the data set's range of values."""
        return eight_bit(frame, self.channels) if self.is_eight_bit else frame.rgba()


class LayerStore(FrameStore):
    """One named layer. A frame without it has NaN there, -1 where the layer holds whole numbers, False where flags.

    Raises:
        UserError: no frame has the layer.
    """

    def __init__(self, frames: Sequence[Frame], name: str, budget_bytes: int) -> None:
        sample = next((layer for f in frames if (layer := f.layer(name)) is not None), None)
        if sample is None:
            names = sorted({other for f in frames for other in f.layers})
            fix = suggest(name, names) if names else "it has none at all"
            raise UserError(f"the training frames have no layer '{name}': {fix}")
        self.name = name
        self._channels, self._dtype = sample.shape[2:], sample.dtype
        super().__init__(frames, sample[0, 0].numel() * sample.element_size(), budget_bytes)

    def read(self, frame: Frame) -> Tensor:
        """`[H, W]` or `[H, W, C]` of one frame."""
        layer = frame.layer(self.name)
        if layer is not None:
            return layer
        width, height = frame.size
        absent = torch.nan if self._dtype.is_floating_point else False if self._dtype == torch.bool else -1
        return torch.full((height, width, *self._channels), absent, dtype=self._dtype)
