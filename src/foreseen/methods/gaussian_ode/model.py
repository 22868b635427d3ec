"""Which class a config stands for."""

from __future__ import annotations

from typing import Any

from foreseen.methods.base import Method, SceneInfo
from foreseen.methods.gaussian_ode.config import PartsConfig
from foreseen.methods.gaussian_ode.parts import PartsGaussianODE


def build(config: Any, info: SceneInfo) -> Method:
    """The method that `config` describes, for the scene of `info`."""
    assert isinstance(config, PartsConfig)
    return PartsGaussianODE(config, info)
