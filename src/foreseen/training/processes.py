"""One process or several, fp32 or bf16: what `accelerate` takes care of."""

from __future__ import annotations

import atexit
import gc
import time
import warnings
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from foreseen.core.batch import Batch
from foreseen.core.method import Method
from foreseen.errors import UserError
from foreseen.training.optimizer import total_loss

GROUP_SHUTDOWN_SECONDS = 0.5
"""Seconds that a process waits after it has left the group of processes, so that torch's threads can end."""


def check_precision(precision: str, device: str) -> None:
    """Raises `UserError` for bf16 on a device without it."""
    if precision == "bf16" and device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(f"{torch.cuda.get_device_name()} has no bf16: give --precision fp32.")


def make_accelerator(device: str, precision: str) -> Accelerator:
    """The accelerator of this process: under `torchrun` one of several, which talk by gloo on CPUs, NCCL on
    GPUs."""
    # accelerate keeps its state for the life of the process; a second training may want another precision or
    # device.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*OMP_NUM_THREADS.*")
        made = Accelerator(
            cpu=device == "cpu",
            mixed_precision="bf16" if precision == "bf16" else "no",
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
        )
    if made.num_processes > 1:
        atexit.unregister(_leave_group)
        atexit.register(_leave_group)
    return made


def _leave_group() -> None:
    """Leaves the group and waits for its threads: torch keeps them after DDP has been used, and a thread that frees a
    tensor while Python exits aborts the process."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        gc.collect()
        time.sleep(GROUP_SHUTDOWN_SECONDS)


class LossModule(nn.Module):
    """The method's losses as a forward pass, which is where DDP averages gradients and autocast applies."""

    def __init__(self, method: Method[Any, Any]) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Their sum, and the terms cut from the graph."""
        terms = self.method.losses(batch, step)
        return total_loss(terms), {name: value.detach() for name, value in terms.items()}


def wrap_losses(method: Method[Any, Any], accelerator: Accelerator) -> nn.Module:
    """`LossModule` under DDP and autocast where they apply.

    DDP averages the gradients of those parameters that require gradients when it wraps. A method may unfreeze some
    later, so all require gradients while it wraps.
    """
    frozen = [p for p in method.parameters() if not p.requires_grad]
    for p in frozen:
        p.requires_grad_(True)
    wrapped = accelerator.prepare_model(LossModule(method))
    for p in frozen:
        p.requires_grad_(False)
    return wrapped


def share_buffers(buffers: Iterable[Tensor]) -> None:
    """Copies the first process's buffers to all others, so that callbacks do the same in each."""
    for buffer in buffers:
        torch.distributed.broadcast(buffer, src=0)
