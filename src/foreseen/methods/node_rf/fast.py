"""Node-RF on one sequence, preset `latent`: codes from pictures, a latent ODE, one conditioned field."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from foreseen.core.scene_info import SceneInfo, require_one_sequence
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.methods.node_rf.fast_base import FastNodeRFBase
from foreseen.methods.node_rf.fast_config import NodeRFFastConfig
from foreseen.methods.node_rf.latent_embedding import picture_codes
from foreseen.methods.node_rf.latent_field import LatentField


class FastNodeRF(FastNodeRFBase):
    """See README.md, "fast"."""

    def __init__(self, config: NodeRFFastConfig, info: SceneInfo) -> None:
        require_one_sequence("node-rf", info)
        super().__init__(config, info)

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[PoseLabels | None]) -> str:
        """Initial codes: coordinates of the pictures on their manifold, or the time if no static camera has all
        times."""
        del labels
        codes = picture_codes(frames, self.info.times[0], self.config.embedding)
        source = "from the pictures' neighbours"
        if codes is None:
            codes, source = self.times[0, :, None] * 2 - 1, "the time itself, as no static camera saw all of it"
        field = LatentField.around(self.config, self.info, codes.shape[-1], frames)
        self._initialize(codes[None].to(torch.float32), field)
        return f"codes of {self.dims} dimension{'s' if self.dims > 1 else ''}, {source}."
