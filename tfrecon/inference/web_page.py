"""The web page of ``tfrecon demo``: what is on it, and the server that shows it."""

import base64
import contextlib
import functools
import html
import os
import socket
import tempfile
import traceback
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tfrecon.backbones import taps_here
from tfrecon.base import extras, platforms
from tfrecon.base.cli import sentence
from tfrecon.base.errors import UserError
from tfrecon.base.images import SUFFIXES
from tfrecon.base.weights import VARIABLE
from tfrecon.inference import served
from tfrecon.inference.served import Choice, Workshop

HOST, PORT, PORTS = "127.0.0.1", 7860, 100
"""Where the page is: for this machine alone, on the first port of so many that is free."""

FILE_MB = 250
"""The most that an uploaded file may have."""

KINDS = ["image", *SUFFIXES]
"""Which files are offered: a phone shows its gallery and its camera."""

POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
"""A browser asks no other machine for anything, whatever Gradio's pages name."""


@contextlib.contextmanager
def served_page(found: Sequence[Choice], port: int = PORT, host: str = HOST) -> Iterator[str]:
    """In the block the page is served at the address that is given, and restores by what is
    `found`. What its users upload is removed at the end, and an hour after it came.

    Raises UserError without the extra, and where all PORTS from `port` on are taken.
    """
    with tempfile.TemporaryDirectory(prefix="tfrecon-") as temporary:
        folder = Path(temporary).resolve()
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploaded")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        local = [os.environ.get("NO_PROXY", ""), HOST]  # Gradio asks its own server
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, local))
        gradio: Any = extras.imported("demo", "the page")
        blocks = page(gradio, Workshop(found, folder / "workshop"))
        here = Path(__file__).parent
        script = (here / "web_page.js").read_text(encoding="utf-8")
        font = ["system-ui", "sans-serif"]
        try:
            _, address, _ = blocks.launch(
                server_name=host, server_port=free_port(port, host), prevent_thread_lock=True,
                quiet=True, share=False, ssr_mode=False, run_history=False, footer_links=[],
                enable_monitoring=False, max_file_size=f"{FILE_MB}mb", pwa=False,
                theme=gradio.themes.Default(font=font, font_mono=["ui-monospace", "monospace"]),
                css_paths=here / "web_page.css", head=f"<script>{script}</script>",
                app_kwargs={"middleware": [(_with_policy, (), {})]},
            )  # fmt: skip
            yield address
        finally:
            blocks.close(verbose=False)


def free_port(first: int, host: str) -> int:
    """The first port from `first` on at which nobody listens. Raises UserError where all of PORTS
    are taken."""
    for port in range(first, min(first + PORTS, 2**16)):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind((host, port))
            return port
    raise UserError(f"the {PORTS} ports from {first} on are in use; give another with --port")


def show(address: str) -> None:
    """Opens the page in the user's browser, where there is a display."""
    if platforms.has_display():
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(address)


def page(gradio: Any, workshop: Workshop) -> Any:
    """The page, as Gradio's Blocks."""
    with gradio.Blocks(
        title="tfrecon", analytics_enabled=False, delete_cache=(600, 3600)
    ) as blocks:
        with gradio.Tab("Restore"):
            _restoring(gradio, workshop)
        with gradio.Tab("Invert"):
            _inverting(gradio, workshop)
    blocks.queue(default_concurrency_limit=1, max_size=20, api_open=False)
    return blocks


def _restoring(gradio: Any, workshop: Workshop) -> None:
    masked = {choice.name: choice.has_mask for choice in workshop.choices.values()}
    named = [
        (": ".join(filter(None, (c.name, c.title))), c.name) for c in workshop.choices.values()
    ]
    first = next(iter(masked))
    with gradio.Row():
        with gradio.Column(min_width=300):
            photos = _files(gradio, "Photos: drop, paste or choose", "photos")
            choice = gradio.Dropdown(named, value=first, label="Restore with", filterable=False)
            with gradio.Group(visible=masked[first]) as damage:
                canvas = gradio.HTML(painter(None), elem_id="painter")
                masks = _files(gradio, "or choose masks, white = damaged", "masks")
            painted = gradio.Textbox(visible=False)
            start = gradio.Button("Restore", variant="primary", elem_id="restore")
        with gradio.Column(min_width=300):
            said = gradio.HTML(elem_id="said")
            pairs = gradio.HTML(elem_id="pairs")
            download = gradio.DownloadButton("Download", visible=False, elem_id="download")

    told = gradio.Progress()

    hidden = gradio.DownloadButton(visible=False)

    def look(paths: list[str] | None) -> tuple[Any, ...]:
        samples = served.looked_at(paths) if paths else []
        first = served.shown_sample(samples[0]) if samples else None
        return painter(first), _paragraphs(map(served.about, samples)), "", hidden

    def restore(
        paths: list[str] | None, name: str, chosen: list[str] | None, drawn: str | None,
        progress: Any = told,
    ) -> tuple[Any, ...]:  # fmt: skip
        mask = base64.b64decode(drawn.partition(",")[2]) if drawn else None
        done = workshop.restored(paths or [], name, chosen or [], mask, progress)
        shown = "".join(before_and_after(*pair) for pair in done.pairs)
        label = f"Download {done.file.name}"
        return _paragraphs(done.said), shown, gradio.DownloadButton(label, done.file, visible=True)

    def turned(name: str) -> Any:
        return gradio.Group(visible=masked[name])

    photos.change(
        _told(look, workshop, lambda wrong: (painter(None), wrong, "", hidden)), photos,
        [canvas, said, pairs, download], api_visibility="private", show_progress_on=said,
    )  # fmt: skip
    choice.change(turned, choice, damage, api_visibility="private", show_progress="hidden")
    start.click(
        _told(restore, workshop, lambda wrong: (wrong, "", hidden)),
        [photos, choice, masks, painted], [said, pairs, download],
        js="(...values) => [...values.slice(0, 3), window.tfreconPainted()]",
        concurrency_id="model", api_visibility="private", show_progress_on=said,
    )  # fmt: skip


