"""No sentence names an option, a setting or a command that there is not.

The sentences are found in the source, so that a new one is looked at without being listed here.
"""

import ast
import dataclasses
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from tfrecon.__main__ import VERBS
from tfrecon.base.config import DataConfig, FitConfig
from tfrecon.data import recipes
from tfrecon.data.damage import DAMAGES
from tfrecon.inference.methods import METHODS
from tfrecon.models import CONTEXT, MODELS, builder
from tfrecon.training.catalogue import KINDS
from tfrecon.training.optimizers import OPTIMIZERS

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("tfrecon", "data_pipelines", "kaggle_submission")
OPTION = r"(?<![\w-])--[a-z][a-z-]+"
PYTHONS_OWN = {"--help"}


def sentences(path):
    """Each text of a source file that is no docstring, ``{}`` where an f-string puts a value."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            silent |= {id(part) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in silent:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [getattr(part, "value", "") for part in node.values]
            yield "".join(part if isinstance(part, str) else "{}" for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


SENTENCES = [
    (path, text)
    for folder in FOLDERS
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
    for text in sentences(path)
    if " " in text
]


def options_of(verb):
    parser = importlib.import_module(f"tfrecon.{verb}").parser()
    return {name for action in parser._actions for name in action.option_strings}


@pytest.fixture(scope="module")
def options():
    own = {"__main__": {"--version", "--print-completion"}}
    return own | {verb: options_of(verb) for verb in VERBS}


def missing_options(text, verb, options):
    """The options that a sentence names and its command does not take: the command is the one whose
    name stands before, or else `verb`, that of the file, or else any."""
    anywhere = set().union(*options.values())
    text = re.sub(r"(pip install|tensorflow_model_server) [^,;]*", "", text)  # options of others
    for command in re.split(r"(?=python -m tfrecon\.)", text):
        named = re.match(r"python -m tfrecon\.(\w+)", command)
        own = named[1] if named and named[1] in options else verb
        for found in re.finditer(rf"(?:\b({'|'.join(VERBS)}) )?({OPTION})", command):
            takes = options.get(found[1] or own, anywhere) | PYTHONS_OWN
            if found[2] not in takes:
                yield found[2]


def test_every_option_that_a_sentence_names_is_one_of_its_command(options):
    wrong, seen = [], 0
    for path, text in SENTENCES:
        verb = path.stem if path.parent.name == "tfrecon" and path.stem in VERBS else None
        seen += len(re.findall(OPTION, text))
        wrong += [
            f"{path.name}: {name} in {text!r}" for name in missing_options(text, verb, options)
        ]
    assert not wrong, "\n".join(wrong)
    assert seen > 100, "the sentences are no longer found"


def test_every_command_and_list_that_a_sentence_names_is_there():
    wrong = []
    for path, text in SENTENCES:
        for name in re.findall(r"python -m tfrecon\.([\w.]*\w)", text):
            if not importlib.util.find_spec(f"tfrecon.{name}"):
                wrong.append(f"{path.name}: {name}")
        kinds = re.findall(r"(?:fit|see) --list (\w+)", text)
        wrong += [f"{path.name}: --list {kind}" for kind in kinds if kind not in KINDS]
    assert not wrong, "\n".join(wrong)


def settings():
    """Every key that a configuration can have, dotted; options of parts below their key."""

    def options(builders):
        return {key for build in builders for key in inspect.signature(build).parameters}

    known = {f"data.{field.name}" for field in dataclasses.fields(DataConfig)}
    known |= {f"fit.{field.name}" for field in dataclasses.fields(FitConfig)}
    known |= {f"model.{key}" for key in options(map(builder, MODELS)) - {*CONTEXT}}
    known |= {f"method.{key}" for key in options(METHODS.values())}
    known |= {f"data.damage.{key}" for key in {"name", *options(DAMAGES.values())}}
    known |= {f"fit.optimizer.{key}" for key in {"name", *options(OPTIMIZERS.values())}}
    samples = (recipes.find(name).samples for name in recipes.names())
    known |= {f"data.recipe.{key}" for key in options(samples) - {"root", "split"}}
    return known | {"data.recipe.name", "model.name", "fit.loss.name"}


def unknown_settings(text, known):
    found = re.findall(r"(?<![\w./])((?:model|data|fit|method)(?:\.[a-z_0-9]+)+)\b(?!\()", text)
    return [name for name in found if name not in known]


def test_every_setting_that_a_sentence_names_is_there():
    known, wrong, seen = settings(), [], 0
    for path, text in SENTENCES:
        seen += len(re.findall(r"\b(?:model|data|fit)\.[a-z_]", text))
        wrong += [f"{path.name}: {name} in {text!r}" for name in unknown_settings(text, known)]
    assert not wrong, "\n".join(wrong)
    assert seen > 50, "the sentences are no longer found"


def test_what_is_not_there_is_seen(options):
    assert [*missing_options("give --roots DIR, or --root DIR", None, options)] == ["--roots"]
    assert [*missing_options("go on with --resume", "evaluate", options)] == ["--resume"]
    again = "go on with python -m tfrecon.evaluate {} --resume"
    assert [*missing_options(again, "fit", options)] == ["--resume"]
    assert not [*missing_options("look at the pairs (fit --probe)", "evaluate", options)]
    assert unknown_settings("lower fit.rate, or set data.damage.sizes", settings()) == [
        "fit.rate", "data.damage.sizes",
    ]  # fmt: skip
