"""From a scenario to a data set on disk: solve the equations of motion, render in parallel, write."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import numpy as np

from foreseen.data.typed_values import parse_numbers
from foreseen.data.types import GroundTruth
from foreseen.data.writer import DatasetWriter, WrittenFrame
from foreseen.errors import UserError, suggest
from foreseen.geometry.cameras import Camera
from foreseen.plugins import Registry
from foreseen.simulate.camera_rig import CameraRig
from foreseen.simulate.kernel_tables import DEPTHS
from foreseen.simulate.options import SimulateOptions
from foreseen.simulate.raycast import Backdrop, RenderedFrame, backdrop, cast
from foreseen.simulate.scenario import BodyMotion, Numbers, Scenario, SequenceIndex
from foreseen.simulate.scene import Capsule, Solid, Sphere, Stage

Progress = Callable[[float, str], None]
T = TypeVar("T")

SCENARIOS: Registry[str] = Registry(
    {
        "pendulum": "foreseen.simulate.pendulum",
        "bouncing-balls": "foreseen.simulate.bouncing_balls",
        "oscillating-ball": "foreseen.simulate.oscillating_ball",
        "bifurcating-hill": "foreseen.simulate.bifurcating_hill",
        "pendulum-and-ball": "foreseen.simulate.pendulum_and_ball",
    },
    "foreseen.scenarios",
    lambda point: point.module,
)
"""Name -> module with a `SCENARIO`, imported when it is used. Installed packages add theirs as entry points
`foreseen.scenarios`, such as `spring = "my_package.spring:SCENARIO"`."""

MAX_BACKDROP_BYTES = 1_000_000_000
"""Bytes of all backdrops in memory at once. Larger: more frames are rendered at the same time."""

HOLD_OUT_EVERY, HOLD_OUT_OFFSET = 8, 4
"""Times i with i % 8 == 4 are marked "test" in every camera."""


def load_scenario(name: str) -> Scenario:
    """The scenario of that name.

    Raises:
        UserError: there is none; the nearest is suggested.
    """
    if name not in SCENARIOS:
        raise UserError(f"unknown scenario '{name}': {suggest(name, SCENARIOS)}")
    scenario: Scenario = import_module(SCENARIOS[name]).SCENARIO
    return scenario


@dataclass(frozen=True)
class SimulatedSequence:
    """One sequence.

    Attributes:
        unseen: whether it is marked as an unseen sequence.
        dynamics, constants: its equations of motion and their constants.
        stage: what is rendered: the static solids of all sequences, and its own bodies.
        motion: at the frames' times and at one time more, which the flow of the last frame needs.
    """

    name: str
    unseen: bool
    dynamics: str
    constants: Numbers
    stage: Stage
    motion: BodyMotion


@dataclass(frozen=True)
class SimulatedCamera:
    """One viewpoint.

    Attributes:
        times: indices of the times at which it takes a frame.
        held_out: its frames are marked "test".
    """

    name: str
    camera: Camera
    times: tuple[int, ...]
    held_out: bool


def _no_progress(share: float, words: str) -> None:
    del share, words


def simulate(
    scenario: str, out: Path | str, options: SimulateOptions | None = None, progress: Progress | None = None
) -> Path:
    """Simulate a scenario and write it as a data set with exact ground truth.

    Args:
        scenario: one of `SCENARIOS`.
        out: the data set's folder; it appears when it is complete.
        progress: called with the finished share, 0..1, and a few words.

    Raises:
        UserError: unknown names, numbers that make no sense, or `out` is not empty.
    """
    options, out, notify = options or SimulateOptions(), Path(out), progress or _no_progress
    load_scenario(scenario)  # an unknown name is reported before any other error
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not empty: give another --out or remove it first")
    notify(0.0, "solving the equation of motion")
    plan = _plan(scenario, options)
    with ThreadPoolExecutor(plan.workers) as pool:
        try:
            _render_frames(plan, out, pool, notify)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return out


@dataclass(frozen=True)
class SimulationPlan:
    """What is to be rendered. `stage` is static; `times` has one time more than there are frames, for the flow."""

    name: str
    scenario: Scenario
    options: SimulateOptions
    times: np.ndarray
    stage: Stage
    runs: list[SimulatedSequence]
    views: list[SimulatedCamera]

    @property
    def alpha(self) -> bool:
        """Whether pictures are written with their alpha."""
        return self.options.background == "plain"

    @property
    def workers(self) -> int:
        """Threads that render."""
        return self.options.workers or os.cpu_count() or 1

    @property
    def jobs_at_once(self) -> int:
        """So many that their backdrops, one a job, fit into `MAX_BACKDROP_BYTES`."""
        backdrop_bytes = self.options.size**2 * (self.options.samples**2 + 1) * DEPTHS * 4
        return max(1, min(2 * self.workers, MAX_BACKDROP_BYTES // backdrop_bytes))


def _plan(name: str, options: SimulateOptions) -> SimulationPlan:
    chosen = load_scenario(name)
    constants = chosen.constants | parse_numbers(options.constants, chosen.constants, "--constants")
    times = np.arange((options.frames or chosen.frames) + 1) / (options.fps or chosen.fps)
    stage = chosen.stage(constants, options.background != "plain")
    runs = _solve(chosen, constants, stage, times, options)
    views = _views(chosen.rig, len(times) - 1, options, options.cameras or chosen.cameras)
    return SimulationPlan(name, chosen, options, times, stage, runs, views)


def _render_frames(plan: SimulationPlan, out: Path, pool: ThreadPoolExecutor, notify: Progress) -> None:
    """Render every camera's static view, then render and write frame by frame."""
    notify(0.0, "rendering static views (the first time, the ray caster is compiled)")
    samples, few = plan.options.samples, plan.jobs_at_once
    static_views = (partial(_survey, plan.stage, plan.runs, view, samples) for view in plan.views)
    surveys = list(_in_order(pool, static_views, few))
    with _writer(plan, out, surveys) as writer:
        for run in plan.runs:
            pictures = {v.name: s.picture.image(plan.alpha) for v, s in zip(plan.views, surveys)}
            split = "test" if run.unseen else None
            writer.add_sequence(run.name, truth=_truth(plan.times, run), split=split, backgrounds=pictures)
        frame_jobs = [FrameJob(run, view, index) for view in plan.views for run in plan.runs for index in view.times]
        # The frames of a fixed camera share a backdrop; frames from many viewpoints have one each.
        ahead = few if plan.options.monocular else 2 * plan.workers
        jobs = _jobs(pool, plan.stage, frame_jobs, samples)
        for done, (job, picture) in enumerate(_in_order(pool, jobs, ahead), 1):
            writer.add_frame(job.run.name, _frame(job, picture, plan.times[job.index], plan.alpha))
            notify(done / len(frame_jobs), f"frame {done} of {len(frame_jobs)}")


