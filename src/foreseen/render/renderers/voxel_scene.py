"""`VoxelScene`: one compiled kernel from ray to colour."""

from __future__ import annotations

from foreseen.geometry.rays import Rays
from foreseen.render.renderers.boxes import BoxRenderer, refuse_samples
from foreseen.render.renderers.composed_field import ComposedFieldRenderer
from foreseen.render.result import RayResult
from foreseen.scenes.voxel_scene import VoxelScene

VOXEL_BYTES_PER_RAY = 128
"""Working memory [bytes] of a ray in the compiled kernel, which keeps no samples."""


class VoxelSceneRenderer(BoxRenderer[VoxelScene]):
    """Traces rays through voxels, see `foreseen.render.voxel_rays`."""

    def render_rays(
        self, scene: VoxelScene, rays: Rays, *, stratified: bool = False, keep_samples: bool = False
    ) -> RayResult:
        from foreseen.render.voxel_rays import trace_rays  # compiled kernels: imported when they are needed

        refuse_samples(keep_samples)
        return trace_rays(scene, rays, stratified=stratified)

    def bytes_per_ray(self, scene: VoxelScene) -> int:
        on_cpu = scene.voxels.values.device.type == "cpu"
        return VOXEL_BYTES_PER_RAY if on_cpu else ComposedFieldRenderer().bytes_per_ray(scene.composed())
