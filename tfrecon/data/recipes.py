"""Finds the recipe that a configuration names, and asks it for samples.

A recipe is a module (or any object) with

- ``samples(root, split, **options) -> list[Sample]``: `root` is a Path or None, `split` one of
  ``SPLITS``; options are keyword arguments, checked against this signature;
- ``SPLITS``: the splits that it has, at least ``("train", "val", "test")``; a competition adds
  ``"submit"``, photos without truth;
- ``DAMAGE`` (optional): a Spec of the damage that is drawn onto targets without an input;
- ``prepare(root)`` (optional): downloads or makes the files in `root`, in the layout that it reads;
  it may take options of ``samples``, too; with ``prepare(root, competition)`` from Kaggle, where
  `competition` is its name in its address (`tfrecon.base.kaggle.download`).

Recipes of the project are the modules of `data_pipelines`. A user's own is a file
``data_pipelines/NAME.py`` of the working folder, named NAME, or any importable module or object,
named by its dotted path ``my_package.my_recipe``.
"""

import inspect
from pathlib import Path
from typing import Any

from tfrecon.base import facts
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec, check_options
from tfrecon.data.sample import Sample, check_unique


def names() -> list[str]:
    """The recipes that come with the project, sorted."""
    return list(facts.shipped(facts.RECIPES))


def find(name: str) -> Any:
    """The recipe called `name`. Raises UserError for an unknown name and for what is no recipe."""
    return facts.module(facts.RECIPES, name, ("samples", "SPLITS"))


def check(spec: Spec) -> dict[str, Any]:
    """The options of a recipe, as its ``samples`` takes them. Raises UserError for an unknown
    recipe or option, before the recipe looks at any file."""
    return check_options(find(spec.name).samples, spec, "recipe", ("root", "split"))


def samples(spec: Spec, root: Path | None, split: str) -> list[Sample]:
    """The samples of one split, in a fixed order.

    Raises UserError for an unknown recipe, option or split, for an empty split, and for whatever
    the recipe finds wrong with the files.
    """
    recipe, options = find(spec.name), check(spec)
    if split not in recipe.SPLITS:
        raise UserError(
            f"recipe {spec.name!r} has no split {split!r}; it has {', '.join(recipe.SPLITS)}"
        )
    listed: list[Sample] = recipe.samples(root, split, **options)
    if not listed:
        raise UserError(
            f"recipe {spec.name!r} found no image for split {split!r} under {root}; "
            "--root is the folder that holds all splits"
        )
    check_unique(listed)
    return listed


def prepare(spec: Spec | str, root: Path | None, competition: str | None = None) -> None:
    """Lets a recipe download its files into `root`, which is made where it does not exist; it gets
    those of its options that its ``prepare`` takes, and the name of its `competition`.

    Raises UserError for an unknown recipe, one that cannot download, for no `root`, and for no
    `competition` where it takes one, or one that it does not take.
    """
    spec = Spec.parse(spec, "data.recipe")
    recipe, options = find(spec.name), check(spec)
    if not hasattr(recipe, "prepare"):
        able = [name for name in names() if hasattr(find(name), "prepare")]
        raise UserError(
            f"recipe {spec.name!r} has nothing to download (these have: {', '.join(able)}); "
            "leave --prepare out"
        )
    if root is None:
        raise UserError(
            f"preparing {spec.name!r} needs a folder to write to; give it with --root DIR"
        )
    takes = inspect.signature(recipe.prepare).parameters
    if ("competition" in takes) != (competition is not None):
        raise UserError(
            f"the data of {spec.name!r} comes from Kaggle; name the competition as in its address, "
            "www.kaggle.com/competitions/NAME, with --competition NAME"
            if competition is None
            else f"the data of {spec.name!r} comes from no competition; leave --competition out"
        )
    given = {**options, "competition": competition}
    recipe.prepare(root, **{name: given[name] for name in given if name in takes})


def required_root(root: Path | None, recipe: str) -> Path:
    """`root`, or a UserError that says the recipe needs an existing folder."""
    if root is None:
        raise UserError(f"recipe {recipe!r} needs a folder; give it with --root DIR")
    if not root.is_dir():
        raise UserError(
            f"folder {str(root)!r} does not exist; give an existing one with --root DIR"
        )
    return root
