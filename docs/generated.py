"""Hooks of MkDocs: what pages have of the source, the files that they link to, and the check of the
built site. Nothing is a copy: options, errors and commands are read from the code, and whole files
of the repository, such as the change log, become pages.
"""

from __future__ import annotations

import ast
import dataclasses
import html
import importlib
import inspect
import itertools
import json
import logging
import os
import re
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from types import UnionType
from typing import Annotated, Any, Union
from urllib.parse import unquote, urlsplit

import tfrecon
from tfrecon.__main__ import VERBS
from tfrecon.base import registry
from tfrecon.base.config import DataConfig, FitConfig
from tfrecon.base.registry import Bound, Spec

ROOT = Path(__file__).parents[1]
SOURCES = "tfrecon", "data_pipelines", "kaggle_submission"

WHOLE = {
    "project/changelog.md": "CHANGELOG.md",
    "project/contributing.md": "CONTRIBUTING.md",
    "project/tests.md": "tests/README.md",
    "reference/security.md": "SECURITY.md",
    "reference/examples.md": "examples/README.md",
    "reference/recipes.md": "data_pipelines/README.md",
    "reference/competitions.md": "kaggle_submission/README.md",
    "reference/configurations.md": "configs/README.md",
    "results/measured.md": "benchmarks/RESULTS.md",
    "results/history.md": "benchmarks/HISTORY.md",
}
"""Files of the repository that are pages, by the page's place."""

log = logging.getLogger("mkdocs.tfrecon")


# --- commands, settings, parts


