"""Whether a video is physically plausible: no body vanishes or doubles, none jumps, no energy is gained, no body passes
through static surfaces.

A video is judged by itself, not frame by frame against the truth: a forecast that is out of phase may still be a
possible motion. The truth only says which bodies there are and how far they move at most. `docs/evaluation.md` has
the formulas.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from foreseen.evaluation.camera_truth import CameraTruth
from foreseen.evaluation.mask_components import connected_components, hausdorff_distance, second_differences
from foreseen.simulate.energy import specific_energy

BODY_TOLERANCE = 0.5
"""Share of one body's area that must be missing (or too much) before a body counts as lost (or surplus); larger is more
tolerant."""
STEP_SLACK, STEP_MARGIN = 1.5, 2.0
"""A step is a jump when it is longer than STEP_SLACK times the truth's longest step plus STEP_MARGIN pixels; larger
values accept faster motion."""
MIN_ACCELERATION = 0.5
"""Lower bound of the truth's largest acceleration [pixels / step^2], by which accelerations are divided: masks of whole
pixels do not resolve less."""

Findings = dict[str, list[float]]
"""Rule -> a value for each frame, step or video; means are taken over all of them."""


@dataclass(frozen=True)
class MaskClip:
    """Masks of the moving objects in consecutive frames of one camera.

    Attributes:
        times: `[T]`.
        masks: `[T, H, W]` bool.
    """

    times: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class PhysicsRule:
    """A rule's name in tables, and its value for a perfect video."""

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
    """The values of every rule for one video; rules that do not apply are left out."""
    when = camera_truth.index(clip.times)
    components = [connected_components(mask, camera_truth.min_pixels) for mask in clip.masks]
    areas = [float(p.areas.sum()) for p in components]
    findings = permanence([len(p.areas) for p in components], areas, camera_truth, when)
    whole = np.array(findings["permanence"]) == 1
    findings |= continuity([p.mask for p in components], camera_truth, when)
    centroids = np.array([p.centroid for p in components])
    findings |= acceleration(centroids, camera_truth)
    findings |= energy(clip.times, np.where(whole[:, None], centroids, np.nan), camera_truth, when)
    findings |= penetration([(p.labels, p.centroids) for p in components], camera_truth)
    return {name: values for name, values in findings.items() if values}


def permanence(counts: Sequence[int], areas: Sequence[float], camera_truth: CameraTruth, when: np.ndarray) -> Findings:
    """For each frame: 1 where all bodies are there, and no more."""
    lost, surplus = [], []
    for count, area, at in zip(counts, areas, when):
        whole, bodies = camera_truth.areas[at], max(int(camera_truth.bodies[at]), 1)
        fewer = count < camera_truth.pieces[at] and area < whole * (1 - BODY_TOLERANCE / bodies)
        lost.append(float(fewer or area < whole * BODY_TOLERANCE))
        surplus.append(float(count > camera_truth.parts[at] or area > whole / BODY_TOLERANCE))
    kept = [float(not (a or b)) for a, b in zip(lost, surplus)]
    return {"permanence": kept, "lost": lost, "surplus": surplus}


def continuity(masks: Sequence[np.ndarray], camera_truth: CameraTruth, when: np.ndarray) -> Findings:
    """For each step: 1 where nothing appears or moves farther than the truth's longest step allows."""
    longest = STEP_SLACK * camera_truth.step + STEP_MARGIN
    kept = []
    for index in range(1, len(masks)):
        if camera_truth.areas[when[index - 1]] > 0 and camera_truth.areas[when[index]] > 0:
            kept.append(float(hausdorff_distance(masks[index - 1], masks[index]) <= longest))
    return {"continuity": kept}


def acceleration(centroids: np.ndarray, camera_truth: CameraTruth) -> Findings:
    """The largest second difference of the centroid divided by the truth's largest, one value."""
    sizes = second_differences(centroids)
    return {"acceleration": [max(sizes) / max(camera_truth.max_acceleration, MIN_ACCELERATION)] if sizes else []}


def energy(times: np.ndarray, centroids: np.ndarray, camera_truth: CameraTruth, when: np.ndarray) -> Findings:
    """Difference of the body's energy from the true one (for each frame) and its largest rise (one value), both as
    shares of the truth's largest kinetic energy. `centroids` `[T, 2]` are NaN where the body is not visible whole and
    alone."""
    reference = camera_truth.energy_reference
    if camera_truth.detections is None or reference is None:
        return {}
    visible = np.isfinite(centroids).all(-1)
    positions = np.full((len(centroids), 3), np.nan)
    positions[visible] = camera_truth.detections.unproject(centroids[visible])
    predicted = specific_energy(times, positions, reference.gravity) / reference.kinetic
    true = specific_energy(times, reference.positions[when], reference.gravity) / reference.kinetic
    finite = np.isfinite(predicted) & np.isfinite(true)
    if not finite.any():
        return {}
    drift, energies = np.abs(predicted - true)[finite], predicted[finite]
    gain = energies - np.minimum.accumulate(energies)
    return {"energy_drift": drift.tolist(), "energy_gain": [float(gain.max())]}


def penetration(clips: Iterable[tuple[np.ndarray, np.ndarray]], camera_truth: CameraTruth) -> Findings:
    """For each frame the share of the moving pixels at which a static surface lies in front of the body."""
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
