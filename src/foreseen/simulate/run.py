"""From a scenario to a data set on disk: solve, draw in parallel, write."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import numpy as np

from foreseen.data.types import Truth
from foreseen.data.writer import DatasetWriter, WrittenFrame
from foreseen.errors import UserError, suggest
from foreseen.geometry.cameras import Camera
from foreseen.simulate.options import SimulateOptions, parse_numbers
from foreseen.simulate.raycast import Backdrop, Picture, backdrop, cast
from foreseen.simulate.rig import Rig
from foreseen.simulate.scenario import Draw, Motion, Numbers, Scenario
from foreseen.simulate.scene import Capsule, Solid, Sphere, Stage

Progress = Callable[[float, str], None]
T = TypeVar("T")

SCENARIOS = {
    "pendulum": "foreseen.simulate.pendulum",
    "bouncing-balls": "foreseen.simulate.bouncing_balls",
    "oscillating-ball": "foreseen.simulate.oscillating_ball",
    "bifurcating-hill": "foreseen.simulate.bifurcating_hill",
}
"""Name -> module with a `SCENARIO`; nothing is imported until it is asked for."""

HIDDEN_EVERY, HIDDEN_AT = 8, 4
"""Times i with i % 8 == 4 are marked "test" in every camera."""


def load_scenario(name: str) -> Scenario:
    """The scenario of that name.

    Raises:
        UserError: there is none; the nearest is suggested.
    """
    if name not in SCENARIOS:
        raise UserError(f"unknown scenario '{name}': {suggest(name, SCENARIOS)}")
    found: Scenario = import_module(SCENARIOS[name]).SCENARIO
    return found


@dataclass(frozen=True)
class Run:
    """One sequence: its name, whether it is an unseen one, and its motion at one time more than is filmed."""

    name: str
    unseen: bool
    motion: Motion


@dataclass(frozen=True)
class View:
    """One camera: where it stands, and which times it films."""

    name: str
    camera: Camera
    times: tuple[int, ...]
    held_out: bool


def _silent(share: float, words: str) -> None:
    del share, words


def simulate(
    scenario: str, out: Path | str, options: SimulateOptions | None = None, progress: Progress | None = None
) -> Path:
    """Simulate a scenario and write it as a data set with exact truth.

    Args:
        scenario: one of `SCENARIOS`.
        out: the data set's folder; it appears when it is complete.
        progress: called with the finished share, 0..1, and a few words.

    Raises:
        UserError: unknown names, numbers that make no sense, or `out` is not empty.
    """
    options, out, tell = options or SimulateOptions(), Path(out), progress or _silent
    found = load_scenario(scenario)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not empty: give another --out or remove it first")
    tell(0.0, "solving the equation of motion")
    constants = found.constants | parse_numbers(options.constants, found.constants, "--constants")
    times = np.arange((options.frames or found.frames) + 1) / (options.fps or found.fps)
    plain = options.background == "plain"
    stage = found.stage(constants, not plain)
    runs = _solve(found, constants, times, options)
    views = _views(found.rig, len(times) - 1, options, options.cameras or found.cameras)
    workers = options.workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        try:
            tell(0.0, "looking around (the first time, the ray caster is compiled)")
            surveys = list(pool.map(lambda view: _survey(stage, runs, view, options.samples), views))
            with _writer(out, scenario, found, surveys) as writer:
                for run in runs:
                    truth = _truth(stage, found.law, constants, times, run.motion)
                    pictures = {v.name: s.picture.image(plain) for v, s in zip(views, surveys)}
                    split = "test" if run.unseen else None
                    writer.add_sequence(run.name, truth=truth, split=split, backgrounds=pictures)
                shots = [Shot(run, view, index) for view in views for run in runs for index in view.times]
                jobs = _jobs(pool, stage, shots, options.samples)
                for done, (shot, picture) in enumerate(_in_order(pool, jobs, 2 * workers), 1):
                    writer.add_frame(shot.run.name, _frame(shot, picture, times[shot.index], plain))
                    tell(done / len(shots), f"frame {done} of {len(shots)}")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return out


def _solve(scenario: Scenario, constants: Numbers, times: np.ndarray, options: SimulateOptions) -> list[Run]:
    """Every sequence's motion. Its initial conditions depend on the seed and its own number alone."""
    count = options.sequences or scenario.sequences
    typed = [parse_numbers(text, scenario.initial, "--initial") for text in options.initial.split(";")]
    if len(typed) > count:
        raise UserError(f"--initial names {len(typed)} sequences of {count}: raise --sequences")
    seen, runs = count - count // 4, []
    for s in range(count):
        unseen = s >= seen
        which = Draw(s - seen if unseen else s, unseen)
        rng = np.random.default_rng([options.seed, int(unseen), which.index])
        initial = scenario.draw(rng, constants, which) | (typed[s] if s < len(typed) else {})
        runs.append(Run(f"sequence-{s:03d}", unseen, scenario.solve(constants, initial, times)))
    return runs


