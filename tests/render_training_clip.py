"""Short trainings of methods that learn from whole pictures."""

from collections.abc import Sequence

import torch

from foreseen.batches.images import ImageSampler
from foreseen.core.method import Method, scene_at
from foreseen.core.optimizer import reset_rows
from foreseen.data.types import Frame
from foreseen.render import render
from foreseen.training.optimizer import total_loss, update_rates


def fit(method: Method, seen: Sequence[Frame], steps: int) -> None:
    """The trainer's loop in short."""
    method.warm_start(seen, [None])
    method.train()
    sampler, optimizer = ImageSampler(list(seen), ["balls"], method.info, seed=0), method.optimizer()
    for step in range(steps):
        method.before_step(step, step / steps)
        for callback in method.callbacks():
            if callback.rewritten_rows is not None:
                reset_rows(optimizer, callback.rewritten_rows())
        update_rates(optimizer, method, step / steps)
        optimizer.zero_grad()
        total_loss(method.losses(sampler.batch(method.batch_spec(step), step), step)).backward()
        optimizer.step()
    method.eval()


@torch.no_grad()
def psnr(method: Method, seen: Sequence[Frame]) -> float:
    """Over the whole pictures of all frames."""
    errors = [(render(scene_at(method, f.time), f.camera).rgb - f.image()).square().mean() for f in seen]
    return float(-10 * torch.stack(errors).mean().log10())
