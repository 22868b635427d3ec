"""Draws a data set into one figure: cameras in space and from above, some pictures, and the times of each split."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from torch import Tensor

from foreseen.data.inspection import Inspection
from foreseen.data.inspection_cameras import camera_key, distinct_cameras, fit_aim
from foreseen.data.plot_text import as_written, in_unit
from foreseen.data.splits import SPLITS
from foreseen.data.types import Dataset, Frame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.geometry.paths import up_direction

UNUSED = "not used"
COLOURS = dict(zip((*SPLITS, UNUSED), ("#3b6fb6", "#d1495b", "#e08e1b", "#7a4fa3", "#2a9d6f", "#9a9a9a"), strict=True))
MAX_CAMERAS = 150
MAX_ALONG_TRAJECTORY = 40
PICTURES = 4
FRUSTUM = 0.14
"""Length of a drawn camera as a share of the drawing's radius."""


@dataclass(frozen=True)
class _PlottedCamera:
    """One distinct camera: what it is used for, and the time of its first frame."""

    camera: Camera
    split: str
    time: float


@dataclass(frozen=True)
class _CameraPlot:
    """What is drawn, in axes whose z is up. `rotation` `[3, 3]` leads there from the world; `edges` `[E, 2, 3]` are of
    the bounds or of the near plane."""

    plotted_cameras: list[_PlottedCamera]
    positions: np.ndarray
    rotation: np.ndarray
    target: np.ndarray | None
    edges: np.ndarray
    low: np.ndarray
    high: np.ndarray
    moving: bool

    @property
    def radius(self) -> float:
        return float((self.high - self.low).max() / 2)


def draw_inspection(inspection: Inspection) -> bytes:
    """A PNG of 1500 x 900 pixels.

    Cameras stand in the world, rotated upright. Data sets in normalised device coordinates have no bounds there: what
    the mean camera sees of its near plane is drawn instead. Without camera poses there are only pictures and times.
    """
    figure = Figure(figsize=(15, 9), layout="constrained")
    FigureCanvasAgg(figure)
    splits = _split_of(inspection)
    if inspection.dataset.has_cameras:
        grid = figure.add_gridspec(3, 2, width_ratios=(1.3, 1), height_ratios=(1.9, 0.75, 0.8))
        stage = _stage(inspection)
        _draw_space(figure.add_subplot(grid[:, 0], projection="3d"), stage, inspection)
        _draw_above(figure.add_subplot(grid[0, 1]), stage, inspection.dataset)
        pictures, times = grid[1, 1], grid[2, 1]
    else:
        grid = figure.add_gridspec(2, 1, height_ratios=(2, 1))
        pictures, times = grid[0], grid[1]
    _draw_pictures(pictures, inspection.dataset)
    _draw_times(figure.add_subplot(times), inspection, splits)
    doubts = len(inspection.warnings)
    summary = "nothing doubtful" if not doubts else f"{doubts} doubt" + ("s" if doubts > 1 else "")
    name = as_written(inspection.dataset.name)
    figure.suptitle(f"{name} ({inspection.dataset.format}): {len(splits)} frames, {summary}", size=14)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    return out.getvalue()


def _split_of(inspection: Inspection) -> list[str]:
    """The split of every frame, in the data set's order."""
    splits = inspection.splits.frames.items() if inspection.splits else ()
    named = {_key(f): name for name, frames in splits for f in frames}
    return [named.get(_key(f), UNUSED) for f in inspection.dataset.frames]


def _key(frame: Frame) -> tuple[object, ...]:
    return frame.sequence, frame.camera_id, frame.time, frame.image_path, frame.image_index


def _stage(inspection: Inspection) -> _CameraPlot:
    dataset = inspection.dataset
    frames = distinct_cameras(dataset.frames)
    cameras = [f.camera for f in frames]
    rotation, looking = _upright(up_direction(cameras)), fit_aim(cameras)
    edges = _near_plane(cameras[0]) if dataset.ndc else _box(dataset.bounds.double().numpy())
    positions = np.stack([c.position.double().numpy() for c in cameras]) @ rotation.T
    target = looking.point @ rotation.T if looking.determined and looking.behind < 0.5 else None
    edges = edges @ rotation.T
    drawn = np.concatenate([positions, edges.reshape(-1, 3), *([target[None]] if target is not None else [])])
    pad = 0.08 * float(np.ptp(drawn, axis=0).max()) + 1e-9
    plotted_cameras = _places(inspection, frames)
    moving = len(frames) == sum(1 for _ in dataset.frames)
    return _CameraPlot(
        plotted_cameras, positions, rotation, target, edges, drawn.min(axis=0) - pad, drawn.max(axis=0) + pad, moving
    )


