"""The state in which a new sequence begins: from what is given of it, or from its first frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from scipy import ndimage
from torch import Tensor

from foreseen.data.difference import moving_mask
from foreseen.data.labels import Labels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.methods.node_rf.parts import PartsState
from foreseen.methods.node_rf.tracks import rotation_vectors
from foreseen.render import render

if TYPE_CHECKING:
    from foreseen.methods.node_rf.many_fast import ManyFastNodeRF

GUESSES = 1500
"""States of the learned sequences that are tried as the beginning of a new one."""
ROUNDS = 12
"""Of Gauss and Newton's method on the state."""
LEAST_PIXELS = 4
BIAS = 0.15
"""The middle of what a camera sees of a body is off by so many pixels [standard deviation], at all times alike: part of
it is in shade, or its edge is."""


def given_state(method: ManyFastNodeRF, known: Labels) -> Tensor:
    """`[2 d]` of poses and velocities at one time; components that are not a number are not known, and follow from the
    surface that the parts move on. Raises `UserError` for another number of bodies."""
    parts = len(method.look.halves) - 1
    if known.positions.shape[1] != parts:
        raise UserError(
            f"this run learned {parts} moving part{'s' if parts > 1 else ''}, and the initial conditions tell of "
            f"{known.positions.shape[1]}: give as many."
        )
    _check_law(method)
    manifold = method.dynamics.manifold
    if not bool(torch.isfinite(known.positions).any()):
        raise UserError("initial conditions need a position: give some of x, y and z.")
    turns = torch.full_like(known.positions, float("nan"))
    if bool(torch.isfinite(known.rotations).all()):
        turns = rotation_vectors(known.rotations)
    poses = method.numbers(known.positions[0], turns[0])
    rates = method.numbers(known.velocities[0], torch.full_like(turns[0], float("nan"))) * method.window
    q = _nearest_coordinates(method, poses)
    slopes = manifold.slopes(q)
    told = torch.isfinite(rates)
    if manifold.size == 0 or not bool(told.any()):
        return torch.cat([q, torch.zeros_like(q)])
    v = torch.linalg.lstsq(slopes[:, told].T, rates[told][:, None], driver="gelsd").solution[:, 0]
    return torch.cat([q, v])


def _check_law(method: ManyFastNodeRF) -> None:
    if not method.dynamics.fitted:
        raise UserError(
            "this run has no law of motion yet, and new sequences begin by it: train on, or take a later checkpoint."
        )


def _nearest_coordinates(method: ManyFastNodeRF, poses: Tensor) -> Tensor:
    """q `[d]` where the surface comes nearest to the components of `poses` `[P]` that are known."""
    manifold = method.dynamics.manifold
    told = torch.isfinite(poses)
    seen = torch.cat([method.poses(s)[0] for s in range(len(method.counts))])
    nearest = seen[(seen[:, told] - poses[told]).square().sum(-1).argmin()]
    q = manifold.encode(nearest)
    if manifold.size == 0:
        return q
    for _ in range(ROUNDS):
        left = poses[told] - manifold.decode(q)[told]
        slopes = manifold.slopes(q)[:, told]
        q = q + torch.linalg.lstsq(slopes.T, left[:, None], driver="gelsd").solution[:, 0]
    return q


