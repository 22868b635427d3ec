"""Configs survive JSON, and what is not one is refused with its place."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from foreseen.core.scene_info import SceneInfo
from foreseen.errors import UserError
from foreseen.methods import METHODS
from foreseen.runs.plain import differences, from_plain, to_plain, with_overrides


@dataclass(frozen=True)
class Solver:
    name: Literal["rk4", "euler"] = "rk4"
    steps: int | None = None


@dataclass(frozen=True)
class Config:
    rate: float
    sizes: tuple[int, ...] = (64, 128)
    span: tuple[float, float] = (0.0, 1.0)
    solver: Solver = Solver()
    weights: dict[str, float] | None = None
    names: tuple[tuple[str, ...], ...] = ()
    on: bool = False


CONFIG = Config(1e-3, (), (0.1, 1 / 3), Solver("euler", 4), {"a": 1.0}, (("x", "y"), ()), True)


def plain(**changes: Any) -> dict[str, Any]:
    return {**to_plain(CONFIG), **changes}


@pytest.mark.parametrize("config", [CONFIG, Config(2.0)])
def test_round_trip_through_json(config: Config) -> None:
    assert from_plain(Config, json.loads(json.dumps(to_plain(config))), "config") == config


def test_scene_info_round_trip() -> None:
    info = SceneInfo.of_one_scene(
        ((-1.5, 0.0, 1 / 3), (1, 2, 3)), 0.1, 7.7, ((0.0, 0.1), (0.2,)), (1, 1, 1), True, False, True
    )
    assert from_plain(SceneInfo, json.loads(json.dumps(to_plain(info))), "scene") == info


@pytest.mark.parametrize("name", sorted(METHODS))
def test_presets_of_every_method_survive(name: str) -> None:
    for config in METHODS[name].load_presets().values():
        assert from_plain(type(config), json.loads(json.dumps(to_plain(config))), "config") == config


@pytest.mark.parametrize(("value", "message"), [
    (plain(rate="1"), "config.rate is '1'; it takes float"),
    (plain(rate=True), "config.rate is True; it takes float"),
    (plain(on=1), "config.on is 1; it takes bool"),
    (plain(sizes=[1, 2.5]), r"config.sizes\[1\] is 2.5; it takes int"),
    (plain(span=[1.0]), "config.span has 1 values; it takes 2"),
    (plain(span=3), "config.span is 3; it takes list"),
    (plain(solver={"name": "rk5"}), "config.solver.name is 'rk5'; it takes one of 'rk4', 'euler'"),
    (plain(solver={"step": 3}), "config.solver has no field 'step': did you mean 'steps'?"),
    (plain(solver={"steps": "3"}), "config.solver.steps is '3'; it takes int or null"),
    ({}, "config.rate is absent"),
    ([], r"config is \[\]; it takes dict"),
])  # fmt: skip
def test_what_is_refused(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_plain(Config, value, "config")


def test_overrides_reach_nested_fields() -> None:
    changed = with_overrides(CONFIG, {"rate": 2, "solver.steps": 9, "sizes": (3,), "solver": Solver()}, "the config")
    assert (changed.rate, changed.sizes, changed.solver) == (2.0, (3,), Solver())
    assert with_overrides(CONFIG, {"solver.steps": 9}, "the config").solver == Solver("euler", 9)
    with pytest.raises(UserError, match=r"the config.solver has no field 'stes': did you mean 'steps'"):
        with_overrides(CONFIG, {"solver.stes": 9}, "the config")


def test_differences_name_the_leaf() -> None:
    other = with_overrides(CONFIG, {"solver.steps": 9}, "c")
    assert differences(to_plain(CONFIG), to_plain(other)) == ["solver.steps: 4 -> 9"]
    assert differences(to_plain(CONFIG), to_plain(CONFIG)) == []
