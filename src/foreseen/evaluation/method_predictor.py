"""The method of a run as a predictor of frames."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.evaluation.baselines import Baseline, Prediction
from foreseen.evaluation.forecast_context import ForecastContext
from foreseen.evaluation.moving_pixels import background_picture
from foreseen.runs import Forecast, Run

BACKGROUND_TIMES = 7
"""A method's own background is the median of its renderings at this many times of the observed window. More times
remove moving objects more reliably, and take longer."""
MAX_BACKGROUND_ERROR = 0.2
"""Where the method's own background differs by more than this (0..1, any channel) from the data set's background image,
the latter is used: the static scene is learned roughly, but must not be replaced by a moving object."""


def method_predictor(run: Run, contexts: Mapping[str, ForecastContext], forecasts: dict[str, Forecast]) -> Baseline:
    """The method as a predictor, which keeps its `forecasts` by sequence. Its predictions carry the method's own
    background where the data set has one to compare with."""
    sequences = {s.name: s for s in run.dataset().sequences}
    backgrounds: dict[bytes, Tensor] = {}

    def picture(frame: Frame, name: str, time: float) -> Tensor:
        if name not in forecasts:
            forecasts[name] = run.forecast(contexts[name].observation)
            forecasts[name].prepare(sequences[name].times.tolist())
        image = forecasts[name].render(frame.camera, time).rgb.detach().cpu().float()
        if not bool(torch.isfinite(image).all()):
            raise UserError(
                f"{run.path}: the rendering at time {time:.6g} has values that are not finite: "
                "the run has diverged; train it again with another --seed or a smaller learning rate."
            )
        return image.clamp(0, 1)

    def static_picture(frame: Frame) -> Tensor:
        """The static scene: median of renderings from all training sequences."""
        trained = [name for name, context in contexts.items() if not context.unseen]
        pictures = []
        for i in range(BACKGROUND_TIMES):
            name = trained[i * len(trained) // BACKGROUND_TIMES]
            times = [f.time for f in contexts[name].frames]
            share = i / (BACKGROUND_TIMES - 1)
            pictures.append(picture(frame, name, min(times) + share * (max(times) - min(times))))
        return torch.stack(pictures).median(dim=0).values

    def predict(frame: Frame) -> Prediction:
        image = picture(frame, frame.sequence, frame.time)
        truth = background_picture(frame, sequences[frame.sequence])
        if truth is None or truth.dim() == 1:
            return Prediction(image)
        camera = frame.camera.rays_key  # several data sets may have a camera of one name
        if camera not in backgrounds:
            static = static_picture(frame)
            similar = (static - truth).abs().amax(-1, keepdim=True) <= MAX_BACKGROUND_ERROR
            backgrounds[camera] = torch.where(similar, static, truth)
        return Prediction(image, backgrounds[camera])

    return predict
