"""Batches of rays, drawn from all training frames at once: spec, batch and sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from foreseen.batches.foreground import Foreground, find_foreground
from foreseen.batches.neighbours import RayNeighbours
from foreseen.batches.sampler import FrameSampler
from foreseen.core.batch import BatchSpec, samples
from foreseen.core.scene_info import SceneInfo
from foreseen.data.tracks import is_successor, neighbours
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.geometry.rays import Rays

FRAMES_WHEN_READING = 8
"""Number of frames that a batch is drawn from where the pictures do not fit into memory: decoding one costs as much as
many rays."""

REDRAWS = 20
"""A ray that meets the foreground is drawn again up to so many times, where a batch is to have background only."""


@dataclass(frozen=True)
class RaySpec(BatchSpec):
    """How rays are drawn.

    Attributes:
        rays: rays in a batch.
        frames: number of frames that a batch draws them from (1: one image a step, as the original NeRF); 0: all.
        foreground: share of the rays drawn from the foreground (where alpha, or the difference from the camera's median
            picture, shows something), 0..1; the rest is uniform.
        centre_crop_steps: for that many first steps rays come from the central half of the image.
        time_indices: draw only from frames whose index into `SceneInfo.times[sequence]` is one of these; None: all.
        even_sequences: where a batch is drawn from few frames, each sequence is equally likely, however many frames it
            has.
        background_only: rays are drawn outside of the foreground, and `foreground` is ignored; everywhere where no
            foreground can be found.
        layers: names of the layers that a batch carries (see `foreseen.data.layers`).
        neighbours: a batch carries the previous and the next frame of each ray's camera track.
    """

    rays: int = 1024
    frames: int = 0
    foreground: float = 0.0
    centre_crop_steps: int = 0
    time_indices: tuple[int, ...] | None = None
    even_sequences: bool = False
    background_only: bool = False
    layers: tuple[str, ...] = ()
    neighbours: bool = False


@dataclass(frozen=True)
class RayBatch:
    """N rays with the colours that were seen along them.

    Attributes:
        colors: `[N, 3]`, alpha composited on the stated background.
        alpha: `[N]`, or None where the images have no opacity.
        times: `[N]`, in the data set's unit.
        sequences: `[N]` int64, index of the sequence.
        time_indices: `[N]` int64, index into `SceneInfo.times[sequence]`.
        layers: name -> `[N]` or `[N, C]`, as `LayerStore` reads them.
        neighbours: None unless the spec asks for them.
    """

    rays: Rays
    colors: Tensor
    alpha: Tensor | None
    times: Tensor
    sequences: Tensor
    time_indices: Tensor
    layers: dict[str, Tensor] = field(default_factory=dict)
    neighbours: RayNeighbours | None = None

    @property
    def pixels(self) -> int:
        """Number of pixels in the batch."""
        return len(self.colors)

    def to(self, device: torch.device) -> RayBatch:
        """The same batch on another device."""
        return RayBatch(
            rays=self.rays.to(device),
            colors=self.colors.to(device),
            alpha=None if self.alpha is None else self.alpha.to(device),
            times=self.times.to(device),
            sequences=self.sequences.to(device),
            time_indices=self.time_indices.to(device),
            layers={name: values.to(device) for name, values in self.layers.items()},
            neighbours=None if self.neighbours is None else self.neighbours.to(device),
        )


class CameraTable:
    """The cameras of F frames, stacked: rays of many frames in one gather."""

    def __init__(self, cameras: Sequence[Camera]) -> None:
        self.poses = torch.stack([c.camera_to_world.float() for c in cameras])
        self.rotations = self.poses[:, :3, :3].contiguous()
        self.positions = self.poses[:, :3, 3].contiguous()
        self.focals = torch.tensor([(c.fx, c.fy) for c in cameras])
        self.centres = torch.tensor([(c.cx, c.cy) for c in cameras])
        spaces = {id(c.ndc): c.ndc for c in cameras}
        self.spaces = list(spaces.values())
        """Normalised device coordinates, those of every data set once; None: rays in scene units."""
        self.space_of = torch.tensor([list(spaces).index(id(c.ndc)) for c in cameras])

    def rays(self, frames: Tensor, pixels: Tensor) -> Rays:
        """`Camera.rays` of frame `frames[n]` through `pixels[n]`: `[N]` int64, `[N, 2]` (x, y)."""
        local = torch.ones(len(frames), 3, 1)
        local[:, :2, 0] = (pixels - self.centres[frames]) / self.focals[frames]
        directions = torch.nn.functional.normalize(torch.bmm(self.rotations[frames], local)[..., 0], dim=-1)
        rays = Rays(self.positions[frames], directions, directions)
        if len(self.spaces) == 1:
            return rays if self.spaces[0] is None else self.spaces[0].rays(rays)
        return self._in_spaces(rays, self.space_of[frames])

    def _in_spaces(self, rays: Rays, space_of: Tensor) -> Rays:
        """Rays `[N]` in the space of number `space_of` `[N]` each."""
        origins, directions = rays.origins.clone(), rays.directions.clone()
        for index, ndc in enumerate(self.spaces):
            mine = space_of == index
            if ndc is not None and mine.any():
                moved = ndc.rays(Rays(rays.origins[mine], rays.directions[mine], rays.view_directions[mine]))
                origins[mine], directions[mine] = moved.origins, moved.directions
        return Rays(origins, directions, rays.view_directions)


@samples(RaySpec)
class RaySampler(FrameSampler):
    """Draws batches of rays."""

    def __init__(
        self,
        frames: Sequence[Frame],
        names: Sequence[str],
        info: SceneInfo,
        seed: int,
        memory_mb: int = 1024,
        say: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(frames, names, info, seed, memory_mb, say)
        self.cameras = CameraTable([f.camera for f in frames])
        self.sizes = torch.tensor([f.size for f in frames])
        self._neighbours: tuple[Tensor, Tensor] | None = None
        self._foreground: Foreground | None = None
        self._sought_foreground = False
        self._allowed: dict[tuple[int, ...] | None, Tensor] = {None: torch.arange(len(frames))}
        if not self.store.resident:
            self.say(
                f"the pictures take more than {memory_mb} MB: they are read when drawn, from "
                f"{FRAMES_WHEN_READING} frames a batch; --downscale or a larger --memory-mb speeds it up."
            )

    def prepare(self, spec: RaySpec) -> None:
        """Does what the first batch would otherwise wait for."""
        for name in spec.layers:
            self.layer(name)
        if (spec.foreground > 0 or spec.background_only) and not self._sought_foreground:
            self._sought_foreground = True
            self._foreground = find_foreground(self.store, self.info.static_cameras, self.backgrounds)
            if self._foreground is None:
                self.say("no alpha and no fixed cameras to find the moving part from: rays are drawn uniformly.")

    def batch(self, spec: RaySpec, step: int) -> RayBatch:
        """The next batch: `spec.rays` rays, on the CPU."""
        self.prepare(spec)
        frames = self._draw_frames(spec)
        crop = step < spec.centre_crop_steps
        pixel_indices = self._draw_pixels(frames, crop)
        if spec.background_only and self._foreground is not None:
            self._leave_foreground(frames, pixel_indices, crop, self._foreground)
        elif spec.foreground > 0 and self._foreground is not None and not crop:
            self._move_to_foreground(frames, pixel_indices, round(spec.rays * spec.foreground))
        return self.at(frames, pixel_indices, spec)

    def at(self, frames: Tensor, pixel_indices: Tensor, spec: RaySpec | None = None) -> RayBatch:
        """The batch at the given frames and row-major pixel indices, `[N]` int64 each."""
        spec = spec or RaySpec()
        widths = self.sizes[frames, 0]
        pixels = torch.stack([pixel_indices % widths, pixel_indices // widths], dim=-1) + 0.5
        colors, alpha = self.colors_of(self.store.gather(frames, pixel_indices), self.backgrounds[frames])
        return RayBatch(
            rays=self.cameras.rays(frames, pixels),
            colors=colors,
            alpha=alpha,
            times=self.times[frames],
            sequences=self.sequences[frames],
            time_indices=self.time_indices[frames],
            layers={name: self.layer(name).gather(frames, pixel_indices) for name in spec.layers},
            neighbours=self._neighbours_of(frames, pixels) if spec.neighbours else None,
        )

    def _neighbours_of(self, frames: Tensor, pixels: Tensor) -> RayNeighbours:
        if self._neighbours is None:
            self._neighbours = _neighbour_tables(self.frames)
        indices, flow_leads_there = (table[frames] for table in self._neighbours)
        exists = indices >= 0
        indices = torch.where(exists, indices, frames[:, None])
        return RayNeighbours(
            own_pixels=pixels,
            exists=exists,
            flow_leads_there=flow_leads_there,
            times=self.times[indices],
            time_indices=self.time_indices[indices],
            camera_to_world=self.cameras.poses[indices],
            focals=self.cameras.focals[indices],
            centres=self.cameras.centres[indices],
        )

    def _rand(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)

    def _draw_frames(self, spec: RaySpec) -> Tensor:
        allowed = self._frames_of(spec.time_indices)
        resident = self.store.resident and all(self.layer(name).resident for name in spec.layers)
        few = spec.frames if resident else min(spec.frames or FRAMES_WHEN_READING, FRAMES_WHEN_READING)
        if few:
            allowed = self._few_frames(allowed, few, spec.even_sequences)
        return allowed[torch.randint(len(allowed), (spec.rays,), generator=self.generator)]

    def _few_frames(self, allowed: Tensor, count: int, even_sequences: bool) -> Tensor:
        if not even_sequences:
            return allowed[torch.randperm(len(allowed), generator=self.generator)[:count]]
        sequences = self.sequences[allowed]
        shares = 1 / sequences.bincount()[sequences].float()
        return allowed[torch.multinomial(shares, min(count, len(allowed)), generator=self.generator)]

    def _frames_of(self, time_indices: tuple[int, ...] | None) -> Tensor:
        if time_indices not in self._allowed:
            chosen = torch.isin(self.time_indices, torch.tensor(time_indices)).nonzero()[:, 0]
            if len(chosen) == 0:
                raise UserError(f"no training frame has one of the times of indices {time_indices}.")
            self._allowed[time_indices] = chosen
        return self._allowed[time_indices]

    def _draw_pixels(self, frames: Tensor, crop: bool) -> Tensor:
        sizes = self.sizes[frames]
        low, span = (sizes // 4, sizes - 2 * (sizes // 4)) if crop else (torch.zeros_like(sizes), sizes)
        xy = low + (self._rand(len(frames), 2) * span).long()
        return xy[:, 1] * sizes[:, 0] + xy[:, 0]

    def _move_to_foreground(self, frames: Tensor, pixel_indices: Tensor, count: int) -> None:
        """Redraws the first `count` pixels from their frames' foreground, in place; frames without any keep
        theirs."""
        assert self._foreground is not None
        available = self._foreground.counts[frames[:count]]
        offset = (self._rand(count) * available).long()
        chosen = (self._foreground.starts[frames[:count]] + offset).clamp(max=len(self._foreground.pixel_indices) - 1)
        if len(self._foreground.pixel_indices):
            pixel_indices[:count] = torch.where(
                available > 0, self._foreground.pixel_indices[chosen].long(), pixel_indices[:count]
            )

    def _leave_foreground(self, frames: Tensor, pixel_indices: Tensor, crop: bool, foreground: Foreground) -> None:
        """Redraws pixels until they lie outside of their frames' foreground, in place; where a frame is nearly all
        foreground some stay."""
        for _ in range(REDRAWS):
            inside = foreground.contains(frames, pixel_indices)
            if not inside.any():
                return
            pixel_indices[inside] = self._draw_pixels(frames[inside], crop)


def _neighbour_tables(frames: Sequence[Frame]) -> tuple[Tensor, Tensor]:
    """`[F, 2]` each: indices of the previous and next frame (-1: none), and whether flow leads there."""
    indices = neighbours(frames)
    leads = torch.zeros(len(frames), 2, dtype=torch.bool)
    for frame, (before, after) in enumerate(indices.tolist()):
        leads[frame, 0] = before >= 0 and is_successor(frames[frame], frames[before])
        leads[frame, 1] = after >= 0 and is_successor(frames[after], frames[frame])
    return indices, leads
