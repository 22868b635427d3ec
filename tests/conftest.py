"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest

# As on the command line: threads that spin while they wait make the compiled kernels crawl beside other tests. It is
# read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded and simulated data that developers build with; users have none of it."""
    folder = Path(os.environ.get("FORESEEN_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder} (set FORESEEN_DATA)")
    return folder
