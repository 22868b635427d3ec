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
    """A metric's name in tables.

    Attributes:
        digits: decimals in tables.
        higher_is_better: false where lower values are better.
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
    """What the predictions of one frame are compared with.

    Attributes:
        image: true image `[H, W, 3]`.
        mask: `[H, W]` bool, the moving objects; None where unknown.
        background: `[H, W, 3]` or `[3]`, the scene without the moving objects; None where unknown.
        previous: true image of the same camera one step earlier; None where that is not evaluated.
    """

    image: Tensor
    mask: Tensor | None
    background: Tensor | None
    previous: Tensor | None

    def background_of(self, prediction: Prediction) -> Tensor | None:
        """The background from which a prediction's mask is computed."""
        return self.background if prediction.background is None else prediction.background

    def ceiling(self) -> float | None:
        """Mask IoU of the true image itself: the best that the rule which masks renderings can reach."""
        if self.mask is None or self.background is None:
            return None
        return mask_iou(moving_mask(self.image, self.background), self.mask)


def score(prediction: Prediction, target: FrameTarget, previous: Tensor | None, lpips: LPIPS | None) -> Scores:
    """All metrics of one prediction; `previous` is the predicted image `[H, W, 3]` one step earlier, for the flow.

    A metric that does not apply is None or left out.
    """
    truth, mask, image = target.image, target.mask, prediction.image
    background = target.background_of(prediction)
    similarity = ssim_map(image, truth)
    scores: Scores = {
        "psnr": psnr(image, truth),
        "ssim": mean_ssim(similarity),
        "ms_ssim": ms_ssim(image, truth),
    }
    if lpips is not None:
        scores["lpips"] = lpips(image, truth)
    if mask is not None:
        scores |= {"psnr_moving": psnr(image, truth, mask), "ssim_moving": mean_ssim(similarity, mask)}
        if lpips is not None:
            scores["lpips_moving"] = lpips(image, truth, mask)
        if background is not None:
            predicted_mask = moving_mask(image, background)
            error = centroid_error(predicted_mask, mask)
            scores["mask_iou"] = mask_iou(predicted_mask, mask)
            scores["centroid_error_px"] = error
            scores["centroid_error"] = None if error is None else error / truth.shape[1]
    if target.previous is not None and previous is not None:
        scores["flow_iou"] = mask_iou(flow_mask(previous, image), flow_mask(target.previous, truth))
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
    """(time, time after the observed part of its sequence, scores) of the frames of a split -> its entry in
    `metrics.json`: count, means, and means by that time difference."""
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
