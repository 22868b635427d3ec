"""What can be told before training: the moving parts, their shadows, and where matter may be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from foreseen.geometry.rotations import rotation_matrix
from foreseen.nn.splines import UniformBSpline
from foreseen.reconstruction.discovery import RigidPart, find_parts
from foreseen.reconstruction.shadow_light import ShadowLight, find_shadow_light, has_enough_shadows, shadow_pixels
from foreseen.reconstruction.visual_hull import (
    DILATION_PIXELS,
    MIN_AGREEMENT,
    Silhouettes,
    SilhouetteView,
    part_hull,
    silhouettes,
    static_hull,
)

BOX_MARGIN = 1.25
"""Half size of a part's box over its radius."""
SURE_AGREEMENT = 0.9
"""Of the views that see a place, this share shows it move: it surely belongs to a part."""


@dataclass(frozen=True)
class Reconstruction:
    """The moving parts, and where matter may be.

    Attributes:
        own: `[G, G, G]` bool for each part, over its box of half size `BOX_MARGIN * radius` in its own frame; x, y, z.
        still: `[G, G, G]` bool, over `box` `[2, 3]`.
        masks: the silhouettes that told it, where there are any.
        lamp: which light casts the parts' shadows, where that was asked for and can be told, ...
        shadows: ... and these, `[h, w]` of each view, which are then not in the silhouettes.
    """

    parts: list[RigidPart]
    part_occupancy: list[np.ndarray]
    static_occupancy: np.ndarray
    box: np.ndarray
    masks: Silhouettes | None = None
    shadow_light: ShadowLight | None = None
    shadows: tuple[np.ndarray, ...] = ()

    def half_extents(self) -> torch.Tensor:
        """`[K, 3]` half sizes of the parts' boxes."""
        return torch.tensor([[BOX_MARGIN * part.radius] * 3 for part in self.parts])


def reconstruct(
    views: list[SilhouetteView],
    bounds: np.ndarray,
    background: tuple[float, float, float],
    controls: int,
    cells: int,
    maximum: int = 8,
    is_surface: bool = False,
) -> Reconstruction:
    """What can be told before training; without silhouettes there are no parts, and anything may be anywhere.

    Args:
        bounds: `[2, 3]` corners of the scene.
        controls: control points of each trajectory over times 0..1.
        cells: G of `Reconstruction.static_occupancy`.
        solid: for surfaces: where matter surely is, in place of where it may be; what rests is looked at closely; and
            parts' shadows are not parts of their own, where one light explains them.
    """
    masks = silhouettes(views, background)
    if masks is None:
        return Reconstruction([], [], np.ones((cells,) * 3, bool), bounds)
    basis = UniformBSpline(controls).basis(torch.tensor([v.time for v in views], dtype=torch.float64))
    lit = _without_shadows(views, masks, bounds, basis, maximum) if is_surface else None
    parts, masks, shadow_light, dark = lit or (find_parts(views, masks, bounds, controls, maximum), masks, None, ())
    own = []
    for part in parts:
        rotations = rotation_matrix(basis @ torch.from_numpy(part.rotations)).numpy()
        centres = basis.numpy() @ part.controls
        how = (0, SURE_AGREEMENT) if is_surface else (DILATION_PIXELS, MIN_AGREEMENT)
        own.append(part_hull(views, masks, centres, rotations, BOX_MARGIN * part.radius, cells, *how))
    box, still = bounds, static_hull(views, masks, bounds, cells)
    if is_surface and masks.uniform_background and still.any():  # once more, with finer cells
        box = _box_of(still, bounds)
        still = static_hull(views, masks, box, cells)
    return Reconstruction(parts, own, still, box, masks, shadow_light, dark)


def _box_of(solid: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """`[2, 3]` corners of a box around the solid cells of a grid over `bounds`, with a cell of room."""
    cells, size = np.argwhere(solid), (bounds[1] - bounds[0]) / solid.shape[0]
    low, high = bounds[0] + (cells.min(0) - 1) * size, bounds[0] + (cells.max(0) + 2) * size
    return np.clip(np.stack([low, high]), bounds[0], bounds[1])


def _without_shadows(
    views: list[SilhouetteView],
    masks: Silhouettes,
    bounds: np.ndarray,
    basis: torch.Tensor,
    maximum: int,
) -> tuple[list[RigidPart], Silhouettes, ShadowLight, tuple[np.ndarray, ...]] | None:
    """Parts, silhouettes of these, the light, and the shadows; None where no light explains any shadows. Shadows fall
    on what rests, or, where this does not explain them, on a floor that nothing else shows, too."""
    controls = basis.shape[1]
    every = shadow_pixels(views, masks)
    for dark in ([shade & occluders for shade, occluders in zip(every, masks.occluders)], every):
        dark = [ndimage.binary_opening(shade) for shade in dark]
        if not has_enough_shadows(dark, masks):
            continue
        edges = [ndimage.binary_dilation(shade, iterations=1) for shade in dark]
        bodies = replace(masks, moving=[moving & ~edge for moving, edge in zip(masks.moving, edges)])
        parts = find_parts(views, bodies, bounds, controls, maximum, edges)
        if not parts:
            continue
        centres = np.stack([basis.numpy() @ part.controls for part in parts], axis=1)
        shadow_light = find_shadow_light(
            views, bodies, dark, centres, np.array([part.radius for part in parts]), bounds
        )
        if shadow_light is not None:
            return parts, bodies, shadow_light, tuple(dark)
    return None
