"""A study's file as cells; what is wrong with it is said before anything is trained."""

import json
import re
from pathlib import Path

import pytest

from tfrecon import study as verb
from tfrecon.base import extras
from tfrecon.base.config import from_tables
from tfrecon.base.errors import UserError
from tfrecon.data import recipes
from tfrecon.studies.matrix import check_cells, config, read_study
from tfrecon.studies.search import Settings

REPOSITORY = Path(__file__).parents[1]
STUDIES = sorted((REPOSITORY / "configs" / "studies").glob("*.toml"))
CELLS = {
    "feature_inversion_44": 44, "resnet50_depth": 5, "restoration_faces": 5,
    "generative_imagenette": 3, "atlas": 44,
}  # fmt: skip

TWO_AXES = """
title = "Two by three"
[data]
recipe = "folder"
[fit]
epochs = 3
[[axes]]
name = "model"
key = "model"
values = ["pix2pix", { name = "residual_unet", width = 8 }]
[[axes]]
name = "rate"
key = "fit.learning_rate"
values = [0.1, 0.01, 0.001]
"""


def study_of(tmp_path, text, **over):
    path = tmp_path / "own.toml"
    path.write_text(text)
    return read_study(path, over)


def test_the_published_studies_have_so_many_cells():
    assert {path.stem: len(read_study(path).cells) for path in STUDIES} == CELLS


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_head_of_a_study_is_a_contract(path):
    text = path.read_text(encoding="utf-8")
    for word in ("command", "data", "hardware", "time", "score"):
        assert re.search(rf"^# {word} +\S", text, re.M), word
    assert f"python -m tfrecon.study {path.relative_to(REPOSITORY)}" in text


