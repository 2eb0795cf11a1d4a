"""The pages of docs/ and the files that are pages: every code block runs, in the order of its page,
is a file, or says what it needs; nothing of the source is missing in what is made of it."""

from __future__ import annotations

import collections
import html
import importlib
import importlib.util
import logging
import re
import shlex
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
import tensorflow as tf

from tfrecon.__main__ import VERBS
from tfrecon.models import certificates

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"

_spec = importlib.util.spec_from_file_location("generated", DOCS / "generated.py")
assert _spec and _spec.loader
generated: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generated)

PAGES = sorted(DOCS.rglob("*.md")) + [REPOSITORY / source for source in generated.WHOLE.values()]


@dataclass(frozen=True)
class Block:
    """A fenced block: ``bash``, ``python`` or another `language`, and the title above it."""

    language: str
    title: str
    text: str
    place: str

    @property
    def kind(self) -> str:
        """What becomes of it: it is shown, written under its title, run, or needs something."""
        if self.language == "text":
            return "shown"
        if self.title.startswith("needs "):
            return self.title
        if re.fullmatch(r"[\w/]+\.\w+", self.title):
            return "a file"
        return "run" if self.language in ("bash", "python") and not self.title else "unknown"


FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        language, _, title = match[1].partition(" title=")
        line = text[: match.start()].count("\n") + 1
        place = f"{page.relative_to(REPOSITORY)}:{line}"
        found.append(Block(language, title.strip('"'), match[2], place))
    return found


RUN = [page for page in PAGES if any(block.kind == "run" for block in blocks(page))]


def test_every_block_runs_or_says_why_not(capsys):
    found = [block for page in PAGES for block in blocks(page)]
    counts = collections.Counter(block.kind for block in found)
    with capsys.disabled():
        print(f"\n{len(found)} blocks of {len(PAGES)} pages: {dict(counts.most_common())}")
    wrong = [block.place for block in found if block.kind == "unknown"]
    assert not wrong, "give them a language, and a title that is a file's name or begins with needs"
    assert counts["run"] > 30


