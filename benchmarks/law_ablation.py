"""What each part of the shared law brings: forecasts of unseen sequences from known positions, without pictures.

    python benchmarks/law_ablation.py

The laws are fitted to the true positions of the training sequences at the times that training would see, and asked for
unseen sequences from their true initial states: 90 times, all but the first 5. Takes about 20 minutes.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from common import RESULTS, mean, provenance, publish, say, table
from foreseen.dynamics.learned import LearnedDynamics
from foreseen.methods.rigid_ode.config import SharedDynamicsConfig
from foreseen.simulate.run import load_scenario
from foreseen.simulate.scenario import SequenceIndex

SCENES = {"bifurcating-hill": 8, "oscillating-ball": 18}
UNSEEN, TIMES, SKIPPED = 8, 90, 5
HOLD_OUT_EVERY, HOLD_OUT_OFFSET = 8, 4
FULL = SharedDynamicsConfig()
VARIANTS: dict[str, SharedDynamicsConfig] = {
    "as shipped": FULL,
    "closed form only": replace(FULL, shooting_lengths=()),
    "any force in place of a potential": replace(FULL, structure="free"),
    "64 units": replace(FULL, widths=(64,)),
    "3 layers (2 hidden)": replace(FULL, widths=(64, 256)),
    "5 layers (4 hidden)": replace(FULL, widths=(64, 64, 64, 256)),
    "7 layers (6 hidden)": replace(FULL, widths=(64, 64, 64, 64, 64, 256)),
}
NEAR = 0.2
"""A forecast is near where it is within so many radii: discs so far apart overlap by an IoU of about 0.8."""


def main(
    seeds: tuple[int, ...] = (0, 1, 2), variants: tuple[str, ...] = tuple(VARIANTS), results: Path = RESULTS
) -> None:
    """Fit, forecast, and write the table.

    Args:
        seeds: Of the initial conditions and the hidden layers.
        variants: Which of them.
        results: Where the table goes.
    """
    torch.set_num_threads(1)
    began = time.monotonic()
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for variant in variants:
        for scene in SCENES:
            for seed in seeds:
                entry = _one(scene, VARIANTS[variant], seed)
                say(f"{variant}, {scene}, seed {seed}: {entry}")
                found.setdefault(variant, {}).setdefault(scene, []).append(entry)
        origin = provenance(time.monotonic() - began, seeds)
        publish("law_ablation", "The shared law, part by part", page(found), origin, found, results)


def _one(scene: str, config: SharedDynamicsConfig, seed: int) -> dict[str, float]:
    scenario = load_scenario(scene)
    times = np.arange(TIMES) / scenario.fps
    seen = [i for i in range(TIMES) if i % HOLD_OUT_EVERY != HOLD_OUT_OFFSET]

    def motion(index: int, unseen: bool) -> Any:
        system = scenario.system(SequenceIndex(index, unseen), {})
        rng = np.random.default_rng([seed, int(unseen), index])
        return system.solve(system.constants, system.draw(rng, system.constants, SequenceIndex(index, unseen)), times)

    learned = np.stack([motion(i, False).positions[seen, 0] for i in range(SCENES[scene])])
    new = [motion(i, True) for i in range(UNSEEN)]
    window = times[-1]
    dynamics = LearnedDynamics(config, 3)
    known = torch.tensor(times[seen] / window).expand(len(learned), -1)
    began = time.perf_counter()
    dynamics.fit(torch.from_numpy(learned), known, torch.full((len(learned),), len(seen)), exact=True, seed=seed)
    seconds = time.perf_counter() - began
    truth = torch.from_numpy(np.stack([m.positions[:, 0] for m in new]))
    rates = torch.from_numpy(np.stack([m.velocities[:, 0] for m in new])) * window
    manifold = dynamics.manifold
    q = manifold.encode(truth[:, 0])
    state = torch.cat([q, manifold.encode_velocities(q, rates[:, 0])], dim=-1)
    path = dynamics.solve(state, 0.0, torch.from_numpy(times / window))
    error = (manifold.decode(path[..., : manifold.size]).transpose(0, 1) - truth).norm(dim=-1)[:, SKIPPED:]
    radius = scenario.constants["radius"]
    return {
        "error": float(error.mean() / radius),
        "median": float(error.mean(1).median() / radius),
        "near": float((error < NEAR * radius).double().mean()),
        "seconds": seconds,
    }


def page(found: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """The text with the tables."""
    parts = [
        "Distances in radii of the body: mean over the forecast frames of 8 unseen sequences, the median sequence's "
        f"mean, and the share of frames within {NEAR} radii; seconds of a fit on one core. Means over seeds."
    ]
    for scene, count in SCENES.items():
        rows = []
        for variant, scenes in found.items():
            if own := scenes.get(scene):
                values = {key: mean(entry[key] for entry in own) for key in own[0]}
                rows.append(
                    [variant, f"{values['error']:.3f}", f"{values['median']:.4f}", values["near"], values["seconds"]]
                )
        parts += [f"## {scene}, {count} training sequences", table(["", "error", "median", "near", "fit [s]"], rows)]
    return "\n\n".join(parts)


if __name__ == "__main__":
    tyro.cli(main)
