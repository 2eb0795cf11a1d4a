"""What a notebook shows of a thing: escaped text, tables, and pictures inside the page."""

import base64
import html
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from tfrecon.base import images
from tfrecon.base.errors import UserError

WIDTH = 960
"""Most pixels across a picture in a notebook."""

MOST_BYTES = 1 << 20
"""Of an animation, which is shown as it is."""


def uri(kind: str, content: bytes) -> str:
    """The bytes of an image of that `kind` (``png``, ``webp``) as a URI that needs no file."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def picture(path: Path, alt: str) -> str:
    """The image in a file, `WIDTH` pixels wide at most; nothing where there is none or it is
    damaged. A short animation moves."""
    if path.suffix == ".webp" and path.is_file() and path.stat().st_size <= MOST_BYTES:
        source = uri("webp", path.read_bytes())
    else:
        try:
            shown = Image.fromarray(images.read(path))
        except (UserError, OSError):
            return ""
        shown.thumbnail((WIDTH, 8 * WIDTH))
        file = io.BytesIO()
        shown.save(file, format="WEBP", quality=80)
        source = uri("webp", file.getvalue())
    return f'<p><img alt="{html.escape(alt)}" src="{source}"></p>'


def heading(text: str) -> str:
    """A line that stands out."""
    return f"<h4>{html.escape(text)}</h4>"


def paragraphs(lines: Iterable[str]) -> str:
    """One paragraph a line."""
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def facts(told: Mapping[str, object]) -> str:
    """Names with what is told of them, less what is empty."""
    rows = [(name, str(value)) for name, value in told.items() if value not in (None, "")]
    return table((), rows)


def table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], grey: Collection[int] = ()
) -> str:
    """Rows of texts under `heads`; the first cell of each row heads it. The rows numbered in `grey`
    step back."""
    lines = [f"<tr>{''.join(f'<th>{html.escape(head)}</th>' for head in heads)}</tr>"]
    for place, (first, *others) in enumerate(rows):
        cells = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in others)
        style = ' style="color:grey"' if place in grey else ""
        heading = f'<th style="text-align:left">{html.escape(str(first))}</th>'
        lines.append(f"<tr{style}>{heading}{cells}</tr>")
    return f"<table>{''.join(lines if heads else lines[1:])}</table>"
