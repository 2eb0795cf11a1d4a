"""The page of ``tfrecon demo`` as a hosted space: ``python app.py [ADDRESS]``."""

import signal
import sys
import time

from tfrecon.base.cli import start_tensorflow


def main(host: str = "0.0.0.0") -> None:
    """Serves the page until the process ends; a space forwards its visitors to port 7860."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that what came is removed
    start_tensorflow()
    from tfrecon.inference.served import choices
    from tfrecon.inference.web_page import served_page

    with served_page(choices(), host=host) as address:
        print(f"the page is at {address}", flush=True)
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
