"""Figures as SVG to stand within a page: text as text, ids of their own, no outside reference."""

import html
import io
import math
import re
from collections.abc import Callable, Sequence
from typing import IO, Any

WIDTH = 4.6
"""Inches of every figure: at the width of a phone its text of 10 points is still readable."""
ROW = 0.24
"""Inches of one line of a figure that lists names."""

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colours that show on white and on black, in the order of use."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", ":", "-.")
GREY = "#8a8a8a"
INK = "#010203"
"""Stands for the colour of the surrounding text, which takes its place in the SVG."""

LONGEST = 28
"""Characters of a name in a figure."""

STYLE = {
    "font.size": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.18,
    "legend.frameon": False,
    "legend.handlelength": 1.5,
    "legend.columnspacing": 1.2,
    "svg.fonttype": "none",
    "text.parse_math": False,
    **{f"{name}.color": INK for name in ("text", "xtick", "ytick", "grid")},
    **{f"axes.{name}": INK for name in ("edgecolor", "labelcolor", "titlecolor")},
}


def drawn(
    name: str, title: str, height: float, paint: Callable[[Any], Sequence[Any] | None],
    legend: Sequence[str] = (), width: float = WIDTH,
) -> str:  # fmt: skip
    """The SVG of what `paint` draws on a Matplotlib Figure of `width` × `height` inches.

    `name` is part of all ids, so it differs between the figures of a page; `title` is what is read
    out in place of the figure. `paint` returns what the names of `legend` stand for; they are
    listed below all axes, in as many columns as fit and in inches of their own.
    """
    text = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    save(text, name, height, paint, legend, width, transparent=True, metadata=nothing)
    return _within_page(text.getvalue().decode(), name, title)


def save(
    file: IO[bytes], name: str, height: float, paint: Callable[[Any], Sequence[Any] | None],
    legend: Sequence[str] = (), width: float = WIDTH, format: str = "svg", **options: Any,
) -> None:  # fmt: skip
    """Writes the figure of `drawn` in a `format` of Matplotlib, with further options of its."""
    import matplotlib
    from matplotlib.figure import Figure

    names = [shortened(name) for name in legend]
    widest = max(map(len, names), default=0) + 8
    columns = max(1, min(len(names), int(68 * width / WIDTH) // widest))
    height += 0.19 * -(-len(names) // columns) + 0.1 if names else 0
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        handles = paint(figure)
        if handles:
            figure.legend(handles, names, loc="outside lower center", ncols=columns)
        figure.savefig(file, format=format, **options)


def title(svg: str) -> str:
    """The title that `drawn` put into an SVG."""
    title = re.search(r"<title[^>]*>(.*?)</title>", svg, re.DOTALL)
    return html.unescape(title[1]) if title else ""


def shortened(name: str, longest: int = LONGEST) -> str:
    """`name`, with its middle left out where it is longer."""
    if len(name) <= longest:
        return name
    half = (longest - 1) // 2
    return f"{name[: longest - 1 - half]}…{name[-half:]}"


def scaled(value: float) -> str:
    """``1.5 k``, ``24.3 M``: three digits and the prefix of the SI."""
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if abs(value) >= 10**power:
            return f"{value / 10**power:.3g} {prefix}"
    return f"{value:.3g}"


def look(index: int) -> tuple[str, str]:
    """Colour and line style of the series at `index`: first all colours, then the next style."""
    return PALETTE[index % len(PALETTE)], LINES[index // len(PALETTE) % len(LINES)]


def list_names(axes: Any, names: Sequence[str]) -> None:
    """One name a line along the y axis, the first on top."""
    axes.set_yticks(range(len(names)), [shortened(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def log_axis(axes: Any, values: Sequence[float]) -> None:
    """A logarithmic x axis around positive `values`, with few ticks in SI prefixes."""
    low, high = min(values) / 1.6, max(values) * 1.3
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades < 1.3 else (1, 3) if decades < 2.2 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    shown = [tick for tick in ticks if low <= tick <= high]
    shown = shown[:: -(-len(shown) // 4) or 1]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_xticks(shown, [scaled(tick) for tick in shown])
    axes.minorticks_off()


def _within_page(svg: str, name: str, title: str) -> str:
    """Without prologue, size, style rules, which would reach the whole page, and the ids of groups,
    which several figures share: those that are left are hashes with `name` in them."""
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body).replace(INK, "currentColor")
    box = re.search(r'viewBox="[^"]*"', svg)
    label = re.sub(r"[^A-Za-z0-9_-]", "-", name) + "-title"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{box[0] if box else ""} width="100%" role="img" aria-labelledby="{label}" '
        f'stroke-linejoin="round" stroke-linecap="butt">'
        f'<title id="{label}">{html.escape(title)}</title>{body.strip()}'
    )