def commands() -> str:
    """The help of every verb."""
    os.environ["COLUMNS"] = "100"
    parts: list[str] = []
    for verb in VERBS:
        text = importlib.import_module(f"tfrecon.{verb}").parser().format_help()
        parts.append(f"## {verb}\n\n```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts)


def in_words(hint: Any) -> str:
    """A type and its bounds, in the words of the errors that they cause."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        bounds = [f"must {bound}" for bound in arguments[1:] if isinstance(bound, Bound)]
        return in_words(arguments[0]) + (f" ({'; '.join(bounds)})" if bounds else "")
    if typing.get_origin(hint) in (Union, UnionType):
        return " or ".join(map(in_words, arguments))
    named = {Any: "anything", type(None): "none", Spec: "a name, or a table with `name`"}
    named[list[Spec]] = "a list of names and tables with `name`"
    return named.get(hint) or registry.describe(hint)


def as_set(value: Any) -> str:
    """A default as ``--set`` takes it."""
    if isinstance(value, Spec) and not value.options:
        value = value.name
    return "none" if value is None else json.dumps(value, default=Spec.to_dict)


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def table(*heads: str, rows: Iterable[str]) -> str:
    """A Markdown table."""
    return "\n".join([row(*heads), row(*["---"] * len(heads)), *rows])


def field_docstrings(kind: type) -> dict[str, str]:
    """The text below each field of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: text.value.value  # type: ignore[union-attr]
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def settings() -> str:
    """Every key of ``[data]`` and ``[fit]``, from the dataclasses."""
    parts: list[str] = []
    for section, kind in (("data", DataConfig), ("fit", FitConfig)):
        hints = typing.get_type_hints(kind, include_extras=True)
        texts, defaults = field_docstrings(kind), kind()
        rows = [
            row(f"`{section}.{field.name}`", in_words(hints[field.name]),
                f"`{as_set(getattr(defaults, field.name))}`", texts[field.name])
            for field in dataclasses.fields(kind)
        ]  # fmt: skip
        parts += [
            f"## [{section}]",
            inspect.getdoc(kind) or "",
            table("key", "value", "default", "", rows=rows),
        ]
    return "\n\n".join(parts)


def split_docstring(builder: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """A docstring without its ``Args:``, and the meaning of each argument in there."""
    text, _, listed = (inspect.getdoc(builder) or "").partition("\nArgs:\n")
    listed = listed.split("\n\n")[0]
    found = re.findall(r"^ {4}([\w, ]+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE)
    return text.strip(), {name: words for names, words in found for name in names.split(", ")}


def options(prefix: str, builder: Callable[..., Any], context: Iterable[str]) -> str:
    """The table of a builder's options."""
    text, meanings = split_docstring(builder)
    hints = typing.get_type_hints(builder, include_extras=True)
    rows = [
        row(f"`{prefix}.{name}`", in_words(hints.get(name, Any)),
            "required" if one.default is one.empty else f"`{as_set(one.default)}`",
            meanings.get(name, ""))
        for name, one in inspect.signature(builder).parameters.items()
        if name not in context and one.kind is not one.VAR_KEYWORD
    ]  # fmt: skip
    heads = ("key", "value", "default", "")
    return "\n\n".join([text, *([table(*heads, rows=rows)] if rows else [])])


def parts() -> str:
    """Models, decoders, damages and the other parts that a setting names, with their options."""
    from tfrecon.backbones import BACKBONES, describe
    from tfrecon.data import recipes
    from tfrecon.data.damage import DAMAGES
    from tfrecon.inference.methods import METHODS
    from tfrecon.layers.defences import DEFENCES
    from tfrecon.losses import LOSSES
    from tfrecon.metrics.logged import METRICS
    from tfrecon.models import CONTEXT, MODELS, builder
    from tfrecon.models.feature_inversion import CONTEXT as OF_INVERSION
    from tfrecon.networks.decoders import DECODERS
    from tfrecon.networks.fusion import FUSIONS
    from tfrecon.training.optimizers import OPTIMIZERS

    read = {name: recipes.find(name).samples for name in recipes.names()}
    kinds: list[tuple[str, str, dict[str, Any], Iterable[str]]] = [
        ("Models", "model", {name: builder(name) for name in MODELS}, CONTEXT),
        ("Decoders", "model.decoder", dict(DECODERS), OF_INVERSION),
        ("Fusions", "model.fusion", dict(FUSIONS), OF_INVERSION),
        ("Defences", "model.defence", dict(DEFENCES), ()),
        ("Recipes", "data.recipe", read, ("root", "split")),
        ("Damages", "data.damage", dict(DAMAGES), ()),
        ("Losses", "fit.loss", dict(LOSSES), ()),
        ("Optimizers", "fit.optimizer", dict(OPTIMIZERS), ("learning_rate",)),
        ("Methods without training", "method", dict(METHODS), ()),
    ]  # fmt: skip
    pages: list[str] = []
    for title, prefix, builders, context in kinds:
        pages.append(f"## {title}")
        for name, build in builders.items():
            pages += [f"### {name} {{ #{prefix}-{name} }}", options(prefix, build, context)]
    pages.append("## Metrics")
    pages.append(
        table(
            "metric", "", rows=(row(f"`{n}`", inspect.getdoc(m) or "") for n, m in METRICS.items())
        )
    )
    listed = "\n".join(describe(name) for name in BACKBONES)
    pages.append("## Backbones\n\nTheir taps, with shapes for a photo, and weight sets.")
    pages.append(f"```text\n{listed}\n```")
    return "\n\n".join(pages)


def api() -> str:
    """The public names."""
    homes = tfrecon._HOMES  # pyright: ignore[reportPrivateUsage]
    entries = (
        f"::: {home}.{name}\n    options: {{ heading_level: 2 }}" for name, home in homes.items()
    )
    return "\n\n".join(entries)


# --- errors


NEAREST = "; did you mean …?"
"""What did_you_mean gives, which is called near where it has a name."""


def label(node: ast.AST) -> str:
    """What stands in the place of a value: the last name in its expression."""
    if isinstance(node, ast.Call):
        if ast.unparse(node.func) == "did_you_mean":
            return NEAREST
        node = node.args[0] if node.args else node.func
    names = re.findall(r"[a-z]\w+", re.sub(r"'[^']*'", "", ast.unparse(node)))
    return NEAREST if names[-1:] == ["near"] else f"‹{names[-1] if names else 'value'}›"


def said(node: ast.AST) -> list[str]:
    """The texts that an expression can be, a value in ‹›; none where it is no text."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return said(node.body) + said(node.orelse)
    if isinstance(node, ast.BinOp):
        ends = said(node.right) or [label(node.right)]
        return [begin + end for begin in said(node.left) for end in ends]
    if not isinstance(node, ast.JoinedStr):
        return []
    texts = [""]
    for part in node.values:
        inner = part.value if isinstance(part, ast.FormattedValue) else part
        choices = said(inner) or [label(inner)]
        if isinstance(part, ast.FormattedValue) and part.conversion == ord("r"):
            choices = [f"'{choice}'" for choice in choices]
        texts = [text + choice for text in texts for choice in choices]
    return texts


def within(node: ast.AST) -> list[str]:
    """Every sentence inside a function, class or value, docstrings aside."""
    parts: set[int] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Expr):
            parts.add(id(inner.value))
        elif isinstance(inner, ast.JoinedStr | ast.BinOp | ast.IfExp) and said(inner):
            parts |= {id(part) for part in ast.walk(inner) if part is not inner}
    texts = (said(inner) for inner in ast.walk(node) if id(inner) not in parts)
    return [text for text in itertools.chain(*texts) if text.count(" ") > 1]


def values(name: str, tree: ast.AST) -> Iterator[ast.AST]:
    """What a name stands for in a module: functions, and what is assigned or iterated."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            yield node
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.For) and node:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(
                isinstance(t, ast.Name) and t.id == name for one in targets for t in ast.walk(one)
            ):
                value = node.iter if isinstance(node, ast.For) else node.value
                yield from [value] if value else []


def resolved(node: ast.AST, tree: ast.AST, seen: frozenset[str] = frozenset()) -> list[str]:
    """The texts that an expression can be, where it names functions and values of the module."""
    if texts := said(node):
        return texts
    names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)} - seen
    found = [value for name in sorted(names) for value in values(name, tree)]
    return [
        text for value in found
        for text in within(value) or resolved(value, tree, seen | names)
    ]  # fmt: skip


