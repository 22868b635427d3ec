"""`ComposedField`: packed samples, only where a box is not empty."""

from __future__ import annotations

import math

from foreseen.geometry.rays import Rays
from foreseen.render.renderers.boxes import BoxRenderer, refuse_samples
from foreseen.render.result import RayResult
from foreseen.scenes.composed_field import ComposedField

PACKED_BYTES_PER_SAMPLE = 2048
"""Working memory [bytes] of a sample: features of planes and a small network. Counted for every step of a ray, because
in a full scene none is skipped. Larger: smaller chunks, the same picture."""


class ComposedFieldRenderer(BoxRenderer[ComposedField]):
    """Marches rays through boxes, see `foreseen.render.marching`."""

    def render_rays(
        self, scene: ComposedField, rays: Rays, *, stratified: bool = False, keep_samples: bool = False
    ) -> RayResult:
        from foreseen.render.marching import march_rays  # compiled kernels: imported when they are needed

        refuse_samples(keep_samples)
        return march_rays(scene, rays, stratified=stratified)

    def bytes_per_ray(self, scene: ComposedField) -> int:
        # No ray has more samples than the boxes' diagonals hold.
        maximum = (2 * scene.half_extents.norm(dim=-1) / (scene.step * scene.ray_strides)).clamp(
            max=(scene.far - scene.near) / scene.step
        )
        return (math.ceil(float(maximum.sum())) + 1) * PACKED_BYTES_PER_SAMPLE
