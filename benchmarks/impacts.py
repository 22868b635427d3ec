"""Forecasts of bodies that collide: impacts beside a smooth law, coasting, and standing still, without training.

    python benchmarks/impacts.py

Three balls in a tray (`foreseen simulate bouncing-balls`), from true places with 3 mm of noise and from tracks as
silhouettes found them, and two recorded scenes, whose truth is what is found where all is seen. Takes half an hour.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from common import RESULTS, WORK, foreseen, mean, provenance, publish, say, shared_data, table
from foreseen.core.scene_info import scene_info, training_frames
from foreseen.data import load_dataset
from foreseen.data.splits import make_splits
from foreseen.dynamics.ball_motion import BallMotion, BallParameters
from foreseen.dynamics.impacts import PathSmoother
from foreseen.dynamics.learned import LearnedDynamics
from foreseen.dynamics.sequence_dynamics import SequenceDynamics
from foreseen.methods import find_method
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.nn.splines import smoothing
from foreseen.nn.threads import one_thread
from foreseen.runs.train_config import preset_config
from foreseen.simulate.bouncing_balls import RADII
from foreseen.simulate.run import load_scenario
from foreseen.simulate.scenario import SequenceIndex

FRAMES, PIXELS, NOISE, WIDER = 96, 128, 3e-3, 1.15
"""Filmed at 30 a second; noise [m]; silhouettes' radii over the true ones, about."""
OBSERVED = (0.5, 0.75)
HORIZONS = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.8), (0.8, 1.6))
"""[s] after the last frame that is seen."""
SCENES = ("scene1_close_proximity", "scene3_collision")
CONFIG = RigidODEConfig()
ROWS = ("chosen", "impacts", "smooth law", "coasting", "last position")
Forecast = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """What is seen and what came then.

    Attributes:
        poses, balls: as `SequenceDynamics.fit` takes them.
        places: poses -> `[T, K, 3]`.
        later: `[T]` times after the window, in windows.
        truth: `[T, K, 3]` then.
        window: length [time unit].
    """

    poses: Tensor
    balls: BallParameters
    places: Callable[[Tensor], Tensor]
    later: Tensor
    truth: Tensor
    window: float


def main(seeds: tuple[int, ...] = (0, 1, 2, 3, 4), work: Path = WORK, results: Path = RESULTS) -> None:
    """Find tracks, fit, forecast, and write the table.

    Args:
        seeds: Of the initial conditions and of the noise.
        work: Where the data sets go.
        results: Where the table goes.
    """
    torch.set_num_threads(1)
    began = time.monotonic()
    found: dict[str, list[dict[str, Any]]] = {}

    def keep(name: str, seed: int, case: Case) -> None:
        entry = {"seed": seed, **score(case)}
        say(f"{name}, seed {seed}: {entry}")
        found.setdefault(name, []).append(entry)
        origin = provenance(time.monotonic() - began, seeds)
        publish("impacts", "Bodies that collide", page(found), origin, found, results)

    for share in OBSERVED:
        for seed in seeds:
            keep(f"three balls, true places with noise, {share:g} seen", seed, _noisy(seed, share))
    for scene in SCENES:
        keep(f"{scene}, 0.75 seen", 0, _recorded(shared_data() / "dnerf_format" / scene))
    for share in OBSERVED:
        for seed in seeds:
            keep(f"three balls, tracks as silhouettes found them, {share:g} seen", seed, _tracked(seed, share, work))


def _true(seed: int) -> np.ndarray:
    """As `foreseen simulate bouncing-balls --frames FRAMES --seed SEED` has them: `[FRAMES, 3, 3]`."""
    scenario = load_scenario("bouncing-balls")
    system = scenario.system(SequenceIndex(0, False), {})
    start = system.draw(np.random.default_rng([seed, 0, 0]), system.constants, SequenceIndex(0, False))
    motion = system.solve(system.constants, start, np.arange(FRAMES + 1) / scenario.fps)
    return np.asarray(motion.positions[:FRAMES])


