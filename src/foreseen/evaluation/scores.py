"""Every metric of one prediction, and means over many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from foreseen.evaluation.baselines import Prediction
from foreseen.evaluation.lpips import LPIPS
from foreseen.evaluation.metrics import centroid_error, mask_iou, mean_ssim, ms_ssim, psnr, ssim_map
from foreseen.evaluation.moving_pixels import flow_mask, moving_mask

Scores = dict[str, float | None]


@dataclass(frozen=True)
class Metric:
    """How a metric is named to people.

    Attributes:
        digits: decimals worth printing.
        higher_is_better: which way is good.
    """

    label: str
    digits: int
    higher_is_better: bool


METRICS: dict[str, Metric] = {
    "psnr": Metric("PSNR [dB]", 2, True),
    "ssim": Metric("SSIM", 3, True),
    "ms_ssim": Metric("MS-SSIM", 3, True),
    "lpips": Metric("LPIPS", 3, False),
    "psnr_moving": Metric("PSNR, moving [dB]", 2, True),
    "ssim_moving": Metric("SSIM, moving", 3, True),
    "lpips_moving": Metric("LPIPS, moving", 3, False),
    "mask_iou": Metric("mask IoU", 3, True),
    "mask_iou_ceiling": Metric("mask IoU, ceiling", 3, True),
    "flow_iou": Metric("flow-mask IoU", 3, True),
    "centroid_error_px": Metric("centroid error [px]", 2, False),
    "centroid_error": Metric("centroid error [width]", 4, False),
    "render_seconds": Metric("seconds a frame", 3, False),
}
"""Every name that `metrics.json` may use, in the order of the tables."""


@dataclass(frozen=True)
class FrameTarget:
    """What predictions of one frame are held against.

    Attributes:
        image: `[H, W, 3]`.
        mask: `[H, W]` bool, the moving part; None where unknown.
        background: `[H, W, 3]` or `[3]`, what is seen without the moving objects; None where unknown.
        previous: the same camera's image one step before; None where it is not evaluated.
    """

    image: Tensor
    mask: Tensor | None
    background: Tensor | None
    previous: Tensor | None

    def background_of(self, made: Prediction) -> Tensor | None:
        """What a prediction's moving part is told from."""
        return self.background if made.background is None else made.background

    def ceiling(self) -> float | None:
        """Mask IoU of the true image itself: what the rule that finds masks in renderings can reach."""
        if self.mask is None or self.background is None:
            return None
        return mask_iou(moving_mask(self.image, self.background), self.mask)


def score(made: Prediction, target: FrameTarget, before: Tensor | None, lpips: LPIPS | None) -> Scores:
    """All metrics of one prediction; `before` is the picture `[H, W, 3]` of one step earlier, for the flow.

    A metric that does not apply is None or left out.
    """
    truth, mask, prediction = target.image, target.mask, made.image
    background = target.background_of(made)
    similar = ssim_map(prediction, truth)
    scores: Scores = {
        "psnr": psnr(prediction, truth),
        "ssim": mean_ssim(similar),
        "ms_ssim": ms_ssim(prediction, truth),
    }
    if lpips is not None:
        scores["lpips"] = lpips(prediction, truth)
    if mask is not None:
        scores |= {"psnr_moving": psnr(prediction, truth, mask), "ssim_moving": mean_ssim(similar, mask)}
        if lpips is not None:
            scores["lpips_moving"] = lpips(prediction, truth, mask)
        if background is not None:
            found = moving_mask(prediction, background)
            error = centroid_error(found, mask)
            scores["mask_iou"] = mask_iou(found, mask)
            scores["centroid_error_px"] = error
            scores["centroid_error"] = None if error is None else error / truth.shape[1]
    if target.previous is not None and before is not None:
        scores["flow_iou"] = mask_iou(flow_mask(before, prediction), flow_mask(target.previous, truth))
    return scores


def mean_scores(all_scores: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    """The mean of each metric over the frames where it is defined; metrics defined nowhere are left out."""
    means = {}
    for name in METRICS:
        values = [s[name] for s in all_scores if s.get(name) is not None]
        if values:
            means[name] = sum(v for v in values if v is not None) / len(values)
    return means


def partly_defined(all_scores: Sequence[Mapping[str, float | None]]) -> dict[str, int]:
    """On how many frames a metric is defined, for those that some frames lack."""
    counts = {name: sum(s.get(name) is not None for s in all_scores) for name in METRICS}
    return {name: n for name, n in counts.items() if 0 < n < len(all_scores)}


def summarise(all_scores: Iterable[tuple[float, float, Scores]]) -> dict[str, Any]:
    """(time, time after what was observed of its sequence, scores) of the frames of a split -> its entry in
    `metrics.json`: count, means, and means by the time after."""
    rows = sorted(all_scores, key=lambda row: row[1])
    scores = [s for _, _, s in rows]
    by_time = []
    for after in sorted({after for _, after, _ in rows}):
        group = [(t, s) for t, a, s in rows if a == after]
        by_time.append({"time": group[0][0], "after": after, "count": len(group), **mean_scores([s for _, s in group])})
    summary: dict[str, Any] = {"count": len(rows), **mean_scores(scores)}
    if partly := partly_defined(scores):
        summary["defined_on"] = partly
    return {**summary, "by_time": by_time}
