"""Data that lies elsewhere than when a run was made: found again, told from other data, and never a
setting."""

import json
import os
import shutil
from pathlib import Path

import fakes
import pytest
import tiny_runs

from tfrecon import fit, submit
from tfrecon.base.config import from_tables
from tfrecon.base.errors import UserError
from tfrecon.reports.evaluation import evaluate_runs
from tfrecon.training.run import check_same_settings, goes_on, open_run


def project(folder, plain, photos, **data):
    """A folder with the photos and, in checkpoints/run, the run as if it was made from there."""
    shutil.copytree(photos, folder / "photos")
    path = Path(shutil.copytree(plain.path, folder / "checkpoints" / "run"))
    config = json.loads((path / "config.json").read_text())
    config["data"] |= {"root": "photos", **data}
    (path / "config.json").write_text(json.dumps(config))
    facts = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**facts, "made_in": "../.."}))
    return folder


EXTRA = {"name": "folder", "root": "photos/below", "weight": 0.5}


def test_relative_places_are_those_of_the_working_folder_of_the_training(
    tmp_path, plain, photos, monkeypatch
):
    made = project(tmp_path / "made", plain, photos, extra=[EXTRA], cache_dir="photos")
    monkeypatch.chdir(tmp_path)

    def places(path):
        data = open_run(path).placed.data
        return data.root, data.extra[0].options["root"], data.cache_dir

    there = str(made / "photos"), str(made / "photos" / "below"), str(made / "photos")
    assert places("made/checkpoints/run") == there
    assert open_run("made/checkpoints/run").config.data.root == "photos", "as asked"
    monkeypatch.chdir(made)
    assert places("checkpoints/run") == ("photos", "photos/below", "photos")
    monkeypatch.chdir(tmp_path)
    moved = shutil.move(made, tmp_path / "elsewhere")  # as to another machine
    assert places(moved / "checkpoints" / "run")[0] == str(tmp_path / "elsewhere" / "photos")
    alone = shutil.move(moved / "checkpoints" / "run", tmp_path / "a" / "b" / "c")
    assert places(alone) == ("photos", "photos/below", "photos"), "then from here, as by --root"

    monkeypatch.chdir(moved)
    assert open_run(alone).placed.data.root == "photos" and Path("photos").is_dir()
    facts = json.loads((alone / "run.json").read_text())
    del facts["made_in"]  # of an older run
    (alone / "run.json").write_text(json.dumps(facts))
    assert places(alone)[0] == "photos"


def test_places_are_no_settings(tmp_path, plain, photos, monkeypatch):
    run = open_run(project(tmp_path, plain, photos, extra=[EXTRA]) / "checkpoints" / "run")
    moved = {"root": "new", "cache_dir": "/fast", "extra": [{**EXTRA, "root": "new/below"}]}
    check_same_settings({"data": moved}, run)
    with pytest.raises(UserError, match=r"has data.extra = .*0\.5.*, not .*0\.7"):
        goes_on({"data": {"extra": [{**EXTRA, "weight": 0.7}]}}, run)
    monkeypatch.chdir(tmp_path)
    config = goes_on({"data": moved}, run)
    assert config.data.root == "new" and config.data.cache_dir == "/fast"
    assert config.data.extra[0].options == {"root": "new/below", "weight": 0.5}
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    config = goes_on({"data": moved}, run)
    assert config.data.root == str(tmp_path / "below" / "new"), "meant from here"
    assert config.data.extra[0].options["root"] == str(tmp_path / "below" / "new" / "below")
    assert goes_on({}, run) == run.config


def test_an_evaluation_knows_the_runs_own_images_wherever_they_lie(
    tmp_path, plain, photos, monkeypatch
):
    folder = project(tmp_path / "made", plain, photos)
    run = open_run(folder / "checkpoints" / "run")
    (folder / "photos").rename(tmp_path / "moved")
    report = evaluate_runs([run], root=tmp_path / "moved", slow=False, baselines=False)
    assert report.path == run.path / "report" and "other images" not in report.text
    fakes.save(tmp_path / "moved" / "photo_0.jpg", fakes.photo(80, 96, seed=77))
    other = shutil.copytree(photos, tmp_path / "other")
    for path in other.rglob("photo_*"):
        fakes.save(path, fakes.photo(80, 96, seed=int(path.stem[6:]) + 99))
    report = evaluate_runs([run], root=other, slow=False, baselines=False)
    assert report.path == run.path / "report-test-other"
    said = " ".join(report.text.split())
    assert (
        "run was trained beside other images of split 'test' (as many, of other contents, "
        "names or order) than these." in said
    )


def test_a_submission_of_another_folder_says_what_differs(plain, photos, tmp_path, capsys):
    submit._tell_of_other_data(plain, Path(shutil.copytree(photos, tmp_path / "same")))
    submit._tell_of_other_data(plain, tmp_path / "nothing")
    assert not capsys.readouterr().err
    more = fakes.photo_folder(tmp_path / "more", 40)
    submit._tell_of_other_data(plain, more)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: run 'run' was trained beside other images of split 'val' (")
    assert f"then, {len(os.listdir(more))}" not in line and "than those of" in line


@pytest.mark.slow
def test_a_run_goes_on_from_another_folder_with_all_its_data_moved(
    tmp_path, photos, monkeypatch, capsys, eagerly
):
    """Killed, its data moved, and resumed from elsewhere, it ends as one that was left alone."""
    made = tmp_path / "made"
    shutil.copytree(photos, made / "photos")
    shutil.copytree(photos, made / "more")
    tables = tiny_runs.config("photos").to_dict()
    tables["data"]["extra"] = [{"name": "folder", "root": "more", "weight": 0.5}]
    monkeypatch.chdir(made)
    config = from_tables(tables)
    whole = tiny_runs.loop.train(config, Path("checkpoints/whole"))
    tiny_runs.interrupted(monkeypatch, config, Path("checkpoints/run"), 4)
    (made / "photos").rename(tmp_path / "new")
    (made / "more").rename(tmp_path / "new more")
    (tmp_path / "far").mkdir()
    monkeypatch.chdir(tmp_path / "far")
    resume = ("--run", str(made / "checkpoints" / "run"), "--resume")
    assert fit.main([*resume]) == 2
    assert "does not exist; give an existing one with --root DIR" in capsys.readouterr().err
    extra = "data.extra=[{name='folder', root='../new more', weight=0.5}]"
    assert fit.main([*resume, "--root", "../new", "--set", extra]) == 0
    run = open_run(made / "checkpoints" / "run")
    tiny_runs.assert_equal_states(run, open_run(made / "checkpoints" / "whole"))
    assert run.config.data.root == str(tmp_path / "new")
    assert (run.path / "report").is_dir() and whole.facts["made_in"] == "../.."
