"""Estimates the initial state of a new sequence, from given poses and velocities or from its first frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor

from foreseen.core.method import take
from foreseen.data.difference import moving_mask
from foreseen.data.labels import PoseLabels
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.methods.rigid_ode.config import InitialConditionConfig
from foreseen.methods.rigid_ode.parts import RigidPartsState
from foreseen.methods.rigid_ode.shared_dynamics import SharedDynamics
from foreseen.reconstruction.part_tracks import rotation_vectors
from foreseen.render import render
from foreseen.scenes.voxel_scene import FAR_AWAY

FINITE_DIFFERENCE = 1e-4
"""Step of finite differences, in units of `LearnedDynamics.state_scale`. Larger: less accurate derivatives; below about
1e-7: rounding errors."""


@dataclass(frozen=True)
class Detection:
    """The position of the moving part in one frame: `pixel` `[2]` float64 is the centroid of the largest moving
    region."""

    frame: Frame
    pixel: Tensor


# From poses and velocities.


def state_from_labels(shared: SharedDynamics, labels: PoseLabels) -> tuple[int, Tensor]:
    """The dynamics cluster and the state `[2 d]` for poses and velocities at one time.

    Components that are NaN are unknown; they are determined by the manifold of poses. The cluster is the one whose
    manifold is nearest to the known components.

    Raises:
        UserError: no cluster has as many parts, no position is given, or several clusters fit.
    """
    num_bodies = labels.positions.shape[1]
    clusters = [cluster for cluster in range(shared.clusters) if len(shared.parts(cluster)) == num_bodies]
    if not clusters:
        counts = sorted({len(shared.parts(cluster)) for cluster in range(shared.clusters)})
        learned = f"{' or '.join(map(str, counts))} moving part{'s' if counts[-1] > 1 else ''}"
        raise UserError(f"this run learned {learned}, and the initial conditions have {num_bodies}: give as many.")
    _check_fitted(shared)
    if not bool(torch.isfinite(labels.positions).any()):
        raise UserError("initial conditions need a position: give some of x, y and z.")
    states = {cluster: _state_in_cluster(shared, cluster, labels) for cluster in clusters}
    best = min(clusters, key=lambda cluster: states[cluster][1])
    tolerance = shared.config.multi_sequence.manifold.max_error
    fitting = [c for c in clusters if c == best or states[c][1] <= tolerance * _motion_size(shared, c)]
    if len(fitting) > 1:
        raise UserError(
            f"these initial conditions fit {len(fitting)} of the dynamics clusters that this run learned "
            f"({_describe_clusters(shared, fitting)}): give more components, or first frames."
        )
    return best, states[best][0]


def _state_in_cluster(shared: SharedDynamics, cluster: int, labels: PoseLabels) -> tuple[Tensor, float]:
    """The state `[2 d]` in a cluster, and the distance of the known components from its manifold in scene units: of the
    poses, and of the velocities divided by the velocity scale."""
    dynamics = shared.dynamics[cluster]
    manifold = dynamics.manifold
    rotations = torch.full_like(labels.positions, float("nan"))
    if bool(torch.isfinite(labels.rotations).all()):
        rotations = rotation_vectors(labels.rotations)
    poses = shared.pose_vectors(cluster, labels.positions[0], rotations[0])
    unknown = torch.full_like(rotations[0], float("nan"))
    velocities = shared.pose_vectors(cluster, labels.velocities[0], unknown) * shared.window
    q, distance = _nearest_coordinates(shared, cluster, poses)
    jacobian = manifold.jacobian(q)
    is_known = torch.isfinite(velocities)
    if manifold.size == 0 or not bool(is_known.any()):
        return torch.cat([q, torch.zeros_like(q)]), distance
    v = torch.linalg.lstsq(jacobian[:, is_known].T, velocities[is_known][:, None], driver="gelsd").solution[:, 0]
    normal_velocity = (velocities[is_known] - v @ jacobian[:, is_known]) / dynamics.ode.velocity_scale
    return torch.cat([q, v]), math.hypot(distance, float(normal_velocity.norm()))


def _describe_clusters(shared: SharedDynamics, clusters: Sequence[int]) -> str:
    """A description of clusters for messages: each by the name of its first sequence."""
    return ", ".join(
        f"that of sequence '{shared.info.names[int(shared.sequences(cluster)[0])]}'" for cluster in clusters
    )


def _motion_size(shared: SharedDynamics, cluster: int) -> float:
    """Root mean square distance of a cluster's poses from their mean, in scene units."""
    poses = _learned_pose_vectors(shared, cluster)
    return float((poses - poses.mean(0)).square().sum(-1).mean().sqrt())


