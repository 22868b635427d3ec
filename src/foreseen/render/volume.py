"""Volume rendering by quadrature, in plain torch: the definition that faster renderers are tested against.

Source: Mildenhall et al. 2020 (NeRF), sections 4 and 5.2, equations 3 to 5. `docs/rendering.md` has them, and
says where and why we differ: every ray is cut into intervals that cover [near, far] without a gap, and the
field is evaluated at one point of each.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from foreseen.geometry.rays import Rays
from foreseen.render.result import RayResult
from foreseen.scenes import RadianceField
from foreseen.scenes.radiance_field import FieldQuery

SAMPLES = 64
"""Intervals of a ray where `RadianceField.options` names none."""

WEIGHT_FLOOR = 1e-5
"""Added to every coarse weight before importance sampling, so that every interval can receive samples. Larger: samples
are spread more evenly."""


class Composite(NamedTuple):
    """Colour `[N, 3]`, weighted distance `[N]`, opacity `[N]` and each interval's weight `[N, S]`."""

    rgb: Tensor
    depth: Tensor
    opacity: Tensor
    weights: Tensor


class Quadrature(NamedTuple):
    """The composite of N rays, the distances `[N, S]` of its samples, and the field's extra channels `[N, C]`."""

    composite: Composite
    distances: Tensor
    channels: dict[str, Tensor]


def even_edges(rays: Rays, near: float, far: float, samples: int) -> Tensor:
    """Edges `[N, samples + 1]` of equally long intervals from `near` to `far`."""
    edges = torch.linspace(near, far, samples + 1, dtype=rays.origins.dtype, device=rays.origins.device)
    return edges.expand(rays.origins.shape[0], samples + 1)


def place_samples(edges: Tensor, stratified: bool) -> Tensor:
    """Distances `[N, S]` in the intervals of `edges` `[N, S + 1]`: drawn if `stratified`, else middles."""
    lower, upper = edges[:, :-1], edges[:, 1:]
    place: Tensor | float = torch.rand_like(lower) if stratified else 0.5
    return lower + (upper - lower) * place


def importance_edges(edges: Tensor, weights: Tensor, samples: int, stratified: bool) -> Tensor:
    """Sorted edges `[N, S + samples + 1]`: those given, and `samples` more where `weights` are large.

    `weights` `[N, S]` are read as a density, constant on each interval of `edges` `[N, S + 1]`. The new edges
    are its inverse cumulative distribution at evenly spread numbers, each drawn within its share if
    `stratified`. No gradient flows through the places.
    """
    weights = widen(weights.detach()) + WEIGHT_FLOOR
    cumulative = torch.cumsum(weights, dim=-1) / weights.sum(-1, keepdim=True)
    cumulative = torch.cat([torch.zeros_like(cumulative[:, :1]), cumulative], dim=-1)
    steps = torch.arange(samples, dtype=edges.dtype, device=edges.device).expand(edges.shape[0], samples)
    place: Tensor | float = torch.rand_like(steps) if stratified else 0.5
    levels = ((steps + place) / samples).contiguous()
    index = (torch.searchsorted(cumulative, levels, right=True) - 1).clamp(0, weights.shape[-1] - 1)
    start, end = cumulative.gather(-1, index), cumulative.gather(-1, index + 1)
    share = ((levels - start) / (end - start)).clamp(0, 1)
    lower, upper = edges.gather(-1, index), edges.gather(-1, index + 1)
    return torch.sort(torch.cat([edges, lower + share * (upper - lower)], dim=-1), dim=-1).values


def widen(weights: Tensor) -> Tensor:
    """Weights `[N, S]` spread over their neighbours, never below half of the larger one.

    A surface that an interval holds but its sample misses is seen by the neighbour's sample at best. Source:
    Barron et al. 2021 (mip-NeRF), equation 18; `docs/rendering.md` has the errors with and without.
    """
    padded = torch.cat([weights[:, :1], weights, weights[:, -1:]], dim=-1)
    larger = torch.maximum(padded[:, 1:], padded[:, :-1])
    return (larger[:, 1:] + larger[:, :-1]) / 2


