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

torch.set_num_threads(1)

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
        one = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield one
        one.close()