def _learned_pose_vectors(shared: SharedDynamics, cluster: int) -> Tensor:
    """Pose vectors `[N, P]` at all times of all training sequences of a cluster."""
    return torch.cat([shared.poses(s)[0] for s in shared.sequences(cluster).tolist()])


def _check_fitted(shared: SharedDynamics) -> None:
    if not all(dynamics.fitted for dynamics in shared.dynamics):
        raise UserError(
            "this run has no fitted dynamics yet, which new sequences need: train on, or take a later checkpoint."
        )


def _nearest_coordinates(shared: SharedDynamics, cluster: int, poses: Tensor) -> tuple[Tensor, float]:
    """The coordinates q `[d]` of the point on a cluster's manifold that is nearest to the known components of `poses`
    `[P]`, and the distance. The distance is measured after q was clamped to the observed range."""
    manifold = shared.dynamics[cluster].manifold
    is_known = torch.isfinite(poses)
    learned = _learned_pose_vectors(shared, cluster)
    q = manifold.encode(learned[(learned[:, is_known] - poses[is_known]).square().sum(-1).argmin()])
    if manifold.size:
        for _ in range(shared.config.initial_condition.iterations):
            error = poses[is_known] - manifold.decode(q)[is_known]
            jacobian = manifold.jacobian(q)[:, is_known]
            q = q + torch.linalg.lstsq(jacobian.T, error[:, None], driver="gelsd").solution[:, 0]
    coordinates = manifold.encode(learned)
    low, high = coordinates.amin(0), coordinates.amax(0)
    margin = manifold.config.extrapolation_margin * (high - low)
    clamped = torch.minimum(torch.maximum(q, low - margin), high + margin)
    return q, float((poses - manifold.decode(clamped))[is_known].norm())


# From first frames.


@torch.no_grad()
def state_from_frames(shared: SharedDynamics, frames: Sequence[Frame]) -> tuple[int, Tensor, Tensor, float]:
    """The dynamics cluster, the state `[2 d]`, a square root of its covariance `[2 d, D]`, and the state's time.

    The state minimises the reprojection errors of its solution at the detections in the `frames`: Levenberg-Marquardt,
    started at the best of many states of the training sequences. The cluster is the one whose predicted pictures are
    most similar to the frames.

    Raises:
        UserError: nothing moves in the frames, there are several parts, or several clusters look the same.
    """
    clusters = [cluster for cluster in range(shared.clusters) if len(shared.parts(cluster)) == 1]
    if not clusters:
        raise UserError(
            "this run observes new sequences of one moving part from frames; it learned several: "
            "give --observe truth, or type the initial conditions."
        )
    _check_fitted(shared)
    detections = [Detection(f, pixel) for f in frames if (pixel := _centroid(shared, f)) is not None]
    if len({d.frame.time for d in detections}) < 2:
        raise UserError("nothing moves in two or more of the first frames: give more of them.")
    start_time = min(f.time for f in frames)
    fits = {cluster: _state_through_detections(shared, cluster, detections, start_time) for cluster in clusters}
    if len(clusters) == 1:
        return clusters[0], *fits[clusters[0]], start_time
    errors = _image_errors(shared, {cluster: state for cluster, (state, _) in fits.items()}, detections, start_time)
    best, *others = clusters = sorted(clusters, key=errors.__getitem__)
    if errors[others[0]] < shared.config.initial_condition.cluster_error_ratio * errors[best]:
        raise UserError(
            f"these first frames fit more than one of the dynamics clusters that this run learned "
            f"({_describe_clusters(shared, clusters[:2])}): give more of them."
        )
    return best, *fits[best], start_time


