"""The state in which a new sequence begins: from what is given of it, or from its first frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from scipy import ndimage
from torch import Tensor

from foreseen.core.method import take
from foreseen.data.difference import moving_mask
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.reconstruction.part_tracks import rotation_vectors
from foreseen.render import render
from foreseen.scenes.voxel_scene import FAR_AWAY

if TYPE_CHECKING:
    from foreseen.methods.rigid_ode.many import RigidODEMany

NUM_GUESSES = 1500
"""States of the learned sequences that are tried as the beginning of a new one."""
ITERATIONS = 12
"""Of Gauss and Newton's method on the state."""
MIN_PIXELS = 4
MAX_COMPARED_FRAMES = 6
"""Frames at most in which the kinds' pictures are compared with what was seen."""
CLUSTER_ERROR_RATIO = 1.1
"""A kind is told where the next one's pictures are off so many times as much."""
DETECTION_BIAS = 0.15
"""The middle of what a camera sees of a body is off by so many pixels [standard deviation], at all times alike: part of
it is in shade, or its edge is."""


def state_from_labels(method: RigidODEMany, given: PoseLabels) -> tuple[int, Tensor]:
    """The kind and the state `[2 d]` of poses and velocities at one time; components that are not a number are not
    known, and follow from the surface that the parts move on. The kind is that whose surface they lie nearest to.
    Raises `UserError` for another number of bodies, and where they lie on the surfaces of several kinds."""
    bodies = given.positions.shape[1]
    clusters = [cluster for cluster in range(method.clusters) if len(method.parts(cluster)) == bodies]
    if not clusters:
        counts = sorted({len(method.parts(cluster)) for cluster in range(method.clusters)})
        parts = f"{' or '.join(map(str, counts))} moving part{'s' if counts[-1] > 1 else ''}"
        raise UserError(f"this run learned {parts}, and the initial conditions tell of {bodies}: give as many.")
    _check_dynamics(method)
    if not bool(torch.isfinite(given.positions).any()):
        raise UserError("initial conditions need a position: give some of x, y and z.")
    found = {cluster: _state_from_labels(method, cluster, given) for cluster in clusters}
    best = min(clusters, key=lambda cluster: found[cluster][1])
    tolerance = method.config.multi_sequence.manifold.max_error
    fitting = [
        cluster for cluster in clusters if cluster == best or found[cluster][1] <= tolerance * _extent(method, cluster)
    ]
    if len(fitting) > 1:
        raise UserError(
            f"these initial conditions fit {len(fitting)} of the kinds of motion that this run learned "
            f"({_names(method, fitting)}): tell more components, or give first frames."
        )
    return best, found[best][0]


def _state_from_labels(method: RigidODEMany, cluster: int, given: PoseLabels) -> tuple[Tensor, float]:
    """The state `[2 d]` as one of a kind, and how far what is known is from the kind's surface, in scene units."""
    dynamics = method.dynamics[cluster]
    manifold = dynamics.manifold
    rotations = torch.full_like(given.positions, float("nan"))
    if bool(torch.isfinite(given.rotations).all()):
        rotations = rotation_vectors(given.rotations)
    poses = method.pose_vectors(cluster, given.positions[0], rotations[0])
    rates = (
        method.pose_vectors(cluster, given.velocities[0], torch.full_like(rotations[0], float("nan"))) * method.window
    )
    q, off = _nearest_coordinates(method, cluster, poses)
    slopes = manifold.jacobian(q)
    told = torch.isfinite(rates)
    if manifold.size == 0 or not bool(told.any()):
        return torch.cat([q, torch.zeros_like(q)]), off
    v = torch.linalg.lstsq(slopes[:, told].T, rates[told][:, None], driver="gelsd").solution[:, 0]
    across = (rates[told] - v @ slopes[:, told]) / dynamics.ode.velocity_scale
    return torch.cat([q, v]), math.hypot(off, float(across.norm()))


def _names(method: RigidODEMany, clusters: Sequence[int]) -> str:
    """Kinds, told by a sequence of each."""
    return ", ".join(
        f"that of sequence '{method.info.names[int(method.sequences(cluster)[0])]}'" for cluster in clusters
    )


def _extent(method: RigidODEMany, cluster: int) -> float:
    """Root mean square way of a kind's poses from their middle, in scene units."""
    poses = _seen_poses(method, cluster)
    return float((poses - poses.mean(0)).square().sum(-1).mean().sqrt())


def _seen_poses(method: RigidODEMany, cluster: int) -> Tensor:
    """`[N, P]` of all learned sequences of a kind."""
    return torch.cat([method.poses(s)[0] for s in method.sequences(cluster).tolist()])


def _check_dynamics(method: RigidODEMany) -> None:
    if not all(dynamics.fitted for dynamics in method.dynamics):
        raise UserError(
            "this run has no law of motion yet, and new sequences begin by it: train on, or take a later checkpoint."
        )


