"""From a run to analysis.json and analysis.png."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foreseen.analysis.energy import body_energy, drag, energy_drift, energy_of
from foreseen.analysis.fixed_points import FEW, LARGE, MANY, FixedPoint, drawn_fixed_points, find_fixed_points
from foreseen.analysis.flow import WINDOWS, Exponents, Flow
from foreseen.analysis.indicator import compare
from foreseen.analysis.truth import TruePoint, drag_of, is_known, true_points
from foreseen.core.capabilities import clusters_of, has_dynamics, system_of
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.data.types import Dataset, Truth
from foreseen.errors import UserError
from foreseen.nn.threads import one_thread
from foreseen.training.files import write_atomically
from foreseen.training.run import Run

DATA_FILE, PLOT_FILE = "analysis.json", "analysis.png"
NEAR = 0.05
"""A fixed point that is farther than this share of the scene's size from all true ones is none of them."""
LISTED = 12
"""At most so many eigenvalues of a fixed point are written, those with the largest real parts."""


@dataclass(frozen=True)
class Known:
    """What the data set tells about the law.

    Attributes:
        truths: by index of the learned sequence, of those whose law is known in closed form.
        points: where these laws rest.
        time_unit, length_unit: of the data set; "unknown" and "scene units" where it does not say, or is gone.
        note: why nothing is known, where that is so.
    """

    truths: dict[int, Truth] = field(default_factory=dict)
    points: tuple[TruePoint, ...] = ()
    time_unit: str = "unknown"
    length_unit: str = "scene units"
    note: str = ""


@dataclass(frozen=True)
class Findings:
    """What was found of a system; `plots` draws it, and analysis.json is written from it."""

    flow: Flow
    fixed_points: list[FixedPoint]
    known: Known
    exponents: Exponents

    @property
    def system(self) -> DynamicalSystem:
        """What was studied."""
        return self.flow.system

    @classmethod
    def of(cls, system: DynamicalSystem, known: Known, starts: int | None = None, seed: int = 0) -> Findings:
        """Looks for everything."""
        flow = Flow.of(system)
        return cls(flow, find_fixed_points(system, starts, seed), known, flow.lyapunov(seed))


