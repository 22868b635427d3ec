"""Parses numbers that a user types by name, such as initial conditions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch

from foreseen.data.labels import PoseLabels
from foreseen.errors import UserError, suggest

AXES = ("x", "y", "z")


def parse_numbers(text: str, choices: Iterable[str], flag: str) -> dict[str, float]:
    """ "a=1,b=2" as numbers by name.

    Raises:
        UserError: an unknown name (the nearest is suggested), one given twice, or what is no finite number.
    """
    names, values = list(choices), dict[str, float]()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in names:
            raise UserError(f'{flag}: unknown name "{name}"; {suggest(name, names)}')
        if name in values:
            raise UserError(f"{flag}: {name} is given twice")
        values[name] = _number(value, f"{flag}: {part}") if equals else _number("", f"{flag}: {part}")
    return values


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: write NAME=NUMBER, such as angle=0.6")
    return value


def bodies_named(text: str, choices: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The first of `choices` that has all the bodies named in `text`; sequences may differ in their bodies."""
    typed = {part.partition("=")[0].strip().rpartition(".")[0] for part in text.split(",")}
    return next((bodies for bodies in choices if typed <= (set(bodies) if len(bodies) > 1 else {""})), choices[0])


def typed_labels(text: str, bodies: Sequence[str], time: float, flag: str = "--initial") -> PoseLabels:
    """Initial conditions such as "x=0.7,vx=0" at `time`: positions x, y, z in scene units and velocities vx, vy, vz in
    scene units per time unit; v stands for vx. With several bodies every name starts with the body's: "left.x=0.7".
    Values that are not named are NaN.

    Raises:
        UserError: see `parse_numbers`; nothing named.
    """
    names = [*AXES, *(f"v{axis}" for axis in AXES), "v"]
    choices = names if len(bodies) == 1 else [f"{body}.{name}" for body in bodies for name in names]
    numbers = parse_numbers(text, choices, flag)
    if not numbers:
        raise UserError(f"{flag}: name a position, such as x=0.7, and a velocity if there is one, such as vx=0.1")
    positions = torch.full((1, len(bodies), 3), math.nan, dtype=torch.float64)
    velocities = positions.clone()
    for name, value in numbers.items():
        body, _, component = name.rpartition(".")
        index = bodies.index(body) if body else 0
        component = "vx" if component == "v" else component
        target = velocities if component.startswith("v") else positions
        target[0, index, AXES.index(component[-1])] = value
    unknown = torch.full((1, len(bodies), 3, 3), math.nan, dtype=torch.float64)
    return PoseLabels(tuple(bodies), torch.tensor([time], dtype=torch.float64), positions, velocities, unknown)
