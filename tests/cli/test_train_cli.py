"""`foreseen train`: the method's config as options, and messages for what is wrong with them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import foreseen.training
from foreseen.cli import main
from foreseen.methods import METHODS, MethodEntry


@dataclass(frozen=True)
class Inner:
    width: int = 3
    """Neurons."""


@dataclass(frozen=True)
class Config:
    rate: float = 0.01
    """Learning rate."""
    sizes: tuple[int, ...] = (1, 2)
    """Layers."""
    warm: bool = True
    """Begins slowly."""
    inner: Inner = Inner()


PRESETS = {"fast": Config(), "paper": Config(rate=0.5)}


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What the command passed on to `train`."""
    entry = MethodEntry("nowhere:build", f"{__name__}:PRESETS", "a paper", "none", "times", "all")
    monkeypatch.setitem(METHODS, "own", entry)
    monkeypatch.setattr(MethodEntry, "load_presets", lambda self: PRESETS)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    monkeypatch.setattr(foreseen.training, "train", lambda *a, **k: calls.append((a, k)), raising=False)
    return calls


def refuse(*args: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["train", *args])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and said.startswith("foreseen: error: ") and said.count("\n") == 1
    return said.removeprefix("foreseen: error: ").strip()


def test_fields_of_the_config_are_options(requested: list[Any]) -> None:
    words = "own --data d --out o --rate 0.2 --sizes 5 6 7 --no-warm --inner.width 9 --max-steps 30 --seed 4"
    main(["train", *words.split()])
    (args, options) = requested[0]
    assert args == ("own", Path("d"), Path("o"))
    assert options["overrides"] == {"rate": 0.2, "sizes": (5, 6, 7), "warm": False, "inner": Inner(9)}
    assert (options["preset"], options["seed"], options["max_steps"], options["max_minutes"]) == (
        "fast",
        4,
        30,
        None,
    )
    assert (options["device"], options["precision"], options["downscale"]) == ("auto", "fp32", 1)


@pytest.mark.parametrize("words", ["--preset paper", "--preset=paper"])
def test_a_preset_is_where_the_options_start(requested: list[Any], words: str) -> None:
    main(["train", "own", "--data", "d", "--out", "o", *words.split(), "--inner.width", "3"])
    assert requested[0][1]["preset"] == "paper" and requested[0][1]["overrides"] == {}


def test_help_shows_the_values_of_the_preset(requested: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "own", "--preset", "paper", "--help"])
    said = re.sub(r"[│\s]+", " ", capsys.readouterr().out)
    assert caught.value.code == 0 and not requested
    assert "--rate FLOAT Learning rate. (default: 0.5)" in said and "--inner.width INT Neurons. (default: 3)" in said
    assert "--observe-until" in said and "Fraction of the time range" in said


def test_help_without_a_method(requested: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"]):
        main(["train", *words])
        assert "usage: foreseen train METHOD --data DATA --out RUN" in (said := capsys.readouterr().out)
        assert ", ".join(METHODS) in said


@pytest.mark.parametrize(("words", "message"), [
    ("onw --data d --out o", "unknown method 'onw': did you mean 'own'?"),
    ("--data d own", "foreseen train takes the method first, one of: METHODS."),
    ("own --data d --out o --preset papr", "method 'own' has no preset 'papr': did you mean 'paper'?"),
    ("own --data d --out o --rte 1", "foreseen train own has no option '--rte': did you mean '--rate'?"),
    ("own --data d --out o --max_stps 1",
     "foreseen train own has no option '--max-stps': did you mean '--max-steps'?"),
    ("own --data d", "--out is missing. See foreseen train own --help."),
])  # fmt: skip
def test_wrong_words(requested: list[Any], words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    message = message.replace("METHODS", ", ".join(METHODS))
    assert refuse(*words.split(), capsys=capsys) == message and not requested


def test_a_wrong_value_is_named(requested: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    said = refuse("own", "--data", "d", "--out", "o", "--rate", "high", capsys=capsys)
    assert "--rate" in said and "'high'" in said and "See foreseen train own --help." in said


@pytest.mark.parametrize("name", list(METHODS))
def test_no_field_of_a_method_hides_an_option_of_the_training(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for preset in METHODS[name].load_presets():
        with pytest.raises(SystemExit) as caught:
            main(["train", name, "--preset", preset, "--help"])
        assert caught.value.code == 0
        assert f"starting from its preset {preset}" in capsys.readouterr().out


def test_data_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset = next(iter(METHODS["d-nerf"].load_presets()))
    said = refuse(
        "d-nerf",
        "--data",
        str(tmp_path / "no"),
        "--out",
        str(tmp_path / "o"),
        "--preset",
        preset,
        capsys=capsys,
    )
    assert str(tmp_path / "no") in said and not (tmp_path / "o").exists()


def test_options_are_those_of_the_function() -> None:
    import inspect
    from dataclasses import fields

    from foreseen.cli.train import TrainOptions
    from foreseen.training.launch import train

    given = inspect.signature(train).parameters
    for f in fields(TrainOptions):
        if f.name not in ("data", "out", "view", "view_port"):
            assert given[f.name].default == f.default, f.name
    assert json.dumps(sorted(set(given) - {f.name for f in fields(TrainOptions)})) == (
        '["dataset", "method", "overrides", "progress"]'
    )
