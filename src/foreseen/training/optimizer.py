"""An optimizer's learning rates and state, and a guard against what is not a number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from foreseen.core.batch import Batch
from foreseen.core.method import Method
from foreseen.errors import UserError

ENTRIES = ("step", "exp_avg", "exp_avg_sq")
"""What Adam remembers of a parameter."""


def update_rates(optimizer: torch.optim.Optimizer, method: Method[Any, Any], progress: float) -> None:
    """Takes over the learning rates and other settings that the method wants now, group by name."""
    wanted = {group.get("name", i): group for i, group in enumerate(method.parameter_groups(progress))}
    for i, group in enumerate(optimizer.param_groups):
        new = wanted[group.get("name", i)]
        group.update({key: value for key, value in new.items() if key not in ("params", "name")})


def optimizer_tensors(optimizer: torch.optim.Optimizer, method: Method[Any, Any]) -> dict[str, Tensor]:
    """The optimiser's state by "parameter name/entry"; parameters that never had a gradient have none."""
    names = {id(p): name for name, p in method.named_parameters()}
    return {f"{names[id(p)]}/{key}": value for p, own in optimizer.state.items() for key, value in own.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, method: Method[Any, Any], tensors: dict[str, Tensor]) -> None:
    """Goes on from `optimizer_tensors`. Raises `UserError` for others: the fused form trusts what it is given."""
    parameters = dict(method.named_parameters())
    optimizer.state.clear()
    for place, value in tensors.items():
        name, _, key = place.rpartition("/")
        parameter = parameters[name]
        form = (torch.float32, ()) if key == "step" else (parameter.dtype, parameter.shape)
        if key not in ENTRIES or (value.dtype, value.shape) != form:
            raise UserError(f"{place} is {value.dtype} {list(value.shape)}, of a parameter {list(parameter.shape)}")
        device = "cpu" if key == "step" and parameter.device.type == "cpu" else parameter.device
        optimizer.state[parameter][key] = value.to(device, copy=True)


def total_loss(terms: dict[str, Tensor]) -> Tensor:
    """The sum of the terms; names that start with "_" are only logged."""
    return torch.stack([value for name, value in terms.items() if not name.startswith("_")]).sum()


def gradient_norm(parameters: list[nn.Parameter]) -> Tensor:
    """The norm of all gradients together, a scalar tensor."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def scale_gradients(parameters: list[nn.Parameter], factor: float) -> None:
    """Multiplies all gradients in place."""
    torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], factor)


def explain_divergence(method: Method[Any, Any], batch: Batch, step: int, random: Tensor) -> UserError:
    """Repeats a step whose loss or gradient is not finite and finds the term and the parameters that caused
    it."""
    torch.set_rng_state(random)
    named = [(name, p) for name, p in method.named_parameters() if p.requires_grad]
    terms = {name: v for name, v in method.losses(batch, step).items() if not name.startswith("_")}
    guilty = {name: bad for name, value in terms.items() if (bad := _bad_gradients(value, named)) is not None}
    if not guilty:
        return _diverged(step, "the sum of the loss terms", [], "is not finite in its gradient")
    name, bad = next(iter(guilty.items()))
    value = terms[name].item()
    what = f"is {value}" if not torch.isfinite(terms[name]) else f"is {value:.4g} but its gradient is not finite"
    return _diverged(step, f"loss term '{name}'", bad, what)


def _bad_gradients(value: Tensor, named: list[tuple[str, nn.Parameter]]) -> list[str] | None:
    """Names of the parameters with a gradient that is not finite; None where value and gradients are all
    finite."""
    if not value.requires_grad:
        return None if torch.isfinite(value) else []
    gradients = torch.autograd.grad(value, [p for _, p in named], retain_graph=True, allow_unused=True)
    pairs = zip(named, gradients, strict=True)
    bad = [name for (name, _), g in pairs if g is not None and not torch.isfinite(g).all()]
    return bad if bad or not torch.isfinite(value) else None


def _diverged(step: int, what: str, names: list[str], how: str) -> UserError:
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    parameters = f" (parameters {shown})" if names else ""
    return UserError(
        f"training diverged at step {step}: {what} {how}{parameters}. The last checkpoint is from before it: "
        "lower the learning rates, or train with another --seed."
    )


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """All parameters that are trained."""
    return [p for group in optimizer.param_groups for p in group["params"]]