def composite(density: Tensor, color: Tensor, lengths: Tensor, distances: Tensor, background: Tensor) -> Composite:
    """The quadrature.

    Args:
        density: `[N, S]`, per unit of length.
        color: `[N, S, 3]`.
        lengths: `[N, S]` of the intervals.
        distances: `[N, S]` of the samples along the rays.
        background: `[3]`.
    """
    thickness = density * lengths
    # Summed without the interval itself: subtracting it again would lose what stands before a very dense one.
    before = torch.cumsum(torch.cat([torch.zeros_like(thickness[:, :1]), thickness[:, :-1]], dim=-1), dim=-1)
    weights = torch.exp(-before) * -torch.expm1(-thickness)
    # The same number as the sum of the weights, but never above one.
    opacity = -torch.expm1(-thickness.sum(-1))
    rgb = (weights[..., None] * color).sum(-2) + (1 - opacity)[:, None] * background
    return Composite(rgb, (weights * distances).sum(-1), opacity, weights)


def integrate(query: FieldQuery, scene: RadianceField, rays: Rays, edges: Tensor, stratified: bool) -> Quadrature:
    """Evaluates `query` once in each interval of `edges` `[N, S + 1]` along `rays` `[N]`, and composites."""
    distances = place_samples(edges, stratified)
    count, samples = distances.shape
    directions = rays.view_directions[:, None].expand(count, samples, 3).reshape(-1, 3)
    index = torch.arange(count, device=edges.device).repeat_interleave(samples)
    density, color, *more = query(rays.at(distances).reshape(-1, 3), directions, index)
    # Directions in NDC are not of unit length: distance 0..1 runs over the whole scene.
    lengths = (edges[:, 1:] - edges[:, :-1]) * rays.directions.norm(dim=-1, keepdim=True)
    background = edges.new_tensor(scene.background)
    density, color = density.reshape(count, samples), color.reshape(count, samples, 3)
    result = composite(density, color, lengths, distances, background)
    values = more[0] if more else {}
    channels = {
        name: (result.weights[..., None] * value.reshape(count, samples, -1)).sum(-2) for name, value in values.items()
    }
    return Quadrature(result, distances, channels)


def render_dense(
    scene: RadianceField, rays: Rays, *, stratified: bool = False, keep_samples: bool = False
) -> RayResult:
    """What `rays` `[N]` see of `scene`. The field is evaluated everywhere between near and far.

    `scene.options` may set "samples" (intervals of the first pass) and "importance_samples" (edges added for
    the second pass, none by default). The first pass evaluates `scene.coarse` where there is one: then its picture
    is `coarse_rgb`; a field alone proposes its own importance samples, without gradient. Extra channels, and with
    `keep_samples` weights and distances, are those of the last pass.
    """
    samples = int(scene.options.get("samples", SAMPLES))
    importance = int(scene.options.get("importance_samples", 0))
    edges = even_edges(rays, scene.near, scene.far, samples)
    coarse: Composite | None = None
    if scene.coarse is not None:
        coarse = integrate(scene.coarse, scene, rays, edges, stratified).composite
    if importance > 0:
        proposal = coarse if coarse is not None else propose(scene, rays, edges, stratified)
        edges = importance_edges(edges, proposal.weights, importance, stratified)
    fine, distances, channels = integrate(scene.query, scene, rays, edges, stratified)
    evaluated = fine.weights.numel() + (edges.shape[0] * samples if coarse is not None or importance > 0 else 0)
    return RayResult(
        fine.rgb,
        fine.depth,
        fine.opacity,
        coarse_rgb=None if coarse is None else coarse.rgb,
        samples=evaluated,
        channels=channels,
        sample_weights=fine.weights if keep_samples else None,
        sample_distances=distances if keep_samples else None,
    )


def propose(scene: RadianceField, rays: Rays, edges: Tensor, stratified: bool) -> Composite:
    """A first pass of the field itself, for its weights alone."""
    with torch.no_grad():
        return integrate(scene.query, scene, rays, edges, stratified).composite
