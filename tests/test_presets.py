"""Presets: written from a run, found by name, and refused where anything is wrong with them."""

import dataclasses
import json

import numpy as np
import pytest
from preset_runs import ship, untrained

import tfrecon
from tfrecon import export, fit
from tfrecon.base import cards, checkpoint, facts, files
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.inference import saved_model
from tfrecon.inference.presets import open_preset, write_preset
from tfrecon.inference.restorer import restorer


@pytest.fixture(scope="module", autouse=True)
def _one_size():
    """Answers are compared on small photos alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "SIZES", ((2, 40, 40),))
        yield


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The folder of the two presets, and their runs beside it."""
    with pytest.MonkeyPatch.context() as patch:
        yield ship(tmp_path_factory.mktemp("shipped"), patch)


@pytest.fixture
def shipped(places, monkeypatch):
    monkeypatch.setattr(facts, "PACKAGE", places.parent / "tfrecon")
    return places


@pytest.fixture
def own(tmp_path, places):
    """A copy of a preset that a test may damage: its weights, whose card lies beside them."""
    for ending in (".npz", ".json"):
        (tmp_path / f"own{ending}").write_bytes((places / f"scratches{ending}").read_bytes())
    return tmp_path / "own.npz"


@pytest.mark.parametrize("name", ["scratches", "inpainting"])
def test_a_preset_restores_as_its_run_but_for_half_precision(shipped, name):
    run = tfrecon.open_run(shipped.parent / "runs" / name)
    preset = cards.find(name)
    opened, channels = open_preset(preset), 3 + run.has_mask
    assert (opened.title, opened.has_mask) == (f"preset '{name}'", run.has_mask)
    assert opened is open_preset(cards.find(name)), "built once in a process"
    x = np.random.default_rng(0).random((1, 21, 37, channels), np.float32)
    expected = restorer(run.load_model())(x)
    assert 0 < np.abs(opened.restore(x) - expected).max() < 0.05
    halves = checkpoint.load(preset.path)[0]
    assert {array.dtype for array in halves.values()} == {np.dtype(np.float16)}
    arrays, note = preset.load()
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    assert note == {"model": run.config.model.to_dict(), "image_size": 32, "has_mask": run.has_mask}


def test_presets_are_listed_with_their_cards(shipped, capsys):
    listed = tfrecon.presets()
    assert [preset.name for preset in listed] == ["inpainting", "scratches"]
    assert [preset.has_mask for preset in listed] == [True, False]
    assert fit.main(["--list", "presets"]) == 0
    said = capsys.readouterr().out
    assert "needs a mask: yes\n" in said and "trained on: data of demo" in said
    with pytest.raises(UserError, match=r"unknown preset 'scratch'; did you mean 'scratches'"):
        cards.find("scratch")


def test_words_of_a_card_stay_and_results_do_not(own, places):
    preset = dataclasses.replace(cards.find(str(own)), title="Mine", results=[{"PSNR": 30}])
    preset.save_card()
    assert cards.find(str(own)) == preset
    said = str(preset).splitlines()
    assert said[0] == "own: Mine" and "  needs a mask: no" in said and said[-1] == "  PSNR 30"
    run = tfrecon.open_run(places.parent / "runs" / "inpainting")
    write_preset(run, own)
    again = cards.find(str(own))
    assert again.title == "Mine" and again.results == [] and again.has_mask
    assert again.sha256 == files.digest(own, "sha256").hex() != preset.sha256


def altered(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def without_note(path):
    arrays, _ = checkpoint.load(path)
    checkpoint.write(path, arrays, {"image_size": 32, "has_mask": False})
    told = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(
        json.dumps({**told, "sha256": files.digest(path, "sha256").hex()})
    )


def of_card(text):
    return lambda path: path.with_suffix(".json").write_text(text)


@pytest.mark.parametrize(("damage", "words"), [
    (altered, r"preset '.*own\.npz' is damaged or altered, as its SHA-256 is not"),
    (truncated, "its SHA-256 is not the one that its card names"),
    (lambda path: path.unlink(), r"preset '.*own\.npz' does not exist"),
    (without_note, "KeyError: 'model'"),
    (of_card("{"), r"card of a preset '.*own\.json' is truncated"),
    (of_card("[]"), r"card of a preset '.*own\.json' is truncated"),
    (of_card("{}"), "sha256"),
    (of_card('{"sha256": "", "titel": ""}'), "unknown option 'titel' of preset 'own'; did you m"),
    (of_card('{"sha256": 1}'), "option 'sha256' of preset 'own' must be a string"),
    (lambda path: path.with_suffix(".json").unlink(), r"own\.json' does not exist"),
])  # fmt: skip
def test_a_damaged_preset_is_refused(own, damage, words):
    damage(own)
    with pytest.raises(UserError, match=words):
        open_preset(cards.find(str(own)))


def test_a_damaged_preset_that_ships_is_mended_by_another_remedy(own, monkeypatch):
    altered(own)
    with pytest.raises(UserError, match="remove its two files and write it again with python -m"):
        cards.find(str(own)).load()
    monkeypatch.setattr(facts, "folder", lambda kind: own.parent)
    with pytest.raises(UserError, match=r"install tfrecon again .* git checkout presets"):
        cards.find("own").load()


def test_a_received_preset_runs_no_code(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.py").write_text("raise SystemExit('imported')")
    note = {"model": {"name": "theirs.model"}, "image_size": 32, "has_mask": False}
    checkpoint.write(own, checkpoint.load(own)[0], note)
    preset = dataclasses.replace(cards.read(own), sha256=files.digest(own, "sha256").hex())
    with pytest.raises(UserError, match=r"'theirs\.model' is named by a file and not by you"):
        open_preset(preset)


def test_the_command_writes_a_preset(tmp_path, places, capsys):
    run = str(places.parent / "runs" / "scratches")
    assert export.main([run, "--preset", str(tmp_path / "new" / "mine")]) == 0
    said = capsys.readouterr().out
    assert "40×40: largest difference from the model" in said and "mine.json" in said
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["mine.json", "mine.npz"]
    for more in (["--ensemble"], ["--out", "exports/x"]):
        assert export.main([run, "--preset", "mine", *more]) == 2
        assert "have no effect on a preset" in capsys.readouterr().err


def test_weights_that_half_precision_cannot_hold_are_refused(tmp_path, own):
    before = own.read_bytes()
    run = untrained(tmp_path / "run", False, largest=1e6)
    with pytest.raises(UserError, match=r"values that half precision cannot .the largest is 1e"):
        write_preset(run, own)
    assert own.read_bytes() == before and len(list(tmp_path.iterdir())) == 3


def test_a_model_that_needs_more_than_its_file_is_refused(tmp_path, places, monkeypatch):
    run = tfrecon.open_run(places.parent / "runs" / "scratches")
    other = dataclasses.replace(run.config, model=Spec("my_package.my_model"))
    model = run.load_model()
    monkeypatch.setattr(type(run), "load_model", lambda self, options: model)
    with pytest.raises(
        UserError,
        match=r"my_model. of run .scratches. needs code, files o",
    ):
        write_preset(dataclasses.replace(run, config=other), tmp_path / "mine")
    monkeypatch.setattr(model, "fingerprint", "x", raising=False)
    with pytest.raises(UserError, match="brings all that it needs"):
        write_preset(run, tmp_path / "mine")
    assert not list(tmp_path.iterdir())
