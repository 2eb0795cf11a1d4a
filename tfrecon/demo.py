"""``python -m tfrecon.demo``: a web page on this machine that restores photos and inverts them."""

import argparse
import functools
import sys
import time

from tfrecon.base import extras
from tfrecon.base.cli import Parser, positive, run, start_tensorflow


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "demo",
        "Opens a page in the browser, served by this machine for itself alone: photos are\n"
        "dropped, pasted or chosen, a mask is painted or chosen, and what reconstruct makes of\n"
        "them is shown and downloaded. A second page shows what a tap of a network knows of a\n"
        "photo. Ctrl-C ends it.",
    )
    options.add_argument(
        "place", nargs="?", metavar="EXPORT|RUN|PRESET",
        help="what restores at first; presets and the exports in exports/ can be chosen besides",
    )  # fmt: skip
    options.add_argument(
        "--port", type=positive, default=7860, help="of the page; the next one where it is in use"
    )
    options.flag("--no-browser", "print the address alone")
    return options


def _demo(arguments: argparse.Namespace) -> None:
    extras.check("demo", "the page")
    start_tensorflow()
    from tfrecon.inference.served import choices
    from tfrecon.inference.web_page import served_page, show

    found = choices(arguments.place, arguments.trust_code)
    with served_page(found, arguments.port) as address:
        print(f"the page is at {address}; Ctrl-C ends it", flush=True)
        if not arguments.no_browser:
            show(address)
        while True:  # which Ctrl-C ends on Windows, too
            time.sleep(1)


main = functools.partial(run, parser, _demo)

if __name__ == "__main__":
    sys.exit(main())