def _noisy(seed: int, share: float) -> Case:
    """Places with noise, smoothed by the preset's own splines."""
    true = _true(seed)
    seen = 1 + int(share * (FRAMES - 1))
    controls = CONFIG.reconstruction.num_controls(seen / CONFIG.reconstruction.frames_per_control)
    at, nodes = (torch.linspace(0, 1, n, dtype=torch.float64) for n in (seen, 2 * controls + 1))
    weights = smoothing(controls, at, nodes)
    noisy = true[:seen] + NOISE * np.random.default_rng(seed).standard_normal(true[:seen].shape)
    centres = torch.einsum("nm,mkd->nkd", weights, torch.from_numpy(noisy))
    poses = torch.cat([centres, torch.zeros_like(centres)], dim=-1).flatten(1)
    balls = BallParameters(
        WIDER * torch.tensor(RADII, dtype=torch.float64), torch.ones(3).double(), PathSmoother(at, weights)
    )
    later = torch.arange(seen, FRAMES, dtype=torch.float64) / (seen - 1)
    window = (seen - 1) / 30
    return Case(poses, balls, lambda p: p.unflatten(-1, (-1, 6))[..., :3], later, torch.from_numpy(true[seen:]), window)


def _found(path: Path, share: float | None) -> Any:
    """The method before its first step, with the parts that silhouettes show it."""
    data = load_dataset(path)
    splits = make_splits(data, share)
    method = find_method("rigid-ode").load()(preset_config("rigid-ode", "gaussians"), scene_info(data, splits))
    say(f"{path.name}: {method.warm_start(training_frames(splits), [])}")
    return method


def _tracked(seed: int, share: float, work: Path) -> Case:
    """Silhouettes of a simulated film. What is no ball (a shadow) is left out of the score."""
    path = work / f"bouncing-{PIXELS}-{FRAMES}-{seed}"
    if not path.is_dir():
        foreseen("simulate", "bouncing-balls", "--frames", FRAMES, "--size", PIXELS, "--seed", seed, "--out", path)
    method, true = _found(path, share), _true(seed)
    times = np.arange(FRAMES) / 30
    seen = torch.from_numpy((times - method.start) / method.window)
    inside, later = (seen >= 0) & (seen <= 1), seen > 1
    own = method.parts.at(method._basis(seen[inside])).centres.detach().double()
    truth = torch.from_numpy(true)
    apart = (own[:, :, None] - truth[inside][:, None]).norm(dim=-1).median(0).values
    parts, balls = linear_sum_assignment(apart.numpy())
    say(f"parts {len(own[0])}, median distance from the balls [mm]: {(1000 * apart[parts, balls]).round().tolist()}")
    poses = method.poses()[0].detach()

    def places(poses: Tensor) -> Tensor:
        return method.parts.from_pose_vectors(poses).centres.double()[:, parts]

    return Case(poses, method.balls(), places, seen[later], truth[later][:, balls], method.window)


def _recorded(path: Path) -> Case:
    """A recorded scene; the truth is what is found where all is seen."""
    part, whole = _found(path, 0.75), _found(path, None)
    line = torch.linspace(part.start, whole.start + whole.window, 200, dtype=torch.float64)
    u, everywhere = (line - part.start) / part.window, (line - whole.start) / whole.window
    truth = whole.parts.at(whole._basis(everywhere)).centres.detach().double()
    own = part.parts.at(part._basis(u[u <= 1])).centres.detach().double()
    apart = (own[:, :, None] - truth[u <= 1][:, None]).norm(dim=-1).median(0).values
    parts, others = linear_sum_assignment(apart.numpy())
    say(f"parts {len(own[0])} and {len(truth[0])}, median distance: {apart[parts, others].tolist()}")

    def places(poses: Tensor) -> Tensor:
        return part.parts.from_pose_vectors(poses).centres.double()[:, parts]

    return Case(part.poses()[0].detach(), part.balls(), places, u[u > 1], truth[u > 1][:, others], part.window)


