"""Helpers of the training loop: learning rates and saved state of the optimizer, gradients, and the error message if
training diverges."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from foreseen.core.batch import Batch
from foreseen.core.method import Method
from foreseen.errors import UserError

ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")
"""Names of the tensors in Adam's state of a parameter."""


def update_rates(optimizer: torch.optim.Optimizer, method: Method[Any, Any], progress: float) -> None:
    """Sets the learning rates and other settings of each parameter group to those of the method at this progress
    (0..1). Groups are matched by name."""
    settings = {group.get("name", i): group for i, group in enumerate(method.parameter_groups(progress))}
    for i, group in enumerate(optimizer.param_groups):
        current = settings[group.get("name", i)]
        group.update({key: value for key, value in current.items() if key not in ("params", "name")})


def optimizer_tensors(optimizer: torch.optim.Optimizer, method: Method[Any, Any]) -> dict[str, Tensor]:
    """The optimizer's state by "parameter name/state name", such as "codes/exp_avg". Parameters that never had a
    gradient have no state."""
    names = {id(p): name for name, p in method.named_parameters()}
    return {f"{names[id(p)]}/{key}": value for p, state in optimizer.state.items() for key, value in state.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, method: Method[Any, Any], tensors: dict[str, Tensor]) -> None:
    """Replaces the optimizer's state by saved `optimizer_tensors`.

    Raises:
        KeyError: no such parameter.
        UserError: a state's name, dtype or shape does not fit the parameter. (Fused Adam itself does not check them.)
    """
    parameters = dict(method.named_parameters())
    optimizer.state.clear()
    for full_name, value in tensors.items():
        name, _, key = full_name.rpartition("/")
        parameter = parameters[name]
        expected = (torch.float32, ()) if key == "step" else (parameter.dtype, parameter.shape)
        if key not in ADAM_STATE or (value.dtype, value.shape) != expected:
            raise UserError(f"{full_name} is {value.dtype} {list(value.shape)}, of a parameter {list(parameter.shape)}")
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
    """The error for a step whose loss or gradient is not finite. The step is computed again to find the loss term and
    the parameters that caused it.

    Args:
        random: state of the global random generator before the step.
    """
    torch.set_rng_state(random)
    named = [(name, p) for name, p in method.named_parameters() if p.requires_grad]
    terms = {name: v for name, v in method.losses(batch, step).items() if not name.startswith("_")}
    not_finite = {name: bad for name, value in terms.items() if (bad := _bad_gradients(value, named)) is not None}
    if not not_finite:
        return _diverged(step, "the sum of the loss terms", [], "is not finite in its gradient")
    name, bad = next(iter(not_finite.items()))
    value = terms[name].item()
    problem = f"is {value}" if not torch.isfinite(terms[name]) else f"is {value:.4g} but its gradient is not finite"
    return _diverged(step, f"loss term '{name}'", bad, problem)


def _bad_gradients(value: Tensor, named: list[tuple[str, nn.Parameter]]) -> list[str] | None:
    """Names of the parameters whose gradient of a loss term is not finite. None if the term and all gradients are
    finite."""
    if not value.requires_grad:
        return None if torch.isfinite(value) else []
    gradients = torch.autograd.grad(value, [p for _, p in named], retain_graph=True, allow_unused=True)
    pairs = zip(named, gradients, strict=True)
    bad = [name for (name, _), g in pairs if g is not None and not torch.isfinite(g).all()]
    return bad if bad or not torch.isfinite(value) else None


def _diverged(step: int, term: str, names: list[str], problem: str) -> UserError:
    """The error message; `names`: parameters whose gradient is not finite."""
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    parameters = f" (parameters {shown})" if names else ""
    return UserError(
        f"training diverged at step {step}: {term} {problem}{parameters}. The last checkpoint is from before it: "
        "lower the learning rates, or train with another --seed."
    )


def parameters_of(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """All parameters of the optimizer."""
    return [p for group in optimizer.param_groups for p in group["params"]]
