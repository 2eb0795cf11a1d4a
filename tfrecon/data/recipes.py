"""Finds the recipe that a configuration names and asks it for samples.

A recipe is a module (or any object) with

- ``samples(root, split, **options) -> list[Sample]``: `root` is a Path or None, `split` one of
  ``SPLITS``; options are keyword arguments, checked against this signature;
- ``SPLITS``: the splits that it has, at least ``("train", "val", "test")``; a competition adds
  ``"submit"``, photos without truth;
- ``DAMAGE`` (optional): a Spec of the damage that is drawn onto targets without an input;
- ``prepare(root)`` (optional): downloads the files into `root`, in the layout that it reads.

Recipes of the project live in the package `data_pipelines`, one module each; a user's own is named
by its dotted path, ``my_package.my_recipe``.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

from tfrecon.base.errors import UserError, unknown
from tfrecon.base.registry import Spec, check_options
from tfrecon.data.sample import Sample, check_unique

PACKAGE = "data_pipelines"


def names() -> list[str]:
    """The recipes that come with the project, sorted."""
    package = importlib.import_module(PACKAGE)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def find(name: str) -> Any:
    """The recipe called `name`. Raises UserError for an unknown name and for what is no recipe."""
    if "." not in name and name not in names():
        raise unknown("recipe", name, names())
    path = f"{PACKAGE}.{name}" if "." not in name else name
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a console script does not look into the working folder
    try:
        recipe = importlib.import_module(path)
    except ModuleNotFoundError as error:
        raise UserError(
            f"recipe {name!r} cannot be imported ({error}); check the dotted path"
        ) from error
    for attribute in ("samples", "SPLITS"):
        if not hasattr(recipe, attribute):
            raise UserError(
                f"recipe {name!r} has no {attribute!r}; it needs samples(root, split) and SPLITS"
            )
    return recipe


def samples(spec: Spec, root: Path | None, split: str) -> list[Sample]:
    """The samples of one split, in a fixed order.

    Raises UserError for an unknown recipe, option or split, for an empty split, and for whatever
    the recipe finds wrong with the files.
    """
    recipe = find(spec.name)
    options = check_options(recipe.samples, spec, "recipe", {"root": root, "split": split})
    if split not in recipe.SPLITS:
        raise UserError(
            f"recipe {spec.name!r} has no split {split!r}; it has {', '.join(recipe.SPLITS)}"
        )
    found: list[Sample] = recipe.samples(root, split, **options)
    if not found:
        raise UserError(f"recipe {spec.name!r} found no image for split {split!r} under {root}")
    check_unique(found)
    return found


def prepare(spec_name: str, root: Path | None) -> None:
    """Lets a recipe download its files into `root`, which is made where it does not exist.

    Raises UserError for an unknown recipe, one that cannot download, and for no `root`.
    """
    recipe = find(spec_name)
    if not hasattr(recipe, "prepare"):
        able = [name for name in names() if hasattr(find(name), "prepare")]
        raise UserError(
            f"recipe {spec_name!r} has nothing to download (these have: {', '.join(able)}); "
            "leave --prepare out"
        )
    if root is None:
        raise UserError(
            f"preparing {spec_name!r} needs a folder to write to; give it with --root DIR"
        )
    recipe.prepare(root)


def required_root(root: Path | None, recipe: str) -> Path:
    """`root`, or a UserError that says the recipe needs an existing folder."""
    if root is None:
        raise UserError(f"recipe {recipe!r} needs a folder; give it with --root DIR")
    if not root.is_dir():
        raise UserError(
            f"folder {str(root)!r} does not exist; give an existing one with --root DIR"
        )
    return root