@torch.no_grad()
def score(case: Case) -> dict[str, Any]:
    """Mean distances by horizon of each forecast, in thousandths of the scene's unit, and what was chosen."""
    after = (case.later - 1) * case.window
    found: dict[str, Any] = {}
    motion = SequenceDynamics(CONFIG.dynamics, case.poses.shape[1], len(case.balls.radii))
    began = time.process_time()
    motion.fit(case.poses, case.balls)
    found["seconds"] = time.process_time() - began
    found["law"] = "impacts" if motion.uses_impacts else "smooth" if motion.dynamics.fitted else "coasting"
    found["what"] = motion.balls.impacts.describe() if motion.balls.impacts.fitted else "no impacts"
    for name, forecast in {"chosen": motion.extrapolate, **_others(case)}.items():
        if forecast is None:
            continue
        error = 1000 * (case.places(forecast(case.later)) - case.truth).norm(dim=-1).mean(1)
        found[name] = {"all": float(error.mean())}
        for low, high in HORIZONS:
            here = (after > low) & (after <= high)
            if here.any():
                found[name][f"{low:g}-{high:g}"] = float(error[here].mean())
    return found


def _others(case: Case) -> dict[str, Forecast | None]:
    """Each law alone, None where it has no solution."""
    poses, times = case.poses, torch.linspace(0, 1, len(case.poses), dtype=torch.float64)
    balls = BallMotion(len(case.balls.radii), CONFIG.dynamics.impacts)
    balls.fit(poses, case.balls)

    def from_end(dynamics: LearnedDynamics) -> Forecast:
        _, (forecast_start, state) = dynamics.forecast_states(poses, times, exact=False)
        size = dynamics.manifold.size
        return lambda t: dynamics.manifold.decode(dynamics.solve(state, forecast_start, t)[:, :size])

    with one_thread():
        coasting, smooth = (LearnedDynamics(CONFIG.dynamics, poses.shape[1]) for _ in range(2))
        coasting.fit_constant_velocity(poses, times, CONFIG.dynamics.constant_velocity)
        try:
            smooth.fit(poses[None], times[None], torch.tensor([len(poses)]), exact=False)
            ode: Forecast | None = from_end(smooth)
        except torch.linalg.LinAlgError:
            ode = None
    return {
        "impacts": balls.extrapolate if balls.impacts.fitted else None,
        "smooth law": ode,
        "coasting": from_end(coasting),
        "last position": lambda t: poses[-1].expand(len(t), -1),
    }


def page(found: dict[str, list[dict[str, Any]]]) -> str:
    """The text with the tables."""
    parts = [
        "Mean distance of forecasts from the truth, in thousandths of the scene's unit (three balls: mm), by the time "
        "after the last frame that is seen; means over seeds. chosen: the law that a run takes for such a sequence; "
        "impacts, smooth law, coasting: each alone, whether it foretells the window's end or not. No run is trained: "
        "tracks are those that training starts from."
    ]
    for name, entries in found.items():
        horizons = [key for key in entries[0]["chosen"] if key != "all"]
        rows: list[list[object]] = []
        for row in ROWS:
            own = [entry[row] for entry in entries if row in entry]
            if own:
                label = row if len(own) == len(entries) else f"{row} ({len(own)} of {len(entries)})"
                rows.append([label, *(round(mean(one[key] for one in own)) for key in (*horizons, "all"))])
        laws = ", ".join(f"seed {e['seed']}: {e['law']} ({e['what']}; {e['seconds']:.0f} s)" for e in entries)
        parts += [f"## {name}", table(["", *(f"{h} s" for h in horizons), "all"], rows), f"Chosen and seen: {laws}."]
    return "\n\n".join(parts)


if __name__ == "__main__":
    tyro.cli(main)