def test_list_prints_one_line_a_cell(capsys):
    path = REPOSITORY / "configs" / "studies" / "feature_inversion_44.toml"
    assert verb.main([str(path), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 44
    assert lines[0].split() == [
        "resnet34_layer1-single-frequency_aware", "features=resnet34_layer1", "fusion=single",
        "decoder=frequency_aware",
    ]  # fmt: skip
    assert sum("fusion=single" in line for line in lines) == 32
    assert verb.main([str(path), "--list", "--only", "ensemble-*-wavelet"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_cells_are_the_product_of_the_axes(tmp_path):
    study = study_of(tmp_path, TWO_AXES, fit={"minutes": 2.0})
    assert [cell.name for cell in study.cells][:4] == [
        "pix2pix-0.1", "pix2pix-0.01", "pix2pix-0.001", "residual_unet-0.1",
    ]  # fmt: skip
    last = config(study.cells[-1], "x")
    assert last.model.name == "residual_unet" and last.model.options == {"width": 8}
    assert last.fit.learning_rate == 0.001
    assert (last.fit.minutes, last.fit.epochs) == (2.0, None), "a length replaces the other"
    assert study.cells[-1].labels == {"model": "residual_unet", "rate": "0.001"}
    assert study.name == "own" and study.title == "Two by three"


def test_seeds_make_cells_of_one_group(tmp_path):
    study = study_of(tmp_path, "seeds = [3, 5]\n" + TWO_AXES)
    assert [cell.name for cell in study.cells[:2]] == ["pix2pix-0.1-seed3", "pix2pix-0.1-seed5"]
    assert {cell.group for cell in study.cells[:2]} == {"pix2pix-0.1"}
    assert config(study.cells[1], "x").fit.seed == 5
    assert len(study.cells) == 12


def test_a_seed_is_an_axis_or_a_repeat_and_never_lost(tmp_path):
    text = TWO_AXES.replace("fit.learning_rate", "fit.seed").replace("[0.1, 0.01, 0.001]", "[4, 7]")
    study = study_of(tmp_path, text)
    assert [config(cell, "x").fit.seed for cell in study.cells] == [4, 7, 4, 7]
    with pytest.raises(UserError, match=r"axis 'rate' sets fit\.seed, and so does seeds"):
        study_of(tmp_path, "seeds = [0]\n" + text)
    one = study_of(tmp_path, "seeds = [0]\n" + TWO_AXES)
    assert one.cells[0].name == "pix2pix-0.1-seed0", "more seeds later rename nothing"
    assert config(study_of(tmp_path, TWO_AXES, fit={"seed": 9}).cells[0], "x").fit.seed == 9


def test_cells_of_other_test_images_are_refused_before_anything_is_trained(tmp_path):
    text = TWO_AXES.replace("fit.learning_rate", "data.image_size").replace(
        "0.1, 0.01, 0.001", "64"
    )
    text = text.replace("[64]", "[64, 128]").replace('"folder"', '"demo"')
    study = study_of(tmp_path, text)
    with pytest.raises(UserError, match=r"'pix2pix-64' and cell 'pix2pix-128' are scored on im"):
        check_cells(study.cells, "x")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_cells_of_a_published_study_are_tested_on_the_same_images(path, monkeypatch):
    monkeypatch.setattr(recipes, "samples", lambda spec, root, split: [])
    check_cells(read_study(path).cells, path)


def test_a_value_may_set_several_sections_and_start_from_a_file(tmp_path):
    (tmp_path / "base.toml").write_text("[model]\nname = 'nafnet'\nwidth = 4\n[fit]\nepochs = 9\n")
    study = study_of(
        tmp_path,
        """
        [fit]
        batch_size = 2
        [[axes]]
        name = "way"
        values = [
          { name = "filed", base = "base.toml", fit = { steps = 7 } },
          { name = "own", model = "pix2pix", data = { image_size = 64 } },
        ]
        """,
    )
    filed, own = (config(cell, "x") for cell in study.cells)
    assert filed.model.name == "nafnet" and (filed.fit.steps, filed.fit.epochs) == (7, None)
    assert own.model.name == "pix2pix" and own.data.image_size == 64
    assert filed.fit.batch_size == own.fit.batch_size == 2


def test_exclusions_take_cells_out(tmp_path):
    rule = '[[exclude]]\nmodel = "pix2pix"\nrate = ["0.1", "0.01"]\n'
    names = [cell.name for cell in study_of(tmp_path, TWO_AXES + rule).cells]
    assert names[0] == "pix2pix-0.001" and len(names) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ('title = "Two by three"', 'metric = "psnrr"'),
            "metric must be one that can rank.*'psnr'",
        ),
        (('title = "Two by three"', 'metric = "checkerboard"'), "metric must be one that can rank"),
        (("[0.1, 0.01, 0.001]", '[".."]'), "'..' of axis 'rate' becomes part of a folder's name"),
        (("[0.1, 0.01, 0.001]", "[0.1, { name = 'same', value = 0.1 }]"), "have the same settings"),
        (("title", "titel"), "unknown key 'titel' of a study; did you mean 'title'?"),
        (("fit.learning_rate", "fit.learning_rat"), "did you mean 'learning_rate'?"),
        (('key = "model"', 'key = "modell.name"'), "key of axis 'model' must be one of a config"),
        (('name = "rate"', 'name = "model"'), "each axis needs a name of its own, not 'model'"),
        (("[0.1, 0.01, 0.001]", "[]"), "axis 'rate' needs values"),
        (("[0.1, 0.01, 0.001]", "[0.1, 0.1]"), "axis 'rate' has 2 values called '0.1'"),
        (("[0.1, 0.01, 0.001]", '["a/b"]'), "'a/b' of axis 'rate' becomes part of a folder's name"),
        (("[0.1, 0.01, 0.001]", '["fast"]'), "cell 'pix2pix-fast'.*learning_rate must be a number"),
        (('name = "rate"', 'name = "rate"\nkind = 3'), "unknown key 'kind' of an axis"),
        (("epochs = 3", "epoch = 3"), "cell 'pix2pix-0.1'.*did you mean 'epochs'?"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, change, words):
    assert change[0] in TWO_AXES
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        study_of(tmp_path, TWO_AXES.replace(*change))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[[exclude]]\nmodle = "pix2pix"\n', r"names axis 'modle'; did you mean 'model'\?"),
        ('[[exclude]]\nmodel = "pix3pix"\n', r"'pix3pix' of .*; did you mean 'pix2pix'\?"),
        ("[[exclude]]\n", "an empty .* would exclude everything"),
        ('[[exclude]]\nmodel = ["pix2pix", "residual_unet"]\n', "every cell is excluded"),
    ],
)
def test_wrong_exclusions(tmp_path, more, words):
    with pytest.raises(UserError, match=words):
        study_of(tmp_path, TWO_AXES + more)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[model]\nname = 'pix2pix'\n", "needs at least one axis"),
        ("axes = []\n", "needs at least one axis"),
        ("seeds = [1, 1]\n" + TWO_AXES, "seeds must be a list of different whole numbers"),
        ("base = 'gone.toml'\n" + TWO_AXES, "gone.toml' does not exist"),
        ("base = 3\n" + TWO_AXES, "base must be the path"),
        ("fit = 3\n" + TWO_AXES.replace("[fit]\nepochs = 3", ""), r"\[fit\] must be a table"),
        (TWO_AXES.replace('"model"\nkey = "model"', '"model"\nkey = "fit.loss"'), "no model"),
        ("not toml", "study file .* is not valid TOML"),
    ],
)
def test_other_files_that_are_no_study(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        study_of(tmp_path, text)


def test_two_cells_of_one_name(tmp_path):
    text = TWO_AXES.replace("[0.1, 0.01, 0.001]", '[{name = "a-b"}, {name = "b"}]').replace(
        '["pix2pix", { name = "residual_unet", width = 8 }]', '["pix2pix", "pix2pix-a"]'
    )
    text = text.replace('key = "fit.learning_rate"', "").replace('key = "model"', "")
    with pytest.raises(UserError, match="2 cells are called 'pix2pix-a-b'"):
        study_of(tmp_path, "[model]\nname = 'pix2pix'\n" + text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"pix2pix"', '"pix3pix"'), "cell 'pix3pix-0.1'.*did you mean 'pix2pix'"),
        (("width = 8", "widht = 8"), "cell 'residual_unet-0.1'.*did you mean 'width'"),
        (('recipe = "folder"', 'recipe = "foldr"'), "cell 'pix2pix-0.1'.*did you mean 'folder'"),
        (("epochs = 3", 'loss = "l3"'), "cell 'pix2pix-0.1': unknown loss 'l3'"),
        (('recipe = "folder"', 'recipe = "folder"\nroot = "gone"'), "cell 'pix2pix-0.1'.*'gone'"),
        (("epochs = 3", ""), "cell 'pix2pix-0.1': recipe 'folder' needs a folder"),
    ],
)
def test_unknown_parts_are_named_before_anything_is_trained(
    tmp_path, capsys, monkeypatch, change, words
):
    path = tmp_path / "own.toml"
    path.write_text(TWO_AXES.replace(*change))
    monkeypatch.chdir(tmp_path)
    assert verb.main([str(path)]) == 2
    said = capsys.readouterr().err
    assert re.match(f"error: .*{words}", said) and said.count("\n") == 1, said
    assert not list(tmp_path.glob("checkpoints/**/config.json"))


