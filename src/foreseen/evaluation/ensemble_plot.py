"""A plot of the sampled trajectories of a forecast, beside the ground truth."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch

from foreseen.data.plot_text import as_written, in_unit
from foreseen.evaluation.uncertainty import BAND, ForecastEnsemble, cluster_endpoints, describe_branches

FILE = "ensemble.png"
MAX_SEQUENCES = 6
"""Upper bound of the plotted sequences; those whose trajectories end in several clusters come first."""
_LIKELY, _OTHER, _TRUTH = "#d55e00", "#56b4e9", "0.1"


def plot_ensembles(ensemble: Sequence[ForecastEnsemble], unit: str, length_unit: str) -> bytes:
    """A PNG with a panel for each sequence: the coordinate along which its bodies move farthest, over time.

    Args:
        ensemble: one entry for each sequence, at least one.
        unit, length_unit: of time and length in the data set; "unknown" is not printed.
    """
    from matplotlib.figure import Figure

    shown = sorted(ensemble, key=lambda one: len(cluster_endpoints(one.centres)) < 2)[:MAX_SEQUENCES]
    columns = min(len(shown), 3)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.9 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, one in zip(panels, shown):
        _draw(panel, one)
        panel.set_xlabel("time" + in_unit(unit), fontsize=9)
        panel.set_ylabel(panel.get_ylabel() + in_unit(length_unit), fontsize=9)
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside upper center", ncols=len(names), frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()


def _draw(panel: Any, one: ForecastEnsemble) -> None:
    """The body and the axis with the largest extent of the true motion."""
    extent = one.truth.amax(0) - one.truth.amin(0)
    body, axis = divmod(int(extent.argmax()), 3)
    time, values = one.times.numpy(), one.centres[:, :, body, axis].numpy()
    half = one.half_width[:, body, axis].numpy()
    panel.fill_between(
        time, values[0] - half, values[0] + half, color=_LIKELY, alpha=0.18, linewidth=0, label=f"{BAND:.0%} band"
    )
    for index, other in enumerate(values[1:]):
        panel.plot(time, other, color=_OTHER, linewidth=0.6, alpha=0.7, label=None if index else "sampled trajectories")
    panel.plot(time, values[0], color=_LIKELY, linewidth=1.8, label="most likely")
    panel.plot(time, one.truth[:, body, axis].numpy(), color=_TRUTH, linewidth=1.2, linestyle="--", label="truth")
    drawn = torch.cat([one.centres[:, :, body, axis], one.truth[None, :, body, axis]])
    margin = 0.08 * float(drawn.max() - drawn.min()) + 1e-9
    panel.set_ylim(float(drawn.min()) - margin, float(drawn.max()) + margin)
    words = describe_branches(cluster_endpoints(one.centres), len(one.centres)).split(":")[0]
    panel.set_title(as_written(one.sequence) + (f": {words}" if words else ""), fontsize=9)
    panel.set_ylabel("xyz"[axis])
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
