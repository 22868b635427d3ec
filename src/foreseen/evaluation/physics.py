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

from foreseen.evaluation.facts import Facts, specific_energy
from foreseen.evaluation.pieces import bends, pieces_of, step_length

HALF = 0.5
"""A body is lost, or there is one too many, where half of one is missing or too much."""
SLACK, MARGIN = 1.5, 2.0
"""A step is a jump beyond so many times the truth's longest step and so many pixels."""
LEAST_BEND = 0.5
"""Accelerations are compared with the truth's largest, or with this where that is smaller [pixels a step^2]: what
masks of whole pixels cannot tell from none."""

Findings = dict[str, list[float]]
"""Rule -> what was found, a value for each frame, step or film: a mean over films is one over all of these."""


@dataclass(frozen=True)
class Film:
    """What moves in consecutive pictures of one camera.

    Attributes:
        times: `[T]`.
        masks: `[T, H, W]` bool.
    """

    times: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class Rule:
    """How a rule is named to people, and what a film without fault has."""

    label: str
    ideal: str


RULES: dict[str, Rule] = {
    "permanence": Rule("object permanence", "1"),
    "lost": Rule("  body lost", "0"),
    "surplus": Rule("  body too many", "0"),
    "continuity": Rule("continuity", "1"),
    "acceleration": Rule("acceleration [x truth]", "about 1"),
    "energy_drift": Rule("energy drift", "0"),
    "energy_gain": Rule("energy gained", "0"),
    "penetration": Rule("penetration", "0"),
}
"""Every name that a "consistency" of `metrics.json` may use, in the order of the table."""


def judge(film: Film, facts: Facts) -> Findings:
    """What every rule finds in one film; rules that cannot be had are left out."""
    when = facts.index(film.times)
    seen = [pieces_of(mask, facts.smallest) for mask in film.masks]
    masks = [pieces.mask for pieces in seen]
    found = permanence([len(p.areas) for p in seen], [float(p.areas.sum()) for p in seen], facts, when)
    whole = np.array(found["permanence"]) == 1
    found |= continuity(masks, facts, when)
    centroids = np.array([p.centroid for p in seen])
    found |= acceleration(centroids, facts)
    found |= energy(film.times, np.where(whole[:, None], centroids, np.nan), facts, when)
    found |= penetration([(p.labels, p.centroids) for p in seen], facts)
    return {name: values for name, values in found.items() if values}


def permanence(counts: Sequence[int], areas: Sequence[float], facts: Facts, when: np.ndarray) -> Findings:
    """For each frame whether all bodies are there, and no more of them."""
    lost, surplus = [], []
    for count, area, at in zip(counts, areas, when):
        whole, bodies = facts.areas[at], max(int(facts.bodies[at]), 1)
        fewer = count < facts.pieces[at] and area < whole * (1 - HALF / bodies)
        lost.append(float(fewer or area < whole * HALF))
        surplus.append(float(count > facts.parts[at] or area > whole / HALF))
    kept = [float(not (a or b)) for a, b in zip(lost, surplus)]
    return {"permanence": kept, "lost": lost, "surplus": surplus}


def continuity(masks: Sequence[np.ndarray], facts: Facts, when: np.ndarray) -> Findings:
    """For each step whether nothing appears or goes farther off than the truth's longest step explains."""
    longest = SLACK * facts.step + MARGIN
    kept = []
    for index in range(1, len(masks)):
        if facts.areas[when[index - 1]] > 0 and facts.areas[when[index]] > 0:
            kept.append(float(step_length(masks[index - 1], masks[index]) <= longest))
    return {"continuity": kept}


def acceleration(centroids: np.ndarray, facts: Facts) -> Findings:
    """The largest second difference of the centroid over the truth's largest, one value."""
    found = bends(centroids)
    return {"acceleration": [max(found) / max(facts.bend, LEAST_BEND)] if found else []}


def energy(times: np.ndarray, centroids: np.ndarray, facts: Facts, when: np.ndarray) -> Findings:
    """How far the energy of the body is from the true one (for each frame) and by how much it ever rises (one
    value), both as shares of the truth's largest kinetic energy. `centroids` `[T, 2]` are not numbers where the body
    is not seen whole, and alone."""
    if facts.sightings is None or facts.fall is None:
        return {}
    seen = np.isfinite(centroids).all(-1)
    positions = np.full((len(centroids), 3), np.nan)
    positions[seen] = facts.sightings.lift(centroids[seen])
    scale = facts.fall.kinetic
    found = specific_energy(times, positions, facts.fall.gravity) / scale
    true = specific_energy(times, facts.fall.positions[when], facts.fall.gravity) / scale
    known = np.isfinite(found) & np.isfinite(true)
    if not known.any():
        return {}
    drift, course = np.abs(found - true)[known], found[known]
    gain = course - np.minimum.accumulate(course)
    return {"energy_drift": drift.tolist(), "energy_gain": [float(gain.max())]}


def penetration(films: Iterable[tuple[np.ndarray, np.ndarray]], facts: Facts) -> Findings:
    """For each frame the share of the moving pixels that are drawn where what rests stands before the body."""
    if facts.sightings is None or facts.still is None:
        return {}
    shares = []
    for labels, centroids in films:
        if len(centroids) == 0:
            continue
        front = np.concatenate([[np.inf], facts.sightings.front(centroids)])
        inside = labels > 0
        shares.append(float((facts.still[inside] < front[labels[inside]]).mean()))
    return {"penetration": shares}
