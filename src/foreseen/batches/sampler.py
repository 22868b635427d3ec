"""The base class of the samplers: the pixels, layers and times of the training frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from foreseen.batches.pixels import LayerStore, PixelStore
from foreseen.core.batch import Sampler
from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame


class FrameSampler(Sampler):
    """Holds what batches of training frames are made from; subclasses draw the batches.

    All random numbers come from `generator`, whose state is saved in checkpoints.

    Args:
        frames: the training frames.
        names: names of the sequences; batches hold indices into them.
        info: facts about the scene that methods get, such as bounds and times.
        seed: of the generator; different in each process.
        memory_mb: memory for pictures (8 bits per channel) and layers together [MiB]. What does not fit is read from
            the files whenever it is drawn.
        say: is called with each message for the user.
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
        super().__init__(frames, info, seed, say)
        self.store = PixelStore(frames, info.channels + info.has_alpha, memory_mb, info.value_range)
        self._free_bytes = memory_mb * 2**20 - (self.store.bytes if self.store.resident else 0)
        self._layers: dict[str, LayerStore] = {}
        self.times = torch.tensor([f.time for f in frames], dtype=torch.float32)
        self.sequences = torch.tensor([names.index(f.sequence) for f in frames])
        index_of_time = [{t: i for i, t in enumerate(times)} for times in info.times]
        self.time_indices = torch.tensor([index_of_time[names.index(f.sequence)][float(f.time)] for f in frames])
        self.backgrounds = torch.tensor([info.sequences[names.index(f.sequence)].background for f in frames])

    def layer(self, name: str) -> LayerStore:
        """The pixels of a layer of the frames, such as "mask" or "depth". They are read at the first call. Raises
        `UserError` if no frame has this layer."""
        if name not in self._layers:
            store = LayerStore(self.frames, name, self._free_bytes)
            self._free_bytes -= store.bytes if store.resident else 0
            self._layers[name] = store
            if not store.resident:
                self.say(f"layer '{name}' does not fit into memory: it is read when drawn; a larger --memory-mb helps.")
        return self._layers[name]

    def colors_of(self, pixels: Tensor, background: Tensor) -> tuple[Tensor, Tensor | None]:
        """Colours `[..., 3]` of stored pixels `[..., C]`, composited on the background by their alpha; and alpha
        `[...]`, or None if the data has none.

        Args:
            background: `[..., 3]`, background colour of the frames of the pixels.
        """
        values = pixels.float() / 255 if self.store.is_eight_bit else pixels
        if not self.info.has_alpha:
            return values, None
        alpha = values[..., -1]
        return values[..., :-1] * alpha[..., None] + (1 - alpha[..., None]) * background, alpha
