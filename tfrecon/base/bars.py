"""Progress bars, which fit a terminal and a notebook."""

import os
import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "IProgress not found")  # a notebook without widgets
    from tqdm.auto import tqdm as _Bar


class tqdm(_Bar):
    """A bar of tqdm's, drawn by widgets in a notebook that has them. None is shown where the
    variable TQDM_DISABLE is set, as ``--quiet`` sets it."""

    def __init__(self, *arguments: Any, disable: bool | None = False, **options: Any) -> None:
        hidden = bool(os.environ.get("TQDM_DISABLE")) or disable
        super().__init__(*arguments, disable=hidden, **options)
