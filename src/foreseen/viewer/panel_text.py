"""What the control panel shows as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from foreseen.export.compose import FORECAST, OBSERVED, Timeline
from foreseen.viewer.source import ViewerSource


def escape_html(*lines: str) -> str:
    """HTML of plain lines. All markup in them is escaped: names come from files that anybody may have written."""
    return "".join(f'<div style="padding:0.2em 1em;font-size:0.85em">{escape(line)}</div>' for line in lines)


def notes(sources: Sequence[ViewerSource]) -> str:
    """The notes of all that is shown, as HTML."""
    return escape_html(*(source.note for source in sources if source.note))


def bars_html(sources: Sequence[ViewerSource], time: float) -> str:
    """The first source's range of time; a bar for each source where their observed windows or the kind of time
    differ."""
    lines = [replace(sources[0].timeline, observed_until=source.timeline.observed_until) for source in sources]
    texts = [source.describe_time(time) for source in sources]
    if len(set(zip(lines, texts))) == 1:
        return bar_html(lines[0], time, texts[0])
    return "".join(bar_html(line, time, f"{source.name}: {text}") for line, source, text in zip(lines, sources, texts))


def bar_html(line: Timeline, time: float, text: str) -> str:
    """The range of time: what was observed, what is forecast, and the current time."""
    border, now = 100 * line.share(line.observed_until), 100 * line.share(time)
    blue, orange = (f"rgb{c}" for c in (OBSERVED, FORECAST))
    colour = orange if line.is_forecast(time) else blue
    unit = "" if line.unit == "unknown" else f" {escape(line.unit)}"
    return (
        '<div style="padding:0.4em 1em 0.2em 1em;font-size:0.85em">'
        f'<div style="position:relative;height:10px;border-radius:3px;'
        f'background:linear-gradient(to right,{blue} {border:.2f}%,{orange} {border:.2f}%)">'
        f'<div style="position:absolute;left:{border:.2f}%;top:-3px;width:2px;height:16px;background:#888"></div>'
        f'<div style="position:absolute;left:calc({now:.2f}% - 3px);top:-4px;width:6px;height:18px;'
        f'border-radius:2px;background:#fff;border:1px solid #333"></div></div>'
        f'<div style="display:flex;justify-content:space-between"><b style="color:{colour}">{escape(text)}</b>'
        f"<span>t = {time:.3f}{unit}</span></div></div>"
    )


def describe_path(views: int, seconds: float) -> str:
    """What a recorded camera path holds, as HTML."""
    if not views:
        return escape_html("No views in the path yet.")
    content = f"{views} view{'s' if views > 1 else ''}, {seconds:.1f} s."
    return escape_html(f"{content} Render it: foreseen render RUN --path FILE")


def format_command_options(initial: str, others: Sequence[str]) -> str:
    """Initial conditions as the option of the command line, as HTML; `others`: runs that take other ones."""
    unchanged = (f"{name} takes other initial conditions, and is unchanged." for name in others)
    return escape_html(f'--initial "{initial}"', *unchanged)
