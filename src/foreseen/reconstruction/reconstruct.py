"""One sequence before training: the rigid parts, their shadows, and where matter may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from foreseen.geometry.rotations import rotation_matrix
from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction.config import ReconstructionConfig
from foreseen.reconstruction.part_discovery import find_parts
from foreseen.reconstruction.part_trajectories import RigidPart
from foreseen.reconstruction.shadow_light import ShadowLight, find_shadow_light, has_enough_shadows, shadow_pixels
from foreseen.reconstruction.silhouettes import Silhouettes, SilhouetteView, find_silhouettes
from foreseen.reconstruction.visual_hull import part_hull, static_hull


@dataclass(frozen=True)
class Reconstruction:
    """The rigid parts, and where matter may be.

    Attributes:
        parts: K rigid parts; none if silhouettes cannot be computed, or nothing moves.
        part_occupancy: `[G, G, G]` bool for each part, over its box in its own frame; axes x, y, z.
        static_occupancy: `[G, G, G]` bool over `box`.
        box: `[2, 3]` corners.
        box_margin: half size of a part's box over the part's radius.
        masks: the silhouettes; None if they cannot be computed.
        shadow_light: the light that casts the parts' shadows; None if not searched, or not found.
        shadows: `[h, w]` bool for each view: the shadows that this light explains; the silhouettes leave them out.
    """

    parts: list[RigidPart]
    part_occupancy: list[np.ndarray]
    static_occupancy: np.ndarray
    box: np.ndarray
    box_margin: float
    masks: Silhouettes | None = None
    shadow_light: ShadowLight | None = None
    shadows: tuple[np.ndarray, ...] = ()

    def half_extents(self) -> torch.Tensor:
        """`[K, 3]` half sizes of the parts' boxes."""
        return torch.tensor([[self.box_margin * part.radius] * 3 for part in self.parts])


@dataclass(frozen=True)
class _ShadedParts:
    """Parts whose shadows were told from them: the parts, their silhouettes without shadows, light and shadows."""

    parts: list[RigidPart]
    masks: Silhouettes
    light: ShadowLight | None
    shadows: tuple[np.ndarray, ...]


def reconstruct(
    views: Sequence[SilhouetteView],
    bounds: np.ndarray,
    background: tuple[float, float, float],
    controls: int,
    cells: int,
    config: ReconstructionConfig,
    is_surface: bool = False,
) -> Reconstruction:
    """The rigid parts of one sequence, and where matter may be. Without silhouettes there are no parts, and matter may
    be anywhere.

    Args:
        bounds: `[2, 3]` corners of the scene.
        background: the stated background colour.
        controls: control points of each trajectory over times 0..1.
        cells: G of `Reconstruction`.
        is_surface: for surfaces, such as Gaussians: occupancy says where matter surely is, instead of where it may be;
            that of the static scene gets finer cells; and shadows are told from parts if one light explains them.
    """
    masks = find_silhouettes(views, background, config.hulls.silhouettes)
    if masks is None:
        return Reconstruction([], [], np.ones((cells,) * 3, bool), bounds, config.parts.box_margin)
    basis = UniformBSpline(controls).basis(torch.tensor([v.time for v in views], dtype=torch.float64))
    shaded = _parts_and_light(views, masks, bounds, basis, config) if is_surface else None
    if shaded is None:
        shaded = _ShadedParts(find_parts(views, masks, bounds, controls, config), masks, None, ())
    masks = shaded.masks
    occupancy = [_part_occupancy(views, masks, part, basis, cells, config, is_surface) for part in shaded.parts]
    box, static = bounds, static_hull(views, masks, bounds, cells, config.hulls)
    if is_surface and masks.uniform_background and static.any():  # once more, with finer cells
        box = _box_of(static, bounds)
        static = static_hull(views, masks, box, cells, config.hulls)
    return Reconstruction(
        shaded.parts, occupancy, static, box, config.parts.box_margin, masks, shaded.light, shaded.shadows
    )


def _part_occupancy(
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    part: RigidPart,
    basis: torch.Tensor,
    cells: int,
    config: ReconstructionConfig,
    is_surface: bool,
) -> np.ndarray:
    """`[G, G, G]` bool over a part's box; `basis` `[V, n]`: spline weights at the views' times."""
    rotations = rotation_matrix(basis @ torch.from_numpy(part.rotations)).numpy()
    centres = basis.numpy() @ part.controls
    half_extent = config.parts.box_margin * part.radius
    dilation, agreement = (0, config.parts.sure_agreement) if is_surface else (None, None)
    return part_hull(views, masks, centres, rotations, half_extent, cells, config.hulls, dilation, agreement)


def _box_of(solid: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """`[2, 3]` corners of a box around the solid cells of a grid over `bounds`, with one more cell on each side."""
    cells, size = np.argwhere(solid), (bounds[1] - bounds[0]) / solid.shape[0]
    low, high = bounds[0] + (cells.min(0) - 1) * size, bounds[0] + (cells.max(0) + 2) * size
    return np.clip(np.stack([low, high]), bounds[0], bounds[1])


def _parts_and_light(
    views: Sequence[SilhouetteView],
    masks: Silhouettes,
    bounds: np.ndarray,
    basis: torch.Tensor,
    config: ReconstructionConfig,
) -> _ShadedParts | None:
    """Parts without their shadows, and the light that casts these; None if no light explains any shadows. First only
    shadows on something static are tried, then all: they may fall on a floor that is not seen itself."""
    every_shadow = shadow_pixels(views, masks, config.shadows)
    on_static = [shadow & occluders for shadow, occluders in zip(every_shadow, masks.occluders)]
    for candidates in (on_static, every_shadow):
        shadows = [ndimage.binary_opening(shadow) for shadow in candidates]
        if not has_enough_shadows(shadows, masks, config.shadows):
            continue
        dilation = config.shadows.edge_dilation
        ignored = [ndimage.binary_dilation(shadow, iterations=dilation) for shadow in shadows]
        bodies = replace(masks, moving=[moving & ~edge for moving, edge in zip(masks.moving, ignored)])
        parts = find_parts(views, bodies, bounds, basis.shape[1], config, ignored)
        if not parts:
            continue
        centres = np.stack([basis.numpy() @ part.controls for part in parts], axis=1)
        radii = np.array([part.radius for part in parts])
        light = find_shadow_light(views, bodies, shadows, centres, radii, bounds, config.shadows)
        if light is not None:
            return _ShadedParts(parts, bodies, light, tuple(shadows))
    return None
