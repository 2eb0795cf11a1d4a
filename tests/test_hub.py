"""Runs pushed to a folder and to a stand-in of the hub, and what is begun from there."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import hub_stand_in
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from preset_runs import untrained
from tiny_runs import config

import tfrecon
from tfrecon import fit, push, reconstruct
from tfrecon.backbones import feature_taps
from tfrecon.backbones.backbone import to_torch, torch_names
from tfrecon.base import cards, extras, images
from tfrecon.base.config import from_tables, merged
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.inference import saved_model
from tfrecon.inference.presets import open_preset
from tfrecon.inference.restorer import restorer
from tfrecon.training import loop
from tfrecon.training.run import open_run
from tfrecon.training.start import find_source
from tfrecon.training.transfer import Start

pytestmark = pytest.mark.skipif(
    bool(extras.missing("hub")), reason=f"no huggingface_hub: {extras.install('hub')}"
)

SUMMARY = """- run /home/ann/checkpoints/run: residual_unet on demo, split 'test', 2 images of 32×32

| method | PSNR (dB) ↑ |
|---|---|
| residual_unet | 30.00 |
| harmonic fill | 25.00 |

- By PSNR every result is better than each method without training that it is held against.
"""
LICENCE = "--set", "card.licence=Apache-2.0"


@pytest.fixture(scope="module", autouse=True)
def _one_size():
    """Exports are compared on small photos alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "SIZES", ((1, 40, 40),))
        yield


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with hub_stand_in.at(tmp_path_factory.mktemp("hub")) as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a model with masks that was evaluated; no test changes it."""
    made = untrained(tmp_path_factory.mktemp("runs") / "run", True)
    (made.path / "report").mkdir()
    (made.path / "report" / "summary.md").write_text(SUMMARY)
    images.write(made.path / "samples.png", np.full((40, 60, 3), 99, np.uint8))
    images.write(made.path / "report" / "worst.png", np.full((40, 60, 3), 9, np.uint8))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run):
    """The run, pushed to a folder; no test changes it."""
    place = tmp_path_factory.mktemp("pushed") / "mine"
    words = "--set", "card.title=Fills | holes", "--set", "card.not_for=wide holes"
    assert push.main([str(run.path), str(place), *words]) == 0
    return place


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_same_weights(source, run):
    for mine, theirs in zip(source.weights()[1], run.load_model().inference_variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_pushed_folder_is_the_run(folder, run, capsys):
    source = find_source(str(folder))
    said = capsys.readouterr().out
    assert f"{folder}: its card names no licence, so that all rights are its author's; ask" in said
    assert_same_weights(source, run)
    assert source.tables == {"model": run.config.model.to_dict(), "data": {"image_size": 32}}
    x = np.random.default_rng(0).random((1, 21, 37, 4), np.float32).round(2)
    x[..., 3] = x[..., 3] < 0.3
    expected = restorer(run.load_model())(x)
    np.testing.assert_array_equal(open_preset(cards.find(str(folder))).restore(x), expected)
    module = tf.saved_model.load(str(folder / "saved_model"))
    alone = module.restore(x[..., :3], x[..., 3:])["restored"]
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    arrays = safetensors.numpy.load_file(folder / "model.safetensors")
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    with pytest.raises(UserError, match="--from-state needs a run"):
        find_source(str(folder), from_state=True)


def test_the_card_says_what_there_is_to_know(folder, run):
    text = (folder / "README.md").read_text()
    head, body = text.removeprefix("---\n").split("---\n", 1)
    assert "license" not in head and "library_name: tfrecon\npipeline_tag: image-to-image" in head
    order = (
        "# Fills \\| holes", "mask of what is damaged", "**Licence**: none is named; ask before",
        "![Photos of its validation](model.webp)", f"reconstruct --preset {folder} photo.jpg",
        f"tf.saved_model.load('{folder}/saved_model')", "model.serve(image, mask)",
        "- residual_unet on demo, split 'test'", "| harmonic fill | 25.00 |",
        "![The worst of its test](worst.webp)", "- Not for wide holes.", "data of demo",
        '"width": 4',
    )  # fmt: skip
    places = [body.index(words) for words in order]
    assert places == sorted(places) and "/home/ann" not in text and "best.webp" not in text
    assert images.read(folder / "model.webp").shape == (40, 60, 3)


def test_words_of_a_card_stay_when_it_is_pushed_again(tmp_path, folder, run, capsys):
    place = shutil.copytree(folder, tmp_path / "mine")
    (place / "NOTES").write_text("of its owner")
    assert push.main([str(run.path), str(place), *LICENCE, "--no-pictures"]) == 0
    assert "names no licence" not in capsys.readouterr().out
    card = cards.find(str(place))
    assert card.title == "Fills | holes" and card.licence == "Apache-2.0"
    text = (place / "README.md").read_text()
    assert 'license: "apache-2.0"\n' in text and "![" not in text
    assert (place / "NOTES").read_text() == "of its owner"


def test_it_is_pushed_to_the_hub_and_begun_from_there(
    tmp_path, hub, run, photos, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert push.main([str(run.path), "hf://ann/faces", *LICENCE]) == 0
    sha, files = hub.newest("ann/faces")
    said = capsys.readouterr().out
    assert f"pushed run to hf://ann/faces@{sha}; to begin" in said and "no licence" not in said
    assert {"README.md", "config.json", "model.safetensors", "saved_model/saved_model.pb"} <= {
        *files
    }
    assert b"snapshot_download('ann/faces') + '/saved_model'" in files["README.md"]
    assert hub.lfs, "weights go where large files go"

    hub.asked.clear()
    source = fit._source(fit.parser().parse_args(["--from", "hf://ann/faces"]))
    assert source and source.name == f"hf://ann/faces@{sha}"
    said = capsys.readouterr().out
    assert f"hf://ann/faces is at revision {sha}\n" in said
    assert f"hf://ann/faces@{sha}: licence Apache-2.0\n" in said
    assert_same_weights(source, run)
    fetched = {line.split("/")[-1] for line in hub.asked if "/resolve/" in line}
    assert fetched == {"config.json", "model.safetensors"}, "nothing that could run is fetched"

    damage = {"name": "boxes", "size": 8}
    tables = {"data": {"recipe": "folder", "root": str(photos), "damage": damage}}
    settings = from_tables(merged(source.under(tables), {"fit": {"steps": 1, "batch_size": 2}}))
    begun = loop.train(settings, tmp_path / "begun", source=source)
    assert begun.facts["started_from"]["name"] == f"hf://ann/faces@{sha}"
    for name, refused in (("hf://ann/faces", False), ("hf://ann/face", True)):
        arguments = fit.parser().parse_args(["--from", name, "--resume"])
        if refused:
            with pytest.raises(UserError, match="began from hf://ann/faces@"):
                fit._check_begun(arguments, begun)
        else:
            fit._check_begun(arguments, begun)

    # Pushed anew the name means other weights; what was fetched is there without a network.
    newer = hub.commit("ann/faces", {"config.json": files["config.json"] + b"\n"})
    with hub.unplugged():
        assert find_source("hf://ann/faces").name == f"hf://ann/faces@{sha}"
    assert find_source("hf://ann/faces").name == f"hf://ann/faces@{newer}"
    assert find_source(source.name).name == source.name
    again = loop._start(None, dataclasses.replace(begun, path=tmp_path / "other"))
    assert again and again.hash == Start(source).hash

    # The licence of the last time stays.
    assert push.main([str(run.path), "hf://ann/faces"]) == 0
    assert b'license: "apache-2.0"' in hub.newest("ann/faces")[1]["README.md"]


def test_photos_are_restored_by_a_name_of_the_hub(tmp_path, hub, folder, capsys):
    hub.commit("ann/restores", contents(folder))
    photo = np.random.default_rng(0).integers(0, 255, (40, 48, 3), np.uint8)
    mask = np.zeros((40, 48), np.uint8)
    mask[8:16, 8:16] = 255
    expected = tfrecon.restore(photo, mask, preset=str(folder))
    np.testing.assert_array_equal(tfrecon.restore(photo, mask, "hf://ann/restores"), expected)
    images.write(tmp_path / "photo.png", photo)
    images.write(tmp_path / "mask.png", np.dstack([mask] * 3))
    places = [str(tmp_path / name) for name in ("photo.png", "out.png", "mask.png")]
    options = ["-o", places[1], "--mask", places[2], "--preset", "hf://ann/restores"]
    assert reconstruct.main([places[0], *options]) == 0
    np.testing.assert_array_equal(images.read(Path(places[1])), expected)


def theirs(folder, name):
    """A repository as a stranger may have made it."""
    files = contents(folder)
    config = json.loads(files["config.json"])
    weights = files["model.safetensors"]
    foreign = {**config, "model": {"name": "theirs.model"}}
    return {
        "pickles": {"config.json": b"{}", "pytorch_model.bin": b"\x80"},
        "empty": {"README.md": b""},
        "other": {"config.json": b'{"architecture": "bert"}', "model.safetensors": weights},
        "bare": {"model.safetensors": weights},
        "altered": {**files, "model.safetensors": weights[:-4] + b"abcd"},
        "code": {**files, "config.json": json.dumps(foreign).encode(), "theirs.py": b"1 / 0"},
        "torn": {**files, "config.json": files["config.json"][:-20]},
    }[name]


@pytest.mark.parametrize(("name", "words"), [
    ("pickles", "pytorch_model.bin alone, and such files may run code when they are read; ask its"),
    ("empty", "has no model.safetensors; name a repository that has one"),
    ("other", "is of another library, as its config.json describes no model of tfrecon"),
    ("bare", "config.json' does not exist"),
    ("altered", "is damaged or altered, as its SHA-256 is not the one that its card names; write "),
    ("code", "model 'theirs.model' is named by a file and not by you"),
    ("torn", "config.json' is truncated or damaged"),
])  # fmt: skip
def test_what_strangers_may_have_put_there(tmp_path, hub, folder, monkeypatch, name, words):
    files = theirs(folder, name)
    hub.commit(f"bob/{name}", files)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.py").write_text("raise SystemExit('imported')")
    for path, content in files.items():
        (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / path).write_bytes(content)
    for place in (f"hf://bob/{name}", name):
        with pytest.raises(UserError) as refused:
            open_preset(cards.find(place))
        assert words in str(refused.value)
        with pytest.raises(UserError) as refused:
            find_source(place).weights()
        assert words in str(refused.value) or (place == name and "is n" in str(refused.value))


@pytest.mark.parametrize(("place", "words"), [
    ("hf://ann/none", "answers 401: for this token, or without one, there is no such repository"),
    ("hf://ann/there@v9", "hf://ann/there@v9: the hub answers 404: there is no such repository or"),
    ("hf://there", "'hf://there' is no repository; write hf://user/name, or …@revision"),
    ("hf://ann/there/saved_model", "is no repository; write hf://user/name"),
])  # fmt: skip
def test_names_that_mean_nothing(hub, folder, capsys, place, words):
    hub.commit("ann/there", contents(folder))
    for door, arguments in ((fit, ["--from", place]), (reconstruct, ["x", "-o", "y.png"])):
        given = [*arguments, *(["--preset", place] if door is reconstruct else [])]
        assert door.main(given) == 2
        assert words in capsys.readouterr().err


def test_a_hub_that_does_not_answer(hub, capsys):
    given = ["x", "-o", "y.png", "--preset", "hf://ann/unseen"]
    hub.commit("ann/unseen", {})
    for status, words in (
        (403, "the token may not do this"), (429, "it was asked too often"), (500, "try again lat"),
    ):  # fmt: skip
        with hub.answering(status):
            assert reconstruct.main(given) == 2
        said = capsys.readouterr().err
        assert f"error: hf://ann/unseen: the hub answers {status}: " in said and words in said
    with hub.unplugged():
        assert reconstruct.main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: hf://ann/unseen: the hub is not reached (ConnectError: ")
    assert said.endswith("connect to the network\n")


def test_what_cannot_be_pushed(tmp_path, hub, run, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "novel.txt").write_text("mine")
    bare = untrained(tmp_path / "bare", True)

    def refused(*arguments, run=run):
        assert push.main([str(run.path), *arguments]) == 2
        return capsys.readouterr().err

    assert "names a revision, and what is pushed is a new one" in refused("hf://ann/new@v1")
    assert "the hub answers 403: the token may not do this" in refused("hf://bob/new")
    assert '"license" must be one of [apache-2.0, mit' in refused("hf://ann/n", "--set",
                                                                  "card.licence=wtf-9")  # fmt: skip
    assert "did you mean 'title'?" in refused("hf://ann/new", "--set", "card.titel=x")
    assert "'sha256'" in refused("hf://ann/new", "--set", "card.sha256=x")
    assert "has no effect on what is pushed" in refused("hf://ann/new", "--set", "fit.steps=1")
    assert "'full' exists and is no repository; choose another place" in refused("full")
    assert "--private has no effect on a folder" in refused("new", "--private")
    assert "was not evaluated" in refused("new", run=bare)
    monkeypatch.setenv("HF_TOKEN", "hf_of_another_day")
    assert "the hub answers 401: for this token" in refused("hf://ann/new")
    monkeypatch.delenv("HF_TOKEN")
    assert "needs a token that may write; log in with hf auth login" in refused("hf://ann/new")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr(extras, "missing", lambda extra: extras.EXTRAS[extra])
    assert 'add it with pip install "tfrecon[hub]"' in refused("hf://ann/new")
    assert "ann/new" not in hub.repositories and not hub.repositories.get("ann/n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "full"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["novel.txt"]


def test_a_run_that_needs_more_than_its_files_is_not_pushed(tmp_path, run):
    from tfrecon.inference.presets import write_repository

    (tmp_path / "weights.npz").write_bytes(b"")
    for model in (
        Spec("my_package.my_model"), Spec("feature_inversion", {"sources": [{
            "backbone": "vgg16", "taps": ["block1"], "weights": str(tmp_path / "weights.npz")}]}),
    ):  # fmt: skip
        other = dataclasses.replace(run, config=dataclasses.replace(run.config, model=model))
        with pytest.raises(UserError, match="needs code, files or weights from elsewhere; an exp"):
            write_repository(other, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def timm():
    """Files of a repository of timm: of a ResNet-34, at a seed, with its own mean and std."""

    def files(seed, **told):
        network = feature_taps("resnet34", ["layer1"], None, seed)
        arrays = {
            name: np.ascontiguousarray(to_torch(variable.numpy()))
            for name, variable in torch_names(network).items()
        }
        about = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 0.5], **told}
        config = json.dumps({"architecture": "resnet34", "pretrained_cfg": about}).encode()
        return {"model.safetensors": safetensors.numpy.save(arrays), "config.json": config}

    return files


def test_timm_weights_by_their_name_on_the_hub(hub, timm):
    hub.commit("timm/own", timm(3))
    read = feature_taps("resnet34", ["layer1"], "hf://timm/own")
    drawn = feature_taps("resnet34", ["layer1"], None, 3)
    x = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    as_imagenet = (x - 0.5) / [0.25, 0.5, 0.5] * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]
    for mine, theirs in zip(
        tf.nest.flatten(read(x)), tf.nest.flatten(drawn(np.float32(as_imagenet))), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
    assert read.fingerprint != drawn.fingerprint, "the preprocessing is part of it"
    for broken in (None, [0.5], [0, 0.5, 0.5], "std"):
        hub.commit("timm/own", timm(3, std=broken))
        with pytest.raises(UserError, match=r"says no mean and std of images .* name a repos"):
            feature_taps("resnet34", ["layer1"], "hf://timm/own")
    with pytest.raises(UserError, match=r"vgg16.*holds another network|'hf://timm/own' holds anot"):
        hub.commit("timm/own", timm(3))
        feature_taps("vgg16", ["block1"], "hf://timm/own")
    with pytest.raises(UserError, match="a repository of timm begins with hf://timm/"):
        feature_taps("resnet34", ["layer1"], "timm/own")


@pytest.fixture(scope="module")
def inversion(tmp_path_factory, hub, timm, photos):
    """A run on a network of the hub, whose repository has gone on since; no test changes it."""
    hub.commit("timm/frozen", timm(3))
    model = {
        "name": "feature_inversion", "backbone": "resnet34", "taps": ["layer1"],
        "weights": "hf://timm/frozen", "decoder": {"name": "linear", "kernel_size": 1},
    }  # fmt: skip
    data = {"recipe": "folder", "root": str(photos), "image_size": 32, "damage": "identity"}
    settings = from_tables({"model": model, "data": data})
    trained = loop.train(settings, tmp_path_factory.mktemp("inversion") / "run")
    hub.commit("timm/frozen", timm(4))
    return trained


def test_a_run_keeps_the_revision_of_its_frozen_network(hub, inversion):
    first = next(iter(hub.repositories["timm/frozen"]))
    opened = open_run(inversion.path)
    assert opened.facts["revisions"] == {"hf://timm/frozen": f"hf://timm/frozen@{first}"}
    assert opened.config.model.options["weights"] == "hf://timm/frozen", "as it was asked for"
    assert opened.load_model().fingerprint == inversion.facts["frozen"], "else it is refused"


@pytest.mark.slow
def test_a_pushed_inversion_names_the_revision_of_its_frozen_network(tmp_path, hub, inversion):
    first = next(iter(hub.repositories["timm/frozen"]))
    (inversion.path / "report").mkdir()
    (inversion.path / "report" / "summary.md").write_text(SUMMARY)
    pushed = tmp_path / "pushed"
    assert push.main([str(inversion.path), str(pushed)]) == 0
    card = json.loads((pushed / "config.json").read_text())
    assert card["model"]["weights"] == f"hf://timm/frozen@{first}"
    assert card["frozen"] == inversion.facts["frozen"]
    x = np.random.default_rng(0).random((1, 32, 32, 3), np.float32)
    expected = np.clip(inversion.load_model()(x), 0, 1)
    np.testing.assert_allclose(open_preset(cards.find(str(pushed))).restore(x), expected, atol=1e-5)
    card["model"]["weights"] = "hf://timm/frozen"
    (pushed / "config.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"are not those that .*pushed was trained on; res"):
        find_source(str(pushed)).weights()


@pytest.mark.slow
def test_a_fresh_process_gets_the_same_scores_from_the_hub(tmp_path, hub, photos):
    tables = config(photos, steps=2).to_dict()
    tables["model"] = {"name": "residual_unet", "width": 4}  # no statistics that a step would move
    trained = loop.train(from_tables(tables), tmp_path / "run")
    tfrecon.evaluate_runs([trained], slow=False)
    assert push.main([str(trained.path), "hf://ann/scored", *LICENCE]) == 0
    (tmp_path / "fresh").mkdir()
    settings = (
        "fit.learning_rate=1e-30", "fit.batch_size=2", 'data.damage={name="boxes", size=8}',
    )  # fmt: skip
    sets = [word for setting in settings for word in ("--set", setting)]
    subprocess.run(
        [sys.executable, "-m", "tfrecon.fit", "--from", "hf://ann/scored", "--data", "folder",
         "--root", str(photos), "--steps", "1", "--run", "begun", *sets],
        cwd=tmp_path / "fresh", check=True, env={**os.environ, "HF_HOME": str(tmp_path / "cache")},
    )  # fmt: skip
    begun = open_run(tmp_path / "fresh" / "checkpoints" / "begun").scores()
    before = trained.scores().filter(method="residual_unet")
    assert len(before) and before.equals(begun.filter(method="residual_unet"))