def _inverting(gradio: Any, workshop: Workshop) -> None:
    places = [f"{name} {tap}" for name, taps in taps_here().items() for tap in taps]
    if not places:
        gradio.Markdown(
            f"No weights of a network are on this machine: put one of the files that `tfrecon fit "
            f"--list backbones` names into `${VARIABLE}`, and start again."
        )
        return
    with gradio.Row():
        with gradio.Column(min_width=300):
            photo = gradio.File(label="Photo", file_types=KINDS, elem_id="inverted")
            place = gradio.Dropdown(places, label="Network and tap", filterable=False)
            refined = gradio.Checkbox(label="Refine and certify (minutes)")
            start = gradio.Button("Invert", variant="primary", elem_id="invert")
            gradio.Markdown("The first time a decoder of the tap is fitted, in a minute or two.")
        with gradio.Column(min_width=300):
            said = gradio.HTML(elem_id="inverted-said")
            pictures = gradio.HTML(elem_id="pictures")

    def invert(path: str | None, tap: str, certify: bool) -> tuple[str, str]:
        found, line = workshop.inverted([path] if path else [], tap, certify)
        shown = "".join(
            f'<figure><img src="{_data(webp)}" alt="{html.escape(name)}">'
            f"<figcaption>{html.escape(name)}</figcaption></figure>"
            for name, webp in found
        )
        return _paragraphs([line]), f'<div class="pictures">{shown}</div>'

    start.click(
        _told(invert, workshop, lambda wrong: (wrong, "")), [photo, place, refined],
        [said, pictures], concurrency_id="model", api_visibility="private", show_progress_on=said,
    )  # fmt: skip


def painter(webp: bytes | None) -> str:
    """The photo to paint on, and what changes the brush; see ``web_page.js``."""
    if webp is None:
        return "<p>Choose a photo, then paint over what is damaged.</p>"
    return f"""<div class="brush">
<label>Brush <input type="range" min="2" max="100" value="24"></label>
<button type="button" name="undo">Undo</button> <button type="button" name="clear">Clear</button>
</div><div class="painting"><img src="{_data(webp)}" alt="the photo"><canvas tabindex="0"
role="img" aria-label="Mask. Drag to paint; or arrows to move, space to paint."></canvas></div>"""


def before_and_after(name: str, before: bytes, after: bytes) -> str:
    """A photo before and after its restoration, with a slider between them."""
    name = html.escape(name)
    return f"""<figure class="pair"><img src="{_data(before)}" alt="{name} before">
<img class="after" src="{_data(after)}" alt="{name} restored"><input type="range" value="50"
aria-label="{name}: how much of the photo before is shown"><figcaption>{name}: left before, right
restored</figcaption></figure>"""


def _files(gradio: Any, label: str, name: str) -> Any:
    return gradio.File(
        label=label, file_count="multiple", file_types=KINDS, elem_id=name, height=140
    )


def _data(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def _paragraphs(lines: Any) -> str:
    return "".join(f'<p role="status">{html.escape(line)}</p>' for line in lines)


def _told(
    work: Callable[..., Any], workshop: Workshop, answer: Callable[[str], Any]
) -> Callable[..., Any]:
    """`work`, whose errors become what `answer` makes of a sentence."""

    @functools.wraps(work)
    def told(*values: Any, **others: Any) -> Any:
        try:
            return work(*values, **others)
        except Exception as error:
            said = sentence(error)
            if not said:
                traceback.print_exc()
                said = f"this went wrong: {type(error).__name__}; the terminal says where"
            said = served.plain(said, workshop.folder.parent)
            return answer(f'<p role="alert" class="wrong">{html.escape(said)}</p>')

    return told


def _with_policy(app: Any) -> Any:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", POLICY)
                message = {**message, "headers": [*message["headers"], policy]}
            await send(message)

        await app(scope, receive, sent)

    return answer
