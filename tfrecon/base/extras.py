"""The packages that tfrecon requires, and those that only some uses need: extras of pip. Each is
named where it is missing."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
from importlib import metadata
from types import ModuleType
from typing import TYPE_CHECKING

from tfrecon.base import facts, platforms
from tfrecon.base.errors import UserError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

EXTRAS = {
    "completion": ["shtab"],
    "kaggle": ["kagglehub", "kaggle"],
    "pandas": ["pandas", "pyarrow"],
    "tfds": ["tensorflow_datasets", "importlib_resources"],  # a download needs it, unsaid
    "wandb": ["wandb"],
    "mlflow": ["mlflow"],
    "hub": ["huggingface_hub"],
    "demo": ["gradio"],
    "litert": ["ai_edge_litert"],
    "onnx": ["onnx", "tf2onnx", "onnxruntime"],
    "ray": ["ray", "pyarrow", "pandas"],
    "search": ["optuna"],
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


def imported(extra: str, what: str, module: str | None = None) -> ModuleType:
    """The first module of an extra, or the one that is named. Raises what `check` raises."""
    check(extra, what)
    return importlib.import_module(module or EXTRAS[extra][0])


NO_AVX = (
    "this processor has no AVX, which TensorFlow's packages need: take another machine, or let a "
    "virtual one have the processor of its host"
)


def required() -> tuple[list[Requirement], str]:
    """What tfrecon requires, packages and Python, as the checkout says, which is newer than its
    installation may be, or as it is installed."""
    from packaging.requirements import Requirement

    checkout, listed, python = facts.PACKAGE.parent, [], ""
    with contextlib.suppress(metadata.PackageNotFoundError):
        listed = metadata.requires("tfrecon") or []
        python = metadata.metadata("tfrecon").get("Requires-Python", "")
    if (checkout / "pyproject.toml").is_file():
        listed = (checkout / "requirements.txt").read_text(encoding="utf-8").split()
    needed = [Requirement(text) for text in listed]
    needed = [each for each in needed if not each.marker or each.marker.evaluate({"extra": ""})]
    return needed, python


def version(package: str) -> str | None:
    """The version of a package that is installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def misfit(needed: Requirement) -> str:
    """What is wrong with a package, and the command that mends it; nothing where it fits."""
    here = version(needed.name)
    if here and needed.specifier.contains(here, True):
        return ""
    what = f"{here} is not {needed.specifier}" if here else "is missing"
    return f'{needed.name} {what}; pip install "{needed.name}{needed.specifier}"'


@functools.cache
def check_tensorflow() -> None:
    """Raises UserError, before they are imported, for a TensorFlow or Keras of another version than
    tfrecon is made for, and for a processor on which TensorFlow ends the process."""
    if platforms.lacks_avx():
        raise UserError(NO_AVX)
    for needed in required()[0]:  # one that is missing may have come under another name
        is_there = needed.name in ("tensorflow", "keras") and version(needed.name)
        if is_there and (wrong := misfit(needed)):
            raise UserError(wrong)
