"""Short trainings of methods that learn from whole pictures."""

from collections.abc import Sequence

import torch

from foreseen.data.types import Frame
from foreseen.methods.base import Method
from foreseen.render import render
from foreseen.training.images import ImageSampler
from foreseen.training.optimizer import build_optimizer, forget_rows, total_loss, update_rates


def fit(method: Method, seen: Sequence[Frame], steps: int) -> None:
    """The trainer's loop in short."""
    method.warm_start(seen, [None])
    method.train()
    sampler, optimizer = ImageSampler(list(seen), ["balls"], method.info, seed=0), build_optimizer(method, 0.0)
    for step in range(steps):
        method.before_step(step, step / steps)
        forget_rows(optimizer, method.take_forgotten())
        update_rates(optimizer, method, step / steps)
        optimizer.zero_grad()
        total_loss(method.losses(sampler.batch(method.batch_spec(step), step), step)).backward()
        optimizer.step()
    method.eval()


def psnr(method: Method, seen: Sequence[Frame]) -> float:
    """Over the whole pictures of all frames."""
    errors = [(render(method.at_time(f.time), f.camera).rgb - f.image()).square().mean() for f in seen]
    return float(-10 * torch.stack(errors).mean().log10())
