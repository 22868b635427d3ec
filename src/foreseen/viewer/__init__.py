"""The browser: any view of a run or a data set, with a time slider that goes past the last frame."""

from foreseen.viewer.player import Player
from foreseen.viewer.resolution import AdaptiveResolution

__all__ = ["AdaptiveResolution", "Player"]
