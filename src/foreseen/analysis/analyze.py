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
"""A fixed point counts as a true one up to this distance, as a share of the scene's size."""
MAX_EIGENVALUES_LISTED = 12
"""Upper bound of the eigenvalues of a fixed point that are written: those with the largest real parts."""


def analyze_run(
    run: Run, *, cluster: int = 1, out: Path | None = None, starts: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Analyzes the dynamics that a run learned, and writes analysis.json and analysis.png.

    Args:
        cluster: which dynamics, where the run learned several clusters of sequences: 1, 2, ...
        out: folder for both files; default: the run's own.
        starts: starting points of the search for fixed points; default: 200, or 16 for states of more than 16
            components.
        seed: of all random numbers.

    Returns:
        The content of analysis.json.

    Raises:
        UserError: the method learns no dynamics or has not found any, or `starts` or `cluster` is out of range.
    """
    if starts is not None and starts < 1:
        raise UserError(f"--starts {starts}: give 1 or more.")
    clusters = clusters_of(run.method)
    if not 1 <= cluster <= clusters:
        raise UserError(
            f"--cluster {cluster}: this run learned {clusters} dynamics cluster{'s' if clusters > 1 else ''}: "
            f"give a number from 1 to {clusters}."
        )
    system = system_of(run.method, cluster - 1)
    if system is None:
        raise UserError(_no_dynamics(run))
    with one_thread():
        analysis = SystemAnalysis.of(system, find_true_dynamics(run, system), starts, seed)
        content = _head(run, system, starts, seed) | describe(analysis)
        content["notes"] += _cluster_note(run, cluster, system)
        picture = draw(analysis, content)
    folder = out or run.path
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / DATA_FILE, json.dumps(content, indent=1, allow_nan=False).encode())
    write_atomically(folder / PLOT_FILE, picture)
    return content


def _no_dynamics(run: Run) -> str:
    name = f"'{run.config.train.method}' (preset {run.config.train.preset})"
    if not has_dynamics(run.method):
        return (
            f"{name} learns no dynamics, so there is nothing to analyze: train a method that does, such as rigid-ode."
        )
    return (
        f"the run in {run.path} has found no dynamics yet, so there is nothing to analyze: "
        "let it train to its end, on data in which something moves."
    )


def _cluster_note(run: Run, cluster: int, system: DynamicalSystem) -> list[str]:
    """Which dynamics cluster was analyzed, where there are several."""
    if clusters_of(run.method) == 1:
        return []
    names = ", ".join(run.info.names[one.sequence] for one in system.trajectories)
    others = ", ".join(str(i + 1) for i in range(clusters_of(run.method)) if i + 1 != cluster)
    return [f"this is dynamics cluster {cluster}, of the sequences {names}; --cluster shows another: {others}."]


def find_true_dynamics(run: Run, system: DynamicalSystem) -> TrueDynamics:
    """What the run's data set says about the sequences from which the system was learned; nothing where it is gone."""
    try:
        dataset = run.dataset()
    except UserError as error:
        return TrueDynamics(note=f"nothing is compared with the truth: {error}")
    ground_truths = _ground_truths(run, dataset, {one.sequence for one in system.trajectories})
    points: dict[str, TrueFixedPoint] = {}
    for truth in ground_truths.values():
        for point in true_fixed_points(truth.dynamics, truth.constants):
            points.setdefault(f"{truth.dynamics} {point.name}", point)
    note = (
        ""
        if ground_truths
        else "nothing is compared with the truth: the dynamics of the data set are not known in closed form here."
    )
    return TrueDynamics(ground_truths, tuple(points.values()), dataset.time_unit, dataset.length_unit, note)


def _ground_truths(run: Run, dataset: Dataset, learned: set[int]) -> dict[int, GroundTruth]:
    by_name = {one.name: one.truth for one in dataset.sequences}
    names = run.info.names or tuple(by_name)[:1]
    by_index = {i: by_name.get(name) for i, name in enumerate(names) if i in learned}
    return {i: truth for i, truth in by_index.items() if truth is not None and has_known_energy(truth)}


def _head(run: Run, system: DynamicalSystem, starts: int | None, seed: int) -> dict[str, Any]:
    return {
        "method": run.config.train.method,
        "preset": run.config.train.preset,
        "step": run.step,
        "clusters": clusters_of(run.method),
        "seed": seed,
        "starts": starts or (STARTS_LOW_DIM if len(system.names) <= HIGH_DIM else STARTS_HIGH_DIM),
    }


def describe(analysis: SystemAnalysis) -> dict[str, Any]:
    """All but the head of analysis.json."""
    system, true = analysis.system, analysis.true_dynamics
    size = scene_size(system)
    lowest = _lowest_energy(system, analysis.fixed_points)
    constants = {i: truth.constants for i, truth in true.ground_truths.items()}
    drags = {drag_of(c) for c in constants.values()}
    return {
        "time_unit": true.time_unit,
        "length_unit": true.length_unit,
        "window": system.window,
        "sequences": len(system.trajectories),
        "state": {
            "size": len(system.names),
            "second_order": system.second_order,
            "names": list(system.names[:MAX_EIGENVALUES_LISTED]),
        },
        "scene_size": size,
        "fixed_points": [describe_point(system, point) for point in analysis.fixed_points],
        "true_points": [compare_point(system, point, analysis.fixed_points, size) for point in true.points],
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
        "body_energy": body_energy(analysis.flow, true.ground_truths),
        "indicator": compare(system),
        "notes": [note for note in (true.note, _unmatched(analysis, size)) if note],
    }


def scene_size(system: DynamicalSystem) -> float | None:
    """Largest extent along x, y or z of the observed positions of all bodies."""
    if system.positions is None:
        return None
    with torch.no_grad():
        places = system.positions(torch.cat([one.states for one in system.trajectories])).flatten(0, -2)
    return float((places.amax(0) - places.amin(0)).max())


def fixed_point_positions(system: DynamicalSystem, point: FixedPoint) -> np.ndarray | None:
    """Positions `[B, 3]` of the bodies at a fixed point; None where the state does not say them."""
    if system.positions is None:
        return None
    with torch.no_grad():
        return system.positions(point.state).numpy()


def describe_point(system: DynamicalSystem, point: FixedPoint) -> dict[str, Any]:
    """A fixed point as analysis.json has it."""
    positions = fixed_point_positions(system, point)
    return {
        "state": point.state[:MAX_EIGENVALUES_LISTED].tolist(),
        "position": None if positions is None else positions.tolist(),
        "kind": point.kind,
        "stability": point.stability,
        "deviation": _deviation(system, point),
        "out_of_range": point.out_of_range,
        "eigenvalues": _complex(point.eigenvalues),
    }


def _deviation(system: DynamicalSystem, point: FixedPoint) -> dict[str, Any] | None:
    """Distance of the fixed points of sampled dynamics from this one [root mean square, scene units]."""
    if not system.sampled_rates or system.positions is None:
        return None
    states = sampled_fixed_points(system, point)
    with torch.no_grad():
        off = (system.positions(states) - system.positions(point.state)).norm(dim=-1)
    distance = float(off.square().mean().sqrt()) if len(states) else None
    return {"samples": len(system.sampled_rates), "found": len(states), "distance": distance}


def compare_point(
    system: DynamicalSystem, true: TrueFixedPoint, points: list[FixedPoint], size: float | None
) -> dict[str, Any]:
    """A true fixed point, and the learned one that is nearest to it in the scene."""
    positions = [fixed_point_positions(system, point) for point in points]
    distances = [math.inf if p is None else float(np.linalg.norm(p - true.position, axis=-1).min()) for p in positions]
    index = int(np.argmin(distances)) if distances else None
    nearest = None if index is None or math.isinf(distances[index]) else index
    distance = None if nearest is None else distances[nearest]
    return {
        "name": true.name,
        "position": true.position.tolist(),
        "kind": true.kind,
        "stability": true.stability,
        "eigenvalues": _complex(true.eigenvalues),
        "nearest": nearest,
        "distance": distance,
        "share_of_scene_size": None if distance is None or not size else distance / size,
        "same_stability": None if nearest is None else points[nearest].stability == true.stability,
    }


def _unmatched(analysis: SystemAnalysis, size: float | None) -> str:
    """Names the fixed points that are far from all true ones, where those are known."""
    true_points = analysis.true_dynamics.points
    if not true_points or not size:
        return ""
    unmatched = []
    for index, point in enumerate(analysis.fixed_points):
        positions = fixed_point_positions(analysis.system, point)
        distances = [float(np.linalg.norm(positions - true.position, axis=-1).min()) for true in true_points]
        if min(distances) > MATCH_DISTANCE * size:
            unmatched.append(str(index + 1))
    if not unmatched:
        return ""
    name = f"fixed point{'s' if len(unmatched) > 1 else ''} {', '.join(unmatched)}"
    return f"{name}: none of the true ones named above is within {MATCH_DISTANCE:.0%} of the scene's size."


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
