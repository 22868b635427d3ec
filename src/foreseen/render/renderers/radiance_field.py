"""`RadianceField`: dense quadrature between near and far."""

from __future__ import annotations

from dataclasses import replace

from foreseen.geometry.rays import Rays
from foreseen.render.renderer import RayRenderer
from foreseen.render.result import RayResult
from foreseen.render.volume import SAMPLES, render_dense
from foreseen.scenes.radiance_field import RadianceField

BYTES_PER_SAMPLE = 8192
"""Working memory [bytes] of a sample where `RadianceField.options` states none: a network 8 layers deep and 256 wide,
its encodings, a 512-wide code and torch's temporaries, without gradients. Larger: smaller chunks, the same picture."""

QUADRATURE_BYTES = 256
"""Memory [bytes] that the quadrature needs for a sample: position, direction, ray index, weight and temporaries."""


class RadianceFieldRenderer(RayRenderer[RadianceField]):
    """Evaluates the field everywhere along a ray, and composites its extra channels too."""

    def render_rays(
        self, scene: RadianceField, rays: Rays, *, stratified: bool = False, keep_samples: bool = False
    ) -> RayResult:
        return render_dense(scene, rays, stratified=stratified, keep_samples=keep_samples)

    def bytes_per_ray(self, scene: RadianceField) -> int:
        samples = int(scene.options.get("samples", SAMPLES)) + int(scene.options.get("importance_samples", 0))
        return samples * (int(scene.options.get("bytes_per_sample", BYTES_PER_SAMPLE)) + QUADRATURE_BYTES)

    def preview(self, scene: RadianceField, coarsening: int) -> RadianceField:
        samples = max(int(scene.options.get("samples", SAMPLES)) // coarsening, 1)
        importance_samples = int(scene.options.get("importance_samples", 0)) // coarsening
        options = {**scene.options, "samples": samples, "importance_samples": importance_samples}
        return replace(scene, options=options)
