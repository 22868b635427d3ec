"""What a method needs of the data, checked in one place before training."""

from __future__ import annotations

from foreseen.core.method import Traits
from foreseen.core.scene_info import SceneInfo, require_cameras, require_colour, require_two_times


def check_requirements(name: str, traits: Traits, info: SceneInfo) -> None:
    """Raises `UserError` where the data lacks what a method of these traits needs; the message names the method and the
    fix."""
    if traits.needs_cameras:
        require_cameras(name, info)
    if traits.needs_colour:
        require_colour(name, info)
    if not traits.static:
        require_two_times(name, info)
