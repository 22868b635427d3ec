"""From a run to analysis.json and analysis.png."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.analysis.energy import body_energy, drag, energy_drift, energy_of
from foreseen.analysis.fixed_points import (
    HIGH_DIM,
    STARTS_HIGH_DIM,
    STARTS_LOW_DIM,
    FixedPoint,
    sampled_fixed_points,
)
from foreseen.analysis.flow import LYAPUNOV_WINDOWS
from foreseen.analysis.indicator import compare
from foreseen.analysis.plots import draw
from foreseen.analysis.system_analysis import SystemAnalysis, TrueDynamics
from foreseen.analysis.true_fixed_points import TrueFixedPoint, drag_of, has_known_energy, true_fixed_points
from foreseen.core.capabilities import clusters_of, has_dynamics, system_of
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.data.types import Dataset, GroundTruth
from foreseen.errors import UserError
from foreseen.nn.threads import one_thread
from foreseen.runs.files import write_atomically
from foreseen.runs.run import Run

DATA_FILE, PLOT_FILE = "analysis.json", "analysis.png"
MATCH_DISTANCE = 0.05
"""A fixed point that is farther than this share of the scene's size from all true ones is none of them."""
MAX_EIGENVALUES_LISTED = 12
"""At most so many eigenvalues of a fixed point are written, those with the largest real parts."""


