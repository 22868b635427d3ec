"""Every method goes on from a checkpoint as if it had never stopped."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from foreseen.training import load_run, train
from foreseen.training.checkpoints import list_checkpoints

FIELD = {"rays": 16, "samples": 8, "importance_samples": 8, "position_levels": 3, "direction_levels": 2}
SMALL: dict[tuple[str, str], dict[str, Any]] = {
    ("node-rf", "paper"): {**FIELD, "field_width": 16, "field_layers": 3, "field_skip": 1, "code_width": 8},
    ("d-nerf", "paper"): {**FIELD, "width": 16, "layers": 3, "skip": 1},
}


@pytest.mark.parametrize(("method", "preset"), sorted(SMALL))
def test_going_on_is_exact(method: str, preset: str, blender_data: Path, tmp_path: Path) -> None:
    def fit(out: Path) -> dict[str, torch.Tensor]:
        run = train(
            method,
            blender_data,
            out,
            preset=preset,
            overrides=SMALL[method, preset],
            max_steps=16,
            save_every_steps=7,
            device="cpu",
            progress=False,
        )
        return {name: value.clone() for name, value in run.method.state_dict().items()}

    whole = fit(tmp_path / "run")
    for step, folder in list_checkpoints(tmp_path / "run"):
        if step != 7:
            shutil.rmtree(folder)
    torch.manual_seed(1)
    parts = fit(tmp_path / "run")
    assert whole.keys() == parts.keys()
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []
    loaded = load_run(tmp_path / "run")
    camera = next(loaded.dataset().frames).camera
    first, second = (loaded.render(camera, 0.3).rgb for _ in range(2))
    assert torch.equal(first, second) and bool(torch.isfinite(first).all())
