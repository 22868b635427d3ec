"""The example of docs/ode.md runs."""

import re
from pathlib import Path

import torch


def test_example() -> None:
    page = (Path(__file__).parents[2] / "docs" / "ode.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    names: dict = {}
    exec(code, names)
    assert names["path"].shape == (60, 2, 2)
    energy = names["path"][..., 1] ** 2 / 2 - 9.81 * names["path"][..., 0].cos()
    assert torch.allclose(energy, energy[:1].expand_as(energy), atol=0.02)
    assert names["later"].shape == (2, 2, 2)
