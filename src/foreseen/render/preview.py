"""Fields with fewer samples along their rays, to be looked at while something moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from foreseen.render.volume import SAMPLES
from foreseen.scenes import ComposedField, RadianceField, VoxelScene


def preview(scene: Any, coarsening: int) -> Any:
    """A field sampled `coarsening` times as far apart, at about as small a share of the cost; any other scene as it
    is."""
    if isinstance(scene, ComposedField | VoxelScene):
        return replace(scene, step=scene.step * coarsening)
    if isinstance(scene, RadianceField):
        samples = max(int(scene.options.get("samples", SAMPLES)) // coarsening, 1)
        more = int(scene.options.get("importance_samples", 0)) // coarsening
        return replace(scene, options={**scene.options, "samples": samples, "importance_samples": more})
    return scene