def _places(inspection: Inspection, frames: list[Frame]) -> list[_PlottedCamera]:
    """What each camera is for: training where one of its frames is, else the first of `SPLITS` that it has."""
    uses: dict[object, set[str]] = {}
    for frame, split in zip(inspection.dataset.frames, _split_of(inspection), strict=True):
        uses.setdefault(camera_key(frame), set()).add(split)
    best = [next(name for name in COLOURS if name in uses[camera_key(f)]) for f in frames]
    return [_PlottedCamera(f.camera, split, f.time) for f, split in zip(frames, best)]


def _upright(up: np.ndarray) -> np.ndarray:
    """Rotation `[3, 3]` from `up` to z that keeps the world's axes where possible."""
    forward = np.eye(3)[1] if abs(up[1]) < 0.9 else np.eye(3)[2]
    x = np.cross(forward, up)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(up, x), up])


def _box(bounds: np.ndarray) -> np.ndarray:
    """`[12, 2, 3]` edges."""
    corners = np.array([[bounds[i, 0], bounds[j, 1], bounds[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    pairs = [(a, b) for a in range(8) for b in range(a + 1, 8) if (a ^ b).bit_count() == 1]
    return corners[np.array(pairs)]


def _near_plane(camera: Camera) -> np.ndarray:
    """`[4, 2, 3]` edges of what the mean camera sees of its near plane."""
    ndc = camera.ndc
    assert ndc is not None
    x, y = ndc.near / ndc.sx, ndc.near / ndc.sy
    local = np.array([[-x, -y, ndc.near, 1], [x, -y, ndc.near, 1], [x, y, ndc.near, 1], [-x, y, ndc.near, 1]])
    corners = (local @ np.linalg.inv(ndc.world_to_reference.double().numpy()).T)[:, :3]
    return np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)


def _frustum(camera: Camera, stage: _CameraPlot) -> np.ndarray:
    """`[10, 2, 3]` lines: four from the camera, its picture, and a roof on the picture's upper edge."""
    x = (np.array([0.0, camera.width]) - camera.cx) / camera.fx
    y = (np.array([0.0, camera.height]) - camera.cy) / camera.fy
    corners = [[x[0], y[0], 1], [x[1], y[0], 1], [x[1], y[1], 1], [x[0], y[1], 1]]
    local = np.array([*corners, [x.mean(), y[0] - 0.3 * (y[1] - y[0]), 1], [0, 0, 0]])
    # Wide views are drawn shorter, so that all cameras look about equally large.
    local *= FRUSTUM * stage.radius / max(1.0, float(np.abs(local[:, :2]).max()))
    pose = camera.camera_to_world.double().numpy()
    points = (local @ pose[:3, :3].T + pose[:3, 3]) @ stage.rotation.T
    pairs = np.array([(5, 0), (5, 1), (5, 2), (5, 3), (0, 1), (1, 2), (2, 3), (3, 0), (0, 4), (4, 1)])
    return points[pairs]


def _draw_space(axes: Any, stage: _CameraPlot, inspection: Inspection) -> None:
    step = -(-len(stage.plotted_cameras) // (MAX_ALONG_TRAJECTORY if stage.moving else MAX_CAMERAS))
    counts = Counter(p.split for p in stage.plotted_cameras)
    for split in (name for name in COLOURS if counts[name]):
        of_split = [p for p in stage.plotted_cameras if p.split == split]
        drawn = of_split[:: 1 if len(of_split) < MAX_ALONG_TRAJECTORY // 4 else step]
        lines = np.concatenate([_frustum(p.camera, stage) for p in drawn])
        width = 1.3 if len(stage.plotted_cameras) < 40 else 0.7
        axes.add_collection3d(Line3DCollection(lines, colors=COLOURS[split], linewidths=width))
        axes.plot([], [], [], color=COLOURS[split], label=f"{split}: {counts[split]}")
    name = "near plane" if inspection.dataset.ndc else "bounds"
    axes.add_collection3d(Line3DCollection(stage.edges, colors="#555555", linewidths=1, linestyles="dashed"))
    axes.plot([], [], [], color="#555555", linestyle="dashed", label=name)
    if stage.moving:
        axes.plot(*stage.positions.T, color="#888888", linewidth=0.8, label="path of the camera")
    if stage.target is not None:
        axes.plot(*stage.target[:, None], "k*", markersize=13, label="what they look at", linestyle="none")
    for set_limits, low, high in zip((axes.set_xlim, axes.set_ylim, axes.set_zlim), stage.low, stage.high):
        set_limits(low, high)
    axes.set_box_aspect(stage.high - stage.low, zoom=0.92)
    axes.view_init(elev=22, azim=_side(stage))
    axes.set(xlabel="x", ylabel="y")
    axes.set_title("cameras by what they are for; upright; roofs mark the pictures' upper edges", size=11)
    axes.legend(loc="upper left", fontsize=9)


def _forward(stage: _CameraPlot) -> np.ndarray:
    """`[P, 3]` view directions on the stage."""
    return (
        np.stack([p.camera.camera_to_world[:3, 2].double().numpy() for p in stage.plotted_cameras]) @ stage.rotation.T
    )


def _side(stage: _CameraPlot) -> float:
    """Azimuth [degrees] from which cameras are seen aslant from behind, where they share a direction."""
    towards = _forward(stage).mean(axis=0)
    if np.linalg.norm(towards[:2]) < 0.5:
        return -60.0
    return float(np.degrees(np.arctan2(-towards[1], -towards[0]))) + 50.0


def _draw_above(axes: Any, stage: _CameraPlot, dataset: Dataset) -> None:
    axes.add_collection(
        LineCollection(list(stage.edges[:, :, :2]), colors="#555555", linestyles="dashed", linewidths=0.8)
    )
    style = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.004}
    ends = _forward(stage)[:, :2] * 2 * FRUSTUM * stage.radius
    if stage.moving:
        axes.plot(*stage.positions[:, :2].T, color="#bbbbbb", linewidth=0.7)
        times = [p.time for p in stage.plotted_cameras]
        arrows = axes.quiver(*stage.positions[:, :2].T, *ends.T, times, cmap="viridis", **style)
        axes.figure.colorbar(arrows, ax=axes, label=_time_label(dataset), shrink=0.8)
    else:
        colours = [COLOURS[p.split] for p in stage.plotted_cameras]
        axes.quiver(*stage.positions[:, :2].T, *ends.T, color=colours, **style)
        axes.scatter(*stage.positions[:, :2].T, color=colours, s=14)
    if stage.target is not None:
        axes.plot(*stage.target[:2], "k*", markersize=11)
    axes.set(xlabel="x", ylabel="y", aspect="equal")
    axes.set_xlim(stage.low[0], stage.high[0])
    axes.set_ylim(stage.low[1], stage.high[1])
    axes.set_title("from above" + (", by time" if stage.moving else ""), size=11)


def _draw_pictures(place: Any, dataset: Dataset) -> None:
    frames = sorted(dataset.frames, key=lambda f: f.time)
    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, PICTURES).astype(int))]
    for index, axes in enumerate(place.subgridspec(1, len(chosen)).subplots(squeeze=False)[0]):
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"time {chosen[index].time:.3g}", size=9)
        try:
            axes.imshow(_shown(chosen[index].image(), dataset.value_range), vmin=0, vmax=1, cmap="gray")
        except UserError:
            axes.text(0.5, 0.5, "damaged", ha="center")


