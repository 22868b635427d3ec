"""The examples run, on tiny scenes."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from foreseen.dynamics.config import DynamicsConfig
from foreseen.simulate import SimulateOptions
from light_dynamics import LIGHT

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = SimulateOptions(frames=16, cameras=2, size=24)
SETTINGS = {
    "static_samples": 32,
    "part_samples": 8,
    "grid_resolution": 16,
    "width": 16,
    "dynamics": DynamicsConfig(**LIGHT),
}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name[:2], EXAMPLES / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("examples") / "pendulum"
    load("01_simulate_and_look.py").main(out, SMALL)
    return out


def test_no_example_is_forgotten() -> None:
    tested = {"01_simulate_and_look.py", "02_train_and_forecast.py", "03_learn_a_law.py"}
    assert {p.name for p in EXAMPLES.glob("*.py")} == tested


def test_simulate_and_look(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("01_simulate_and_look.py").main(data, SMALL)
    said = capsys.readouterr().out
    assert "first frame: camera" in said and "the pendulum covers" in said
    assert "damped-pendulum" in said
    assert "forecast: 24 frames" in said  # the later half of 16 times, in three cameras


def test_train_and_forecast(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    load("02_train_and_forecast.py").main(data, run, max_steps=2, overrides=SETTINGS, device="cpu", progress=False)
    assert (run / "later.png").is_file() and (run / "bullet-time.mp4").is_file() and (run / "horizon.png").is_file()
    said = capsys.readouterr().out
    assert "rigid-ode:" in said and "last-frame:" in said and "constant-velocity:" in said


def test_learn_a_law() -> None:
    example = load("03_learn_a_law.py")
    untrained = example.main(0)
    assert example.main(60) < 0.2 < untrained
