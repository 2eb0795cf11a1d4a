"""Every program of examples/ and every Python block of the README runs, with small settings."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
from pathlib import Path

import fakes
import numpy as np
import pytest
from PIL import Image

import tfrecon
from tfrecon import evaluate, export, fit
from tfrecon.base import extras, images
from tfrecon.base.shown import picture
from tfrecon.training.run import open_run

REPOSITORY = Path(__file__).parents[1]
EXAMPLES = REPOSITORY / "examples"

TESTED = {
    "plain_keras", "inversion", "circles", "own_model", "own_parts", "own_callback", "scores",
    "serving", "tf_serving",
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each example runs in an empty folder; names like `own_parts.fog` are those of examples/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    return tmp_path


def example(name: str):
    return importlib.import_module(name)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run of own_callback.py, evaluated: what the examples that need a run are given."""
    path = tmp_path_factory.mktemp("run") / "checkpoints/small"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        example("own_callback").main(str(path), size=32, filters=4, steps=20, psnr=0.0)
    assert evaluate.main([str(path), "--no-slow"]) == 0
    return path


def test_each_is_tested_here_and_says_how_long_it_takes():
    paths = sorted(EXAMPLES.rglob("*.py"))
    paths.remove(EXAMPLES / "space" / "app.py")  # a program that serves: test_web_page.py
    assert {path.stem for path in paths} == TESTED
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert re.search(r"minute|second", ast.get_docstring(ast.parse(text)) or ""), path.name
        assert len(text.splitlines()) <= 90, f"{path.name} is longer than one idea"
        assert f"`{path.relative_to(EXAMPLES).as_posix()}`" in listed


def test_plain_keras(capsys):
    example("plain_keras").main(size=32, filters=4, steps=2, epochs=1)
    said = capsys.readouterr().out
    psnr = float(re.search(r"test: ([\d.]+) dB", said)[1])
    assert 5 < psnr < 60 and "(4, 32, 32, 3) restored, like (4, 32, 32, 3)" in said


def test_inversion(capsys, here):
    example("inversion").main(size=32, count=12, epochs=1, weights=None)
    assert float(re.search(r"fire3: ([\d.]+) dB", capsys.readouterr().out)[1]) > 5
    assert images.read(here / "inversion.png").shape == (2 * 32, 4 * 32, 3)


def test_own_recipe(here):
    shutil.copytree(EXAMPLES / "data_pipelines", here / "data_pipelines")
    assert fit.main(["--data", "circles", "--root", "drawn", "--prepare"]) == 0
    everything = tfrecon.samples(tfrecon.Spec("circles"), here / "drawn", "train")
    bright = tfrecon.samples(tfrecon.Spec("circles", {"dark": False}), here / "drawn", "train")
    assert len({path.read_bytes() for path in (here / "drawn").iterdir()}) == 60, "all differ"
    assert 0 < len(bright) < len(everything)
    model = ["--model", "own_model.small_network", "--set", "model.width=4", "--steps", "1"]
    data = ["--data", "circles", "--root", "drawn", "--set", "data.image_size=32"]
    assert fit.main([*model, *data]) == 0
    run = open_run(here / "checkpoints/own_model_small_network_circles")
    assert run.config.data.recipe.name == "circles"


def test_own_model(here):
    example("own_model").main("run", size=32, steps=3)
    trained = open_run(here / "run")
    assert trained.config.model.name == "own_model.small_network"
    restored = trained.load_model()(np.zeros((1, 32, 32, 4), np.float32), training=False)
    assert restored.shape == (1, 32, 32, 3)
    assert export.main(["run", "--trust-code"]) == 0


def test_own_parts(here):
    example("own_parts").main("run", size=32, steps=3, weights=None)
    config = open_run(here / "run").config
    assert config.model.options["decoder"] == "own_parts.bare"
    assert config.fit.loss[1].name == "own_parts.EdgeLoss"
    assert config.data.damage.name == "own_parts.fog"
    arguments = ["run", "--no-slow", "--metric", "own_parts.sharpness", "--trust-code"]
    assert evaluate.main(arguments) == 0
    assert "sharpness" in (here / "run/report/summary.md").read_text(encoding="utf-8")


def test_own_callback(run):
    assert len((run / "history.csv").read_text().splitlines()) == 1 + 1, "stopped after one epoch"


def test_scores(run, capsys):
    example("scores").main(str(run))
    said = capsys.readouterr().out
    assert "damaged input" in said and "pix2pix" in said and "shape: (3, 2)" in said


def test_serving(run, here, capsys):
    assert export.main([str(run), "--out", "exports/small"]) == 0
    fakes.save(here / "photo.png", fakes.photo(40, 52, seed=1))
    fakes.save(here / "mask.png", np.full((40, 52), 255, np.uint8))
    example("serving").main("exports/small", "photo.png", "restored.png", "mask.png")
    assert images.read(here / "restored.png").shape == (40, 52, 3)
    tree = ast.parse((EXAMPLES / "serving.py").read_text(encoding="utf-8"))
    names = {getattr(node, "module", None) for node in ast.walk(tree)}
    names |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    assert names - {None} == {"__future__", "sys", "tensorflow"}


# --- the README -----------------------------------------------------------------------------------

