"""Whether a film keeps the plainest rules of physics: nothing vanishes or doubles, nothing jumps, no energy comes
from nowhere, nothing passes through what rests.

A film is judged as a film, not picture by picture: a forecast that has lost step with the truth may still be a
possible motion. Truth says only what bodies there are and how far they move at most. `docs/evaluation.md` has the
formulas.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from foreseen.evaluation.camera_truth import CameraTruth
from foreseen.evaluation.mask_components import connected_components, hausdorff_distance, second_differences
from foreseen.simulate.energy import specific_energy

BODY_TOLERANCE = 0.5
"""A body is lost, or there is one too many, where half of one is missing or too much."""
STEP_SLACK, STEP_MARGIN = 1.5, 2.0
"""A step is a jump beyond so many times the truth's longest step and so many pixels."""
MIN_ACCELERATION = 0.5
"""Accelerations are compared with the truth's largest, or with this where that is smaller [pixels a step^2]: what
masks of whole pixels cannot tell from none."""

Findings = dict[str, list[float]]
"""Rule -> what was found, a value for each frame, step or film: a mean over films is one over all of these."""


@dataclass(frozen=True)
class MaskClip:
    """What moves in consecutive pictures of one camera.

    Attributes:
        times: `[T]`.
        masks: `[T, H, W]` bool.
    """

    times: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class PhysicsRule:
    """How a rule is named to people, and what a film without fault has."""

    label: str
    ideal: str


RULES: dict[str, PhysicsRule] = {
    "permanence": PhysicsRule("object permanence", "1"),
    "lost": PhysicsRule("  body lost", "0"),
    "surplus": PhysicsRule("  body too many", "0"),
    "continuity": PhysicsRule("continuity", "1"),
    "acceleration": PhysicsRule("acceleration [x truth]", "about 1"),
    "energy_drift": PhysicsRule("energy drift", "0"),
    "energy_gain": PhysicsRule("energy gained", "0"),
    "penetration": PhysicsRule("penetration", "0"),
}
"""Every name that a "consistency" of `metrics.json` may use, in the order of the table."""


def judge(clip: MaskClip, camera_truth: CameraTruth) -> Findings:
    """What every rule finds in one film; rules that cannot be had are left out."""
    when = camera_truth.index(clip.times)
    seen = [connected_components(mask, camera_truth.min_pixels) for mask in clip.masks]
    masks = [pieces.mask for pieces in seen]
    found = permanence([len(p.areas) for p in seen], [float(p.areas.sum()) for p in seen], camera_truth, when)
    whole = np.array(found["permanence"]) == 1
    found |= continuity(masks, camera_truth, when)
    centroids = np.array([p.centroid for p in seen])
    found |= acceleration(centroids, camera_truth)
    found |= energy(clip.times, np.where(whole[:, None], centroids, np.nan), camera_truth, when)
    found |= penetration([(p.labels, p.centroids) for p in seen], camera_truth)
    return {name: values for name, values in found.items() if values}


def permanence(counts: Sequence[int], areas: Sequence[float], camera_truth: CameraTruth, when: np.ndarray) -> Findings:
    """For each frame whether all bodies are there, and no more of them."""
    lost, surplus = [], []
    for count, area, at in zip(counts, areas, when):
        whole, bodies = camera_truth.areas[at], max(int(camera_truth.bodies[at]), 1)
        fewer = count < camera_truth.pieces[at] and area < whole * (1 - BODY_TOLERANCE / bodies)
        lost.append(float(fewer or area < whole * BODY_TOLERANCE))
        surplus.append(float(count > camera_truth.parts[at] or area > whole / BODY_TOLERANCE))
    kept = [float(not (a or b)) for a, b in zip(lost, surplus)]
    return {"permanence": kept, "lost": lost, "surplus": surplus}


def continuity(masks: Sequence[np.ndarray], camera_truth: CameraTruth, when: np.ndarray) -> Findings:
    """For each step whether nothing appears or goes farther off than the truth's longest step explains."""
    longest = STEP_SLACK * camera_truth.step + STEP_MARGIN
    kept = []
    for index in range(1, len(masks)):
        if camera_truth.areas[when[index - 1]] > 0 and camera_truth.areas[when[index]] > 0:
            kept.append(float(hausdorff_distance(masks[index - 1], masks[index]) <= longest))
    return {"continuity": kept}


def acceleration(centroids: np.ndarray, camera_truth: CameraTruth) -> Findings:
    """The largest second difference of the centroid over the truth's largest, one value."""
    found = second_differences(centroids)
    return {"acceleration": [max(found) / max(camera_truth.max_acceleration, MIN_ACCELERATION)] if found else []}


def energy(times: np.ndarray, centroids: np.ndarray, camera_truth: CameraTruth, when: np.ndarray) -> Findings:
    """How far the energy of the body is from the true one (for each frame) and by how much it ever rises (one
    value), both as shares of the truth's largest kinetic energy. `centroids` `[T, 2]` are not numbers where the body
    is not seen whole, and alone."""
    if camera_truth.detections is None or camera_truth.energy_reference is None:
        return {}
    seen = np.isfinite(centroids).all(-1)
    positions = np.full((len(centroids), 3), np.nan)
    positions[seen] = camera_truth.detections.unproject(centroids[seen])
    scale = camera_truth.energy_reference.kinetic
    found = specific_energy(times, positions, camera_truth.energy_reference.gravity) / scale
    true = (
        specific_energy(times, camera_truth.energy_reference.positions[when], camera_truth.energy_reference.gravity)
        / scale
    )
    known = np.isfinite(found) & np.isfinite(true)
    if not known.any():
        return {}
    drift, course = np.abs(found - true)[known], found[known]
    gain = course - np.minimum.accumulate(course)
    return {"energy_drift": drift.tolist(), "energy_gain": [float(gain.max())]}


def penetration(clips: Iterable[tuple[np.ndarray, np.ndarray]], camera_truth: CameraTruth) -> Findings:
    """For each frame the share of the moving pixels that are drawn where what rests stands before the body."""
    if camera_truth.detections is None or camera_truth.static_depth is None:
        return {}
    shares = []
    for labels, centroids in clips:
        if len(centroids) == 0:
            continue
        front = np.concatenate([[np.inf], camera_truth.detections.front_depths(centroids)])
        inside = labels > 0
        shares.append(float((camera_truth.static_depth[inside] < front[labels[inside]]).mean()))
    return {"penetration": shares}