def analyze_run(
    run: Run, *, kind: int = 1, out: Path | None = None, starts: int | None = None, seed: int = 0
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
        UserError: the method has no law or has not found one, or `starts` or `kind` makes no sense.
    """
    from foreseen.analysis.plots import draw

    if starts is not None and starts < 1:
        raise UserError(f"--starts {starts}: give 1 or more.")
    kinds = clusters_of(run.method)
    if not 1 <= kind <= kinds:
        raise UserError(f"--kind {kind}: this run learned {kinds} kind{'s' if kinds > 1 else ''} of motion.")
    system = system_of(run.method, kind - 1)
    if system is None:
        raise UserError(_no_law(run))
    with one_thread():
        findings = Findings.of(system, find_known(run, system), starts, seed)
        content = _head(run, system, starts, seed) | describe(findings)
        content["notes"] += _one_of(run, kind, system)
        picture = draw(findings, content)
    folder = out or run.path
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / DATA_FILE, json.dumps(content, indent=1, allow_nan=False).encode())
    write_atomically(folder / PLOT_FILE, picture)
    return content


def _no_law(run: Run) -> str:
    name = f"'{run.config.method}' (preset {run.config.preset})"
    if not has_dynamics(run.method):
        return f"{name} learns no law of motion, so there is nothing to analyze: train rigid-ode on the same data."
    return (
        f"the run in {run.path} has found no law of motion yet, so there is nothing to analyze: "
        "let it train to its end, on data in which something moves."
    )


def _one_of(run: Run, kind: int, system: DynamicalSystem) -> list[str]:
    """Says which of the kinds of motion was studied, where there are several."""
    if clusters_of(run.method) == 1:
        return []
    names = ", ".join(run.info.sequences[one.sequence] for one in system.seen)
    others = ", ".join(str(i + 1) for i in range(clusters_of(run.method)) if i + 1 != kind)
    return [f"this is kind {kind} of motion, of the sequences {names}; --kind shows another: {others}."]


def find_known(run: Run, system: DynamicalSystem) -> Known:
    """What the run's data set tells of the sequences that the system was learned from; nothing where that is gone."""
    try:
        dataset = run.dataset()
    except UserError as error:
        return Known(note=f"nothing is compared with the truth: {error}")
    truths = _truths(run, dataset, {one.sequence for one in system.seen})
    points: dict[str, TruePoint] = {}
    for truth in truths.values():
        for point in true_points(truth.law, truth.constants):
            points.setdefault(f"{truth.law} {point.name}", point)
    note = "" if truths else "nothing is compared with the truth: the data set's law is not known in closed form here."
    return Known(truths, tuple(points.values()), dataset.time_unit, dataset.length_unit, note)


def _truths(run: Run, dataset: Dataset, learned: set[int]) -> dict[int, Truth]:
    by_name = {one.name: one.truth for one in dataset.sequences}
    names = run.info.sequences or tuple(by_name)[:1]
    found = {i: by_name.get(name) for i, name in enumerate(names) if i in learned}
    return {i: truth for i, truth in found.items() if truth is not None and is_known(truth)}


def _head(run: Run, system: DynamicalSystem, starts: int | None, seed: int) -> dict[str, Any]:
    return {
        "method": run.config.method,
        "preset": run.config.preset,
        "step": run.step,
        "kinds": clusters_of(run.method),
        "seed": seed,
        "starts": starts or (MANY if len(system.names) <= LARGE else FEW),
    }


def describe(found: Findings) -> dict[str, Any]:
    """All but the head of analysis.json."""
    system, known = found.system, found.known
    size = scene_size(system)
    lowest = _lowest_energy(system, found.fixed_points)
    constants = {i: truth.constants for i, truth in known.truths.items()}
    drags = {drag_of(c) for c in constants.values()}
    return {
        "time_unit": known.time_unit,
        "length_unit": known.length_unit,
        "window": system.window,
        "sequences": len(system.seen),
        "state": {"size": len(system.names), "second_order": system.second_order, "names": list(system.names[:LISTED])},
        "scene_size": size,
        "fixed_points": [describe_point(system, point) for point in found.fixed_points],
        "true_points": [compare_point(system, point, found.fixed_points, size) for point in known.points],
        "lyapunov": {
            "mean": found.exponents.mean,
            "words": found.exponents.words,
            "by_sequence": _finite(found.exponents.largest),
            "windows": WINDOWS,
            "growth_within_window": _finite(found.exponents.growth),
        },
        "energy": energy_drift(found.flow, lowest),
        "drag": None
        if (own := drag(system)) is None
        else own | {"true_drag": drags.pop() if len(drags) == 1 else None},
        "body_energy": body_energy(found.flow, known.truths),
        "indicator": compare(system),
        "notes": [note for note in (known.note, _unexplained(found, size)) if note],
    }


def scene_size(system: DynamicalSystem) -> float | None:
    """Largest extent along x, y or z of the seen positions of all bodies."""
    if system.positions is None:
        return None
    with torch.no_grad():
        places = system.positions(torch.cat([one.states for one in system.seen])).flatten(0, -2)
    return float((places.amax(0) - places.amin(0)).max())


def place_of(system: DynamicalSystem, point: FixedPoint) -> np.ndarray | None:
    """`[B, 3]`: where the bodies are at a fixed point."""
    if system.positions is None:
        return None
    with torch.no_grad():
        return system.positions(point.state).numpy()


def describe_point(system: DynamicalSystem, point: FixedPoint) -> dict[str, Any]:
    """A fixed point as analysis.json has it."""
    place = place_of(system, point)
    return {
        "state": point.state[:LISTED].tolist(),
        "position": None if place is None else place.tolist(),
        "kind": point.kind,
        "stability": point.stability,
        "deviation": _deviation(system, point),
        "beyond_what_was_seen": point.beyond,
        "eigenvalues": _complex(point.eigenvalues),
    }


def _deviation(system: DynamicalSystem, point: FixedPoint) -> dict[str, Any] | None:
    """How far the fixed points of drawn laws lie from this one [root mean square, scene units]."""
    if not system.drawn or system.positions is None:
        return None
    found = drawn_fixed_points(system, point)
    with torch.no_grad():
        off = (system.positions(found) - system.positions(point.state)).norm(dim=-1)
    distance = float(off.square().mean().sqrt()) if len(found) else None
    return {"laws": len(system.drawn), "found": len(found), "distance": distance}


def compare_point(
    system: DynamicalSystem, true: TruePoint, points: list[FixedPoint], size: float | None
) -> dict[str, Any]:
    """A true point, and the found one that is nearest to it in the scene."""
    places = [place_of(system, point) for point in points]
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


def _unexplained(found: Findings, size: float | None) -> str:
    """Names the fixed points that are none of the true ones, where those are known."""
    if not found.known.points or not size:
        return ""
    strange = []
    for index, point in enumerate(found.fixed_points):
        place = place_of(found.system, point)
        away = [float(np.linalg.norm(place - true.position, axis=-1).min()) for true in found.known.points]
        if min(away) > NEAR * size:
            strange.append(str(index + 1))
    name = f"fixed point{'s' if len(strange) > 1 else ''} {', '.join(strange)}"
    return f"{name}: none of the true ones named above is within {NEAR:.0%} of the scene's size." if strange else ""


def _lowest_energy(system: DynamicalSystem, points: list[FixedPoint]) -> float | None:
    energy = energy_of(system)
    if energy is None or not points:
        return None
    with torch.no_grad():
        return float(energy(torch.stack([point.state for point in points])).min())


def _complex(values: Tensor) -> list[list[float]]:
    return [[float(v.real), float(v.imag)] for v in values[:LISTED]]


def _finite(values: Tensor) -> list[float | None]:
    return [float(v) if math.isfinite(v) else None for v in values.tolist()]
