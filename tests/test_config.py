"""Configuration: where a value may come from, and what is said of a wrong one."""

import json
import re

import pytest

from tfrecon.base.config import (
    Config,
    DataConfig,
    FitConfig,
    from_tables,
    merged,
    parse_set,
    read_json,
    read_toml,
)
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.fit import parser, tables
from tfrecon.training.run import complete


def config(*assignments: str, **sections) -> Config:
    return from_tables(merged({"model": "pix2pix", **sections}, parse_set(assignments)))


def refused(text: str, *assignments: str, **sections) -> None:
    with pytest.raises(UserError, match=re.escape(text)) as raised:
        config(*assignments, **sections)
    assert "\n" not in str(raised.value)


def test_defaults():
    assert config() == Config(Spec("pix2pix"), DataConfig(), FitConfig())
    data, fit = config().data, config().fit
    assert (data.recipe, data.image_size, data.load_size) == (Spec("demo"), 256, None)
    assert (fit.loss, fit.optimizer, fit.monitor) == ([Spec("l1")], Spec("adam"), "val_psnr")
    assert (fit.steps, fit.epochs, fit.minutes) == (None, None, None)


def test_a_toml_file_fills_the_sections(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        'model = { name = "pix2pix", base_filters = 8 }\n'
        '[data]\nrecipe = "folder"\nroot = "photos"\ndamage = { name = "boxes", size = 9 }\n'
        '[fit]\nsteps = 40_000\nlearning_rate = 1e-4\nloss = ["l1", { name = "l2", weight = 2 }]\n'
    )
    read = from_tables(read_toml(path))
    assert read.model == Spec("pix2pix", {"base_filters": 8})
    assert read.data == DataConfig(
        recipe=Spec("folder"), root="photos", damage=Spec("boxes", {"size": 9})
    )
    assert read.fit == FitConfig(
        steps=40_000, learning_rate=1e-4, loss=[Spec("l1"), Spec("l2", {"weight": 2})]
    )