def _image_errors(
    shared: SharedDynamics, states: Mapping[int, Tensor], detections: Sequence[Detection], start_time: float
) -> dict[int, float]:
    """For each cluster the sum of squared differences between predicted pictures and frames, over `compared_frames` of
    the frames. Only pixels count that move in the frame or in a cluster's picture."""
    count = shared.config.initial_condition.compared_frames
    indices = torch.linspace(0, len(detections) - 1, count).round().long().unique().tolist()
    errors = dict.fromkeys(states, 0.0)
    for frame in (detections[i].frame for i in indices):
        static, image = _static_picture(shared, frame.camera), frame.image()
        pictures = {cluster: _picture(shared, cluster, state, start_time, frame) for cluster, state in states.items()}
        moving = torch.stack([moving_mask(x, static) for x in (image, *pictures.values())]).any(0)
        for cluster, picture in pictures.items():
            errors[cluster] += float((picture - image)[moving].square().sum())
    return errors


@torch.no_grad()
def _picture(shared: SharedDynamics, cluster: int, state: Tensor, start_time: float, frame: Frame) -> Tensor:
    """`[H, W, 3]`: the prediction for the camera and time of a frame, from a cluster's `state` at `start_time`."""
    dynamics = shared.dynamics[cluster]
    time = torch.tensor([frame.time / shared.window], dtype=torch.float64)
    path = dynamics.solve(state, start_time / shared.window, time)
    parts = shared.from_pose_vectors(cluster, dynamics.manifold.decode(path[..., : dynamics.manifold.size]))
    return render(shared.scene(take(parts, 0)), frame.camera, device=shared.centres.device).rgb.clamp(0, 1)


def _state_through_detections(
    shared: SharedDynamics, cluster: int, detections: Sequence[Detection], start_time: float
) -> tuple[Tensor, Tensor]:
    """The state `[2 d]` at `start_time` with the smallest reprojection errors of a cluster's only part, and a square
    root of its covariance `[2 d, D]`. Levenberg-Marquardt."""
    c, scale = shared.config.initial_condition, shared.dynamics[cluster].state_scale()
    errors_of = _reprojection_errors(shared, cluster, detections, start_time)
    guesses = _learned_states(shared, cluster)
    state = guesses[errors_of(guesses).square().sum(-1).argmin()]
    errors, damping = errors_of(state[None])[0], c.initial_damping

    def jacobian_at(state: Tensor) -> Tensor:
        """`[2 d, 2 M]`: derivatives of the errors, for a state in units of its scale; by finite differences."""
        shifted = errors_of(state + FINITE_DIFFERENCE * torch.diag(scale))
        return (shifted - errors_of(state[None])) / FINITE_DIFFERENCE

    for _ in range(c.iterations):
        jacobian = jacobian_at(state)
        hessian = jacobian @ jacobian.T
        step = torch.linalg.solve(hessian + damping * torch.diag(hessian.diagonal() + 1e-12), -jacobian @ errors)
        new_errors = errors_of((state + step * scale)[None])[0]
        if bool(new_errors.square().sum() < errors.square().sum()):
            state, errors, damping = state + step * scale, new_errors, damping * c.damping_decrease
        else:
            damping *= c.damping_increase
    factor = _square_root_of_covariance(jacobian_at(state), errors, _biases(detections, c))
    return state, scale[:, None] * factor


def _reprojection_errors(
    shared: SharedDynamics, cluster: int, detections: Sequence[Detection], start_time: float
) -> Callable[[Tensor], Tensor]:
    """A function from states `[B, 2 d]` at `start_time` to reprojection errors `[B, 2 M]`: projected centre of the part
    minus each of M detections, in picture widths."""
    dynamics, part = shared.dynamics[cluster], int(shared.parts(cluster)[0])
    times = sorted({d.frame.time for d in detections})
    window_times = torch.tensor(times, dtype=torch.float64) / shared.window
    time_indices = [times.index(d.frame.time) for d in detections]
    target = torch.stack([d.pixel / d.frame.camera.width for d in detections])

    def errors_of(states: Tensor) -> Tensor:
        path = dynamics.solve(states, start_time / shared.window, window_times)
        pose_vectors = dynamics.manifold.decode(path[..., : dynamics.manifold.size])
        centres = shared.from_pose_vectors(cluster, pose_vectors.flatten(0, 1)).centres[:, part].double().cpu()
        centres = centres.unflatten(0, pose_vectors.shape[:2])
        projected = [_project(d.frame.camera, centres[i]) for d, i in zip(detections, time_indices)]
        return (torch.stack(projected, dim=1) - target).flatten(1)

    return errors_of


