"""Names and units from a data set, in plots."""


def as_written(text: str) -> str:
    """`text` for Matplotlib, which reads what stands between two dollar signs as a formula, and raises where it is
    none."""
    return text.replace("$", r"\$")
