"""Pieces of HTML that need no knowledge of comparisons: escaped text, tables, data, figures."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from tfrecon.base import images


@dataclass(frozen=True)
class Head:
    """Head of a column. `best`: "high" or "low" is what sorting shows first, of numbers; None marks
    a column of text. `group`: what stands above it and its neighbours; `minor`: not printed."""

    text: str
    best: str | None = None
    group: str = ""
    minor: bool = False


@dataclass(frozen=True)
class Field:
    """A cell: its HTML, and the number by which its column is sorted (None: last)."""

    html: str
    value: float | None = None


Row = Sequence[str | Field]
"""Cells; a plain text is escaped."""


def text(value: object) -> str:
    """Escaped for content and for attributes in quotes."""
    return html.escape(str(value))


def paragraph(value: object) -> str:
    """An escaped paragraph."""
    return f"<p>{text(value)}</p>"


def bullets(items: Sequence[str]) -> str:
    """An escaped list; empty for none."""
    return f"<ul>{''.join(f'<li>{text(item)}</li>' for item in items)}</ul>" if items else ""


def definitions(items: Mapping[str, str]) -> str:
    """An escaped list of names and what they are; empty for none."""
    pairs = (
        f"<div><dt>{text(name)}</dt><dd>{text(what)}</dd></div>" for name, what in items.items()
    )
    return f"<dl>{''.join(pairs)}</dl>" if items else ""


def table(
    caption: str,
    heads: Sequence[Head],
    rows: Sequence[Row],
    *,
    classes: Sequence[str] = (),
    sortable: bool = False,
) -> str:
    """A table that scrolls inside its own box; the first column that is not a number heads its row.

    `classes`: one of each row.
    """
    naming = next((n for n, head in enumerate(heads) if head.best is None), 0)
    head = "".join(_head(own, n == naming) for n, own in enumerate(heads))
    body = "".join(
        f'<tr class="{text(own)}">'
        + "".join(_cell(heads[n], cell, n == naming) for n, cell in enumerate(row))
        + "</tr>"
        for row, own in zip(rows, classes or [""] * len(rows), strict=True)
    )
    return (
        f'<figure class="tabled"><figcaption>{text(caption)}</figcaption>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}">'
        f'<table{" class=sortable" if sortable else ""} aria-label="{text(caption)}">'
        f"<thead>{_groups(heads)}<tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div></figure>"
    )


def figure(svg: str, caption: str) -> str:
    """A numbered figure; `svg` is trusted markup."""
    return f'<figure class="plot">{svg}<figcaption>{text(caption)}</figcaption></figure>'


def embedded_json(id: str, value: Any) -> str:
    """A block of data for the page's script, which no text in it can end."""
    content = json.dumps(value, ensure_ascii=True, default=str)
    for character in "<>&":
        content = content.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{text(id)}">{content}</script>'


def data_uri(image: Any) -> str:
    """(H,W,3) in [0,1] as PNG within a URI."""
    file = io.BytesIO()
    Image.fromarray(images.to_uint8(image)).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _cell(head: Head, cell: str | Field, names_row: bool) -> str:
    field = cell if isinstance(cell, Field) else Field(text(cell))
    value = "" if field.value is None else f' data-value="{field.value!r}"'
    if names_row:
        return f'<th scope="row" class="naming"{value}>{field.html}</th>'
    return f"<td{_class(head)}{value}>{field.html}</td>"


def _head(head: Head, names_rows: bool) -> str:
    best = f' data-best="{head.best}"' if head.best else ""
    classes = ' class="naming"' if names_rows else _class(head)
    return f'<th scope="col"{classes}{best}>{text(head.text)}</th>'


def _class(head: Head) -> str:
    names = [name for name, on in (("number", head.best), ("minor", head.minor)) if on]
    return f' class="{" ".join(names)}"' if names else ""


def _groups(heads: Sequence[Head]) -> str:
    """The line above the heads; empty where no head has a group."""
    if not any(head.group for head in heads):
        return ""
    spans: list[tuple[Head, int]] = []
    for head in heads:
        if spans and spans[-1][0].group == head.group:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((head, 1))
    cells = (
        f'<th scope="colgroup" colspan="{count}"{" class=minor" if head.minor else ""}>'
        f"{text(head.group)}</th>"
        if head.group
        else f'<td colspan="{count}"></td>'
        for head, count in spans
    )
    return f'<tr class="groups">{"".join(cells)}</tr>'
