"""Scene infos that differ in what all sequences share, or in their times."""

from __future__ import annotations

from typing import Any

from foreseen.core.scene_info import SceneInfo

FIELDS = "bounds near far times background names bodies has_alpha ndc static_cameras frames"


def changed(info: SceneInfo, **changes: Any) -> SceneInfo:
    """`info` with arguments of `SceneInfo.of_one_scene` replaced. Where the number of sequences changes, names and
    bodies are those that are given."""
    current = {name: getattr(info, name) for name in FIELDS.split()}
    if len(changes.get("times", info.times)) != len(info.times):
        current |= {"names": (), "bodies": ()}
    return SceneInfo.of_one_scene(**(current | changes))