def _square_root_of_covariance(jacobian: Tensor, errors: Tensor, biases: Tensor) -> Tensor:
    """`[2 d, 2 d + B]`: a square root of the covariance of the state, in units of the state's scale.

    The prior has variance 1 for each component. The noise variance is estimated from the remaining errors.

    Args:
        jacobian: `[2 d, 2 M]`, of the reprojection errors.
        errors: `[2 M]`, reprojection errors after the fit.
        biases: `[2 M, B]`, standard deviations of errors that detections have in common.
    """
    degrees_of_freedom = max(len(errors) - len(jacobian), 1)
    weight = degrees_of_freedom / errors.square().sum().clamp_min(1e-12)
    precision = weight * jacobian @ jacobian.T + torch.eye(len(jacobian), dtype=jacobian.dtype)
    independent = torch.linalg.inv(torch.linalg.cholesky(precision)).T
    return torch.cat([independent, torch.linalg.solve(precision, weight * jacobian @ biases)], dim=-1)


def _biases(detections: Sequence[Detection], config: InitialConditionConfig) -> Tensor:
    """`[2 M, 2 C]`: standard deviation (`detection_bias`) of an error that all detections of one camera have in common,
    for both image axes of each of C cameras, in picture widths."""
    cameras = sorted({d.frame.camera_id for d in detections})
    biases = torch.zeros(len(detections), 2, len(cameras), 2, dtype=torch.float64)
    for row, d in enumerate(detections):
        bias = config.detection_bias / d.frame.camera.width
        biases[row, :, cameras.index(d.frame.camera_id)] = bias * torch.eye(2)
    return biases.flatten(2).flatten(0, 1)


def _project(camera: Camera, points: Tensor) -> Tensor:
    """Pixels `[B, 2]` of points `[B, 3]`, in picture widths."""
    pixels, _ = camera.project(points.float())
    return pixels.double() / camera.width


def _learned_states(shared: SharedDynamics, cluster: int) -> Tensor:
    """States `[B, 2 d]` of the training sequences of a cluster: `guesses` of them, evenly chosen."""
    paths = shared.dynamics[cluster].paths(*shared.learned_poses(cluster), bool(shared.exact_poses))
    valid = torch.arange(paths.q.shape[1]) < paths.counts[:, None]
    states = torch.cat([paths.q, paths.v], dim=-1)[valid]
    count = min(shared.config.initial_condition.guesses, len(states))
    return states[torch.linspace(0, len(states) - 1, count).round().long()]


@torch.no_grad()
def _centroid(shared: SharedDynamics, frame: Frame) -> Tensor | None:
    """Pixel `[2]`: the centroid of the largest region that differs from the static scene and is not a shadow. None if
    there is no large enough region."""
    moving = moving_mask(frame.image(), _static_picture(shared, frame.camera)).numpy()
    labels, count = ndimage.label(ndimage.binary_opening(moving))
    sizes = ndimage.sum_labels(moving, labels, range(1, count + 1)) if count else []
    if count == 0 or max(sizes) < shared.config.initial_condition.min_pixels:
        return None
    row, column = ndimage.center_of_mass(labels == 1 + int(torch.tensor(sizes).argmax()))
    return torch.tensor([column + 0.5, row + 0.5], dtype=torch.float64)


@torch.no_grad()
def _static_picture(shared: SharedDynamics, camera: Camera) -> Tensor:
    """`[H, W, 3]`: the static scene without parts, from a camera. (All parts are placed far away.)"""
    centres, parts = shared.centres, len(shared.appearance.half_extents) - 1
    state = RigidPartsState(centres.new_full((parts, 3), FAR_AWAY), centres.new_zeros(parts, 3), centres.new_zeros(1))
    return render(shared.scene(state), camera, device=centres.device).rgb.clamp(0, 1)
