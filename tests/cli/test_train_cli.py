"""`foreseen train`: the method's config as options, and messages for what is wrong with them."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import foreseen.training
from foreseen.cli import main
from foreseen.methods import METHODS, MethodEntry
from foreseen.runs import TrainConfig


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
def requested(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainConfig[Any], Path]]:
    """What the command passed on to `run_training`."""
    entry = MethodEntry("nowhere:build", f"{__name__}:PRESETS", "a paper", "none", "times", "all")
    monkeypatch.setitem(METHODS, "own", entry)
    monkeypatch.setattr(MethodEntry, "load_presets", lambda self: PRESETS)
    calls: list[tuple[TrainConfig[Any], Path]] = []
    monkeypatch.setattr(foreseen.training, "run_training", lambda *a: calls.append(a), raising=False)
    return calls


def refuse(*args: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["train", *args])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and said.startswith("foreseen: error: ") and said.count("\n") == 1
    return said.removeprefix("foreseen: error: ").strip()


def test_fields_of_the_config_are_options(requested: list[Any]) -> None:
    words = "own --data d e --out o --rate 0.2 --sizes 5 6 7 --no-warm --inner.width 9 --max-steps 30 --seed 4"
    main(["train", *words.split()])
    ((config, out),) = requested
    own = Config(rate=0.2, sizes=(5, 6, 7), warm=False, inner=Inner(9))
    assert out == Path("o")
    assert config == TrainConfig("own", (Path("d"), Path("e")), "fast", own, seed=4, max_steps=30)


@pytest.mark.parametrize("words", ["--preset paper", "--preset=paper"])
def test_a_preset_is_where_the_options_start(requested: list[Any], words: str) -> None:
    main(["train", "own", "--data", "d", "--out", "o", *words.split(), "--inner.width", "4"])
    config = requested[0][0]
    assert config.preset == "paper" and config.config == Config(rate=0.5, inner=Inner(4))


def test_settings_are_printed_and_read_again(
    requested: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", "own", "--preset", "paper", "--data", "d", "--max-minutes", "2", "--rate", "0.3", "--print-config"])
    assert not requested
    file = tmp_path / "settings.json"
    file.write_text(capsys.readouterr().out)
    main(["train", "--config", str(file), "--out", "o", "--seed", "7"])
    main(["train", "own", f"--config={file}", "--out", "o", "--max-steps", "9", "--inner.width", "4"])
    full = Path("d").resolve()
    expected = TrainConfig("own", (full,), "paper", Config(rate=0.3), seed=7, max_minutes=2.0)
    assert requested[0] == (expected, Path("o"))
    # A part of the budget alone is the whole budget.
    changed = replace(expected, seed=0, max_minutes=None, max_steps=9, config=Config(rate=0.3, inner=Inner(4)))
    assert requested[1] == (changed, Path("o"))


def test_a_short_file_takes_the_rest_from_the_preset(requested: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"method": "own", "data": ["d"], "preset": "paper", "config": {"sizes": [4]}}))
    main(["train", "--config", str(file), "--out", "o"])
    assert requested[0][0] == TrainConfig("own", (Path("d"),), "paper", Config(rate=0.5, sizes=(4,)))


@pytest.mark.parametrize(("content", "message"), [
    ("{", "is not valid JSON"),
    ("[]", "it takes the settings of a training."),
    ('{"data": ["d"]}', "settings.json.method is absent."),
    ('{"method": "own"}', "settings.json.data is absent."),
    ('{"method": "own", "data": ["d"], "sed": 1}', "has no field 'sed': did you mean 'seed'?"),
    ('{"method": "own", "data": ["../d"]}', "which climbs out of its folder: write the full path, without '..'."),
    ('{"train": {"method": "own", "data": ["d"], "config": {"rate": "x"}}}', "config.rate is 'x'; it takes float."),
    ('{"method": "d-nerf", "data": ["d"]}', "is of method 'd-nerf', not 'own': leave one of them out."),
])  # fmt: skip
def test_a_file_that_does_not_fit(
    requested: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    (tmp_path / "settings.json").write_text(content)
    words = ("own", "--config", str(tmp_path / "settings.json"), "--out", "o")
    assert message in refuse(*words, capsys=capsys) and not requested


def test_help_shows_the_values_of_the_preset(requested: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "own", "--preset", "paper", "--help"])
    said = re.sub(r"[│\s]+", " ", capsys.readouterr().out)
    assert caught.value.code == 0 and not requested
    assert "--rate FLOAT Learning rate. (default: 0.5)" in said and "--inner.width INT Neurons. (default: 3)" in said
    assert "--observe-until" in said and "Fraction of the time range" in said and "--method" not in said


def test_help_without_a_method(requested: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"]):
        main(["train", *words])
        assert "usage: foreseen train METHOD --data DATA [DATA ...] --out RUN" in (said := capsys.readouterr().out)
        assert ", ".join(METHODS) in said


@pytest.mark.parametrize(("words", "message"), [
    ("onw --data d --out o", "unknown method 'onw': did you mean 'own'?"),
    ("--data d own", "foreseen train takes the method first, one of: METHODS; or --config FILE."),
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
