"""One process or several, fp32 or bf16: what `accelerate` takes care of."""

from __future__ import annotations

import atexit
import gc
import time
import warnings
from collections.abc import Iterable

import torch
import torch.distributed
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from foreseen.core.batch import Batch
from foreseen.core.method import Method
from foreseen.errors import UserError, suggest
from foreseen.training.optimizer import total_loss

PRECISIONS = ("fp32", "bf16")
GROUP_SHUTDOWN_SECONDS = 0.5
"""Seconds that a process of several stays after its last word to the others."""


def find_device(name: str) -> str:
    """ "cpu" or "cuda"; "auto" is cuda where there is one. Raises `UserError`."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device '{name}': {suggest(name, ('auto', 'cpu', 'cuda'))}")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device is available here: give --device cpu, or install a torch with CUDA.")
    return name


def check_precision(precision: str, device: str) -> None:
    """Raises `UserError` for an unknown precision, and for bf16 on a device without it."""
    if precision not in PRECISIONS:
        raise UserError(f"unknown precision '{precision}': {suggest(precision, PRECISIONS)}")
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
    """Leaves the group, and lets its threads come to rest: torch keeps them after DDP has been used, and one that
    still lets go of a tensor while Python ends aborts the process."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        gc.collect()
        time.sleep(GROUP_SHUTDOWN_SECONDS)


class LossModule(nn.Module):
    """The method's losses as a forward pass, which is where DDP averages gradients and autocast applies."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Their sum, and the terms cut from the graph."""
        terms = self.method.losses(batch, step)
        return total_loss(terms), {name: value.detach() for name, value in terms.items()}


def wrap_losses(method: Method, accelerator: Accelerator) -> nn.Module:
    """`LossModule` under DDP and autocast where they apply.

    DDP looks after parameters that ask for gradients when it wraps; a method that thaws some later would find
    them never averaged. So all ask while it wraps.
    """
    frozen = [p for p in method.parameters() if not p.requires_grad]
    for p in frozen:
        p.requires_grad_(True)
    wrapped = accelerator.prepare_model(LossModule(method))
    for p in frozen:
        p.requires_grad_(False)
    return wrapped


def share_buffers(buffers: Iterable[Tensor]) -> None:
    """Every process takes over the first one's buffers, so that what a method does between steps is the same
    in all."""
    for buffer in buffers:
        torch.distributed.broadcast(buffer, src=0)
