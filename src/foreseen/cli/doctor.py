"""`foreseen doctor`: what this machine offers, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from foreseen.cli.options import call

PACKAGES = (
    "torch",
    "torchdiffeq",
    "numba",
    "numpy",
    "scipy",
    "accelerate",
    "safetensors",
    "tyro",
    "tensorboard",
    "torchmetrics",
    "mujoco",
    "av",
    "opencv-python-headless",
    "Pillow",
    "matplotlib",
)
MIN_DISK_GB = 2.0


@dataclass(frozen=True)
class Diagnosis:
    """One line of the report."""

    subject: str
    value: str
    verdict: Literal["good", "note", "bad"]


def run(args: list[str]) -> None:
    """Prints the report; leaves with exit code 2 where something needed is missing."""
    call(print_report, args, prog="foreseen doctor")


def print_report() -> None:
    """Show what this machine offers, and what is missing."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from foreseen.errors import UserError

    findings = [finding for check in CHECKS for finding in _catch_errors(check)]
    table = Table(title="foreseen doctor")
    for heading in ("subject", "found", "verdict"):
        table.add_column(heading, overflow="fold")
    colours = {"good": "green", "note": "yellow", "bad": "red"}
    for f in findings:
        table.add_row(f.subject, escape(f.value), f"[{colours[f.verdict]}]{f.verdict}[/]")
    Console().print(table)
    bad = [f.subject for f in findings if f.verdict == "bad"]
    if bad:
        raise UserError(f"needed and missing or unfit: {', '.join(bad)}. `pip install foreseen` installs packages.")


def _catch_errors(check: Callable[[], list[Diagnosis]]) -> list[Diagnosis]:
    """Runs one check; a package that cannot be imported is a result, not an error."""
    try:
        return check()
    except ImportError as error:
        return [Diagnosis(check.__name__.removeprefix("check_"), f"does not import: {error}", "bad")]


def check_versions() -> list[Diagnosis]:
    """foreseen, Python, and the packages that it needs."""
    from foreseen.version import __version__

    missing, versions = [], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    findings = [
        Diagnosis("foreseen", __version__, "good"),
        Diagnosis("Python", f"{platform.python_version()}, {platform.platform()}", "good"),
        Diagnosis("packages", ", ".join(versions), "good"),
    ]
    return findings + [Diagnosis(name, "not installed", "bad") for name in missing]


def check_processor() -> list[Diagnosis]:
    """The processor, its cores, and the threads of torch."""
    import torch

    from foreseen.runs.machine import cpu_name, usable_cores

    cores = usable_cores()
    threads = torch.get_num_threads()
    return [
        Diagnosis("processor", f"{cpu_name()}, {cores} cores", "good"),
        Diagnosis("torch threads", f"{threads} (OMP_NUM_THREADS changes it)", "good" if threads <= cores else "note"),
    ]


def check_numba() -> list[Diagnosis]:
    """Numba's threads, and whether compiled kernels are kept between runs."""
    import numba

    threads = Diagnosis("Numba threads", str(numba.get_num_threads()), "good")
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(chosen) if chosen else Path(__file__).parents[1] / "render/kernels"
    if os.access(folder, os.W_OK):
        return [threads, Diagnosis("Numba cache", f"kernels are kept in {folder}", "good")]
    advice = f"{folder} is not writable: set NUMBA_CACHE_DIR, or kernels may be compiled again in every run"
    return [threads, Diagnosis("Numba cache", advice, "note")]


def check_gpu() -> list[Diagnosis]:
    """CUDA and gsplat: optional."""
    import torch

    available, installed = torch.cuda.is_available(), util.find_spec("gsplat") is not None
    cuda = torch.cuda.get_device_name() if available else "none: everything runs on the processor"
    missing = 'not installed: methods of Gaussians need it on CUDA, pip install ".[cuda]"'
    gsplat = "installed" if installed else missing if available else "not installed: not needed"
    return [
        Diagnosis("CUDA", cuda, "good"),
        Diagnosis("gsplat", gsplat, "note" if available and not installed else "good"),
    ]


def check_disk() -> list[Diagnosis]:
    """Space where the command was called."""
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return [Diagnosis("free disk here", f"{free:.1f} GB", "good" if free >= MIN_DISK_GB else "note")]


def check_weights() -> list[Diagnosis]:
    """Weights of the learned image metric: optional, and never downloaded."""
    return [Diagnosis("LPIPS weights", "given by `foreseen evaluate --lpips-weights FILE`; without: no LPIPS", "note")]


CHECKS: tuple[Callable[[], list[Diagnosis]], ...] = (
    check_versions,
    check_processor,
    check_numba,
    check_gpu,
    check_disk,
    check_weights,
)