def test_a_number_with_an_exponent_is_a_number(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[fit]\nlearning_rate = 1e-4")  # YAML would make a string of it
    assert read_toml(path) == {"fit": {"learning_rate": 1e-4}}
    assert config("fit.learning_rate=1e-4").fit.learning_rate == 1e-4
    assert config("fit.learning_rate=1").fit.learning_rate == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        ("[fit\nsteps = 3", "is not valid TOML"),
        ("[fit]\nsteps = 3\nsteps = 4", "is not valid TOML"),
        (b"\xff\xfe", "is not valid TOML"),
        ("[fitt]\nsteps = 3", "unknown section [fitt]; did you mean 'fit'?"),
        ("fit = 3", "[fit] must be a table, not 3"),
        ("steps = 3", "unknown section [steps]"),
    ],
)
def test_a_bad_file_is_named_in_one_sentence(tmp_path, content, said):
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        read_toml(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_folder_as_configuration_file(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        read_toml(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-3", -3), ("0.5", 0.5), ("1e-4", 1e-4), ("true", True), ('"3"', "3"),
        ("harmonic", "harmonic"), ("a b/c=d", "a b/c=d"), (" spaced ", "spaced"), ("none", "none"),
        ('["l1", {name = "l2"}]', ["l1", {"name": "l2"}]), ("", ""), ("True", "True"),
    ],
)  # fmt: skip
def test_the_values_of_set_are_typed_like_toml(text, value):
    parsed = parse_set([f"fit.key={text}"])["fit"]["key"]
    assert parsed == value and type(parsed) is type(value)


def test_set_nests_and_the_later_one_wins():
    assert parse_set(["fit.steps=3", "model.name=pix2pix", "fit.steps=4", "model.fill=mean"]) == {
        "fit": {"steps": 4},
        "model": {"name": "pix2pix", "fill": "mean"},
    }
    assert config("fit.optimizer=sgd", "fit.optimizer.momentum=0.9") == config(
        "fit.optimizer.momentum=0.9", "fit.optimizer=sgd"
    )


@pytest.mark.parametrize(
    "text", ["fit.steps", "steps=3", ".steps=3", "fit.=3", "=3", "", "fit..a=3"]
)
def test_a_malformed_set_shows_how_to_write_it(text):
    with pytest.raises(UserError, match=r"must look like section\.key=value, e\.g\. fit\.epochs=3"):
        parse_set([text])


def test_none_is_an_absent_value_where_one_may_be_absent():
    base = {
        "data": {"damage": {"name": "boxes", "size": 9}, "load_size": 300, "root": "photos"},
        "fit": {"steps": 5},
    }
    names = ("data.damage", "data.load_size", "data.root", "fit.steps")
    absent = config(*(f"{name}=none" for name in names), **base)
    assert absent == config()
    assert from_tables({"model": "pix2pix", "data": {"damage": None}}) == config()


def test_none_keeps_its_own_meaning_where_it_has_one():
    read = config("data.cache=none", "fit.strategy=none", "model.fill=none")
    assert (read.data.cache, read.fit.strategy) == ("none", "none")
    assert read.model.options == {"fill": "none"}
    refused("fit.batch_size must be a whole number, not 'none'", "fit.batch_size=none")


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("fit.epoch=3", "unknown key in [fit] 'epoch'; did you mean 'epochs'?"),
        ("data.imagesize=3", "unknown key in [data] 'imagesize'; did you mean 'image_size'?"),
        ("dat.image_size=3", "unknown section [dat]; did you mean 'data'?"),
        ("zzz.image_size=3", "unknown section [zzz]; known: data, fit, model"),
        ("fit.steps=many", "fit.steps must be a whole number or nothing, not 'many'"),
        ("fit.steps=2.5", "fit.steps must be a whole number or nothing, not 2.5"),
        ("fit.steps=true", "fit.steps must be a whole number or nothing, not True"),
        ("fit.batch_size=true", "fit.batch_size must be a whole number, not True"),
        ("fit.learning_rate=fast", "fit.learning_rate must be a number, not 'fast'"),
        ("data.flip=1", "data.flip must be true or false, not 1"),
        ("data.root=3", "data.root must be a string or nothing, not 3"),
        ("data.cache=ram", "data.cache must be one of 'memory', 'disk', 'none', not 'ram'"),
        ("fit.precision=half", "one of 'float32', 'bfloat16', 'float16', 'auto', not 'half'"),
        ("fit.optimizer=3", "[fit.optimizer] must be a name or a table with a 'name', not 3"),
        (
            "fit.loss.weight=3",
            "[fit.loss] has no name; give one, e.g. with --set fit.loss.name=NAME",
        ),
        (
            "data.damage.size=3",
            "[data.damage] has no name; give one, e.g. with --set data.damage.nam",
        ),
        ("data.recipe=[]", "[data.recipe] must be a name or a table with a 'name', not []"),
        ("model.name=3", "[model] must be a name or a table with a 'name', not {'name': 3}"),
    ],
)
def test_wrong_keys_and_types_are_one_sentence(assignment, said):
    refused(said, assignment)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        *((f"fit.{key}=0", f"fit.{key} must be 1 or more, not 0")
          for key in ("steps", "epochs", "batch_size", "steps_per_epoch")),
        *((f"fit.{key}=0", f"fit.{key} must be greater than 0 and finite, not 0")
          for key in ("minutes", "learning_rate", "hole_weight")),
        *((f"data.{key}=-8", f"data.{key} must be 1 or more, not -8")
          for key in ("image_size", "crop_size", "load_size", "val_size")),
        ("fit.minutes=inf", "fit.minutes must be greater than 0 and finite, not inf"),
        ("fit.learning_rate=nan", "fit.learning_rate must be greater than 0 and finite, not nan"),
        *((f"fit.{key}=-1", f"fit.{key} must be 0 or more, not -1")
          for key in ("warmup_steps", "early_stopping_patience", "reduce_on_plateau_patience",
                      "checkpoint_seconds")),
        ("fit.seed=-1", "fit.seed must lie in [0, 4294967295], not -1"),
        ("fit.seed=4294967296", "fit.seed must lie in [0, 4294967295], not 4294967296"),
        ("data.zoom=0", "data.zoom must lie in (0, 1], not 0"),
        ("data.color_jitter=1", "data.color_jitter must lie in [0, 1), not 1"),
        ("fit.ema_decay=1", "fit.ema_decay must lie in [0, 1), not 1"),
        ("fit.reduce_on_plateau_factor=1", "plateau_factor must lie in (0, 1), not 1"),
        ("fit.monitor=psnr", "must be a validation value such as 'val_psnr', not 'psnr'"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_one_sentence(assignment, said):
    refused(said, assignment)


@pytest.mark.parametrize(
    ("first", "second"), [("steps", "epochs"), ("steps", "minutes"), ("epochs", "minutes")]
)
def test_lengths_exclude_each_other(first, second):
    assert getattr(config(f"fit.{first}=3").fit, first) == 3
    refused(f"fit.{first} and fit.{second} exclude each other; keep one", f"fit.{first}=3",
            f"fit.{second}=3")  # fmt: skip


def test_a_schedule_and_the_plateau_exclude_each_other():
    config("fit.schedule=cosine")
    config("fit.reduce_on_plateau_patience=3")
    refused(
        "fit.schedule = 'cosine' and fit.reduce_on_plateau_patience exclude each other",
        "fit.schedule=cosine", "fit.reduce_on_plateau_patience=3",
    )  # fmt: skip


def test_load_size_is_at_least_the_image_size():
    assert config("data.load_size=256").data.load_size == 256
    refused("data.load_size (255) must be at least data.image_size (256)", "data.load_size=255")


def test_options_without_a_name_are_those_of_the_default():
    read = config("fit.optimizer.epsilon=0.1", "data.recipe.inputs=below")
    assert read.fit.optimizer == Spec("adam", {"epsilon": 0.1})
    assert read.data.recipe == Spec("demo", {"inputs": "below"})
    assert config("fit.optimizer=sgd").fit.optimizer == Spec("sgd")


def test_a_model_comes_with_its_defaults_below_what_is_given():
    whole = complete({"model": {"name": "feature_gan", "width": 3}, "fit": {"epochs": 2}})
    assert whole.model == Spec("feature_gan", {"width": 3})
    assert (whole.data.image_size, whole.data.damage) == (128, Spec("identity"))
    assert (whole.fit.batch_size, whole.fit.epochs) == (32, 2)
    options = {"fit": {"optimizer": {"beta_2": 0.9}}, "data": {"load_size": 130}}
    given = complete({"model": "feature_gan", **options})
    assert given.fit.optimizer.options == {"beta_1": 0.5, "beta_2": 0.9}
    assert given.data.load_size == 130, "measured against the size of the model's own images"
    assert complete({"model": "my.model"}) == from_tables({"model": "my.model"})
    with pytest.raises(UserError, match="no model; give one with --model NAME"):
        complete({"fit": {"epochs": 2}})


def test_no_model():
    with pytest.raises(UserError, match="no model; give one with --model NAME"):
        from_tables({"fit": {}})


def test_merging_keeps_what_it_does_not_name():
    base = {"model": {"name": "pix2pix", "fill": "mean"}, "fit": {"steps": 3, "seed": 1}}
    assert merged(base, {"fit": {"seed": 2}, "data": {"root": "a"}}) == {
        "model": {"name": "pix2pix", "fill": "mean"},
        "fit": {"steps": 3, "seed": 2},
        "data": {"root": "a"},
    }
    assert base["fit"] == {"steps": 3, "seed": 1}, "the base is left alone"
    assert merged({"data": {"root": "a"}}, {"data": {"root": "b"}}) == {"data": {"root": "b"}}


@pytest.mark.parametrize("damage", ["boxes", {"name": "boxes", "size": 9}])
def test_merging_drops_the_options_when_the_name_changes(damage):
    for other in ("scratches", {"name": "scratches", "width": 2}):
        whole = (
            {"name": "scratches"} if isinstance(damage, dict) and other == "scratches" else other
        )
        assert merged({"damage": damage}, {"damage": other}) == {"damage": whole}
    options = {"name": "boxes", "size": 5}
    assert merged({"damage": damage}, {"damage": {"size": 5}}) == {"damage": options}
    assert merged({"damage": damage}, {"damage": options}) == {"damage": options}
    assert merged({"damage": {"size": 5}}, {"damage": damage})["damage"]["name"] == "boxes"
    assert merged({"damage": damage}, {"damage": "boxes"}) == {"damage": damage}


def test_round_trip_through_json(tmp_path):
    whole = config(
        "model.base_filters=8", "model.dropout=0.25", "data.recipe.name=folder", "data.root=photos",
        "data.recipe.inputs=below", "data.damage.name=boxes", "data.damage.size=9",
        'fit.loss=["l1", {name = "charbonnier", weight = 0.5}]', "fit.minutes=2.5",
        "fit.optimizer.name=adam", "fit.optimizer.beta_1=0.5", "fit.learning_rate=1e-4",
    )  # fmt: skip
    for settings in (whole, config()):
        assert from_tables(settings.to_dict()) == settings
        path = tmp_path / "config.json"
        path.write_text(json.dumps(settings.to_dict()))
        assert read_json(path) == settings


# The command line on top of a file


def spelled(tmp_path, file: str, *arguments: str):
    path = tmp_path / "own.toml"
    path.write_text(file)
    return tables(parser().parse_args(["--config", str(path), *arguments]))


def test_flags_come_over_the_file_and_set_over_flags(tmp_path):
    file = '[model]\nname = "pix2pix"\nfill = "mean"\n[data]\nrecipe = "demo"\n[fit]\nseed = 4\n'
    flags = ("--data", "folder", "--root", "here", "--strategy", "mirrored")
    sets = ("--set", "fit.strategy=none", "--set", "model.dropout=0")
    read = from_tables(spelled(tmp_path, file, *flags, *sets))
    assert read.model == Spec("pix2pix", {"fill": "mean", "dropout": 0})
    assert (read.data.recipe, read.data.root) == (Spec("folder"), "here")
    assert (read.fit.strategy, read.fit.seed) == ("none", 4)
    same = spelled(tmp_path, file, "--model", "pix2pix")
    assert same["model"] == {"name": "pix2pix", "fill": "mean"}
    other = spelled(tmp_path, file, "--model", "other", "--set", "model.width=3")
    assert other["model"] == {"name": "other", "width": 3}


@pytest.mark.parametrize(
    "arguments", [("--minutes", "0.5"), ("--epochs", "2"), ("--set", "fit.epochs=2")]
)
def test_a_new_length_replaces_that_of_the_file(tmp_path, arguments):
    given = spelled(tmp_path, 'model = "pix2pix"\n[fit]\nsteps = 9\nseed = 4', *arguments)
    assert "steps" not in given["fit"] and given["fit"]["seed"] == 4
    from_tables(given)
