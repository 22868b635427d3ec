"""Decodes every file of a data set: damaged files, and statistics of the pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from foreseen.data.images import ImageCache
from foreseen.data.inspection_report import InspectionSection, between, counted, number
from foreseen.data.types import Dataset
from foreseen.errors import UserError

DARK_BRIGHTNESS = 0.2
"""Mean brightness, 0..1, below which pictures are called dark."""

BRIGHT = 0.6
"""A data set whose brightest picture has a 99.9th percentile below this, 0..1, does not use its range of values."""

MAX_LISTED_DAMAGES = 3
FLAT = 0.005
THREADS = 2
STRIDE = 4
"""Statistics use every so-many-th pixel in each direction."""


@dataclass(frozen=True)
class _FileStatistics:
    """Statistics of one file: `kind` "picture", "mask" or "other"; `damage` where it could not be decoded.

    `covered` is the share of opaque or of marked pixels. Brightness (mean, spread, peak) counts opaque pixels only and
    is NaN where there are none.
    """

    kind: str
    damage: str = ""
    channels: int = 0
    covered: float = 1.0
    mean: float = math.nan
    contrast_std: float = math.nan
    peak: float = math.nan
    ids: frozenset[int] = frozenset()


def check_pictures(dataset: Dataset, progress: Callable[[float, str], None]) -> InspectionSection:
    """Decodes pictures, masks, depths, flows and backgrounds. `progress` is called with the finished
    share."""
    jobs = list(_jobs(dataset))
    seen = []
    with ThreadPoolExecutor(THREADS) as pool:  # decoders let other threads run meanwhile
        for index, statistics in enumerate(pool.map(lambda job: job(), jobs)):
            seen.append(statistics)
            progress((index + 1) / len(jobs), "decoding files")
    return InspectionSection("Files", tuple(_rows(seen)), tuple(_warnings(dataset, seen)))


def _jobs(dataset: Dataset) -> Iterable[Callable[[], _FileStatistics]]:
    # A small cache of its own: each file is used once, and the data set's cache keeps what it holds.
    cache = ImageCache(1)
    for frame in dataset.frames:
        low, high = dataset.value_range
        load = partial(cache.image, frame.image_path, *frame.size, None, frame.image_index)
        yield partial(_collect_statistics, "picture", load, frame.channels, low, high)
        for name, layer in frame.layers.items():
            kind = "mask" if name == "mask" else "other"
            yield partial(_collect_statistics, kind, partial(cache.layer, layer, *frame.size))
    for sequence in dataset.sequences:
        sizes = {f.camera_id: f.size for f in sequence.frames}
        for camera, path in sequence.background_paths.items():
            if camera in sizes:
                yield partial(_collect_statistics, "other", partial(cache.image, path, *sizes[camera]))


def _collect_statistics(
    kind: str, load: Callable[[], Tensor], channels: int = 3, low: float = 0.0, high: float = 1.0
) -> _FileStatistics:
    try:
        array = load()
    except UserError as error:
        return _FileStatistics(kind, damage=str(error))
    sample = array[::STRIDE, ::STRIDE]
    if kind == "picture":
        return _picture((sample - low) / max(high - low, 1e-12) if (low, high) != (0, 1) else sample, channels)
    if kind == "mask":
        ids = frozenset(torch.unique(sample).tolist()) - {0}
        return _FileStatistics(kind, ids=ids, covered=float((sample > 0).float().mean()))
    return _FileStatistics(kind)


def _picture(sample: Tensor, values: int) -> _FileStatistics:
    rgb, channels, covered = sample[..., :values].reshape(-1, values), sample.shape[-1], 1.0
    if channels == values + 1:
        solid = sample[..., values].reshape(-1) > 0.5
        rgb, covered = rgb[solid], float(solid.float().mean())
    if not len(rgb):
        return _FileStatistics("picture", channels=channels, covered=covered)
    grey = rgb.mean(dim=-1).numpy()
    contrast_std, peak = float(grey.std()), float(np.quantile(grey, 0.999))
    return _FileStatistics("picture", "", channels, covered, float(grey.mean()), contrast_std, peak)


def _rows(seen: list[_FileStatistics]) -> Iterable[tuple[str, str]]:
    damaged = sum(bool(s.damage) for s in seen)
    end = f", {damaged} of them damaged" if damaged else ", all whole"
    yield "decoded", counted(len(seen), "file") + end
    pictures = [s for s in seen if s.kind == "picture" and not s.damage]
    kinds = {3: "colour", 4: "colour and opacity"}
    counts = sorted({p.channels for p in pictures})
    yield "pictures", ", ".join(kinds.get(c, counted(c, "channel")) for c in counts) or "none whole"
    lit = [p for p in pictures if not math.isnan(p.mean)]
    if lit:
        peak, means = max(p.peak for p in lit), [p.mean for p in lit]
        yield (
            "brightness",
            f"{number(np.mean(means))} of 1 in the mean (pictures {between(means)}), up to {number(peak)}",
        )
    if any(p.channels == 4 for p in pictures):
        yield "opaque", f"{100 * np.mean([p.covered for p in pictures]):.1f} % of the pixels"
    masks = [s for s in seen if s.kind == "mask" and not s.damage]
    if masks:
        ids = ", ".join(map(str, sorted(set().union(*(m.ids for m in masks))))) or "none"
        yield "masks", f"ids {ids}; {100 * np.mean([m.covered for m in masks]):.2f} % of the pixels"


def _warnings(dataset: Dataset, seen: list[_FileStatistics]) -> Iterable[str]:
    damaged = [s.damage for s in seen if s.damage]
    yield from damaged[:MAX_LISTED_DAMAGES]
    if len(damaged) > MAX_LISTED_DAMAGES:
        yield f"{len(damaged) - MAX_LISTED_DAMAGES} files more are damaged"
    pictures = [s for s in seen if s.kind == "picture" and not s.damage]
    yield from _darkness_warning(pictures)
    flat = sum(p.contrast_std < FLAT for p in pictures)
    if flat:
        yield f"{flat} of {len(pictures)} pictures have one colour all over"
    clear = sum(p.covered == 0 for p in pictures)
    if clear:
        yield f"{clear} of {len(pictures)} pictures are transparent all over"
    if len({p.channels for p in pictures}) > 1:
        yield "some pictures have opacity and some have none"
    yield from _mask_warnings(dataset, [s for s in seen if s.kind == "mask" and not s.damage])


def _darkness_warning(pictures: list[_FileStatistics]) -> Iterable[str]:
    lit = [p for p in pictures if not math.isnan(p.mean)]
    if not lit or np.mean([p.mean for p in lit]) >= DARK_BRIGHTNESS:
        return
    text = f"the pictures are dark: {number(np.mean([p.mean for p in lit]))} of 1 in the mean"
    peak = max(p.peak for p in lit)
    if peak < BRIGHT:
        text += f", none much above {number(peak)}"
    yield text + "; errors are small in such pictures, and PSNR high: compare it on this data set only"


def _mask_warnings(dataset: Dataset, masks: list[_FileStatistics]) -> Iterable[str]:
    empty = sum(not m.ids for m in masks)
    if masks and empty > len(masks) / 2:
        yield f"{empty} of {len(masks)} masks mark nothing"
    bodies = max((len(s.truth.bodies) for s in dataset.sequences if s.truth), default=0)
    highest = max((max(m.ids) for m in masks if m.ids), default=0)
    if bodies and highest > bodies:
        yield f"masks have the id {highest}, but bodies in the truth end at {bodies}"
