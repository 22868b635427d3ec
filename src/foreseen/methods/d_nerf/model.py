"""Builds the class of a config."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from foreseen.core.method import Method
from foreseen.core.scene_info import SceneInfo
from foreseen.methods.d_nerf.config import DNeRFFastConfig, DNeRFPaperConfig

CLASSES: dict[type, str] = {
    DNeRFFastConfig: "foreseen.methods.d_nerf.fast:FastDNeRF",
    DNeRFPaperConfig: "foreseen.methods.d_nerf.paper:PaperDNeRF",
}
"""Config type -> "module:class", imported when it is built."""


def build(config: Any, info: SceneInfo) -> Method[Any, Any]:
    """The method that `config` (an instance of a key of `CLASSES`) describes, for the scene of `info`."""
    module, _, name = CLASSES[type(config)].partition(":")
    return getattr(import_module(module), name)(config, info)