def _views(rig: Rig, frames: int, options: SimulateOptions, count: int) -> list[View]:
    every = tuple(range(frames))
    held_out = View("held-out", rig.held_out(options.size), every, True)
    if options.monocular:
        rng = np.random.default_rng([options.seed, 2])
        return [View(f"view-{i:04d}", rig.anywhere(rng, options.size), (i,), False) for i in every] + [
            held_out
        ]
    fixed = [View(f"camera-{i}", c, every, False) for i, c in enumerate(rig.arc(count, options.size))]
    return [*fixed, held_out] if count > 1 else fixed


@dataclass(frozen=True)
class Survey:
    """What one view sees with nothing moving: the picture, and how near, how far and within which corners
    things lie."""

    picture: Picture
    near: float
    far: float
    low: np.ndarray
    high: np.ndarray


def _survey(stage: Stage, runs: list[Run], view: View, samples: int) -> Survey:
    still = backdrop(stage, view.camera, samples)
    points, distances = still.points, still.distances
    reach = max(_reach(solid) for body in stage.bodies for solid in body.solids)
    centres = np.concatenate([run.motion.positions.reshape(-1, 3) for run in runs])
    away = np.linalg.norm(centres - view.camera.position.numpy(), axis=1)
    corners = np.concatenate([points, centres - reach, centres + reach])
    return Survey(
        cast(stage, view.camera, None, samples=samples, still=still),
        near=float(min(distances.min(initial=np.inf), away.min() - reach)),
        far=float(max(distances.max(initial=0), away.max() + reach)),
        low=corners.min(0),
        high=corners.max(0),
    )


def _reach(solid: Solid) -> float:
    """How far a body's solid extends from the body's origin."""
    size = solid.radius if isinstance(solid, Sphere) else 0.0
    if isinstance(solid, Capsule):
        size = solid.radius + solid.half
    return float(np.linalg.norm(solid.position)) + size


def _in_order(pool: ThreadPoolExecutor, jobs: Iterable[Callable[[], T]], ahead: int) -> Iterator[T]:
    """Results in the order of the jobs, with no more than `ahead` of them under way."""
    waiting: deque[Future[T]] = deque()
    for job in jobs:
        waiting.append(pool.submit(job))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@dataclass(frozen=True)
class Shot:
    """One frame to be: sequence, view and number of its time."""

    run: Run
    view: View
    index: int

    @property
    def split(self) -> str:
        """The hint that is written with the frame."""
        hidden = self.run.unseen or self.view.held_out or self.index % HIDDEN_EVERY == HIDDEN_AT
        return "test" if hidden else "train"


def _jobs(
    pool: ThreadPoolExecutor, stage: Stage, shots: list[Shot], samples: int
) -> Iterator[Callable[[], tuple[Shot, Picture]]]:
    """One job a shot. Shots of one view lie together and share its backdrop, which is traced ahead of
    them."""
    view, still = None, Future[Backdrop]()
    for shot in shots:
        if shot.view is not view:
            # The pool takes jobs in order, so whoever waits for a backdrop waits for a thread that is at it.
            view, still = shot.view, pool.submit(backdrop, stage, shot.view.camera, samples)
        yield partial(_draw, stage, shot, still, samples)


def _draw(stage: Stage, shot: Shot, still: Future[Backdrop], samples: int) -> tuple[Shot, Picture]:
    motion = shot.run.motion
    now, after = motion.poses(shot.index), motion.poses(shot.index + 1)
    return shot, cast(stage, shot.view.camera, now, after, samples, still.result())


def _frame(shot: Shot, picture: Picture, time: float, alpha: bool) -> WrittenFrame:
    return WrittenFrame(
        camera=shot.view.camera,
        camera_id=shot.view.name,
        time=float(time),
        image=picture.image(alpha),
        split=shot.split,
        mask=picture.mask,
        depth=picture.depth,
        flow=picture.flow,
    )


def _truth(stage: Stage, law: str, constants: Numbers, times: np.ndarray, motion: Motion) -> Truth:
    """The motion at the times that are filmed (the last solved one is there for the flow alone)."""
    state = {"rotations": motion.rotations} | motion.state
    return Truth(
        times=times[:-1],
        bodies=tuple(body.name for body in stage.bodies),
        positions=motion.positions[:-1],
        velocities=motion.velocities[:-1],
        law=law,
        constants=constants,
        state={name: value[:-1] for name, value in state.items()},
    )


def _writer(out: Path, name: str, scenario: Scenario, surveys: list[Survey]) -> DatasetWriter:
    low, high = np.min([s.low for s in surveys], axis=0), np.max([s.high for s in surveys], axis=0)
    return DatasetWriter(
        out,
        near=max(0.95 * min(s.near for s in surveys), 0.01),
        far=1.05 * max(s.far for s in surveys),
        bounds=np.stack([low, high]),
        description=f"{name}: {scenario.summary}",
    )
