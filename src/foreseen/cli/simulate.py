"""`foreseen simulate`: a data set with exact truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from foreseen.cli.options import call
from foreseen.cli.progress import progress_bar
from foreseen.simulate.options import SimulateOptions

_USUAL = SimulateOptions()


def run(args: list[str]) -> None:
    """Simulates as `args` say."""
    call(simulate, args, prog="foreseen simulate")


def simulate(
    scenario: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCENARIO")],
    out: Path,
    options: Annotated[SimulateOptions, tyro.conf.arg(name=""), tyro.conf.FlagCreatePairsOff] = _USUAL,
) -> None:
    """Simulate a scene with known physics and write it as a data set with exact truth.

    Args:
        scenario: pendulum, bouncing-balls, oscillating-ball, bifurcating-hill, pendulum-and-ball, or one of a plugin.
        out: The data set's folder; must not exist, or be empty.
        options: What to simulate.
    """
    from foreseen.simulate import simulate as write

    with progress_bar("simulate") as progress:
        write(scenario, out, options, progress)
    print(f"{out}: written. Look into it with: foreseen inspect {out}")