SMALLER = {
    "image_size=128": "image_size=32",
    "base_filters=16": "base_filters=4, discriminator_filters=4",
    "steps_per_epoch=100": "steps_per_epoch=2",
    'backbone="vgg16", taps=["block1"]': 'backbone="squeezenet1_1", taps=["fire3"], weights=None',
    "epochs=10": "epochs=1",
    'Spec("boxes")': 'Spec("boxes", {"size": 8})',
}
"""What is put in the place of the README's settings, so that each block takes seconds."""


def test_the_readmes_python_runs(here):
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 2
    given = {
        "photos": sorted(fakes.photo_folder(here / "photos", 4).rglob("photo_*")),
        "images": np.random.default_rng(0).random((8, 32, 32, 3), np.float32),
    }
    replaced = "\n".join(blocks)
    for old, new in SMALLER.items():
        assert old in replaced, f"the README no longer says {old}; change SMALLER with it"
        replaced = replaced.replace(old, new)
    exec(compile(replaced, "README.md", "exec"), given)
    assert given["restored"].shape == (4, 32, 32, 3)
    assert given["model"](given["images"]).shape == (8, 32, 32, 3)


# --- the notebooks --------------------------------------------------------------------------------

NOTEBOOKS = EXAMPLES / "notebooks"
SMALL = ["--set", "data.image_size=64", "--set", "fit.batch_size=2"]


def executed(name: str, **parameters) -> list:
    """Runs the cells of a notebook in this process, but for commands of the notebook (%, !), with
    other `parameters`; returns what it displays."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    shown: list = []
    space = {"display": lambda *things: shown.extend(things)}
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        lines = "".join(cell["source"]).splitlines()
        tree = ast.parse("\n".join(line for line in lines if not line.startswith(("%", "!"))))
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{name}.ipynb", "exec"), space)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"{name}.ipynb", "eval"), space)
            shown += [] if value is None else [value]
        if "parameters" in cell["metadata"].get("tags", []):
            assert parameters.keys() <= space.keys(), "the notebook has no such parameter"
            space |= parameters
    return shown


def written(shown: list, here: Path) -> str:
    """What a browser shows of it, in a file that a person may look at."""
    parts = []
    for thing in shown:
        if isinstance(thing, Image.Image):
            thing.save(here / "shown.png")
            parts.append(picture(here / "shown.png", "shown"))
        else:
            parts.append(thing._repr_html_() if hasattr(thing, "_repr_html_") else repr(thing))
    html = "\n<hr>\n".join(parts)
    (here / "shown.html").write_text(f'<meta charset="utf-8">\n{html}', encoding="utf-8")
    return html


def test_notebooks_are_kept_without_what_they_showed():
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    assert {path.stem for path in paths} == {"restore", "contest", "inversion"}
    for path in paths:
        book = json.loads(path.read_text(encoding="utf-8"))
        code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
        assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
        assert f"`notebooks/{path.name}`" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_notebook_of_the_presets(here):
    shown = executed("restore", SIDE=64)
    html = written(shown, here)
    assert [picture.size for picture in shown[2:]] == [(192, 64), (192, 64), (64, 64)]
    assert "preset scratches" in html and "preset inpainting" in html


@pytest.mark.slow
def test_the_notebook_of_the_contest(here, capsys, eagerly, monkeypatch):
    """With the extra kaggle from the download to the score, by a stand-in for Kaggle."""
    root = fakes.animals_contest(here / "contest", count=8)
    settings = [*SMALL, "--set", 'data.damage={name = "boxes", size = 16}']
    settings += ["--set", "model.width=4", "--set", "fit.steps_per_epoch=2"]
    parameters = {"LENGTH": ["--steps", "4"], "SETTINGS": settings}
    if extras.missing("kaggle"):
        shown = executed("contest", ROOT=str(root), **parameters)
    else:
        import kaggle_stand_in as kaggle

        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(here))
        monkeypatch.setenv("KAGGLE_API_TOKEN", kaggle.TOKEN)
        monkeypatch.setattr("tfrecon.base.kaggle.PAUSES_SECONDS", (0, 0, 0))
        parameters |= {"CONTEST": kaggle.NAME, "ROOT": "nowhere", "UPLOAD": True}
        with kaggle.served(kaggle.StandIn(archive=kaggle.zipped(root))) as service:
            shown = executed("contest", **parameters)
        assert service.received == [(here / "submission.csv").read_bytes()]
    html = written(shown, here)
    folders, run, history, report, worst, lines = shown
    assert folders[-2:] == ["Testing_Data", "Training_Data"] and run.name == "contest"
    assert history.height == 2 and "harmonic fill" in html and worst.columns[1] == "hole_psnr"
    assert "harmonic fill" in report.untrained and lines.height == 5
    said = capsys.readouterr().out
    assert "passed the check: 8 images, 270,001 lines" in said
    assert extras.missing("kaggle") or "complete, public score 0.0123, rank 7" in said


@pytest.mark.slow
def test_the_notebook_of_the_inversion(here, photos, eagerly):
    settings = [*SMALL, "--set", "model.weights=none", "--set", "fit.steps_per_epoch=2"]
    settings += ["--set", "model.decoder=transposed_conv"]
    data = ["--data", "folder", "--root", str(photos)]
    shown = executed(
        "inversion", TAPS=["fire2", "fire3"], DATA=data, LENGTH=["--steps", "4"], SETTINGS=settings
    )
    html = written(shown, here)
    first, second, comparison, wide, report = shown
    assert [first.name, second.name] == ["fire2", "fire3"] == wide.columns[1:3]
    assert {result.name for result in comparison.results} == {"fire2", "fire3"}
    assert report.path == second.path / "report" and "mean colour" in html
