"""The four verbs, and how a method learns. Trainer, evaluator and renderer know these and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from foreseen.data.labels import Labels
from foreseen.data.types import Frame
from foreseen.geometry.cameras import Camera
from foreseen.geometry.rays import Rays
from foreseen.scenes import Scene


@dataclass(frozen=True)
class SceneInfo:
    """What a method may know about the data before it sees a pixel. Stored in the run's config, so that a run loads
    without its data set.

    Attributes:
        bounds: lowest and highest corner of the scene, in the space of the rays.
        near, far: bounds of every ray.
        times: for each sequence, the distinct times of its training frames, ascending, in the data set's unit.
        background: the stated background colour.
        has_alpha: training images carry opacity.
        ndc: rays are in normalised device coordinates.
        static_cameras: no camera moves, so each pixel's own history is meaningful.
        sequences: names of the training sequences, in the order of `times`.
        bodies: for each sequence the names of the bodies that its truth tells of; none where it has no truth.
        frames: number of training frames; 0 where it is not known.
    """

    bounds: tuple[tuple[float, float, float], tuple[float, float, float]]
    near: float
    far: float
    times: tuple[tuple[float, ...], ...]
    background: tuple[float, float, float]
    has_alpha: bool
    ndc: bool
    static_cameras: bool
    sequences: tuple[str, ...] = ()
    bodies: tuple[tuple[str, ...], ...] = ()
    frames: int = 0

    @property
    def time_range(self) -> tuple[float, float]:
        """First and last time of any training frame."""
        return min(t[0] for t in self.times), max(t[-1] for t in self.times)


Portion = Literal["static", "moving"]
ObservationKind = Literal["sequence", "initial", "frames"]


@dataclass(frozen=True)
class Observation:
    """What was seen, to observe a state from: a sequence that was learned, or a new one by how it begins.

    Attributes:
        sequence: index of a training sequence; of no meaning where one of the others is given.
        initial: poses and velocities at one time.
        precision: how well these are known, as a standard deviation in shares of how far what was learned usually is
            from its middle, and of how fast it usually is.
        frames: the first frames of a new sequence, by time.
    """

    sequence: int = 0
    initial: Labels | None = None
    precision: float = 0.0
    frames: tuple[Frame, ...] = ()

    @property
    def kind(self) -> ObservationKind:
        """What it is made of."""
        return "initial" if self.initial is not None else "frames" if self.frames else "sequence"


@dataclass(frozen=True)
class BatchSpec:
    """What a method learns from, and how the sampler is to cut it.

    Attributes:
        kind: rays from all over the frames, or whole images; clips and trajectories come with the methods that need
            them. The fields below but `images` are of rays.
        images: images in a batch.
        rays: rays in a batch.
        frames: how many frames a batch draws them from (1: one image a step, as the original NeRF); 0 means all.
        foreground: share of the rays drawn where something is seen or moves (alpha, or difference from the camera's
            median picture); the rest is uniform.
        centre_crop_steps: for that many first steps rays come from the central half of the image.
        time_indices: draw only from frames whose index into `SceneInfo.times[sequence]` is one of these; None means
            all.
        even_sequences: where a batch is drawn from few frames, each sequence is as likely as any other, however many
            frames it has.
        background_only: rays are drawn where nothing is seen or moves, found as for `foreground`, which then says
            nothing; everywhere where nothing can be found.
    """

    kind: Literal["rays", "images"] = "rays"
    images: int = 1
    rays: int = 1024
    frames: int = 0
    foreground: float = 0.0
    centre_crop_steps: int = 0
    time_indices: tuple[int, ...] | None = None
    even_sequences: bool = False
    background_only: bool = False


@dataclass(frozen=True)
class RayBatch:
    """N rays with the colours that were seen along them.

    Attributes:
        colors: `[N, 3]`, alpha composited on the stated background.
        alpha: `[N]`, or None where the images have no opacity.
        times: `[N]`, in the data set's unit.
        sequences: `[N]` int64, index of the sequence.
        time_indices: `[N]` int64, index into `SceneInfo.times[sequence]`.
    """

    rays: Rays
    colors: Tensor
    alpha: Tensor | None
    times: Tensor
    sequences: Tensor
    time_indices: Tensor

    @property
    def pixels(self) -> int:
        """How many were seen."""
        return len(self.colors)

    def to(self, device: torch.device) -> RayBatch:
        """The same batch on another device."""
        tensors = (self.rays, self.colors, self.alpha, self.times, self.sequences, self.time_indices)
        return RayBatch(*(None if x is None else x.to(device) for x in tensors))  # type: ignore[arg-type]


@dataclass(frozen=True)
class ImageBatch:
    """B whole pictures.

    Attributes:
        cameras: that took them.
        images: `[H, W, 3]` each, alpha composited on the stated background.
        alphas: `[H, W]` each; empty where the images have no opacity.
        times: `[B]`, in the data set's unit.
        sequences: `[B]` int64, index of the sequence.
        time_indices: `[B]` int64, index into `SceneInfo.times[sequence]`.
    """

    cameras: tuple[Camera, ...]
    images: tuple[Tensor, ...]
    alphas: tuple[Tensor, ...]
    times: Tensor
    sequences: Tensor
    time_indices: Tensor

    @property
    def pixels(self) -> int:
        """How many were seen."""
        return sum(image.shape[0] * image.shape[1] for image in self.images)

    def to(self, device: torch.device) -> ImageBatch:
        """The same batch on another device; cameras stay where they are."""
        images, alphas = (tuple(x.to(device) for x in some) for some in (self.images, self.alphas))
        rest = (x.to(device) for x in (self.times, self.sequences, self.time_indices))
        return ImageBatch(self.cameras, images, alphas, *rest)


Batch = RayBatch | ImageBatch


@dataclass(frozen=True)
class Trajectory:
    """States of one learned sequence over what was seen of it.

    Attributes:
        sequence: index of the sequence.
        times: `[T]` float64 ascending, in the data set's unit.
        states: `[T, D]` float64.
        start: `[D]` state at `times[0]` that a forecast begins with.
    """

    sequence: int
    times: Tensor
    states: Tensor
    start: Tensor


@dataclass(frozen=True)
class DynamicalSystem:
    """A learned law as mathematics sees it: y' = rate(y), y `[..., D]` float64. All functions take states with any
    leading axes and can be differentiated by autograd; times are in the data set's unit, lengths in scene units.

    Attributes:
        names: of the D components of a state.
        rate: y -> y' `[..., D]`, per unit of the data set's time.
        seen: the learned sequences; at least one.
        window: longest time that was seen of a sequence.
        second_order: y = (q, q') in halves, so that what is at rest has q' = 0.
        positions: y -> where the B bodies are, `[..., B, 3]`; None where the state does not tell.
        energy: y -> energy `[...]` of the unit of mass that the law has chosen, up to a constant; None where the law
            has none.
        potential: q -> its potential part; None where the law has none.
        code: y -> the code `[..., C]` that the field is asked by; None: the state itself takes the code's place.
        drawn: rates of other laws that what was seen leaves possible.
    """

    names: tuple[str, ...]
    rate: Callable[[Tensor], Tensor]
    seen: tuple[Trajectory, ...]
    window: float
    second_order: bool = False
    positions: Callable[[Tensor], Tensor] | None = None
    energy: Callable[[Tensor], Tensor] | None = None
    potential: Callable[[Tensor], Tensor] | None = None
    code: Callable[[Tensor], Tensor] | None = None
    drawn: tuple[Callable[[Tensor], Tensor], ...] = ()

    @property
    def box(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest `[D]` of the seen states."""
        states = torch.cat([one.states for one in self.seen])
        return states.amin(0), states.amax(0)


class Method(nn.Module, ABC):
    """A way to learn a scene's motion: observe, evolve, scene, and losses. `render` belongs to the scene's type.

    A subclass is built as `cls(config, info)`, draws no random number outside torch's global generator, and keeps
    everything that it learns or needs to resume in parameters and buffers of fixed shape.
    """

    batch: BatchSpec

    observes: tuple[ObservationKind, ...] = ("sequence",)
    """What `observe` takes."""

    max_grad_norm: float = 10.0
    """All gradients together are scaled down to this norm; 0 leaves them as they are. For mean errors of colours the
    default meets explosions only."""

    still: bool = False
    """Whether its scene is the same at all times."""

    bf16: bool = False
    """Whether `losses` may run under bf16 autocast: networks bear it; places of parts and Gaussians do not."""

    default_steps: int | None = None
    """Steps of a training for which the user names neither steps nor minutes; None leaves it to the trainer."""

    def __init__(self) -> None:
        super().__init__()
        self._forgotten: list[tuple[nn.Parameter, Tensor]] = []

    @property
    def device(self) -> torch.device:
        """Where it learns, and where its scenes' tensors are."""
        return next(self.parameters()).device

    @abstractmethod
    def observe(self, observation: Observation) -> Any:
        """What was seen -> a state (a dataclass of tensors)."""

    @abstractmethod
    def evolve(self, state: Any, times: Tensor) -> Any:
        """A state -> the state at `times` `[T]` (the data set's unit, any order, before or after what was observed);
        every tensor of the result has a leading axis T."""

    def spread(self, state: Any, times: Tensor) -> Tensor | None:
        """Where the moving parts' centres may be at `times` `[T]`, in E futures that are as likely: `[E, T, K, 3]`,
        the first being that of `evolve`; None where the method has one future only."""
        del state, times
        return None

    @abstractmethod
    def scene(self, state: Any) -> Scene:
        """A state at one time (no leading axis) -> something that `foreseen.render.render` renders."""

    def portion(self, state: Any, which: Portion) -> Scene | None:
        """Of the scene of a state at one time what is at rest, or what moves; None where the method does not tell them
        apart."""
        del state, which
        return None

    @abstractmethod
    def losses(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Of a batch of the kind that `batch` asks for, named scalar terms, already weighted; the trainer minimises
        their sum. A name that starts with "_" is only logged."""

    def batch_spec(self, step: int) -> BatchSpec:
        """What the batch of this step is to be. Called after `before_step` of the same step, and depends on nothing
        but what that was told, so that a resumed run draws the same."""
        del step
        return self.batch

    def parameter_groups(self, progress: float) -> list[dict[str, Any]]:
        """Optimiser groups `{"params": [...], "lr": float, "name": str}` at `progress` in 0..1 of the training budget.

        Called before each step: the learning rates are read, the parameters are taken from the first call only.
        """
        raise NotImplementedError

    def warm_start(self, frames: Sequence[Frame], labels: Sequence[Labels | None]) -> str | None:
        """Called once, before a new run's first step, with the training frames, and with what is known of the bodies
        of each sequence at its training times (`SceneInfo.times`): what can be told without training. May change the
        shapes of parameters. Returns a line for the user."""
        del frames, labels
        return None

    def shape_like(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the shapes that a checkpoint's `tensors` (a state dict) have, where `warm_start` may have changed
        them."""
        del tensors

    def before_step(self, step: int, progress: float) -> str | None:
        """Called before each step: schedules, occupancy updates, changes of stage (in place). `progress` is in 0..1.
        Returns a line for the user when something notable begins."""
        del step, progress
        return None

    def forget(self, parameter: nn.Parameter, rows: Tensor) -> None:
        """Says, between steps, that `rows` `[R]` int64 of a parameter stand for something else now: what the optimiser
        remembers of their gradients is cleared before the next step."""
        self._forgotten.append((parameter, rows))

    def take_forgotten(self) -> list[tuple[nn.Parameter, Tensor]]:
        """What `forget` said since this was asked last."""
        found, self._forgotten = self._forgotten, []
        return found

    def finish(self) -> str | None:
        """Called when the budget is spent, before the last checkpoint: what a run must not be without, however few its
        steps were. Returns a line for the user."""
        return None

    @property
    def kinds(self) -> int:
        """How many kinds of motion it tells apart, each with a law of its own."""
        return 1

    def system(self, kind: int = 0) -> DynamicalSystem | None:
        """The autonomous law of a kind that it learned, for those who study laws; None where it has none."""
        del kind
        return None

    def at_time(self, time: float, observation: Observation | None = None) -> Scene:
        """The scene at one time: observe, evolve and scene in a row."""
        state = self.evolve(self.observe(observation or Observation()), torch.tensor([time], dtype=torch.float32))
        return self.scene(take(state, 0))


def take(state: Any, index: int) -> Any:
    """One time of an evolved state: every tensor of the dataclass indexed along its leading axis."""
    if isinstance(state, Tensor):
        return state[index]
    if is_dataclass(state) and not isinstance(state, type):
        return type(state)(**{f.name: take(getattr(state, f.name), index) for f in fields(state)})
    return state