def test_a_release_has_one_version_and_day():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    cited = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    day = re.search(r"^date-released: (.*)$", cited, re.MULTILINE)
    assert day and f"\nversion: {project['version']}\n" in cited
    heads = re.findall(r"^## (.*)$", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert heads[:2] == ["Unreleased", f"{project['version']} – {day[1]}"]


# --- what is made of the source


def test_every_key_has_its_meaning():
    page = generated.settings()
    assert (
        "| `fit.learning_rate` | a number (must be greater than 0 and finite) | `0.0002` |" in page
    )
    assert "| `data.crop_size` | a whole number (must be 1 or more) or none | `none` |" in page


def test_every_option_of_a_part_is_told():
    page = generated.parts()
    assert "### nafnet { #model-nafnet }" in page and "### folder { #data.recipe-folder }" in page
    assert (
        "| `model.width` | a whole number (must be 1 or more) | `32` | channels at full res" in page
    )
    assert "| `data.damage.size` |" in page and "block1" in page


def test_every_error_is_read(caplog):
    """A sentence in another form than those that are known is a warning, which ends the build."""
    with caplog.at_level(logging.WARNING, "mkdocs.tfrecon"):
        page = generated.errors()
    assert not caplog.records and page.count("<tr><td>") > 450
    for said, remedy in (
        ("folder '‹root›' does not exist", "give an existing one with --root DIR"),
        ("data.load_size (‹load_size›) must be at least data.‹crop› (‹side›): training", ""),
        ("torch file '‹path›' is truncated or damaged (‹reason›)", "fetch it again"),
    ):
        assert re.search(f"<td>{re.escape(html.escape(said))}.*</td><td>{remedy}", page), said


def test_an_error_in_another_form_is_seen(tmp_path, caplog):
    path = tmp_path / "module.py"
    path.write_text("def f(x):\n    raise UserError(x.text)\n", encoding="utf-8")
    assert generated.sentences(path) == [] and "what does this error say?" in caplog.text
    path.write_text(
        "def g(a):\n    return f'{a!r} is bad; mend it'\n"
        "def f(x):\n    raise UserError('no ' + g(x) if x else 'none; give one')\n",
        encoding="utf-8",
    )
    assert generated.sentences(path)[-1] == "none; give one"


def test_links_between_pages_lead_somewhere():
    """What the build checks of the whole site, here for the sources and without MkDocs."""
    wrong = []
    for page in PAGES:
        for target in generated.LINK.findall(re.sub(FENCE, "", page.read_text(encoding="utf-8"))):
            path = (page.parent / target[1]).resolve()  # of code: its own folder
            if not path.exists():
                wrong.append(f"{page.relative_to(REPOSITORY)}: {target[1]}")
    assert not wrong


# --- every block runs


STEPS = "--steps 2 --set fit.steps_per_epoch=2 --set fit.batch_size=2 --set data.image_size=64"
CROPS = f"{STEPS} --set data.load_size=64 --set data.crop_size=32"
SMALL = f"{CROPS} --set model.width=4"
BOXES = "'data.damage={name=\"boxes\", size=16}'"
INVERSION = "--set model.backbone=squeezenet1_1 --set model.weights=none"
SMALLER = {
    "index.md": {"fit --config": f"fit {SMALL} --set data.extra=[] --config"},
    "tutorials/old_photos.md": {"--minutes 2": SMALL},
    "tutorials/contest.md": {
        "--minutes 20": f"{STEPS} --set model.width=4 --set {BOXES}"
    },
    "tutorials/comparing.md": {
        'name = "pix2pix"': 'name = "pix2pix"\nbase_filters = 4\ndiscriminator_filters = 4',
        "image_size = 128": "image_size = 64", "size = 32": "size = 16",
        "steps = 120": "steps = 2", "steps_per_epoch = 60": "steps_per_epoch = 2",
    },
    "tutorials/inversion.md": {
        "--set model.backbone=vgg16 --set 'model.taps=[\"block1\"]'": (
            f"{INVERSION} --set 'model.taps=[\"fire2\"]' {CROPS.replace('64', '32')}"
        ),
        "model.decoder.name=boosted": "model.decoder.name=linear", "products=400": "products=45",
        "--backbone vgg16 --tap block1": "--backbone squeezenet1_1 --weights none --tap fire2",
    },
    "how_to/gpus.md": {"--minutes 20": f"{SMALL} --set {BOXES}"},
    "how_to/own_model.md": {
        "--minutes 20": f"{CROPS} --set {BOXES}", "model.width=24": "model.width=4",
    },
}  # fmt: skip
"""What is put in the place of a page's settings, so that it takes seconds; each must be there."""
OTHERS = {"--minutes 20": SMALL}
"""The same of all other pages, where they have it."""


def smaller(page: str, found: list[Block]) -> list[str]:
    """The texts of the blocks with the settings of `SMALLER`."""
    texts = [block.text for block in found]
    for old, new in SMALLER.get(page, OTHERS).items():
        assert page not in SMALLER or old in "".join(texts), f"{page} no longer says {old}"
        texts = [text.replace(old, new) for text in texts]
    return texts


def given(folder: Path) -> None:
    """What the pages take for granted: a photo, its mask, photos, pairs, a contest."""
    fakes.save(folder / "photo.jpg", fakes.photo(96, 128, seed=1))
    mask = np.zeros((96, 128), np.uint8)
    mask[30:40, 20:60] = 255
    fakes.save(folder / "mask.png", mask)
    fakes.photo_folder(folder / "photos", 12)
    fakes.paired_folder(folder / "pairs", 12)
    fakes.animals_contest(folder / "animals", 8)


def commands(text: str) -> list[str]:
    """The commands of a block, one a line, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def run_command(line: str) -> None:
    """A verb in this process, which saves the seconds of TensorFlow's start, or else in a shell."""
    words = shlex.split(line)
    verb = words[2].removeprefix("tfrecon.") if words[:2] == ["python", "-m"] else ""
    if verb not in VERBS:
        subprocess.run(["bash", "-euc", line], check=True)
        return
    # A graph costs more than two steps and a few photos. Exports are graphs.
    tf.config.run_functions_eagerly(verb in ("fit", "evaluate", "features", "invert"))
    try:
        assert importlib.import_module(f"tfrecon.{verb}").main(words[3:]) == 0, line
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch, capsys):
    found = [block for block in blocks(page) if block.kind in ("run", "a file")]
    monkeypatch.setattr(certificates, "PRODUCTS", 20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    given(tmp_path)
    space: dict[str, Any] = {"__name__": "page"}
    name = page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else page.name
    for block, text in zip(found, smaller(name, found), strict=True):
        if block.kind == "a file":
            path = Path(block.title)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(text, block.place, "exec"), space)
        else:
            for line in commands(text):
                run_command(line)
    with capsys.disabled():
        print(f"\n{name}: {sum(block.kind == 'run' for block in found)} blocks run")
