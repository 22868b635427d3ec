"""What all samplers have in common: the training frames, and a generator that is saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from foreseen.batches.pixels import PixelStore
from foreseen.core.batch import Sampler
from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame


class FrameSampler(Sampler):
    """Draws batches from training frames. All randomness comes from its own generator, whose state is saved.

    Args:
        frames: the training frames.
        names: the sequences' names; a batch carries indices into them.
        info: what the method was told of the scene.
        seed: of the generator; every process has its own.
        memory_mb: for the pictures, held as 8-bit; beyond it they are read when drawn.
        say: takes a line for the user.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        names: Sequence[str],
        info: SceneInfo,
        seed: int,
        memory_mb: int = 1024,
        say: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(frames, names, info, seed, memory_mb, say)
        self.store = PixelStore(frames, 4 if info.has_alpha else 3, memory_mb)
        self.times = torch.tensor([f.time for f in frames], dtype=torch.float32)
        self.sequences = torch.tensor([names.index(f.sequence) for f in frames])
        places = [{t: i for i, t in enumerate(own)} for own in info.times]
        self.time_indices = torch.tensor([places[names.index(f.sequence)][float(f.time)] for f in frames])
        self.background = torch.tensor(info.background)

    def colors_of(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Stored pixels `[..., C]` uint8 as colours `[..., 3]` on the stated background, and alpha `[...]` where the
        data has it."""
        values = pixels.float() / 255
        if not self.info.has_alpha:
            return values, None
        alpha = values[..., 3]
        return values[..., :3] * alpha[..., None] + (1 - alpha[..., None]) * self.background, alpha
