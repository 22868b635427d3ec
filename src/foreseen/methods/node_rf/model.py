"""Builds the class of a config."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from foreseen.core.method import Method
from foreseen.core.scene_info import SceneInfo
from foreseen.methods.node_rf.config import NodeRFPaperConfig
from foreseen.methods.node_rf.fast_config import NodeRFFastConfig

CLASSES: dict[type, str] = {
    NodeRFFastConfig: "foreseen.methods.node_rf.fast:FastNodeRF",
    NodeRFPaperConfig: "foreseen.methods.node_rf.paper:PaperNodeRF",
}
"""Config type -> "module:class", imported when it is built."""

CLASSES_OF_MANY: dict[type, str] = {
    NodeRFFastConfig: "foreseen.methods.node_rf.fast_multi_sequence:FastMultiSequenceNodeRF",
    NodeRFPaperConfig: "foreseen.methods.node_rf.paper_multi_sequence:PaperMultiSequenceNodeRF",
}
"""The same for several sequences that share their dynamics."""


def build(config: Any, info: SceneInfo) -> Method:
    """The method that `config` (an instance of a key of `CLASSES`) describes, for the scene of `info`."""
    several = CLASSES_OF_MANY if len(info.times) > 1 else {}
    module, _, name = several.get(type(config), CLASSES[type(config)]).partition(":")
    return getattr(import_module(module), name)(config, info)
