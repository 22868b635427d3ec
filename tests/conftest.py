"""Fixtures that every room's tests share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# As on the command line: threads that spin while they wait make the compiled kernels crawl beside other tests. It is
# read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from hypothesis import HealthCheck, settings

# One thread each beside other tests, or as many as OMP_NUM_THREADS asks for: how sums are split changes their digits.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))

# For all tests there are. How long an example takes says nothing about what is tested, so neither a deadline nor a slow
# draw fails one. The examples are the same in every run: a test that fails fails everywhere and each time, and one that
# passed still passes when another processor, or nothing, has changed. New examples come with every change of a test;
# who looks for more of them takes `derandomize` out.
settings.register_profile("anywhere", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("anywhere")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws does not depend on which tests ran before it, in this process or in another: here what its
    fixtures draw."""
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """And here what it draws itself: other numbers than they drew."""
    torch.manual_seed(1)


SLOW_FILES = (
    "training/test_methods_resume.py",
    "viewer/test_browser_runs.py",
    "dynamics/test_sequence_dynamics.py",
    "cli/test_new_sequences.py",
    "analysis/test_analyze.py",
    "methods/test_rigid_ode_clusters.py",
    "cli/test_clusters_cli.py",
    "reconstruction/test_part_discovery.py",
    "methods/test_rigid_ode_multi_sequence.py",
    "viewer/test_browser.py",
)
"""The longest ones, which begin first: with two processes, one that begins last keeps the other waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first; the others as they were."""
    ranks = {str(Path(__file__).parent / name): rank for rank, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: ranks.get(str(item.path), len(ranks)))


FLAGS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
"""Of Chromium: WebGL in software."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded and simulated data that developers build with; users have none of it."""
    folder = Path(os.environ.get("FORESEEN_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder} (set FORESEEN_DATA)")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Of each file its own: while it is there, no other test can drive one."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright comes with the extra [dev]")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=chromium, args=FLAGS, timeout=300_000)
        yield one
        one.close()