@torch.no_grad()
def observed_state(method: ManyFastNodeRF, frames: Sequence[Frame]) -> tuple[Tensor, Tensor, float]:
    """`[2 d]`, a square root of its covariance `[2 d, 2 d]`, and its time: the beginning whose solution passes through
    what moves in the `frames`, by Gauss and Newton's method from the best of many states that were seen in training.
    Raises `UserError` where nothing is seen to move, or for several parts."""
    if len(method.look.halves) != 2:
        raise UserError(
            "this run observes new sequences of one moving part from frames; it learned several: "
            "give --observe truth, or type the initial conditions."
        )
    _check_law(method)
    sightings = [(f, pixel) for f in frames if (pixel := _centroid(method, f)) is not None]
    if len({f.time for f, _ in sightings}) < 2:
        raise UserError("nothing is seen to move in two or more of the first frames: give more of them.")
    dynamics, first = method.dynamics, min(f.time for f in frames)
    times = sorted({f.time for f, _ in sightings})
    u = torch.tensor(times, dtype=torch.float64) / method.window
    index = torch.tensor([times.index(f.time) for f, _ in sightings])
    target = torch.stack([pixel / f.camera.width for f, pixel in sightings])

    def misses(states: Tensor) -> Tensor:
        """`[B, 2 M]`: how far the projections are from the sightings, in picture widths."""
        path = dynamics.solve(states, first / method.window, u)
        numbers = dynamics.manifold.decode(path[..., : dynamics.manifold.size])
        centres = method.parts_of(numbers.flatten(0, 1)).centres[:, 0].double().unflatten(0, numbers.shape[:2])
        found = [_project(f.camera, centres[i]) for (f, _), i in zip(sightings, index.tolist())]
        return (torch.stack(found, dim=1) - target).flatten(1)

    states = _seen_states(method)
    state = states[misses(states).square().sum(-1).argmin()]
    unit = dynamics.unit()
    left, damping = misses(state[None])[0], 1e-3

    def slopes_at(state: Tensor) -> Tensor:
        """`[2 d, 2 M]`"""
        return (misses(state + 1e-4 * torch.diag(unit)) - misses(state[None])) / 1e-4

    for _ in range(ROUNDS):
        slopes = slopes_at(state)
        gram = slopes @ slopes.T
        step = torch.linalg.solve(gram + damping * torch.diag(gram.diagonal() + 1e-12), -slopes @ left)
        tried = misses((state + step * unit)[None])[0]
        if bool(tried.square().sum() < left.square().sum()):
            state, left, damping = state + step * unit, tried, damping * 0.2
        else:
            damping *= 5
    return state, unit[:, None] * _square_root_of_covariance(slopes_at(state), left, _biases(sightings)), first


def _square_root_of_covariance(slopes: Tensor, left: Tensor, biases: Tensor) -> Tensor:
    """`[2 d, 2 d + B]`: of the state, from how misses change with it `[2 d, 2 M]`, what is left of them `[2 M]`, and
    what may be wrong with all of them together `[2 M, B]`. Before anything was seen, each number had the variance 1
    that states of learned sequences have."""
    free = max(len(left) - len(slopes), 1)
    weight = free / left.square().sum().clamp_min(1e-12)
    precision = weight * slopes @ slopes.T + torch.eye(len(slopes), dtype=slopes.dtype)
    scattered = torch.linalg.inv(torch.linalg.cholesky(precision)).T
    return torch.cat([scattered, torch.linalg.solve(precision, weight * slopes @ biases)], dim=-1)


def _biases(sightings: Sequence[tuple[Frame, Tensor]]) -> Tensor:
    """`[2 M, 2 C]`: `BIAS` along each axis of each of C cameras."""
    cameras = sorted({f.camera_id for f, _ in sightings})
    found = torch.zeros(len(sightings), 2, len(cameras), 2, dtype=torch.float64)
    for row, (frame, _) in enumerate(sightings):
        found[row, :, cameras.index(frame.camera_id)] = BIAS / frame.camera.width * torch.eye(2)
    return found.flatten(2).flatten(0, 1)


def _project(camera: Camera, points: Tensor) -> Tensor:
    pixels, _ = camera.project(points.float())
    return pixels.double() / camera.width


def _seen_states(method: ManyFastNodeRF) -> Tensor:
    """`[B, 2 d]` from all over the learned sequences."""
    numbers = method.numbers(method.centres, method.turns)
    paths = method.dynamics.paths(numbers, method.times, method.counts, bool(method.exact))
    valid = torch.arange(paths.q.shape[1]) < paths.counts[:, None]
    states = torch.cat([paths.q, paths.v], dim=-1)[valid]
    return states[torch.linspace(0, len(states) - 1, min(GUESSES, len(states))).round().long()]


def _centroid(method: ManyFastNodeRF, frame: Frame) -> Tensor | None:
    """`[2]` pixels: the middle of the largest piece that differs from what is at rest and from its shadows; None where
    there is none."""
    moving = moving_mask(frame.image(), _at_rest(method, frame.camera)).numpy()
    labels, count = ndimage.label(ndimage.binary_opening(moving))
    sizes = ndimage.sum_labels(moving, labels, range(1, count + 1)) if count else []
    if count == 0 or max(sizes) < LEAST_PIXELS:
        return None
    row, column = ndimage.center_of_mass(labels == 1 + int(torch.tensor(sizes).argmax()))
    return torch.tensor([column + 0.5, row + 0.5], dtype=torch.float64)


def _at_rest(method: ManyFastNodeRF, camera: Camera) -> Tensor:
    """`[H, W, 3]`: what the camera sees where the parts are far away."""
    parts = len(method.look.halves) - 1
    away = torch.full((parts, 3), 1e6)
    state = PartsState(away, torch.zeros(parts, 3), torch.zeros(1))
    return render(method.scene(state), camera).rgb.clamp(0, 1)
