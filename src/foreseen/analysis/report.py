"""The content of analysis.json as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text


def analysis_tables(content: dict[str, Any]) -> list[Table]:
    """Fixed points, the true ones where they are known, and all other results."""
    tables = [_points(content)]
    if content["true_points"]:
        tables.append(_truth(content))
    return [*tables, _figures(content)]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title, style="bold"), title_justify="left", box=None, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(Text(name), justify="left" if index == 0 else "right", no_wrap=name.startswith("position"))
    return table


def _add(table: Table, *cells: str) -> None:
    """A row; no cell is markup, whoever chose the names of bodies and units."""
    table.add_row(*map(Text, cells))


def _points(content: dict[str, Any]) -> Table:
    length, rate = _unit(content["length_unit"]), _unit(content["time_unit"], "1/")
    sampled = any(point["deviation"] for point in content["fixed_points"])
    columns = ["", f"position{length}", *(["standard\ndeviation"] if sampled else []), f"eigenvalues{rate}", "kind"]
    table = _table("fixed points", *columns)
    for index, point in enumerate(content["fixed_points"]):
        position = "unknown" if point["position"] is None else "; ".join(_position(p) for p in point["position"])
        deviation = [_deviation(point["deviation"])] if sampled else []
        kind = point["kind"] + (" (outside the observed states)" if point["out_of_range"] else "")
        _add(table, str(index + 1), position, *deviation, _eigenvalues(point["eigenvalues"]), kind)
    if not content["fixed_points"]:
        _add(table, "none", "", "", "")
    return table


def _deviation(deviation: dict[str, Any]) -> str:
    distance = "" if deviation["distance"] is None else f"{deviation['distance']:.2g}"
    missing = deviation["samples"] - deviation["found"]
    return f"{distance} ({missing} of {deviation['samples']} samples have none)" if missing else distance


def _truth(content: dict[str, Any]) -> Table:
    length = _unit(content["length_unit"])
    columns = (
        "",
        f"position{length}",
        "nearest\nlearned",
        f"distance\n{length.strip()}",
        "share of\nscene",
        "stability",
    )
    table = _table("true fixed points", *columns)
    for point in content["true_points"]:
        nearest, share = point["nearest"], point["share_of_scene_size"]
        row = [point["name"], _position(point["position"])]
        if nearest is None:
            _add(table, *row, "none")
            continue
        learned = content["fixed_points"][nearest]["stability"]
        verdict = f"{learned}, as in truth" if point["same_stability"] else f"{learned}, truth: {point['stability']}"
        _add(
            table, *row, str(nearest + 1), f"{point['distance']:.4f}", "" if share is None else f"{share:.2%}", verdict
        )
    return table


def _figures(content: dict[str, Any]) -> Table:
    table = _table("dynamics", "", "")
    for name, value in [*_size(content), *_motion(content), *_energy(content), *_indicator(content)]:
        _add(table, name, value)
    table.columns[1].justify = "left"
    return table


def _size(content: dict[str, Any]) -> list[tuple[str, str]]:
    state, size = content["state"], content["scene_size"]
    order = "second order" if state["second_order"] else "first order"
    rows = [("state", f"{state['size']} components, {order}, {content['sequences']} observed sequences")]
    if size is not None:
        length = _plain(content["length_unit"])
        rows.append(("scene's size", f"{size:.4g}{length} (largest extent of the observed positions)"))
    return rows


def _motion(content: dict[str, Any]) -> list[tuple[str, str]]:
    lyapunov, time = content["lyapunov"], content["time_unit"]
    growth = [g for g in lyapunov["growth_within_window"] if g is not None]
    value = "unknown" if lyapunov["mean"] is None else f"{lyapunov['mean']:+.4g}{_per(time)}"
    rows = [("largest Lyapunov exponent", f"{value}, {lyapunov['words']}")]
    if growth:
        rows.append(
            (
                "small differences grow",
                f"at most by {min(growth):.3g} to {max(growth):.3g} times within the window, depending on the sequence",
            )
        )
    return rows


def _energy(content: dict[str, Any]) -> list[tuple[str, str]]:
    rows, time = [], content["time_unit"]
    if energy := content["energy"]:
        source = "learned energy" if energy["learned"] else "energy from its force"
        spans = energy["relative_drift"].items()
        words = [f"{_share(s['at_end_mean'])} over {_windows(n)}" for n, s in spans]
        rows.append((f"{source}, change", ", ".join(words)))
        half = energy["half_life"]
        rows.append(
            (
                "half of it is lost after",
                "not within the searched time" if half is None else f"{half:.3g}{_plain(time)}",
            )
        )
    if drag := content["drag"]:
        true, small = drag["true_drag"], drag["half_life_of_small_oscillations"]
        words = [f"{drag['drag']:.4g}{_per(time)}"]
        words += [f"truth {true:.4g}"] if true is not None else []
        words += [f"a small oscillation's energy halves in {small:.3g}{_plain(time)}"] if small and small < 1e4 else []
        rows.append(("drag", ", ".join(words)))
    if body := content["body_energy"]:
        words = [f"{_share(v)} over {_windows(n)}" for n, v in body["change"].items()]
        rows.append(("body's g z + v²/2, change", ", ".join(words)))
        mean, maximum = body["from_truth_mean"], body["from_truth_largest"]
        if mean is not None:
            rows.append(
                (
                    "  difference from the truth",
                    f"{100 * mean:.3g} % of its largest kinetic energy, at most {100 * maximum:.3g} %",
                )
            )
    return rows


def _indicator(content: dict[str, Any]) -> list[tuple[str, str]]:
    indicator, per = content["indicator"], _per(content["time_unit"])
    return [
        ("paper's indicator (sum of dc/dt)", f"{_range(indicator['indicator'])}{per}, c being {indicator['code']}"),
        ("true divergence tr(df/dy)", f"{_range(indicator['divergence'])}{per}"),
    ]


def _range(statistics: dict[str, float]) -> str:
    return f"{statistics['smallest']:.3g} to {statistics['largest']:.3g}, mean {statistics['mean']:.3g}"


def _windows(name: str) -> str:
    count = name.partition("_")[0]
    return f"{count} window{'' if count == '1' else 's'}"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:+.3g} %"


def _position(position: Sequence[float]) -> str:
    return "(" + ", ".join(f"{x:.3f}".replace("-0.000", "0.000") for x in position) + ")"


def _eigenvalues(values: Sequence[Sequence[float]], maximum: int = 4) -> str:
    texts: list[str] = []
    left = list(values)
    while left and len(texts) < maximum:
        real, imaginary = left.pop(0)
        pair = [
            other for other in left if abs(other[0] - real) + abs(other[1] + imaginary) < 1e-6 * (1 + abs(imaginary))
        ]
        if abs(imaginary) > 1e-9 and pair:
            left.remove(pair[0])
            texts.append(f"{real:.3g} ± {abs(imaginary):.3g}i")
        else:
            texts.append(f"{real:.3g}" if abs(imaginary) <= 1e-9 else f"{real:.3g} {imaginary:+.3g}i")
    return ", ".join(texts) + (", ..." if left else "")


def _unit(name: str, before: str = "") -> str:
    return "" if name == "unknown" else f" [{before}{name}]"


def _plain(name: str) -> str:
    return "" if name == "unknown" else f" {name}"


def _per(name: str) -> str:
    return " per time unit" if name == "unknown" else f" / {name}"
