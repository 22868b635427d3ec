"""Fields with fewer samples along their rays, to be looked at while something moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from foreseen.render.volume import SAMPLES
from foreseen.scenes import ComposedField, RadianceField, VoxelScene


def preview(scene: Any, coarser: int) -> Any:
    """A field sampled `coarser` times as far apart, at about as small a share of the cost; any other scene as it is."""
    if isinstance(scene, ComposedField | VoxelScene):
        return replace(scene, step=scene.step * coarser)
    if isinstance(scene, RadianceField):
        counts = {name: int(scene.options.get(name, 0)) // coarser for name in ("importance_samples",)}
        samples = max(int(scene.options.get("samples", SAMPLES)) // coarser, 1)
        return replace(scene, options={**scene.options, **counts, "samples": samples})
    return scene