def _solve(
    scenario: Scenario, constants: Numbers, stage: Stage, times: np.ndarray, options: SimulateOptions
) -> list[SimulatedSequence]:
    """Every sequence's motion. Initial conditions that are not given depend on the seed and the sequence's own number
    alone."""
    count = options.sequences or scenario.sequences
    typed = [parse_numbers(text, scenario.initial, "--initial") for text in options.initial.split(";")]
    if len(typed) > count:
        raise UserError(f"--initial names {len(typed)} sequences of {count}: raise --sequences")
    seen, runs = count - (count // 4 if options.unseen is None else options.unseen), []
    for s in range(count):
        unseen = s >= seen
        which = SequenceIndex(s - seen if unseen else s, unseen)
        rng = np.random.default_rng([options.seed, int(unseen), which.index])
        start = typed[s] if s < len(typed) else {}
        system = scenario.system(which, start)
        own_constants = system.constants_of(constants)
        motion = system.solve(own_constants, system.draw(rng, own_constants, which) | start, times)
        drawn = replace(stage, bodies=system.bodies(own_constants))
        runs.append(SimulatedSequence(f"sequence-{s:03d}", unseen, system.dynamics, own_constants, drawn, motion))
    return runs


def _views(rig: CameraRig, frames: int, options: SimulateOptions, count: int) -> list[SimulatedCamera]:
    every = tuple(range(frames))
    held_out = SimulatedCamera("held-out", rig.held_out(options.size), every, True)
    if options.monocular:
        rng = np.random.default_rng([options.seed, 2])
        return [SimulatedCamera(f"view-{i:04d}", rig.random_camera(rng, options.size), (i,), False) for i in every] + [
            held_out
        ]
    fixed = [SimulatedCamera(f"camera-{i}", c, every, False) for i, c in enumerate(rig.arc(count, options.size))]
    return [*fixed, held_out] if count > 1 else fixed


@dataclass(frozen=True)
class StaticView:
    """What a viewpoint sees without the moving bodies.

    Attributes:
        near, far: least and largest distance of anything from the camera, moving bodies included [m].
        low, high: corners `[3]` of the box around all of it [m].
    """

    picture: RenderedFrame
    near: float
    far: float
    low: np.ndarray
    high: np.ndarray


def _survey(stage: Stage, runs: list[SimulatedSequence], view: SimulatedCamera, samples: int) -> StaticView:
    still = backdrop(stage, view.camera, samples)
    points, distances = still.points, still.distances
    centres = np.concatenate([run.motion.positions.reshape(-1, 3) for run in runs])
    reach = np.concatenate([np.full((run.motion.positions[..., 0].size, 1), _reach(run.stage)) for run in runs])
    away = np.linalg.norm(centres - view.camera.position.numpy(), axis=1, keepdims=True)
    corners = np.concatenate([points, centres - reach, centres + reach])
    return StaticView(
        cast(stage, view.camera, None, samples=samples, still=still),
        near=float(min(distances.min(initial=np.inf), (away - reach).min())),
        far=float(max(distances.max(initial=0), (away + reach).max())),
        low=corners.min(0),
        high=corners.max(0),
    )


def _reach(stage: Stage) -> float:
    """The largest distance of a moving body's surface from the body's origin [m]."""
    return max(_extent(solid) for body in stage.bodies for solid in body.solids)


def _extent(solid: Solid) -> float:
    """The largest distance of a solid's surface from its body's origin [m]."""
    size = solid.radius if isinstance(solid, Sphere) else 0.0
    if isinstance(solid, Capsule):
        size = solid.radius + solid.half_length
    return float(np.linalg.norm(solid.position)) + size


def _in_order(pool: ThreadPoolExecutor, jobs: Iterable[Callable[[], T]], ahead: int) -> Iterator[T]:
    """Results in the order of the jobs, at most `ahead` of which run at once."""
    waiting: deque[Future[T]] = deque()
    for job in jobs:
        waiting.append(pool.submit(job))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@dataclass(frozen=True)
class FrameJob:
    """One frame to render: sequence, viewpoint and index of its time."""

    run: SimulatedSequence
    view: SimulatedCamera
    index: int

    @property
    def split(self) -> str:
        """The hint that is written with the frame."""
        hidden = self.run.unseen or self.view.held_out or self.index % HOLD_OUT_EVERY == HOLD_OUT_OFFSET
        return "test" if hidden else "train"


def _jobs(
    pool: ThreadPoolExecutor, stage: Stage, frame_jobs: list[FrameJob], samples: int
) -> Iterator[Callable[[], tuple[FrameJob, RenderedFrame]]]:
    """One job for each frame. Frames of one viewpoint follow one another and share its backdrop, which is traced before
    them."""
    view, still = None, Future[Backdrop]()
    for job in frame_jobs:
        if job.view is not view:
            # The pool takes jobs in order: a frame that waits for a backdrop waits for a thread that computes it.
            view, still = job.view, pool.submit(backdrop, stage, job.view.camera, samples)
        yield partial(_draw, job, still, samples)


def _draw(job: FrameJob, still: Future[Backdrop], samples: int) -> tuple[FrameJob, RenderedFrame]:
    motion = job.run.motion
    now, after = motion.poses(job.index), motion.poses(job.index + 1)
    return job, cast(job.run.stage, job.view.camera, now, after, samples, still.result())


def _frame(job: FrameJob, picture: RenderedFrame, time: float, alpha: bool) -> WrittenFrame:
    return WrittenFrame(
        camera=job.view.camera,
        camera_id=job.view.name,
        time=float(time),
        image=picture.image(alpha),
        split=job.split,
        mask=picture.mask,
        depth=picture.depth,
        flow=picture.flow,
    )


def _truth(times: np.ndarray, run: SimulatedSequence) -> GroundTruth:
    """The equations of motion of a sequence, and its motion at the frames' times."""
    motion = run.motion
    state = {"rotations": motion.rotations} | motion.state
    return GroundTruth(
        times=times[:-1],
        bodies=tuple(body.name for body in run.stage.bodies),
        positions=motion.positions[:-1],
        velocities=motion.velocities[:-1],
        dynamics=run.dynamics,
        constants=run.constants,
        state={name: value[:-1] for name, value in state.items()},
    )


def _writer(plan: SimulationPlan, out: Path, surveys: list[StaticView]) -> DatasetWriter:
    low, high = np.min([s.low for s in surveys], axis=0), np.max([s.high for s in surveys], axis=0)
    return DatasetWriter(
        out,
        near=max(0.95 * min(s.near for s in surveys), 0.01),
        far=1.05 * max(s.far for s in surveys),
        bounds=np.stack([low, high]),
        description=f"{plan.name}: {plan.scenario.summary}",
    )
