"""What the table of methods holds. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreseen.core.method import Method
    from foreseen.core.scene_info import SceneInfo


@dataclass(frozen=True)
class MethodEntry:
    """A line of the table that `foreseen methods` prints.

    Attributes:
        target: "module:build", called as `build(config, info) -> Method`; nothing is imported until `load`.
        presets: "module:PRESETS", preset name -> config.
    """

    target: str
    presets: str
    paper: str
    code_licence: str
    needs: str
    reproduced: str

    @staticmethod
    def _load(path: str) -> Any:
        module, _, name = path.partition(":")
        return getattr(import_module(module), name)

    def load(self) -> Callable[[Any, SceneInfo], Method]:
        """The function that builds the method from a config and what is known of the scene."""
        return self._load(self.target)

    def load_presets(self) -> dict[str, Any]:
        """Preset name -> config (a frozen dataclass; presets may differ in type). The first one is
        the default."""
        return self._load(self.presets)