def _nearest_coordinates(method: RigidODEMany, cluster: int, poses: Tensor) -> tuple[Tensor, float]:
    """q `[d]` where a kind's surface comes nearest to the components of `poses` `[P]` that are known; and how far it
    stays away there, where the surface was seen."""
    manifold = method.dynamics[cluster].manifold
    told = torch.isfinite(poses)
    seen = _seen_poses(method, cluster)
    q = manifold.encode(seen[(seen[:, told] - poses[told]).square().sum(-1).argmin()])
    if manifold.size:
        for _ in range(ITERATIONS):
            left = poses[told] - manifold.decode(q)[told]
            slopes = manifold.jacobian(q)[:, told]
            q = q + torch.linalg.lstsq(slopes.T, left[:, None], driver="gelsd").solution[:, 0]
    places = manifold.encode(seen)
    low, high = places.amin(0), places.amax(0)
    margin = manifold.config.extrapolation_margin * (high - low)
    inside = torch.minimum(torch.maximum(q, low - margin), high + margin)
    return q, float((poses - manifold.decode(inside))[told].norm())


@torch.no_grad()
def state_from_frames(method: RigidODEMany, frames: Sequence[Frame]) -> tuple[int, Tensor, Tensor, float]:
    """The kind, the state `[2 d]`, a square root of its covariance `[2 d, D]`, and its time: the beginning whose
    solution passes through what moves in the `frames`, by Gauss and Newton's method from the best of many states that
    were seen in training; of the kind whose pictures come nearest to the frames. Raises `UserError` where nothing is
    seen to move, for several parts, and where several kinds look the same."""
    clusters = [cluster for cluster in range(method.clusters) if len(method.parts(cluster)) == 1]
    if not clusters:
        raise UserError(
            "this run observes new sequences of one moving part from frames; it learned several: "
            "give --observe truth, or type the initial conditions."
        )
    _check_dynamics(method)
    detections = [(f, pixel) for f in frames if (pixel := _centroid(method, f)) is not None]
    if len({f.time for f, _ in detections}) < 2:
        raise UserError("nothing is seen to move in two or more of the first frames: give more of them.")
    first = min(f.time for f in frames)
    found = {cluster: _state_through_detections(method, cluster, detections, first) for cluster in clusters}
    if len(clusters) == 1:
        return clusters[0], *found[clusters[0]], first
    states = {cluster: state for cluster, (state, _) in found.items()}
    best, *others = clusters = sorted(
        clusters, key=(unlike := _image_errors(method, states, detections, first)).__getitem__
    )
    if unlike[others[0]] < CLUSTER_ERROR_RATIO * unlike[best]:
        raise UserError(
            f"these first frames show as well one as another of the kinds of motion that this run learned "
            f"({_names(method, clusters[:2])}): give more of them."
        )
    return best, *found[best], first


def _image_errors(
    method: RigidODEMany, states: Mapping[int, Tensor], detections: Sequence[tuple[Frame, Tensor]], first: float
) -> dict[int, float]:
    """For each kind how much the pictures of its solution differ from frames, where either shows what moves."""
    some = [
        detections[i][0]
        for i in torch.linspace(0, len(detections) - 1, MAX_COMPARED_FRAMES).round().long().unique().tolist()
    ]
    total = dict.fromkeys(states, 0.0)
    for frame in some:
        rest, image = _at_rest(method, frame.camera), frame.image()
        made = {cluster: _picture(method, cluster, state, first, frame) for cluster, state in states.items()}
        moving = torch.stack([moving_mask(x, rest) for x in (image, *made.values())]).any(0)
        for cluster, picture in made.items():
            total[cluster] += float((picture - image)[moving].square().sum())
    return total


@torch.no_grad()
def _picture(method: RigidODEMany, cluster: int, state: Tensor, first: float, frame: Frame) -> Tensor:
    """`[H, W, 3]`: what the frame's camera sees at its time of a kind's solution from `state` at `first`."""
    dynamics = method.dynamics[cluster]
    when = torch.tensor([frame.time / method.window], dtype=torch.float64)
    path = dynamics.solve(state, first / method.window, when)
    parts = method.from_pose_vectors(cluster, dynamics.manifold.decode(path[..., : dynamics.manifold.size]))
    return render(method.scene(take(parts, 0)), frame.camera, device=method.centres.device).rgb.clamp(0, 1)


