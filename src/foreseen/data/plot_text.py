"""Names and units from a data set, in plots."""


def as_written(text: str) -> str:
    """`text` for Matplotlib, which reads what stands between two dollar signs as a formula, and raises where it is
    none."""
    return text.replace("$", r"\$")


def in_unit(unit: str, before: str = "") -> str:
    """What follows a label: the unit in brackets, nothing where it is not known."""
    return "" if unit in ("unknown", "") else f" [{before}{as_written(unit)}]"