def _shown(image: Tensor, value_range: tuple[float, float]) -> np.ndarray:
    """`[H, W, 3]` in 0..1, or `[H, W]`, the mean of the channels, where there are not three."""
    low, high = value_range
    shown = ((image - low) / max(high - low, 1e-12)).clamp(0, 1) if value_range != (0.0, 1.0) else image
    return (shown if shown.shape[-1] == 3 else shown.mean(-1)).numpy()


def _time_label(dataset: Dataset) -> str:
    return "time" + in_unit(dataset.time_unit)


def _draw_times(axes: Any, inspection: Inspection, splits: list[str]) -> None:
    times = np.array([f.time for f in inspection.dataset.frames])
    present = [name for name in COLOURS if name in splits]
    for row, name in enumerate(present):
        split_times = times[[s == name for s in splits]]
        axes.plot(split_times, np.full(len(split_times), -row), "|", color=COLOURS[name], markersize=12)
    divided = inspection.splits
    if divided is not None and "forecast" in divided.frames:
        axes.axvline(divided.observed_until, color="black", linewidth=1, linestyle="dotted")
    axes.set_yticks([-r for r in range(len(present))], [f"{n}: {splits.count(n)}" for n in present])
    axes.set_ylim(-len(present) + 0.4, 0.6)
    axes.set_xlabel(_time_label(inspection.dataset))
    axes.set_title("frames by time", size=11)
