"""What ships beside the library: configurations, recipes of data sets, key formats of competitions,
presets.

In a checkout they are folders of the repository, in an installed wheel they are part of the package
`tfrecon`; `folder` finds them in both, whatever the working folder and ``sys.path`` are.

A user's own recipe is a file ``data_pipelines/NAME.py`` in the working folder, a user's own key
format a file ``kaggle_submission/NAME.py``; each is used by its NAME. A file named like one that
ships is left alone: the one that ships is used, and a line on stderr says so. All other code of a
user (models, losses, metrics, …) is named by its dotted path, which `imported` follows.
"""

import contextlib
import difflib
import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from tfrecon.base.errors import UserError, unknown

CONFIGS, RECIPES, COMPETITIONS = "configs", "data_pipelines", "kaggle_submission"
PRESETS = "presets"
"""The folders of what ships."""

INSIDE = {PRESETS: "preset_files"}
"""Their names in a wheel where they differ: ``tfrecon.presets`` is a function."""

WHAT = {RECIPES: "recipe", COMPETITIONS: "competition"}
"""What a module of each folder is called in error messages."""

_trusted: set[str] | None = None
"""The dotted paths that `imported` may follow; None: all."""

PACKAGE = Path(__file__).parents[1]
"""The folder of `tfrecon` itself."""


def version() -> str:
    """That of tfrecon, as it is installed."""
    try:
        return metadata.version(PACKAGE.name)
    except metadata.PackageNotFoundError:
        return "0+unknown"  # run from a checkout that was never installed


def folder(kind: str) -> Path:
    """The folder of what ships: inside the package (a wheel), or else beside it (a checkout)."""
    inside = PACKAGE / INSIDE.get(kind, kind)
    return inside if inside.is_dir() else PACKAGE.parent / kind


def configurations() -> dict[str, Path]:
    """Name → file of the configurations and studies that ship, e.g. ``pix2pix/demo``, sorted."""
    top = folder(CONFIGS)
    paths = sorted(top.rglob("*.toml"))
    return {path.relative_to(top).with_suffix("").as_posix(): path for path in paths}


def configuration(name: str) -> Path:
    """The file that `name` stands for: a file of this path, or else the configuration that ships
    under this name, which may be written with ``.toml`` and with ``configs/`` before it.

    Raises UserError with the nearest name where there is neither.
    """
    path, known = Path(name), configurations()
    short = name.removeprefix(f"{CONFIGS}/").removesuffix(".toml")
    if short in known and not path.is_file():
        return known[short]
    if path.exists():
        return path
    near = difflib.get_close_matches(short, known, n=1)
    raise UserError(
        f"configuration file {name!r} does not exist, and none that ships is called {short!r}; "
        + (f"did you mean {near[0]!r}?" if near else "fit --list configs prints those")
    )


def purpose(path: Path) -> str:
    """The first line of the comment at the head of a configuration: what it is for."""
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("#").strip()


def shipped(kind: str) -> dict[str, Path]:
    """Name → file of the recipes or key formats that ship, sorted by name."""
    return _modules(folder(kind))


def of_user(kind: str) -> dict[str, Path]:
    """Name → file of the recipes or key formats in the working folder, sorted by name."""
    here = Path.cwd() / kind
    return {} if here.resolve() == folder(kind).resolve() else _modules(here)


def module(kind: str, name: str, needs: Sequence[str]) -> Any:
    """The recipe or key format called `name`: one that ships, or else the user's in the working
    folder; a name with dots is a path that `imported` follows.

    Raises UserError for an unknown name, and for a module that lacks an attribute of `needs`.
    """
    what, ships, users = WHAT[kind], shipped(kind), of_user(kind)
    if "." in name:
        loaded = imported(name, what)
    elif name in ships:
        if name in users:
            _say_not_used(what, name, users[name])
        loaded = _loaded(f"{PACKAGE.name}.{kind}.{name}", ships[name])
    elif name in users:
        loaded = _loaded(f"user_{kind}_{name}", users[name])
    else:
        raise unknown(what, name, {*ships, *users})
    for attribute in needs:
        if not hasattr(loaded, attribute):
            raise UserError(f"{what} {name!r} has no {attribute!r}; it needs {' and '.join(needs)}")
    return loaded


def imported(dotted: str, kind: str) -> Any:
    """What the path names: an attribute of a module (``my_models.my_unet``), or else a module.

    The working folder is looked in last, for what is not installed. Raises UserError, which calls
    it a `kind`, for a path that leads nowhere, and for one that only a file names which a command
    was given: importing runs code, and runs and reports may come from strangers.
    """
    if not all(part.isidentifier() for part in dotted.split(".")):
        raise UserError(f"{kind} {dotted!r} is no dotted path, such as my_package.my_{kind}")
    if _trusted is not None and dotted not in _trusted and not dotted.startswith("tfrecon."):
        raise UserError(
            f"{kind} {dotted!r} is named by a file and not by you, and to import it runs its code; "
            "if you trust who made the file, add --trust-code"
        )
    if not {"", os.getcwd()} & {*sys.path}:
        sys.path.append(os.getcwd())  # a console script does not look into the working folder
    home, _, name = dotted.rpartition(".")
    try:
        module = importlib.import_module(home)
        # A package may hold a builder and a module of one name; the builder is meant.
        return getattr(module, name) if hasattr(module, name) else importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{kind} {dotted!r} cannot be imported ({error}); check the dotted path"
        ) from error


@contextlib.contextmanager
def only_names_in(text: str | None) -> Iterator[None]:
    """In the block `imported` follows only paths that stand in `text`, or in what `trust` adds to
    it; with None, and outside of such a block, all."""
    global _trusted
    before, _trusted = _trusted, None if text is None else _names(text)
    try:
        yield
    finally:
        _trusted = before


def trusted() -> str | None:
    """What `only_names_in` lets another process follow the same paths by."""
    return None if _trusted is None else " ".join(sorted(_trusted))


def trust(text: str) -> None:
    """Lets `imported` follow the paths that stand in `text`, a configuration of the user's own."""
    if _trusted is not None:
        _trusted.update(_names(text))


def _names(text: str) -> set[str]:
    return set(re.findall(r"\w+(?:\.\w+)+", text))


def _modules(place: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(place.glob("*.py")) if path.stem != "__init__"}


@functools.cache
def _loaded(name: str, path: Path) -> ModuleType:
    """The module in the file `path`, run once in a process under a name that hides no other."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{str(path)!r} cannot be read as a Python file; correct its name")
    made = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(made)
    except ModuleNotFoundError as error:
        raise UserError(f"{str(path)!r} cannot be imported ({error}); install it") from error
    return made


@functools.cache  # said once in a process
def _say_not_used(what: str, name: str, path: Path) -> None:
    print(
        f"{what} {name!r} is the one of tfrecon; {str(path)!r} has the same name and is not used "
        "(rename it to use it)",
        file=sys.stderr,
    )
