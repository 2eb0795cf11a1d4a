"""A training that begins with the weights of another: what is taken and what is refused."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from made_up_comparison import BASE, comparison_of
from preset_runs import ship, untrained
from tiny_runs import assert_equal_states, config, interrupted, state

from tfrecon import fit
from tfrecon.base import checkpoint
from tfrecon.base.config import LENGTHS, from_tables, merged
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.inference import saved_model
from tfrecon.models import build_model
from tfrecon.models.supervised import wrapped
from tfrecon.reports.page import environment
from tfrecon.training import loop
from tfrecon.training.run import Run, goes_on, open_run
from tfrecon.training.start import open_source
from tfrecon.training.state import kept_variables
from tfrecon.training.transfer import Start, freeze

DISCRIMINATOR = 13
"""Arrays that only training uses."""


def restoring(photos, **model):
    """What `untrained` makes, as it would be trained."""
    tables = config(photos, steps=1).to_dict()
    damage = {"name": "boxes", "size": 8} if model.pop("mask", True) else "blur"
    tables["model"] = {"name": "residual_unet", "width": 4, **model}
    return from_tables(merged(tables, {"data": {"damage": damage}}))


def model_of(settings, mask=True):
    return build_model(settings.model, image_size=settings.data.image_size, mask=mask, seed=1)


def begun(run):
    """The arrays of the model before its first step."""
    arrays, note = checkpoint.load(run.path / "state-before.npz")
    assert note["step"] == 0
    return {name: array for name, array in arrays.items() if name.startswith("model/")}


def test_a_run_begins_with_the_best_weights_of_another(tmp_path, photos, plain, capsys):
    settings = config(photos, steps=1, learning_rate=0.01, loss="l2")
    run = loop.train(settings, tmp_path / "run", source=open_source(plain.path))
    said = f"started from {plain.path}: 41 of 54 arrays, 13 new (patch_discriminator)"
    assert said in capsys.readouterr().out
    best = checkpoint.load(plain.path / "best.npz")[0]
    model = plain.load_model()
    places = {id(v): n for n, v in enumerate(kept_variables(model))}
    arrays = begun(run)
    for n, variable in enumerate(model.inference_variables):
        np.testing.assert_array_equal(
            arrays[f"model/{places[id(variable)]:04d}"], best[f"model/{n:04d}"]
        )
    facts = json.loads((run.path / "run.json").read_text())["started_from"]
    assert facts["name"] == str(plain.path) and len(facts["hash"]) == 64
    assert facts["arrays"] == 41 and len(facts["new"]) == DISCRIMINATOR
    assert open_run(run.path).facts["started_from"] == facts


def test_pix2pix_begins_with_the_answers_of_the_preset_that_its_configuration_names(
    tmp_path, monkeypatch, photos, capsys
):
    ship(tmp_path, monkeypatch)
    preset = open_run(tmp_path / "runs" / "inpainting").load_model()
    shares = {"generator": "residual_unet", "base_filters": 4}
    tables = merged(
        config(photos, steps=1).to_dict(),
        {"model": shares, "fit": {"start": "inpainting", "learning_rate": 1e-12}},
    )
    run = loop.train(from_tables(tables), tmp_path / "run")
    assert "started from inpainting: 52 of 65 arrays, 13 new (patch_d" in capsys.readouterr().out
    x = np.random.default_rng(0).random((2, 32, 48, 4), np.float32).round(2)
    x[..., 3] = x[..., 3] < 0.3
    np.testing.assert_allclose(run.load_model()(x), preset(x), atol=1e-3)

    with pytest.raises(UserError, match="there is no run, export, file or preset 'inpaint'"):
        loop.train(from_tables(merged(tables, {"fit": {"start": "inpaint"}})), tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_it_goes_on_bit_for_bit_without_what_it_began_with(
    tmp_path, monkeypatch, photos, plain, eagerly
):
    shutil.copytree(plain.path, tmp_path / "source")
    settings = config(photos, freeze=["down*"])
    raw = open_source(tmp_path / "source", from_state=True)
    whole = loop.train(settings, tmp_path / "whole", source=raw)
    interrupted(monkeypatch, settings, tmp_path / "stopped", 4, source=raw)
    shutil.rmtree(tmp_path / "source")
    resumed = loop.train(settings, tmp_path / "stopped", resume=True)
    assert_equal_states(resumed, whole)
    assert (resumed.path / "best.npz").read_bytes() == (whole.path / "best.npz").read_bytes()
    assert resumed.facts["started_from"] == whole.facts["started_from"]
    # From the raw state all arrays are taken; those of frozen layers, statistics too, stay.
    names = {f"model/{n:04d}": v.path for n, v in enumerate(kept_variables(plain.build_model()))}
    frozen = [name for name, path in names.items() if path.startswith("down")]
    theirs, first, last = state(plain)[0], begun(whole), state(resumed)[0]
    assert whole.facts["frozen_layers"] and len(frozen) > 15
    for name, path in names.items():
        if "seed" not in path:
            np.testing.assert_array_equal(first[name], theirs[name], err_msg=path)
    for name in frozen:
        np.testing.assert_array_equal(last[name], theirs[name], err_msg=names[name])
    learned = [name for name in names if not np.array_equal(last[name], theirs[name])]
    assert learned
    x = np.random.default_rng(0).random((1, 32, 32, 4), np.float32)
    assert np.isfinite(open_run(whole.path).load_model()(x)).all()


@pytest.mark.slow
def test_a_run_killed_before_its_first_state_begins_again(tmp_path, monkeypatch, photos, eagerly):
    source = open_source(untrained(tmp_path / "source", True).path)
    settings = restoring(photos)
    whole = loop.train(settings, tmp_path / "whole", source=source)
    with monkeypatch.context() as patch:
        patch.setattr(loop.Checkpoint, "begin", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            loop.train(settings, tmp_path / "killed", source=source)
    again = shutil.copytree(tmp_path / "killed", tmp_path / "again")
    assert_equal_states(loop.train(settings, tmp_path / "killed", resume=True), whole)
    untrained(tmp_path / "source", True, largest=0.2)
    with pytest.raises(UserError, match="source has changed since it began, and it has no state"):
        loop.train(settings, again, resume=True)


@pytest.mark.parametrize(
    ("model", "mask", "words"),
    [
        ({"width": 6}, True, "its 'enter/kernel' is (3, 3, 16, 4) and should be (3, 3, 16, 6); le"),
        ({}, False, "(3, 3, 16, 4) and should be (3, 3, 12, 4); it was trained with masks and sees "
         "no masks here; choose data or data.damage accordingly"),
        ({"name": "pix2pix"}, True, "(residual_unet) does not fit: its 'down1/kernel' is (2"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path, photos, model, mask, words
):
    source = open_source(untrained(tmp_path / "source", True).path)
    settings = config(photos) if "name" in model else restoring(photos, mask=mask, **model)
    with pytest.raises(UserError) as refused:
        loop.train(settings, tmp_path / "run", source=source)
    assert words in str(refused.value) and str(refused.value).startswith("--from ")
    fit = dataclasses.replace(settings.fit, start=str(tmp_path / "source"))
    with pytest.raises(UserError, match=r"^fit\.start .* does not fit: "):
        loop.train(dataclasses.replace(settings, fit=fit), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_layers_to_freeze(photos):
    model = model_of(config(photos))
    assert freeze(model, ["down1", "*_norm"])[:2] == ["down1", "down2_norm"]
    assert model.inference_variables[0].path == "down1/kernel", "the order does not change"
    with pytest.raises(UserError, match=r"matches 'dwon\*'; there are .*generator.*, up1.*patch_d"):
        freeze(model_of(config(photos)), ["down*", "dwon*"])
    with pytest.raises(UserError, match="leaves nothing to train"):
        freeze(model_of(config(photos)), ["generator"])


@pytest.fixture(scope="module")
def small_photos():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "SIZES", ((2, 40, 40),))
        yield


def test_whatever_holds_weights_gives_the_same(tmp_path, monkeypatch, small_photos, capsys):
    ship(tmp_path, monkeypatch)
    run = open_run(tmp_path / "runs" / "inpainting")
    saved_model.export_run(run, tmp_path / "export")
    monkeypatch.chdir(tmp_path)
    expected = run.load_model().inference_variables
    for name, close in {
        "runs/inpainting": 0, "runs/inpainting/best.npz": 0, "export": 0, "inpainting": 1e-4,
        "presets/inpainting.npz": 1e-4,
    }.items():  # fmt: skip
        source = fit._source(fit.parser().parse_args(["--from", name]))
        assert source and source.name == name
        tables = source.under({"data": {"recipe": "folder"}})
        # Its own network, of before the defaults had another one.
        network = {"grids": "deep", "top_hats": None, "width": 4}
        assert tables["model"] == {"name": "residual_unet", **network}
        assert tables["data"]["image_size"] == 32
        model = build_model(Spec("residual_unet", {"width": 4}), image_size=64, mask=True, seed=7)
        Start(source).give(model, True)
        assert f"started from {name}: 52 of 52 arrays\n" in capsys.readouterr().out
        for mine, theirs in zip(model.inference_variables, expected, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=close, rtol=0)

    record = json.loads((tmp_path / "export" / "export.json").read_text())
    del record["weights"]
    (tmp_path / "export" / "export.json").write_text(json.dumps(record))
    with pytest.raises(
        UserError, match=r"does not say which of its weights is which, .*start from"
    ):
        open_source(tmp_path / "export")


def test_the_report_says_what_a_run_began_with():
    found = comparison_of({"a": BASE})
    assert "began with the weights of" not in environment(found)
    begun = {"name": "/home/me/runs/faces", "hash": "0123456789abcdef"}
    found.results[0].runs[0].facts["started_from"] = begun
    assert environment(found)["began with the weights of"] == "faces (hash 0123456789ab)"


class Held:
    """A source whose model is here already."""

    def __init__(self, model, has_mask=False):
        self.name, self.path, self.from_state, self.has_mask = "held", Path("held"), False, has_mask
        self.tables, self.option = {"model": {"name": "held"}}, "--from"
        self.weights = lambda: (model, model.inference_variables)


def given(source_model, model):
    start = Start(Held(source_model))
    facts = start.give(model, False)
    return facts["arrays"], len(facts["new"]), start.leaves_to_fit(model)


def test_what_is_fitted_to_features_goes_with_them():
    def inversion(decoder, seed=0, **options):
        options = {"weights": None, "decoder": decoder, **options}
        return build_model(Spec("feature_inversion", options), image_size=32, mask=False, seed=seed)

    linear = {"name": "linear", "kernel_size": 1}
    solved = inversion(linear)
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    solved.adapt([images], 2)
    residual = inversion({"name": "residual", "kernel_size": 1})
    arrays, new, to_fit = given(solved, residual)
    assert arrays == 4 and new and not to_fit
    for name in ("kernel", "bias"):
        mine, theirs = (getattr(model.ridge, name) for model in (residual, solved))
        np.testing.assert_array_equal(mine, theirs)
    # Features of other frozen weights: what was fitted is fitted anew, and counts as neither.
    arrays, new, to_fit = given(residual, inversion({"name": "residual", "kernel_size": 1}, seed=1))
    assert arrays and not new and to_fit
    other = inversion("transposed_conv")
    arrays, new, to_fit = given(solved, other)
    assert (arrays, to_fit) == (2, False), "the statistics are all that is fitted"
    with pytest.raises(UserError, match="is of another network: it shares no array with this one"):
        given(solved, automatic())


def automatic(*, more: bool = False):
    """A network whose layers have the names that Keras gives."""
    x = inputs = keras.layers.Input((None, None, 3))
    for _ in range(2 + more):
        x = keras.layers.Conv2D(3, 3, padding="same", activation="relu")(x)
    return wrapped(keras.Model(inputs, keras.layers.Dense(3)(x)))


def test_automatic_names_do_not_depend_on_what_was_built_before(capsys):
    source, model, larger = automatic(), automatic(), automatic(more=True)
    assert given(source, model) == (6, 0, False)
    for mine, theirs in zip(model.weights, source.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert freeze(model, ["conv2d_1"]) == ["conv2d_1"]
    assert [v.path.split("/")[1] for v in model.trainable_variables] == ["kernel", "bias"] * 2
    capsys.readouterr()
    assert given(source, larger) == (6, 2, False)
    assert capsys.readouterr().out == "started from held: 6 of 8 arrays, 2 new (conv2d_2)\n"
    assert given(larger, automatic()) == (6, 0, False)
    assert "6 of 6 arrays; 2 not used (conv2d_2)" in capsys.readouterr().out


def test_a_run_is_lengthened_with_all_else_as_it_is(plain):
    longer = {"steps": 16}, {"epochs": 9}, {"minutes": 3}
    for asked in longer:
        (name, value), fit = *asked.items(), goes_on({"fit": asked}, plain).fit
        lengths = {key: getattr(fit, key) for key in LENGTHS}
        assert lengths == {**dict.fromkeys(LENGTHS), name: value}
    assert goes_on({"fit": {"steps": 8}}, plain) == plain.config
    for asked, words in (
        (
            {"steps": 16, "schedule": "cosine"},
            "has fit.schedule = 'constant', not 'cosine'; a run ",
        ),
        ({"steps": 7}, "has 8 steps and can be made longer, not shorter (7)"),
        (
            {"epochs": 2},
            "not shorter (6); go on with --run and --resume alone, or begin another wi",
        ),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            goes_on({"fit": asked}, plain)


@pytest.mark.parametrize(
    ("schedule", "step", "words"),
    [
        ("constant", 6, "as if 16 had been asked for at first"),
        (
            "constant",
            8,
            "as if 16 had been asked for at first, but for one more validation, at step",
        ),
        (
            "cosine",
            8,
            "cosine schedule of 8 steps, which goes on as that of 16: it does not end as",
        ),
    ],
)
def test_what_holds_of_a_lengthened_run_is_said(plain, capsys, schedule, step, words):
    config = merged(plain.config.to_dict(), {"fit": {"schedule": schedule}})
    run = Run(plain.path, from_tables(config), {**plain.facts, "steps": 16})
    said = loop._check_length(plain, run, {"step": step, "stopped": False})
    assert words in capsys.readouterr().out
    assert len(said) == (1 if schedule == "constant" else 2), "what is less than exact is recorded"
    with pytest.raises(UserError, match=r"stopped early, at step 5 of 8, .* begin another with"):
        loop._check_length(plain, run, {"step": 5, "stopped": True})


@pytest.mark.slow
def test_a_lengthened_run_ends_as_if_it_had_been_asked_for(tmp_path, photos, eagerly):
    whole = loop.train(config(photos, steps=6), tmp_path / "whole")
    loop.train(config(photos, steps=3), tmp_path / "run")
    run = loop.train(config(photos, steps=6), tmp_path / "run", resume=True)
    assert_equal_states(run, whole)
    assert open_run(run.path).facts["steps"] == 6 and open_run(run.path).config.fit.steps == 6
    for name in ("history.csv", "best.npz"):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()

    cosine = config(photos, steps=3, schedule="cosine")
    loop.train(cosine, tmp_path / "cosine")
    longer = loop.train(
        config(photos, steps=6, schedule="cosine"), tmp_path / "cosine", resume=True
    )
    again = loop.train(longer.config, longer.path, resume=True)
    (sentence,) = open_run(longer.path).incidents
    assert sentence.startswith("lengthened at step 3 from 3 to 6 steps: what came before was")
    assert longer.incidents == again.incidents == [sentence]
