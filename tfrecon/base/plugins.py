"""A user's own code by its dotted path: ``my_package.my_recipe``, ``my_models.my_unet``."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from tfrecon.base.errors import UserError


def imported(dotted: str, kind: str) -> Any:
    """What the path names: an attribute of a module (``my_models.my_unet``), or else a module.

    The working folder is looked in last, for what is not installed. Raises UserError, which calls
    it a `kind`, for a path that leads nowhere.
    """
    if not all(part.isidentifier() for part in dotted.split(".")):
        raise UserError(f"{kind} {dotted!r} is no dotted path, such as my_package.my_{kind}")
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