def _state_through_detections(
    method: RigidODEMany, cluster: int, detections: Sequence[tuple[Frame, Tensor]], first: float
) -> tuple[Tensor, Tensor]:
    """`[2 d]` at time `first`, from which a kind's one part passes through pixels of the frames, and a square root of
    its covariance."""
    dynamics, part = method.dynamics[cluster], int(method.parts(cluster)[0])
    times = sorted({f.time for f, _ in detections})
    u = torch.tensor(times, dtype=torch.float64) / method.window
    index = torch.tensor([times.index(f.time) for f, _ in detections])
    target = torch.stack([pixel / f.camera.width for f, pixel in detections])

    def reprojection_errors(states: Tensor) -> Tensor:
        """`[B, 2 M]`: how far the projections are from the sightings, in picture widths."""
        path = dynamics.solve(states, first / method.window, u)
        pose_vectors = dynamics.manifold.decode(path[..., : dynamics.manifold.size])
        centres = method.from_pose_vectors(cluster, pose_vectors.flatten(0, 1)).centres[:, part].double().cpu()
        centres = centres.unflatten(0, pose_vectors.shape[:2])
        found = [_project(f.camera, centres[i]) for (f, _), i in zip(detections, index.tolist())]
        return (torch.stack(found, dim=1) - target).flatten(1)

    states = _seen_states(method, cluster)
    state = states[reprojection_errors(states).square().sum(-1).argmin()]
    unit = dynamics.state_scale()
    left, damping = reprojection_errors(state[None])[0], 1e-3

    def slopes_at(state: Tensor) -> Tensor:
        """`[2 d, 2 M]`"""
        return (reprojection_errors(state + 1e-4 * torch.diag(unit)) - reprojection_errors(state[None])) / 1e-4

    for _ in range(ITERATIONS):
        slopes = slopes_at(state)
        gram = slopes @ slopes.T
        step = torch.linalg.solve(gram + damping * torch.diag(gram.diagonal() + 1e-12), -slopes @ left)
        tried = reprojection_errors((state + step * unit)[None])[0]
        if bool(tried.square().sum() < left.square().sum()):
            state, left, damping = state + step * unit, tried, damping * 0.2
        else:
            damping *= 5
    return state, unit[:, None] * _square_root_of_covariance(slopes_at(state), left, _biases(detections))


def _square_root_of_covariance(slopes: Tensor, left: Tensor, biases: Tensor) -> Tensor:
    """`[2 d, 2 d + B]`: of the state, from how misses change with it `[2 d, 2 M]`, what is left of them `[2 M]`, and
    what may be wrong with all of them together `[2 M, B]`. Before anything was seen, each number had the variance 1
    that states of learned sequences have."""
    free = max(len(left) - len(slopes), 1)
    weight = free / left.square().sum().clamp_min(1e-12)
    precision = weight * slopes @ slopes.T + torch.eye(len(slopes), dtype=slopes.dtype)
    scattered = torch.linalg.inv(torch.linalg.cholesky(precision)).T
    return torch.cat([scattered, torch.linalg.solve(precision, weight * slopes @ biases)], dim=-1)


def _biases(detections: Sequence[tuple[Frame, Tensor]]) -> Tensor:
    """`[2 M, 2 C]`: `DETECTION_BIAS` along each axis of each of C cameras."""
    cameras = sorted({f.camera_id for f, _ in detections})
    found = torch.zeros(len(detections), 2, len(cameras), 2, dtype=torch.float64)
    for row, (frame, _) in enumerate(detections):
        found[row, :, cameras.index(frame.camera_id)] = DETECTION_BIAS / frame.camera.width * torch.eye(2)
    return found.flatten(2).flatten(0, 1)


def _project(camera: Camera, points: Tensor) -> Tensor:
    pixels, _ = camera.project(points.float())
    return pixels.double() / camera.width


def _seen_states(method: RigidODEMany, cluster: int) -> Tensor:
    """`[B, 2 d]` from all over the learned sequences of a kind."""
    paths = method.dynamics[cluster].paths(*method.learned_poses(cluster), bool(method.exact_poses))
    valid = torch.arange(paths.q.shape[1]) < paths.counts[:, None]
    states = torch.cat([paths.q, paths.v], dim=-1)[valid]
    return states[torch.linspace(0, len(states) - 1, min(NUM_GUESSES, len(states))).round().long()]


def _centroid(method: RigidODEMany, frame: Frame) -> Tensor | None:
    """`[2]` pixels: the middle of the largest piece that differs from what is at rest and from its shadows; None where
    there is none."""
    moving = moving_mask(frame.image(), _at_rest(method, frame.camera)).numpy()
    labels, count = ndimage.label(ndimage.binary_opening(moving))
    sizes = ndimage.sum_labels(moving, labels, range(1, count + 1)) if count else []
    if count == 0 or max(sizes) < MIN_PIXELS:
        return None
    row, column = ndimage.center_of_mass(labels == 1 + int(torch.tensor(sizes).argmax()))
    return torch.tensor([column + 0.5, row + 0.5], dtype=torch.float64)


@torch.no_grad()
def _at_rest(method: RigidODEMany, camera: Camera) -> Tensor:
    """`[H, W, 3]`: what the camera sees where the parts are far away."""
    own, parts = method.centres, len(method.appearance.half_extents) - 1
    state = RigidPartsState(own.new_full((parts, 3), FAR_AWAY), own.new_zeros(parts, 3), own.new_zeros(1))
    return render(method.scene(state), camera, device=own.device).rgb.clamp(0, 1)
