"""Checks the cameras against the pictures: matched features must lie on epipolar lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from foreseen.data.inspection_report import InspectionSection, number
from foreseen.data.types import Dataset, Frame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

PAIRS = 6
PAIR_MATCHES = 30
"""A pair of pictures with fewer matches is left out: most of them would be false."""

MAX_PAIR_ANGLE = 30.0
"""Largest angle [degrees] between two view directions at which features are matched."""

MATCH_TOLERANCE = 0.004
"""A match fits when it lies within this share of the picture's width, or one pixel, of its epipolar line."""

MIN_INLIERS, MIN_INLIER_GAIN = 0.5, 0.25
"""Another convention of the poses is proposed when at least the first share of the matches fits it, and more matches
than fit the poses as they are by the second share."""

MIN_MATCHES, DOUBTFUL_INLIERS = 200, 0.25
"""With so many matches or more, the poses are reported as doubtful when less than this share fits, even if no other
convention fits better."""

_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def _axes(*columns: tuple[float, float, float]) -> Callable[[np.ndarray], np.ndarray]:
    rotation = np.eye(4)
    rotation[:3, :3] = np.array(columns).T
    return lambda pose: pose @ rotation


AS_READ = "as they are"
READINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    AS_READ: lambda pose: pose,
    "with y and z negated (OpenGL's axes for OpenCV's, or the other way round)": lambda pose: pose @ _FLIP,
    "as world-to-camera matrices": np.linalg.inv,
    "as world-to-camera matrices with OpenGL's axes": lambda pose: np.linalg.inv(pose @ _FLIP) @ _FLIP,
    "with LLFF's order of axes (down, right, backwards), taken for OpenCV's": _axes((0, 1, 0), (1, 0, 0), (0, 0, -1)),
    "with LLFF's order of axes (down, right, backwards), taken for OpenGL's": _axes((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "with OpenGL's order of axes (right, up, backwards), taken for LLFF's": _axes((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}
"""Other conventions that a pose may follow: the camera-to-world `[4, 4]` that was read -> the pose in that convention,
up to one motion of the whole world."""


@dataclass(frozen=True)
class _FeatureMatches:
    """Pixels `[M, 2]` of the same features in two frames."""

    first: Camera
    second: Camera
    first_pixels: np.ndarray
    second_pixels: np.ndarray


def check_matches(dataset: Dataset, progress: Callable[[float, str], None]) -> InspectionSection:
    """How well SIFT matches of up to `PAIRS` pairs of pictures agree with the cameras.

    This knows what no look at the numbers can: axes of another convention, a wrong focal length, pictures in another
    order than poses. Things that move and chance matches do not fit either, so that shares of matches count.
    """
    pairs = _pairs(list(dataset.frames))
    matched_pairs = []
    for index, (a, b) in enumerate(pairs):
        progress(index / len(pairs), "comparing pictures with poses")
        matches = _match(a, b)
        if matches is not None:
            matched_pairs.append(matches)
    progress(1.0, "done")
    if not matched_pairs:
        return InspectionSection("Pictures against poses", (("matches", "too few features to tell"),))
    shares = {name: _share(matched_pairs, reading) for name, reading in READINGS.items()}
    fitting, total = shares[AS_READ], sum(len(m.first_pixels) for m in matched_pairs)
    limit = _limit(matched_pairs[0])
    row = f"{100 * fitting:.0f} % of {total} matches in {len(matched_pairs)} pairs fit the poses to {number(limit)} px"
    return InspectionSection("Pictures against poses", (("matches", row),), tuple(_warnings(shares, total)))


def _warnings(shares: dict[str, float], total: int) -> list[str]:
    fitting, best = shares[AS_READ], max(shares, key=lambda name: shares[name])
    if shares[best] >= max(MIN_INLIERS, fitting + MIN_INLIER_GAIN):
        return [
            f"the poses do not fit the pictures, but would {best}: {100 * shares[best]:.0f} % of the matches would fit"
            f" instead of {100 * fitting:.0f} %"
        ]
    if fitting < DOUBTFUL_INLIERS and total >= MIN_MATCHES:
        return [
            f"the poses hardly fit the pictures ({100 * fitting:.0f} % of the matches do): check axes, focal length and"
            " the order of the pictures"
        ]
    return []


def _pairs(frames: list[Frame]) -> list[tuple[Frame, Frame]]:
    """Frames from different positions with similar view directions, as near in time as possible."""
    chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, min(PAIRS, len(frames))).astype(int)]
    positions = np.stack([f.camera.position.double().numpy() for f in frames])
    forward = np.stack([f.camera.camera_to_world[:3, 2].double().numpy() for f in frames])
    times = np.array([f.time for f in frames])
    # A twentieth of the cameras' spread moves features by enough to see that they move along the line.
    apart = 0.05 * float(np.linalg.norm(np.ptp(positions, axis=0)))
    pairs = []
    for frame in chosen:
        own, axis = frame.camera.position.double().numpy(), frame.camera.camera_to_world[:3, 2].double().numpy()
        distance = np.linalg.norm(positions - own, axis=1)
        angle = np.degrees(np.arccos(np.clip(forward @ axis, -1, 1)))
        fit = (distance > max(apart, 1e-9)) & (angle < MAX_PAIR_ANGLE)
        if fit.any():
            span = max(float(np.ptp(times)), 1e-12)
            cost = np.where(fit, np.abs(times - frame.time) / span + angle / 90, np.inf)
            pairs.append((frame, frames[int(cost.argmin())]))
    return pairs


def _match(a: Frame, b: Frame) -> _FeatureMatches | None:
    try:
        (here, first), (there, second) = _features(a), _features(b)
    except UserError:
        return None  # the check of the files reports damaged files
    if first is None or second is None or len(second) < 2:
        return None
    near = cv2.BFMatcher().knnMatch(first, second, 2)
    back = {m.queryIdx: m.trainIdx for m in cv2.BFMatcher().match(second, first)}
    good = [m for m, other in near if m.distance < 0.7 * other.distance and back[m.trainIdx] == m.queryIdx]
    if len(good) < PAIR_MATCHES:
        return None
    return _FeatureMatches(a.camera, b.camera, here[[m.queryIdx for m in good]], there[[m.trainIdx for m in good]])


def _features(frame: Frame) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels `[N, 2]` of features, and their descriptors."""
    picture = (frame.image().numpy() * 255).astype(np.uint8)
    grey = cv2.equalizeHist(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))  # dark pictures have features too
    keys, descriptors = cv2.SIFT.create(nfeatures=2000, contrastThreshold=0.02).detectAndCompute(grey, None)
    return np.array([k.pt for k in keys]).reshape(-1, 2) + 0.5, descriptors


def _share(matched_pairs: list[_FeatureMatches], reading: Callable[[np.ndarray], np.ndarray]) -> float:
    fit = np.concatenate([_errors(m, reading) < _limit(m) for m in matched_pairs])
    return float(fit.mean())


def _limit(matches: _FeatureMatches) -> float:
    return max(1.0, MATCH_TOLERANCE * matches.first.width)


def _errors(matches: _FeatureMatches, reading: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`[M]` distances [px] of the second pixels from the epipolar lines of the first."""
    first, second = matches.first, matches.second
    here, there = (reading(c.camera_to_world.double().numpy()) for c in (first, second))
    x, y = ((matches.first_pixels - [first.cx, first.cy]) / [first.fx, first.fy]).T
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ here[:3, :3].T @ there[:3, :3]
    centre = (here[:3, 3] - there[:3, 3]) @ there[:3, :3]
    normal = np.cross(centre, rays)  # of the plane through both cameras and the ray, in the second camera's axes
    # The plane meets the picture in the line a x + b y + c = 0.
    a, b = normal[:, 0] / second.fx, normal[:, 1] / second.fy
    c = normal[:, 2] - a * second.cx - b * second.cy
    return np.abs(a * matches.second_pixels[:, 0] + b * matches.second_pixels[:, 1] + c) / np.maximum(
        np.hypot(a, b), 1e-12
    )
