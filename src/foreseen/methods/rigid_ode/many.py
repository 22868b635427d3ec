"""rigid-ode over several sequences: the parts and the law are shared, how each sequence begins is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from scipy.interpolate import CubicSpline
from torch import Tensor, nn

from foreseen.batches.rays import RayBatch, RaySpec
from foreseen.core.batch import BatchSpec
from foreseen.core.capabilities import Layer
from foreseen.core.dynamical_system import DynamicalSystem
from foreseen.core.method import Callback, Method
from foreseen.core.observation import Observation
from foreseen.core.scene_info import SceneInfo
from foreseen.data.labels import Labels
from foreseen.data.types import Frame
from foreseen.dynamics.dynamics import Dynamics, check_counts
from foreseen.dynamics.system import Seen, on_surface
from foreseen.errors import UserError
from foreseen.methods.rigid_ode.beginning import given_state, observed_state
from foreseen.methods.rigid_ode.config import RigidODEConfig
from foreseen.methods.rigid_ode.parts import PartsState
from foreseen.methods.rigid_ode.voxel_look import RigidLook
from foreseen.nn.checked import check_range
from foreseen.nn.on_cpu import on_cpu
from foreseen.nn.voxels import VoxelGrids, VoxelTable
from foreseen.reconstruction.tracks import Tracks, find_tracks
from foreseen.scenes import Scene
from foreseen.scenes.voxel_scene import AWAY

Bounds = tuple[tuple[float, float, float], tuple[float, float, float]]
ROOM = 0.03
"""The box around everything reaches so much of its size beyond what is seen: a floor that lies in its face, and a
corner of it that a ray just touches, would have no room to be opaque in."""


Solve = Callable[[Tensor, float, Tensor], Tensor]
"""State, its time, and times, in windows -> the states then."""


@dataclass(frozen=True)
class BeginningState:
    """A point on a trajectory, and whose it is.

    Attributes:
        kind: `[]` int64, of motion: whose surface and law.
        state: `[2 d]` float64, coordinates and their rates per window.
        time: `[]` float64, in the data set's unit.
        sequence: `[]` int64, index of a learned sequence, whose own poses are known where it was seen; -1: a new one.
        factor: `[2 d, D]`; `state + factor @ standard normal` may be the state as well.
    """

    kind: Tensor
    state: Tensor
    time: Tensor
    sequence: Tensor
    factor: Tensor


class RigidODEMany(Method[Any, RayBatch]):
    """See README.md, "fast, many sequences"."""

    observes = ("sequence", "initial", "frames")
    look: RigidLook
    kinds_of: Tensor
    owners: Tensor
    law_stage: Tensor
    times: Tensor
    counts: Tensor
    exact: Tensor

    def __init__(self, config: RigidODEConfig, info: SceneInfo) -> None:
        super().__init__()
        info = replace(info, bounds=_roomy(info.bounds))
        self.config, self.info = config, info
        self.batch = RaySpec(rays=config.rays, foreground=config.foreground)
        counts = torch.tensor([len(times) for times in info.times])
        check_counts(counts)
        if info.ndc:
            raise UserError("rigid-ode learns several sequences in the world's own coordinates: NDC is not for them.")
        if config.appearance != "voxels":
            raise UserError(
                "rigid-ode learns several sequences with voxels only: leave out --appearance, or give one sequence."
            )
        self.window = max(times[-1] - times[0] for times in info.times)
        times = torch.zeros(len(counts), int(counts.max()), dtype=torch.float64)
        for s, own in enumerate(info.times):
            times[s, : len(own)] = torch.tensor(own, dtype=torch.float64) / self.window
        self.register_buffer("times", times, persistent=False)
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("law_stage", torch.tensor(0))
        self.register_buffer("exact", torch.tensor(False))
        one = torch.zeros(1, dtype=torch.int64)
        self.adopt(self._untrained(torch.ones(1, 3)), one.expand(len(counts)).clone(), one)

    def _untrained(self, halves: Tensor) -> RigidLook:
        """Looks of the right kind, to be replaced by those of a warm start or of a checkpoint."""
        levels = [self.config.part_levels] * len(halves) + [self.config.static_levels]
        closed = torch.zeros(len(levels), 2, 2, 2, dtype=torch.bool)
        voxels = VoxelGrids(VoxelTable.build(levels, closed), self.config.initial)
        return RigidLook(self.config, self.info, halves, voxels)

    def adopt(self, look: RigidLook, kinds: Tensor, owners: Tensor) -> None:
        """Takes over how things look, and makes new poses for its parts.

        Args:
            kinds: `[S]` int64, the kind of each sequence.
            owners: `[P]` int64, the kind that each part of the look belongs to.
        """
        self.look = look
        self.register_buffer("kinds_of", kinds)
        self.register_buffer("owners", owners)
        shape = (*self.times.shape, len(owners), 3)
        absent = (owners != kinds[:, None])[:, None, :, None]
        self.centres = nn.Parameter(torch.where(absent, AWAY, 0.0).expand(shape).clone())
        self.turns = nn.Parameter(torch.zeros(shape))
        self.laws = nn.ModuleList(Dynamics(self.config.many, 6 * count) for count in owners.bincount().tolist())

    # Before training.

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[Labels | None]) -> str:
        """Finds the parts, where they are, and empty space; and the law, where the poses are known."""
        c = self.config
        found = find_tracks(frames, labels if c.many.labels == "auto" else [None] * len(labels), self.info, c)
        self.adopt(RigidLook.where(c, self.info, found.halves, found.may_be), found.kinds, found.owners)
        self._take_over(found)
        line = f"{self._parts()}, {found.source}"
        return f"{line}; {self._law_of_stage(len(c.many.law_at))}" if found.exact else f"{line}."

    def _parts(self) -> str:
        """How many, in words."""
        words = []
        for kind in range(self.clusters):
            count, sequences = len(self.parts(kind)), len(self.sequences(kind))
            words.append(
                f"{count} moving part{'s' if count > 1 else ''} in {sequences} sequence{'s' if sequences > 1 else ''}"
            )
        return " and ".join(words) + (f" ({self.clusters} kinds of motion)" if self.clusters > 1 else "")

    @torch.no_grad()
    def _take_over(self, found: Tracks) -> None:
        self.exact.fill_(found.exact)
        for s, (centres, turns) in enumerate(zip(found.centres, found.turns)):
            own = self.parts(int(self.kinds_of[s]))
            self.centres[s, : len(centres), own] = centres.float()
            self.turns[s, : len(turns), own] = turns.float()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of any module, with as many kinds, parts and voxels as the state has."""
        self._make_room(state_dict)
        return super().load_state_dict(state_dict, strict, assign)

    def _make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Makes room for as many kinds, parts and voxels as the checkpoint has."""
        kinds, owners = tensors["kinds_of"].clone(), tensors["owners"].clone()
        if kinds.shape != self.counts.shape:
            raise UserError(f"kinds_of: {list(kinds.shape)} are not the kinds of {len(self.counts)} sequences")
        check_range("owners", owners, 0, len(owners) - 1)
        check_range("kinds_of", kinds, 0, int(owners.max()))
        self.adopt(RigidLook.like(self.config, self.info, tensors, len(owners)), kinds, owners)

    # What the laws are about.

    @property
    def dynamics(self) -> list[Dynamics]:
        """Surface and law of each kind."""
        return cast(list[Dynamics], list(self.laws))

    @property
    def clusters(self) -> int:
        """Number of dynamics clusters."""
        return len(self.laws)

    def parts(self, kind: int) -> Tensor:
        """Indices of a kind's K parts."""
        return (self.owners == kind).nonzero()[:, 0]

    def sequences(self, kind: int) -> Tensor:
        """Indices of the learned sequences of a kind."""
        return (self.kinds_of == kind).nonzero()[:, 0]

    def _sizes(self, kind: int) -> Tensor:
        """`[K, 1]` mean half sizes of the parts, on the CPU."""
        return self.look.halves[self.parts(kind)].mean(-1, keepdim=True).double().cpu()

    def numbers(self, kind: int, centres: Tensor, turns: Tensor) -> Tensor:
        """Poses `[..., 6 K]` float64, on the CPU, of centres and rotation vectors `[..., K, 3]`: as `Parts.numbers`, in
        scene units: turns as the way that a rim of the part's own size goes."""
        sizes = self._sizes(kind)
        both = torch.cat([centres.double().cpu(), turns.double().cpu() * sizes], dim=-1)
        return (both * sizes / sizes.max()).flatten(-2)

    def parts_of(self, kind: int, numbers: Tensor) -> PartsState:
        """The inverse of `numbers` `[T, 6 K]`; all parts, those of other kinds far away."""
        sizes, own = self._sizes(kind), self.parts(kind)
        both = numbers.unflatten(-1, (len(sizes), 6)) * sizes.max() / sizes
        centres = self.centres.new_full((len(numbers), len(self.owners), 3), AWAY)
        turns = torch.zeros_like(centres)
        centres[:, own], turns[:, own] = both[..., :3].to(centres), (both[..., 3:] / sizes).to(centres)
        return PartsState(centres, turns, centres.new_zeros(len(numbers), 1))

    def seen(self, kind: int) -> tuple[Tensor, Tensor, Tensor]:
        """Poses `[S, T, 6 K]` of a kind's sequences as they are now, when `[S, T]`, and how many of each `[S]`."""
        rows, own = self.sequences(kind), self.parts(kind)
        poses = self.numbers(kind, self.centres[rows][:, :, own], self.turns[rows][:, :, own])
        return poses.detach(), self.times[rows].cpu(), self.counts[rows].cpu()

    @torch.no_grad()
    def fit_law(self) -> str:
        """Learns the laws from the poses as they are now. Says how well they follow them."""
        words = []
        for kind, dynamics in enumerate(self.dynamics):
            dynamics.fit(*self.seen(kind), bool(self.exact))
            size = dynamics.manifold.size
            words.append(
                f"a law of motion on {size} coordinate{'' if size == 1 else 's'} follows the sequences "
                f"with a misfit of {float(dynamics.misfit):.2%}"
            )
        if len(words) > 1:
            words = [f"kind {kind + 1}: {line}" for kind, line in enumerate(words)]
        return "; ".join(words) + "."

    # The four verbs (render belongs to the scene).

    @on_cpu
    def observe(self, observation: Observation) -> BeginningState:
        """How a sequence begins: of a learned one its first pose, of a new one what is given, or what fits its first
        frames best."""
        if observation.initial is not None:
            known, (kind, state) = observation.initial, given_state(self, observation.initial)
            unsure = observation.precision * torch.diag(self.dynamics[kind].unit())
            return self._begin(kind, state, float(known.times[0]), -1, unsure)
        if observation.frames:
            kind, state, factor, time = observed_state(self, observation.frames)
            return self._begin(kind, state, time, -1, factor)
        if not 0 <= observation.sequence < len(self.counts):
            raise UserError(
                f"this run learned {len(self.counts)} sequences; there is no sequence {observation.sequence}."
            )
        kind = int(self.kinds_of[observation.sequence])
        poses, times = self.poses(observation.sequence)
        if not self.dynamics[kind].fitted:
            nothing = torch.zeros(0, dtype=torch.float64)
            return self._begin(kind, nothing, float(times[0]) * self.window, observation.sequence)
        (time, state), _ = self.dynamics[kind].ends(poses, times, bool(self.exact))
        return self._begin(kind, state, time * self.window, observation.sequence)

    @staticmethod
    def _begin(kind: int, state: Tensor, time: float, sequence: int, factor: Tensor | None = None) -> BeginningState:
        sure = state.new_zeros(len(state), 0)
        when = torch.tensor(time, dtype=torch.float64)
        return BeginningState(
            torch.tensor(kind), state, when, torch.tensor(sequence), sure if factor is None else factor
        )

    def poses(self, sequence: int) -> tuple[Tensor, Tensor]:
        """`[T, 6 K]` poses of a learned sequence as they were seen, and when `[T]`, in windows."""
        kind, count = int(self.kinds_of[sequence]), int(self.counts[sequence])
        own = self.parts(kind)
        centres, turns = self.centres[sequence, :count, own], self.turns[sequence, :count, own]
        return self.numbers(kind, centres, turns).detach(), self.times[sequence, :count].cpu()

    @on_cpu
    def evolve(self, state: BeginningState, times: Tensor) -> PartsState:
        """The law from where the state says; inside what was seen of a learned sequence, what was seen."""
        kind = int(state.kind)
        return self.parts_of(kind, self._numbers(state, times, self.dynamics[kind].solve))

    @on_cpu
    def ensemble(self, state: BeginningState, times: Tensor) -> Tensor:
        """By the most likely law and by the others that the sequences leave possible, each from a state that is
        possible. The same draws each time."""
        kind, generator = int(state.kind), torch.Generator().manual_seed(0)
        dynamics = self.dynamics[kind]
        count = len(dynamics.members)
        draws = torch.randn(count, state.factor.shape[1], generator=generator, dtype=torch.float64)
        draws[0] = 0
        off = draws @ state.factor.T

        def solve(begin: Tensor, start: float, u: Tensor) -> Tensor:
            return dynamics.futures(begin + off, start, u)

        numbers = self._numbers(state, times, solve, (count,))
        centres = self.parts_of(kind, numbers.flatten(0, 1)).centres[:, self.parts(kind)]
        return centres.unflatten(0, numbers.shape[:2]).transpose(0, 1)

    def _numbers(self, state: BeginningState, times: Tensor, solve: Solve, futures: tuple[int, ...] = ()) -> Tensor:
        """`[T, *futures, 6 K]` poses at `times`."""
        u = times.double() / self.window
        sequence, dynamics = int(state.sequence), self.dynamics[int(state.kind)]
        if sequence < 0:
            return _decoded(dynamics, solve(state.state, float(state.time) / self.window, u))
        poses, seen = self.poses(sequence)
        spline = CubicSpline(seen.numpy(), poses.numpy())
        inside = torch.from_numpy(spline(u.clamp(float(seen[0]), float(seen[-1])).numpy()))
        out = inside.view(len(u), *(1 for _ in futures), -1).repeat(1, *futures, 1)
        if not dynamics.fitted:
            return out
        # Compared as float32, as which times come: the last observed one must not count as after the window.
        first, last = (seen[[0, -1]] * self.window).float()
        before, after = times.float() < first, times.float() > last
        if before.any() or after.any():
            ends = dynamics.ends(poses, seen, bool(self.exact))
            for side, (start, begin) in ((before, ends[0]), (after, ends[1])):
                if side.any():
                    out[side] = _decoded(dynamics, solve(begin, start, u[side]))
        return out

    def scene(self, state: PartsState) -> Scene:
        """The parts and their surroundings at one time."""
        return self.look.scene(state)

    def layer(self, state: PartsState, which: Layer) -> Scene | None:
        """The parts, or what is around them."""
        return self.look.layer(state, which)

    def system(self, cluster: int = 0) -> DynamicalSystem | None:
        """The law on the surface of a kind's poses; None where none was fitted, or nothing moves."""

        def centres(numbers: Tensor) -> Tensor:
            return self.parts_of(cluster, numbers).centres[:, self.parts(cluster)]

        seen = Seen(*self.seen(cluster), bool(self.exact), self.sequences(cluster).tolist())
        return on_surface(self.dynamics[cluster], self.window, seen, centres)

    # How it learns.

    def losses(self, batch: RayBatch, step: int) -> dict[str, Tensor]:
        """Squared colour error, opacity where the plain background was seen, and roughness."""
        width = self.times.shape[1]
        rows, which = (batch.sequences * width + batch.time_indices).unique(return_inverse=True)
        centres, turns = self.centres.flatten(0, 1)[rows], self.turns.flatten(0, 1)[rows]
        states = PartsState(centres, turns, torch.zeros(len(rows), 1))
        return self.look.losses(states, replace(batch, time_indices=which), step)

    def batch_spec(self, step: int) -> BatchSpec:
        """As many rays as the step's budget of samples allows."""
        del step
        return self.look.batch_spec()

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """How things look, and the poses, which rest where they are known, or once the law was fitted for the last
        time."""
        c, decay = self.config, self.config.lr_decay**progress
        moves = 0.0 if bool(self.exact) or progress >= c.many.law_at[-1] else decay
        radius = float(self.look.halves[:-1].mean(-1).double().mean())
        return [
            *self.look.parameter_groups(progress),
            {"name": "centres", "params": [self.centres], "lr": c.centre_lr * radius * moves},
            {"name": "turns", "params": [self.turns], "lr": c.turn_lr * moves},
        ]

    def callbacks(self) -> tuple[Callback, ...]:
        """Parts are found before training; the dynamics are fitted at their times."""
        return (Callback(self.warm_start, self.before_step, after_training=self.finish),)

    def before_step(self, step: int, progress: float) -> str | None:
        """Refreshes the occupancy, and fits the law at its times."""
        self.look.before_step(step, progress)
        return self._law_of_stage(sum(progress >= p for p in self.config.many.law_at))

    def finish(self) -> str | None:
        """The last fit of the law, where a step was so long that the budget ended before its time came."""
        return self._law_of_stage(len(self.config.many.law_at))

    def _law_of_stage(self, stage: int) -> str | None:
        """Fits the law, unless that was done at this stage or a later one."""
        if stage <= int(self.law_stage):
            return None
        self.law_stage.fill_(stage)
        return self.fit_law()


def _decoded(dynamics: Dynamics, path: Tensor) -> Tensor:
    """Poses of states."""
    return dynamics.manifold.decode(path[..., : dynamics.manifold.size])


def _roomy(bounds: Bounds) -> Bounds:
    low, high = torch.tensor(bounds, dtype=torch.float64)
    margin = ROOM * (high - low)
    return tuple((low - margin).tolist()), tuple((high + margin).tolist())
