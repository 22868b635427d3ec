"""`foreseen methods`: the table of methods."""

from __future__ import annotations

from foreseen.cli.options import call


def run(args: list[str]) -> None:
    """Prints the table."""
    call(print_methods, args, prog="foreseen methods")


def print_methods() -> None:
    """List the methods: paper, licence, required data, and what of the paper was reproduced."""
    from rich.console import Console
    from rich.table import Table

    from foreseen.methods import METHODS

    table = Table(title="methods", show_lines=True)
    for heading in ("method", "paper", "needs", "reproduced", "licence of the paper's code"):
        table.add_column(heading, no_wrap=heading == "method")
    for name, entry in METHODS.items():
        table.add_row(name, entry.paper, entry.needs, entry.reproduced, entry.code_licence)
    Console().print(table)
