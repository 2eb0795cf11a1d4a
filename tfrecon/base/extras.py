"""Packages that only some uses need: extras of pip, named where they are missing."""

import importlib
import importlib.util
import sys
from types import ModuleType

from tfrecon.base.errors import UserError

EXTRAS = {
    "completion": ["shtab"],
    "pandas": ["pandas", "pyarrow"],
    "tfds": ["tensorflow_datasets", "importlib_resources"],  # a download needs it, unsaid
    "wandb": ["wandb"],
    "mlflow": ["mlflow"],
}
"""The modules of each extra that a user meets."""


def missing(extra: str) -> list[str]:
    """The modules of an extra that are not here."""
    return [
        name
        for name in EXTRAS[extra]
        if sys.modules.get(name) is None and importlib.util.find_spec(name) is None
    ]


def install(extra: str) -> str:
    """The command that adds an extra, in every shell."""
    return f'pip install "tfrecon[{extra}]"'


def check(extra: str, what: str) -> None:
    """Raises UserError, which says `what` needs it, where an extra is not whole."""
    if absent := missing(extra):
        raise UserError(f"{what} needs the package {absent[0]}; add it with {install(extra)}")


def imported(extra: str, what: str) -> ModuleType:
    """The first module of an extra. Raises what `check` raises."""
    check(extra, what)
    return importlib.import_module(EXTRAS[extra][0])