SEARCH = (
    TWO_AXES.replace("values = [0.1, 0.01, 0.001]", "low = 1e-4\nhigh = 1e-2\nlog = true")
    + """
[search]
trials = 6
seed = 3
"""
)


def test_a_search_has_axes_and_no_cells_yet(tmp_path, capsys):
    study = study_of(tmp_path, SEARCH, fit={"batch_size": 2})
    assert study.search.settings == Settings(6, 3, True) and not study.cells
    assert [cell.name for cell in study.search.corners()] == [
        "pix2pix-0.0001", "residual_unet-0.01",
    ]  # fmt: skip
    cell = study.search.cell({"model": "residual_unet", "rate": 0.00123456}, 7)
    assert cell.name == "trial007-residual_unet-0.001235"
    assert cell.labels == {"model": "residual_unet", "rate": "0.001235"}
    told = config(cell, "x")
    assert told.fit.learning_rate == 0.00123456 and told.fit.batch_size == 2
    assert told.model.options == {"width": 8}
    assert verb.main([str(tmp_path / "own.toml"), "--list"]) == 0
    said = capsys.readouterr().out
    assert said == "model: pix2pix, residual_unet\nrate: 0.0001 to 0.01, in its logarithm\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("trials = 6", "trails = 6"), r"in \[search\] 'trails'; did you mean 'trials'\?"),
        (("trials = 6", "trials = 0"), r"search\.trials must .* 1"),
        (("trials = 6", "prune = 3"), r"search\.prune must be"),
        (("[search]\ntrials = 6\nseed = 3", ""), "'rate' is a range, low to high, of which only"),
        (("low = 1e-4", "low = 0"), "low of axis 'rate' must be above 0 and below high, not 0 to"),
        (("low = 1e-4", "low = 1"), "must be above 0 and below high"),
        (("low = 1e-4", "low = 'a'"), "low of axis 'rate' must be a number, not 'a'"),
        (("high = 1e-2\n", ""), "high of axis 'rate' must be a number, not None"),
        (("log = true", "log = 1"), "log of axis 'rate' must be"),
        (("low = 1e-4", "low = 1e-4\nvalues = [3]"), "'rate' is a range, low to high: it needs"),
        (('key = "fit.learning_rate"', ""), "'rate' is a range, low to high: it needs the key"),
        (('title = "Two by three"', "seeds = [1]"), r"seeds belongs to a matrix of cells"),
    ],
)
def test_what_is_wrong_with_a_search_is_said(tmp_path, change, words):
    assert change[0] in SEARCH
    with pytest.raises(UserError, match=words):
        study_of(tmp_path, SEARCH.replace(*change))


def test_a_search_needs_its_extra_and_draws_all_of_its_cells(tmp_path, monkeypatch, capsys):
    (tmp_path / "own.toml").write_text(SEARCH)
    monkeypatch.setattr(extras, "missing", lambda extra: extras.EXTRAS[extra])
    assert verb.main([str(tmp_path / "own.toml")]) == 2
    said = capsys.readouterr().err
    assert 'needs the package optuna; add it with pip install "tfrecon[search]"' in said
    assert verb.main([str(tmp_path / "own.toml"), "--only", "a*"]) == 2
    assert "--only names cells of a matrix" in capsys.readouterr().err


