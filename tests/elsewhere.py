"""What processes other than the tests' own begin with: named here, so that they can import it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tfrecon.base.errors import UserError
from tfrecon.base.spread import Work


def mortal(export: Path, flag: Path) -> Any:
    """The restorer of an export; the first process to restore a third photo is killed by it."""
    from tfrecon.inference.restorer import Loaded, open_export

    opened, seen = open_export(export), []

    def restore(x: Any) -> Any:
        seen.append(None)
        if len(seen) == 3 and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return opened.restore(x)

    return Loaded(opened.title, opened.identity, opened.has_mask, restore)


def dividing(by: int) -> Work[int, float]:
    """Quotients. Of 13 the user is told, of 14 the process dies."""

    def work(numbers: Iterable[int]) -> Iterator[float]:
        for number in numbers:
            if number == 13:
                raise UserError("13 is unlucky; take 12")
            if number == 14:
                os.kill(os.getpid(), signal.SIGKILL)
            yield number / by

    return work


def small_decoder(backbone: str, tap: str) -> Any:
    """A decoder that is fitted in a second."""
    from tfrecon.inference import inversion

    inversion.DECODER = {"name": "boosted", "stages": 1, "kernel_size": 3}
    inversion.IMAGES, inversion.SIDE = (16, 16), (32, 32)
    return inversion.fitted(backbone, tap, "none")