def analyze_run(
    run: Run, *, cluster: int = 1, out: Path | None = None, starts: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Studies the law that a run learned, and writes analysis.json and analysis.png.

    Args:
        kind: which law, where the run learned several kinds of motion: 1, 2, ...
        out: folder for both; default: the run's own.
        starts: of the search for fixed points; default: 200, or 16 for states of more than 16 components.
        seed: of all that is drawn.

    Returns:
        The content of analysis.json.

    Raises:
        UserError: the method has no law or has not found one, or `starts` or `cluster` makes no sense.
    """
    if starts is not None and starts < 1:
        raise UserError(f"--starts {starts}: give 1 or more.")
    clusters = clusters_of(run.method)
    if not 1 <= cluster <= clusters:
        raise UserError(
            f"--cluster {cluster}: this run learned {clusters} kind{'s' if clusters > 1 else ''} of motion."
        )
    system = system_of(run.method, cluster - 1)
    if system is None:
        raise UserError(_no_dynamics(run))
    with one_thread():
        findings = SystemAnalysis.of(system, find_true_dynamics(run, system), starts, seed)
        content = _head(run, system, starts, seed) | describe(findings)
        content["notes"] += _one_of(run, cluster, system)
        picture = draw(findings, content)
    folder = out or run.path
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / DATA_FILE, json.dumps(content, indent=1, allow_nan=False).encode())
    write_atomically(folder / PLOT_FILE, picture)
    return content


def _no_dynamics(run: Run) -> str:
    name = f"'{run.config.train.method}' (preset {run.config.train.preset})"
    if not has_dynamics(run.method):
        return f"{name} learns no law of motion, so there is nothing to analyze: train rigid-ode on the same data."
    return (
        f"the run in {run.path} has found no law of motion yet, so there is nothing to analyze: "
        "let it train to its end, on data in which something moves."
    )


def _one_of(run: Run, cluster: int, system: DynamicalSystem) -> list[str]:
    """Says which of the kinds of motion was studied, where there are several."""
    if clusters_of(run.method) == 1:
        return []
    names = ", ".join(run.info.names[one.sequence] for one in system.trajectories)
    others = ", ".join(str(i + 1) for i in range(clusters_of(run.method)) if i + 1 != cluster)
    return [f"this is kind {cluster} of motion, of the sequences {names}; --cluster shows another: {others}."]


def find_true_dynamics(run: Run, system: DynamicalSystem) -> TrueDynamics:
    """What the run's data set tells of the sequences that the system was learned from; nothing where that is gone."""
    try:
        dataset = run.dataset()
    except UserError as error:
        return TrueDynamics(note=f"nothing is compared with the truth: {error}")
    ground_truths = _truths(run, dataset, {one.sequence for one in system.trajectories})
    points: dict[str, TrueFixedPoint] = {}
    for truth in ground_truths.values():
        for point in true_fixed_points(truth.dynamics, truth.constants):
            points.setdefault(f"{truth.dynamics} {point.name}", point)
    note = (
        ""
        if ground_truths
        else "nothing is compared with the truth: the data set's law is not known in closed form here."
    )
    return TrueDynamics(ground_truths, tuple(points.values()), dataset.time_unit, dataset.length_unit, note)


def _truths(run: Run, dataset: Dataset, learned: set[int]) -> dict[int, GroundTruth]:
    by_name = {one.name: one.truth for one in dataset.sequences}
    names = run.info.names or tuple(by_name)[:1]
    found = {i: by_name.get(name) for i, name in enumerate(names) if i in learned}
    return {i: truth for i, truth in found.items() if truth is not None and has_known_energy(truth)}


def _head(run: Run, system: DynamicalSystem, starts: int | None, seed: int) -> dict[str, Any]:
    return {
        "method": run.config.train.method,
        "preset": run.config.train.preset,
        "step": run.step,
        "kinds": clusters_of(run.method),
        "seed": seed,
        "starts": starts or (STARTS_LOW_DIM if len(system.names) <= HIGH_DIM else STARTS_HIGH_DIM),
    }


def describe(analysis: SystemAnalysis) -> dict[str, Any]:
    """All but the head of analysis.json."""
    system, known = analysis.system, analysis.true_dynamics
    size = scene_size(system)
    lowest = _lowest_energy(system, analysis.fixed_points)
    constants = {i: truth.constants for i, truth in known.ground_truths.items()}
    drags = {drag_of(c) for c in constants.values()}
    return {
        "time_unit": known.time_unit,
        "length_unit": known.length_unit,
        "window": system.window,
        "sequences": len(system.trajectories),
        "state": {
            "size": len(system.names),
            "second_order": system.second_order,
            "names": list(system.names[:MAX_EIGENVALUES_LISTED]),
        },
        "scene_size": size,
        "fixed_points": [describe_point(system, point) for point in analysis.fixed_points],
        "true_points": [compare_point(system, point, analysis.fixed_points, size) for point in known.points],
        "lyapunov": {
            "mean": analysis.exponents.mean,
            "words": analysis.exponents.describe,
            "by_sequence": _finite(analysis.exponents.largest),
            "windows": LYAPUNOV_WINDOWS,
            "growth_within_window": _finite(analysis.exponents.growth),
        },
        "energy": energy_drift(analysis.flow, lowest),
        "drag": None
        if (own := drag(system)) is None
        else own | {"true_drag": drags.pop() if len(drags) == 1 else None},
        "body_energy": body_energy(analysis.flow, known.ground_truths),
        "indicator": compare(system),
        "notes": [note for note in (known.note, _unexplained(analysis, size)) if note],
    }


def scene_size(system: DynamicalSystem) -> float | None:
    """Largest extent along x, y or z of the seen positions of all bodies."""
    if system.positions is None:
        return None
    with torch.no_grad():
        places = system.positions(torch.cat([one.states for one in system.trajectories])).flatten(0, -2)
    return float((places.amax(0) - places.amin(0)).max())


def fixed_point_positions(system: DynamicalSystem, point: FixedPoint) -> np.ndarray | None:
    """`[B, 3]`: where the bodies are at a fixed point."""
    if system.positions is None:
        return None
    with torch.no_grad():
        return system.positions(point.state).numpy()


def describe_point(system: DynamicalSystem, point: FixedPoint) -> dict[str, Any]:
    """A fixed point as analysis.json has it."""
    place = fixed_point_positions(system, point)
    return {
        "state": point.state[:MAX_EIGENVALUES_LISTED].tolist(),
        "position": None if place is None else place.tolist(),
        "kind": point.kind,
        "stability": point.stability,
        "deviation": _deviation(system, point),
        "beyond_what_was_seen": point.out_of_range,
        "eigenvalues": _complex(point.eigenvalues),
    }


def _deviation(system: DynamicalSystem, point: FixedPoint) -> dict[str, Any] | None:
    """How far the fixed points of drawn laws lie from this one [root mean square, scene units]."""
    if not system.sampled_rates or system.positions is None:
        return None
    found = sampled_fixed_points(system, point)
    with torch.no_grad():
        off = (system.positions(found) - system.positions(point.state)).norm(dim=-1)
    distance = float(off.square().mean().sqrt()) if len(found) else None
    return {"laws": len(system.sampled_rates), "found": len(found), "distance": distance}


def compare_point(
    system: DynamicalSystem, true: TrueFixedPoint, points: list[FixedPoint], size: float | None
) -> dict[str, Any]:
    """A true point, and the found one that is nearest to it in the scene."""
    places = [fixed_point_positions(system, point) for point in points]
    away = [math.inf if p is None else float(np.linalg.norm(p - true.position, axis=-1).min()) for p in places]
    index = int(np.argmin(away)) if away else None
    near = None if index is None or math.isinf(away[index]) else index
    distance = None if near is None else away[near]
    return {
        "name": true.name,
        "position": true.position.tolist(),
        "kind": true.kind,
        "stability": true.stability,
        "eigenvalues": _complex(true.eigenvalues),
        "nearest": near,
        "distance": distance,
        "share_of_scene_size": None if distance is None or not size else distance / size,
        "same_stability": None if near is None else points[near].stability == true.stability,
    }


def _unexplained(found: SystemAnalysis, size: float | None) -> str:
    """Names the fixed points that are none of the true ones, where those are known."""
    if not found.true_dynamics.points or not size:
        return ""
    strange = []
    for index, point in enumerate(found.fixed_points):
        place = fixed_point_positions(found.system, point)
        away = [float(np.linalg.norm(place - true.position, axis=-1).min()) for true in found.true_dynamics.points]
        if min(away) > MATCH_DISTANCE * size:
            strange.append(str(index + 1))
    name = f"fixed point{'s' if len(strange) > 1 else ''} {', '.join(strange)}"
    return (
        f"{name}: none of the true ones named above is within {MATCH_DISTANCE:.0%} of the scene's size."
        if strange
        else ""
    )


def _lowest_energy(system: DynamicalSystem, points: list[FixedPoint]) -> float | None:
    energy = energy_of(system)
    if energy is None or not points:
        return None
    with torch.no_grad():
        return float(energy(torch.stack([point.state for point in points])).min())


def _complex(values: Tensor) -> list[list[float]]:
    return [[float(v.real), float(v.imag)] for v in values[:MAX_EIGENVALUES_LISTED]]


def _finite(values: Tensor) -> list[float | None]:
    return [float(v) if math.isfinite(v) else None for v in values.tolist()]