BOUNDARIES: dict[str, Callable[..., str]] = {
    "foreign": lambda what, path, remedy, complaint="is truncated or damaged": (
        f"{what} '{path}' {complaint} (‹reason›); {remedy}"
    ),
    "fitting": lambda remedy: f"the memory is too small (‹reason›); {remedy}",
    "unknown": lambda kind, name, known: f"unknown {kind} '{name}'; did you mean …?",
}
"""What else makes a UserError (tfrecon/base/errors.py), and of what words."""


def of_boundary(call: ast.Call, tree: ast.AST) -> list[str]:
    """The sentences of a call of `BOUNDARIES`."""
    given: list[ast.AST] = []
    for argument in [*call.args, *(word.value for word in call.keywords)]:
        starred = isinstance(argument, ast.Starred) and [*values(ast.unparse(argument.value), tree)]
        given += [*ast.iter_child_nodes(starred[0])][:-1] if starred else [argument]
    words = [said(argument) or [label(argument)] for argument in given]
    return [BOUNDARIES[ast.unparse(call.func)](*each) for each in itertools.product(*words)]


def sentences(path: Path, log: logging.Logger = log) -> list[str]:
    """What the UserErrors of a module say. Logs a warning where one cannot be read."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: list[str] = []
    handlers = (
        node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type
    )
    passed_on = {
        id(inner)
        for node in handlers
        if "UserError" in ast.unparse(node.type or node)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(
            ast.unparse(b) == "UserError" for b in node.bases
        ):
            found += within(node)
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = ast.unparse(node.func)
        if name.rpartition(".")[2] in (
            "UserError",
            "WorkerLost",
            "Taken",
            "ArgumentTypeError",
            "fail",
        ):
            texts = resolved(node.args[0], tree)
            elsewhere = isinstance(node.args[0], ast.Subscript)  # said by another process
            if not texts and id(node) not in passed_on and not elsewhere:
                log.warning("%s:%d: what does this error say?", path, node.lineno)
            found += texts
        elif name in BOUNDARIES:
            found += of_boundary(node, tree)
    return [*dict.fromkeys(" ".join(text.split()) for text in found)]


def errors() -> str:
    """Every sentence that a mistake ends in, with what mends it, by module."""
    parts: list[str] = []
    room = ""
    for path in (path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))):
        if not (texts := sentences(path)):
            continue
        place = path.relative_to(ROOT)
        if (above := "/".join(place.parts[:-1])) != room:
            room = above
            parts.append(f"## {room}")
        purpose = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split(
            "\n\n"
        )[0]
        rows = "".join(
            f"<tr><td>{html.escape(what)}</td><td>{html.escape(remedy)}</td></tr>\n"
            for what, _, remedy in (text.partition("; ") for text in texts)
        )
        heads = "<tr><th>said</th><th>remedy</th></tr>"
        name = place.parent.name if place.stem == "__init__" else place.stem.strip("_")
        parts += [f"### {name}", purpose, f"<table>\n{heads}\n{rows}</table>"]
    return "\n\n".join(parts)


# --- pages


GENERATED = {made.__name__: made for made in (commands, settings, parts, errors, api)}
"""What stands in the place of ``<!-- generated NAME -->``."""

COPIED = "repository/"
"""Where files of the repository lie in the site to which pages link."""

LINK = re.compile(r"`[^`\n]+`|(!?\[[^\]\n]*\]\()([^)\s#:]+)(#[^)\s]*)?(\))")
"""A link that leads to a file; or code, in which there is none."""


def added(files: Any, config: Any, place: str, **content: Any) -> None:
    """Puts a file at a place of the site: its `content`, or that of its `abs_src_path`."""
    from mkdocs.structure.files import File  # pyright: ignore[reportMissingImports]

    files.append(File.generated(config, place, **content))


def relinked(text: str, home: str, place: str, files: Any, config: Any) -> str:
    """Markdown of the file `home` of the repository as the page `place` of the site: what its links
    lead to is a page, or is copied into the site."""

    def found(match: re.Match[str]) -> str:
        if not match[2]:
            return match[0]
        target = os.path.normpath(ROOT / PurePosixPath(home).parent / match[2])
        way = Path(target).relative_to(ROOT).as_posix()
        pages = {source: page for page, source in WHOLE.items()}
        if way.startswith("docs/"):
            page = way.removeprefix("docs/")
        elif way in pages:
            page = pages[way]
        else:
            page = COPIED + way
            if Path(target).is_file() and not files.get_file_from_path(page):
                added(files, config, page, abs_src_path=target)
        return (
            match[1]
            + os.path.relpath(page, PurePosixPath(place).parent or ".")
            + (match[3] or "")
            + match[4]
        )

    # Odd parts are code.
    pieces = re.split(r"(^```.*?^```)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(p if n % 2 else LINK.sub(found, p) for n, p in enumerate(pieces))


def section(path: Path, heading: str) -> str:
    """What stands below a heading of a Markdown file, up to the next of its level."""
    _, found, after = path.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    if not found:
        log.warning("%s has no section %r", path, heading)
    return after.partition("\n## ")[0]


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that do not lie in docs/."""
    for place, source in WHOLE.items():
        added(files, config, place, content=(ROOT / source).read_text(encoding="utf-8"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Puts sections of other files, ``<!-- include FILE#Heading -->``, and what is made of the
    source in their places."""
    place = page.file.src_uri

    def included(match: re.Match[str]) -> str:
        return relinked(section(ROOT / match[1], match[2]), match[1], place, files, config)

    text = relinked(markdown, WHOLE.get(place, f"docs/{place}"), place, files, config)
    text = re.sub(r"<!-- include ([\w./]+)#(.+?) -->", included, text)
    return re.sub(r"<!-- generated (\w+) -->", lambda match: GENERATED[match[1]](), text)


# --- the check of the built site


class Links(HTMLParser):
    """The anchors of a page, where its links lead, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.leads: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps what the tag names."""
        named = {key: value or "" for key, value in attrs}
        self.anchors |= {named[key] for key in ("id", "name") if key in named}
        loads = tag != "a" and named.get("rel") not in ("canonical", "prev", "next")
        kept = self.loads if loads else self.leads
        kept += [named[key] for key in ("href", "src") if key in named]


def on_post_build(config: Any) -> None:
    """Warns of links that lead nowhere, and of what would be loaded from elsewhere."""
    site = Path(config.site_dir)
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    pages.pop(site / "404.html", None)  # its links begin at the root of a server
    checked = 0
    for path, links in pages.items():
        for target in links.loads + links.leads:
            parts = urlsplit(target)
            if parts.scheme in ("http", "https") or parts.netloc:
                if target in links.loads:
                    log.warning("%s loads %s from elsewhere", path, target)
                continue
            if parts.scheme:
                continue
            checked += 1
            file = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            file = file / "index.html" if file.is_dir() else file
            anchor = unquote(parts.fragment)
            if not file.is_file():
                log.warning("%s links to %s, which is not there", path, target)
            elif anchor and file in pages and anchor not in pages[file].anchors:
                log.warning("%s links to %s, a place that is not there", path, target)
    log.info("%d links of %d pages checked", checked, len(pages))