@pytest.fixture
def search(tmp_path):
    """Opens the trials of a study in a folder, again where it is called again."""
    pytest.importorskip("optuna", reason="the extra search is not installed")
    from tfrecon.studies.trials import Trials

    study = study_of(tmp_path, SEARCH)
    return lambda name, trains=True: Trials(study, tmp_path / name, trains)


def trained(trials, folder, cell, *values):
    """What a run leaves whose validations found these."""
    (folder / cell.name).mkdir(parents=True, exist_ok=True)
    rows = [f"{epoch},{value}\n" for epoch, value in enumerate(values, 1)]
    (folder / cell.name / "history.csv").write_text("epoch,val_psnr\n" + "".join(rows))
    return trials.gives_up(cell)


def test_a_search_that_is_stopped_draws_what_it_would_have_drawn(tmp_path, search):
    def run(trials, folder, most=99):
        names = []
        for cell in trials.cells(folder, {}):
            names.append(cell.name)
            if len(names) > most:
                break  # as a kill does
            assert not trained(trials, folder, cell, 20 + float(cell.labels["rate"]))
            trials.ended(cell, "")
        return names

    whole = run(search("whole"), tmp_path / "whole")
    assert len(set(whole)) == 6 and whole[0].startswith("trial000-")
    begun = run(search("cut"), tmp_path / "cut", 2)
    assert begun == whole[:3]
    assert run(search("cut"), tmp_path / "cut") == whole[2:], "the third is gone on with"
    assert not run(search("cut"), tmp_path / "cut"), "all are done"
    study = search("cut", False).drawn()
    assert [cell.name for cell in study.cells] == whole and study.search is None
    with pytest.raises(UserError, match="has no trials yet"):
        search("gone", False)


def test_a_trial_that_promises_less_is_given_up(tmp_path, search):
    folder, trials = tmp_path / "out", search("out")
    cells = trials.cells(folder, {})
    for value in (20.0, 21.0, 22.0, 23.0):
        cell = next(cells)
        assert not trained(trials, folder, cell, 10, value)
        trials.ended(cell, "")
    worse = next(cells)
    assert trained(trials, folder, worse, "nan", 15.0) == "given up after epoch 2, at val_psnr 15"
    failing = next(cells)
    trials.ended(failing, "no memory")
    assert next(cells, None) is None and trials.finished == 5
    assert search("out", False).reasons() == {
        worse.name: "given up after epoch 2, at val_psnr 15", failing.name: "no memory",
    }  # fmt: skip
    other = next(search("out").cells(folder, {}))
    assert other.name.startswith("trial006-"), "one in the place of that which failed"


def test_the_database_is_asked_when_a_run_has_validated_again(tmp_path, search):
    folder, trials = tmp_path / "out", search("out")
    cell, asked = next(trials.cells(folder, {})), []
    event = pytest.importorskip("sqlalchemy").event
    event.listen(trials._storage.engine, "before_cursor_execute", lambda *_: asked.append(1))
    assert not trained(trials, folder, cell, 20.0) and asked
    asked.clear()
    assert not trials.gives_up(cell) and not asked
    assert not trained(trials, folder, cell, 20.0, 21.0) and asked
    again = search("out")
    assert next(again.cells(folder, {})).name == cell.name, "it goes on in another process"
    event.listen(again._storage.engine, "before_cursor_execute", lambda *_: asked.append(1))
    asked.clear()
    assert not again.gives_up(cell) and not asked


def test_trials_of_other_axes_are_refused(tmp_path, search):
    search("out")
    from tfrecon.studies.trials import DATABASE, Trials

    with pytest.raises(
        UserError, match=r"drawn of other axes \(model: pix2pix, residual_unet; rate"
    ):
        Trials(study_of(tmp_path, SEARCH.replace("1e-2", "1e-1")), tmp_path / "out", True)
    (tmp_path / "out" / DATABASE).write_bytes(b"no database at all, and long enough to be one")
    with pytest.raises(UserError, match=r"database '.*' is truncated or damaged"):
        search("out")


def test_a_pattern_that_matches_no_cell(tmp_path):
    with pytest.raises(UserError, match="no cell of study 'own' matches 'vgg\\*'"):
        study_of(tmp_path, TWO_AXES).only("vgg*")


def test_a_cell_is_json_for_its_process(tmp_path):
    for path in STUDIES:
        for cell in read_study(path).cells:
            assert from_tables(json.loads(json.dumps(cell.tables))) == config(cell, path)
