"""Everything that decides in dynamics/ is a field of a config: documented, read by the code, and saved."""

import ast
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import torch

import foreseen.dynamics
from foreseen.dynamics.ball_motion import BallMotion, BallParameters
from foreseen.dynamics.config import DynamicsConfig, LearnedDynamicsConfig, ManifoldConfig
from foreseen.dynamics.impacts_config import ImpactsConfig
from foreseen.dynamics.manifold import Manifold
from foreseen.runs.plain import from_plain, to_plain

ROOM = Path(foreseen.dynamics.__file__).parent
CONFIG_FILES = ("config.py", "impacts_config.py")


def config_fields(kind: type) -> list[str]:
    """Names of all fields, of nested configs, too."""
    names: list[str] = []
    for field in fields(kind):
        names.append(field.name)
        if is_dataclass(field.default):
            names += config_fields(type(field.default))
    return names


def test_every_field_is_read_by_the_code() -> None:
    code = "\n".join(p.read_text() for p in ROOM.glob("*.py") if p.name not in CONFIG_FILES)
    unused = [name for name in config_fields(DynamicsConfig) if not re.search(rf"\.{name}\b", code)]
    assert unused == ["fit_at"], "when to fit is up to the methods"


@pytest.mark.parametrize("name", CONFIG_FILES)
def test_every_field_has_a_docstring(name: str) -> None:
    for node in ast.parse((ROOM / name).read_text()).body:
        if isinstance(node, ast.ClassDef):
            assert ast.get_docstring(node), node.name
            for field, text in zip(node.body, [*node.body[1:], None]):
                if isinstance(field, ast.AnnAssign):
                    is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
                    assert is_text, f"{node.name}: {ast.unparse(field.target)}"


@pytest.mark.parametrize("kind", [DynamicsConfig, LearnedDynamicsConfig])
def test_a_config_is_saved_whole(kind: type) -> None:
    assert from_plain(kind, to_plain(kind()), "config") == kind()


def test_the_manifold_reads_its_config() -> None:
    angle = torch.linspace(0, 3, 40, dtype=torch.float64)
    arc = torch.stack([angle.cos(), angle.sin()], dim=-1)
    sizes = []
    for degrees in ((12,), (1,)):
        manifold = Manifold(2, 2, ManifoldConfig(degrees=degrees, curve_nodes=101))
        manifold.fit(arc)
        sizes.append(manifold.size)
        assert len(manifold.curve) == 101
    assert sizes == [1, 2], "a straight line does not represent an arc"


def test_impacts_read_their_config() -> None:
    balls = BallMotion(1, ImpactsConfig(min_times=100, max_walls=3))
    poses = torch.zeros(30, 6, dtype=torch.float64)
    balls.fit(poses, BallParameters(torch.ones(1).double(), torch.ones(1).double()))
    assert not balls.impacts.fitted and balls.impacts.planes.shape == (3, 5)
