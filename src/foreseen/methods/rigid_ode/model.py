"""rigid-ode for one sequence, or for several that share their dynamics."""

from __future__ import annotations

from typing import Any

from foreseen.core.method import Method
from foreseen.core.scene_info import SceneInfo
from foreseen.methods.rigid_ode.config import RigidODEConfig


def build(config: RigidODEConfig, info: SceneInfo) -> Method[Any, Any]:
    """The method for the sequences of `info`."""
    if len(info.times) > 1:
        from foreseen.methods.rigid_ode.multi_sequence import MultiSequenceRigidODE

        return MultiSequenceRigidODE(config, info)
    from foreseen.methods.rigid_ode.single_sequence import RigidODE

    return RigidODE(config, info)
