"""Errors are part of the interface: one sentence on stderr, an exit code, and nothing half-written.

One small run serves the whole file; it is stopped twice on its way, by a full disk and by Ctrl-C.
"""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import fakes
import numpy as np
import pytest

from tfrecon import __main__ as command
from tfrecon import evaluate, export, fit, reconstruct, submit
from tfrecon.base import checkpoint, cli, files
from tfrecon.base.errors import Stopped, UserError
from tfrecon.base.files import Taken
from tfrecon.reports import contenders
from tfrecon.training.progress import Progress
from tfrecon.training.run import check_same_settings, open_run

TINY = (
    "--set", "data.image_size=32", "--set", 'data.damage={name = "boxes", size = 8}',
    "--set", "model.base_filters=4", "--set", "model.discriminator_filters=4",
)  # fmt: skip
PIX2PIX = ("--model", "pix2pix", "--data", "folder")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return fakes.photo_folder(tmp_path_factory.mktemp("photos"), 8)


@pytest.fixture(scope="module")
def contest(tmp_path_factory):
    return fakes.animals_contest(tmp_path_factory.mktemp("contest"), count=4, classes=("Cat",))


def one_sentence(said: str) -> str:
    """`said` without "error: ", after a look that it is one line of one sentence."""
    assert said.startswith("error: ") and said.endswith("\n") and said.count("\n") == 1, said
    assert "Traceback" not in said and not re.search(r"[.!?] [A-Z]", said), said
    return said.removeprefix("error: ").rstrip("\n")


def everything_below(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def refuses(capsys, here):
    """Calls a verb that must refuse: exit code 2, one sentence with `words`, no file changed."""

    def call(main, arguments, *words: str) -> str:
        before = everything_below(here)
        assert main([str(argument) for argument in arguments]) == 2
        sentence = one_sentence(capsys.readouterr().err)
        for text in words:
            assert text in sentence, sentence
        assert everything_below(here) == before, "something was written"
        return sentence

    return call


# --- the arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no model; give one with --model NAME"),
        (("--modle", "pix2pix"), "unknown argument '--modle'; did you mean '--model'?"),
        (("--step", "3"), "unknown argument '--step'; did you mean '--steps'?"),
        (("pix2pix",), "unexpected argument 'pix2pix'"),
        (("--steps", "many"), "invalid int value: 'many'"),
        (("--steps", "3", "--minutes", "3"), "not allowed with argument --steps"),
        (("--strategy", "mirror"), "invalid choice: 'mirror'"),
        (("--config", "none.toml"), "configuration file 'none.toml' does not exist"),
        (("--config", "."), "'.' is a folder"),
        (("--set", "fit.steps"), "must look like section.key=value"),
        ((*PIX2PIX, "--set", "fit.epoch=3"), "did you mean 'epochs'?"),
        ((*PIX2PIX, "--set", "fit.steps=3", "--set", "fit.epochs=3"), "exclude each other"),
        ((*PIX2PIX, "--steps", "0"), "fit.steps must be 1 or more, not 0"),
        ((*PIX2PIX, "--minutes", "inf"), "fit.minutes must be greater than 0 and finite"),
        (("--set", "model.base_filters=8"), "[model] has no name; give one, e.g. with"),
        ((*PIX2PIX, "--run", ""), "--run '' is no name of a folder"),
        (("--resume",), "--resume without --run"),
        (
            ("--from", "nothing"),
            "there is no run, export, file or preset 'nothing'",
        ),
        (("--from", "."), "'.' is neither a run nor an export nor a preset"),
        (("--from-state",), "--from-state without --from"),
        (("--run", "nothing", "--resume"), "does not exist; train one with"),
        ((*PIX2PIX, "--resume"), "'checkpoints/pix2pix_folder' does not exist"),
    ],
)
def test_wrong_arguments_of_fit(refuses, arguments, words):
    refuses(fit.main, arguments, words)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (("--model", "pix2pixx"), "unknown model 'pix2pixx'; did you mean 'pix2pix'?"),
        (("--data", "folderr"), "unknown recipe 'folderr'; did you mean 'folder'?"),
        (("--data", "no.such.recipe"), "recipe 'no.such.recipe' cannot be imported"),
        (("--set", "model.base_filter=8"), "did you mean 'base_filters'?"),
        (("--set", "model.image_size=64"), "takes 'image_size' from elsewhere"),
        (("--set", "model.fill=harmnic"), "must be one of 'none', 'mean', 'harmonic'"),
        (("--set", "model.dropout=1.0"), "must lie in [0, 1)"),
        (("--set", "data.image_size=100"), "must be a multiple of 8"),
        (("--set", "data.recipe.input=below"), "did you mean 'inputs'?"),
        (("--set", "data.damage.name=box"), "unknown damage 'box'; did you mean 'boxes'?"),
        (("--set", "data.damage.sise=8"), "did you mean 'size'?"),
        (("--set", "data.damage.size=33"), "a box of 33 pixels does not fit"),
        (("--set", "fit.loss=l3"), "unknown loss 'l3'"),
        (("--set", "fit.loss=[]"), "fit.loss must name at least one loss"),
        (("--set", "fit.loss=keras.losses.MeanSquaredError"), "is no tfrecon.losses.ImageLoss"),
        (("--set", "fit.optimizer.name=adamm"), "unknown optimizer 'adamm'; did you mean 'adam'?"),
        (("--set", "fit.optimizer.beta1=0.5"), "did you mean 'beta_1'?"),
        (("--set", "fit.optimizer.learning_rate=1"), "takes 'learning_rate' from elsewhere"),
        (("--set", "fit.monitor=val_pnsr"), "unknown fit.monitor 'val_pnsr'; did you mean"),
        (("--strategy", "mirrored", "--set", "fit.batch_size=3"), "cannot be shared by 2 replicas"),
    ],
)
def test_unknown_names_and_options(refuses, photos, extra, words):
    refuses(fit.main, [*PIX2PIX, "--root", photos, *TINY, *extra], words)


# --- the data -----------------------------------------------------------------------------------


def tiny_fit(root, *extra, data="folder"):
    return ["--model", "pix2pix", "--data", data, "--root", root, *TINY, "--steps", "1", *extra]


def test_missing_and_empty_folders(refuses, here):
    refuses(fit.main, tiny_fit("nowhere"), "'nowhere' does not exist")
    refuses(fit.main, [*PIX2PIX, *TINY], "recipe 'folder' needs a folder; give it with --root")
    (here / "empty").mkdir()
    refuses(fit.main, tiny_fit("empty"), "no image under 'empty'")
    killed = here / "killed"  # before it was a run
    killed.mkdir()
    for name in (files.LOCK, "run.json", ".config.json.01234567.part"):
        (killed / name).touch()
    refuses(fit.main, tiny_fit("empty", "--run", "./killed"), "no image under 'empty'")
    fakes.photo_folder(here / "two", 2)
    refuses(fit.main, tiny_fit("two"), "holds 2 images, too few")
    refuses(fit.main, tiny_fit("two", data="animals_inpainting"), "Training_Data", "does not exist")
    (here / "file").write_text("")
    refuses(fit.main, tiny_fit("file"), "'file'")


def test_unmatched_and_duplicate_names(refuses, here):
    fakes.paired_folder(here / "pairs", 4)
    (here / "pairs/target/photo_2.png").rename(here / "pairs/target/photo_7.png")
    refuses(fit.main, tiny_fit("pairs"), "photo_2.jpg", "no partner of the same stem")
    fakes.photo_folder(here / "photos", 4)
    shutil.copy(here / "photos/photo_0.jpg", here / "photos/photo_0.png")
    refuses(fit.main, tiny_fit("photos"), "photo_0.jpg", "photo_0.png", "rename one of them")


def bomb() -> bytes:
    """A PNG of some hundred bytes that claims 60,000 × 60,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 1000)
    chunks = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (header, data, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def broken_photos(root: Path) -> list[str]:
    """Twelve photos and four that cannot be read, whose names are returned."""
    fakes.photo_folder(root, 12)
    whole = (root / "photo_0.jpg").read_bytes()
    bad = {
        "zero.png": b"", "cut.jpg": whole[: len(whole) // 2], "bomb.png": bomb(),
        "words.jpg": b"this is no image",
    }  # fmt: skip
    for name, content in bad.items():
        (root / name).write_bytes(content)
    return sorted(bad)


def test_all_unreadable_images_are_listed_before_training(refuses, here):
    names = broken_photos(here / "photos")
    sentence = refuses(fit.main, tiny_fit("photos"), "go on without them with --skip-unreadable")
    listed = re.findall(r"photos/(\w+\.\w+)", sentence)  # of training, validation and test
    assert sorted(listed) == names and "4 image files cannot be read" in sentence


def test_a_decompression_bomb_is_refused_unread(refuses, here):
    fakes.photo_folder(here / "photos", 8)
    for split_filler in range(4):
        (here / "photos" / f"bomb_{split_filler}.png").write_bytes(bomb())
    refuses(fit.main, tiny_fit("photos"), "bomb_", "--skip-unreadable")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r"^(\d+,[^,]+),\d+,", r"\1,140,", ("reaches outside the photo", "Cat-Train (")),
        (r"^(\d+,[^,]+,\d+),.*", r"\1", ("3 columns instead of",)),
        (r"^(\d+,[^,]+),\d+,", r"\1,many,", ("'many' is no pixel position",)),
        (r"^(\d+),", r"\1,../", ("'../Cat-Train (1).jpeg' is not a plain file name",)),
        (r"^(\d+),", r"\1,/etc/", ("is not a plain file name",)),
        (r"Cat-Train \(2\)", "Cat-Train (1)", ("is also listed in line 2",)),
        (r"Cat-Train \(2\)", "Cat-Train (9)", ("lists 'Cat-Train (9).",)),
        (r"(?s).*", "", ("is empty",)),
    ],
)
def test_a_wrong_table_of_boxes(refuses, here, contest, old, new, words):
    shutil.copytree(contest, here / "contest")
    table = here / "contest/Training_Data/Cat/Masked_Train/masked_info.csv"
    table.write_text(re.sub(old, new, table.read_text(), flags=re.MULTILINE))
    arguments = tiny_fit("contest", "--set", 'data.recipe.classes=["Cat"]',
                         data="animals_inpainting")  # fmt: skip
    refuses(fit.main, arguments, "masked_info.csv", *words)


# --- one run, stopped by a full disk and by Ctrl-C, resumed to its end ----------------------------


def called(main, *arguments) -> SimpleNamespace:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


def full_disk(monkeypatch, after: int):
    """NumPy's savez writes a part and then finds no space, from its call number `after` on."""
    real, calls = np.savez, []

    def savez(file, **arrays):
        calls.append(file)
        if len(calls) > after:
            file.write(b"the beginning of a checkpoint")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file, **arrays)

    monkeypatch.setattr(np, "savez", savez)


def ctrl_c(monkeypatch, step: int):
    real = Progress.on_train_batch_end

    def stop(self, batch, logs=None):
        real(self, batch, logs)
        if self.bar.n == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "on_train_batch_end", stop)


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """What each stage of a run's life printed, its exit code, and the run's folder after it."""
    root = tmp_path_factory.mktemp("life")
    unreadable = broken_photos(root / "photos")
    run = root / "checkpoints" / "tiny"
    stages: dict[str, SimpleNamespace] = {}

    def stage(name, *arguments, patch=lambda monkeypatch: None):
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.chdir(root)
            monkeypatch.setattr(contenders, "of_baselines", lambda **options: {})
            patch(monkeypatch)
            stages[name] = called(fit.main, "--run", "tiny", *arguments)
        stages[name].files = sorted(path.name for path in run.iterdir())
        stages[name].step = checkpoint.load(run / "state.npz")[1]["step"]

    stage(
        "full disk", *PIX2PIX, "--root", "photos", *TINY, "--steps", "5", "--skip-unreadable",
        "--set", "fit.checkpoint_seconds=0", "--set", "fit.steps_per_epoch=5",
        patch=lambda monkeypatch: full_disk(monkeypatch, after=3),
    )  # fmt: skip
    (run / ".state.npz.01234567.part").write_bytes(b"what a killed process leaves")
    resume = ("--resume", "--skip-unreadable")
    stage("ctrl-c", *resume, patch=lambda monkeypatch: ctrl_c(monkeypatch, step=4))
    facts = json.loads((run / "run.json").read_text())
    facts["machine"]["tensorflow"] = "2.0.0"
    (run / "run.json").write_text(json.dumps(facts))
    stage("end", *resume)
    return SimpleNamespace(root=root, run=run, unreadable=unreadable, **stages, stages=stages)


def last_line(said: str) -> str:
    return re.split(r"[\r\n]", said.rstrip("\n"))[-1]


def test_no_space_left(life):
    stage = life.stages["full disk"]
    assert stage.code == 2
    sentence = one_sentence(f"{last_line(stage.err)}\n")
    assert "no space left on the disk while writing checkpoints/tiny/state.npz" in sentence
    assert "Traceback" not in stage.err
    assert stage.step == 2, "the earlier checkpoint is whole"
    assert not [name for name in stage.files if name.endswith(".part")]


def test_ctrl_c(life):
    stage = life.stages["ctrl-c"]
    assert stage.code == 130
    assert last_line(stage.err) == "stopped by Ctrl-C" and "Traceback" not in stage.err
    assert stage.step == 3, "the step before it is in the checkpoint"
    assert "warning" not in stage.err, "the machine is the same"
    assert not [name for name in stage.files if name.endswith(".part")], "leftovers are cleared"


def test_resuming_on_another_machine_says_what_has_changed(life):
    stage = life.stages["end"]
    assert stage.code == 0 and stage.step == 5
    warning = next(line for line in stage.err.splitlines() if line.startswith("warning: "))
    assert "will not end bit-identical" in warning and "tensorflow 2.0.0 then" in warning
    assert "keras" not in warning, "only what differs is named"


def test_skipped_images_are_counted(life):
    for stage in life.stages.values():
        counted = re.findall(r"skipping (\d+) of (\d+) samples: (\d+) unreadable", stage.out)
        assert counted[0] == ("4", "16", "4") and len(life.unreadable) == 4
    facts = json.loads((life.run / "run.json").read_text())
    seen = re.findall(r"(\d+) images", life.stages["end"].out)
    assert facts["train_images"] + facts["val_images"] + int(seen[0]) == 12


def test_the_run_says_where_everything_lies(life):
    out = life.stages["end"].out
    assert "pix2pix" in out and "PSNR" in out
    assert "checkpoints/tiny" in out and "checkpoints/tiny/report" in out
    assert "python -m tfrecon.fit --run checkpoints/tiny --resume" in out


@pytest.fixture
def copied(life, here):
    """The finished run, copied to checkpoints/tiny, with its photos."""
    shutil.copytree(life.run, here / "checkpoints/tiny")
    shutil.copytree(life.root / "photos", here / "photos")
    return here / "checkpoints/tiny"


RESUME = ("--run", "tiny", "--resume", "--skip-unreadable")


def test_a_taken_name(refuses, copied, here):
    refuses(fit.main, tiny_fit("photos", "--run", "tiny"), "exists; go on with --resume")
    (here / "checkpoints/other").mkdir()
    (here / "checkpoints/other/notes.txt").write_text("mine")
    refuses(fit.main, tiny_fit("photos", "--run", "other"), "'checkpoints/other' exists and is no")
    refuses(fit.main, ["--run", "other", "--resume"], "is no run: it has no config.json")


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (("--set", "fit.ema_decay=0.5"), "has fit.ema_decay = 0.999, not 0.5"),
        (("--steps", "3"), "has 5 steps and can be made longer, not shorter (3)"),
        (("--steps", "9", "--set", "fit.schedule=linear"), "is lengthened with all else as it is"),
        (("--from", "tiny"), "began without --from tiny; leave it out to go on"),
        (("--set", "fit.precision=bfloat16"), "has fit.precision = 'auto', not 'bfloat16'"),
        ((*PIX2PIX, "--root", "photos", *TINY, "--set", "model.dropout=0.1"), "model.dropout"),
        (("--model", "unet"), "has"),
        (("--set", "fit.epoch=9"), "did you mean 'epochs'?"),
    ],
)
def test_a_resumed_run_keeps_its_settings(refuses, copied, extra, words):
    refuses(fit.main, [*RESUME, *extra], words)


def test_a_resumed_run_may_be_given_its_settings_again(life):
    run = open_run(life.run)
    given = fit.tables(fit.parser().parse_args(["--set", "fit.steps=5", "--data", "folder"]))
    check_same_settings(given, run)
    for text in ("fit.precision=auto", "model.base_filters=4", "fit.seed=0"):
        check_same_settings(fit.tables(fit.parser().parse_args(["--set", text])), run)


def test_a_resumed_run_needs_its_data(refuses, copied, here):
    fakes.photo_folder(here / "photos/more", 9)
    refuses(fit.main, RESUME, "cannot go on: its data had train_images =")


def change_json(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_run_folder_of_another_model(refuses, copied):
    change_json(copied / "config.json", lambda config: config["model"].update(base_filters=8))
    words = "belongs to another model"
    refuses(fit.main, RESUME, "state.npz", words)
    refuses(evaluate.main, [copied, "--skip-unreadable"], "best.npz", words)
    refuses(export.main, [copied], "best.npz", words)
    change_json(copied / "config.json", lambda config: config["model"].update(name="pix2pixhd"))
    for verb in (evaluate, export):
        options = ["--skip-unreadable"] if verb is evaluate else []
        refuses(verb.main, [copied, *options], "unknown model 'pix2pixhd'; did you mean 'pix2pix'?")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", b"{", "holds a damaged run"),
        ("config.json", b"\xff\xff", "holds a damaged run"),
        ("config.json", b"[]", "must hold the sections model, data, fit"),
        ("config.json", b'{"model": "pix2pix", "fit": {"epoch": 3}}', "did you mean 'epochs'?"),
        ("run.json", b"[]", "holds a damaged run"),
        ("run.json", b"{}", "holds a damaged run"),
        ("best.npz", b"PK", "is truncated or damaged"),
        ("best.npz", None, "has no weights yet"),
        ("run.json", None, "is no run: it has no run.json"),
    ],
)
def test_a_damaged_run_folder(refuses, copied, name, content, words):
    (copied / name).unlink()
    if content is not None:
        (copied / name).write_bytes(content)
    refuses(export.main, [copied], words)


def test_a_damaged_state_is_not_trained_on(refuses, copied):
    for name in ("state.npz", "state-before.npz"):
        (copied / name).write_bytes((copied / name).read_bytes()[:1000])
    refuses(fit.main, RESUME, "its state is damaged (state.npz, state-before.npz)")


def test_evaluate_refuses(refuses, copied):
    run = copied
    refuses(evaluate.main, [], "the following arguments are required: checkpoints/NAME")
    refuses(evaluate.main, ["nowhere"], "run folder 'nowhere' does not exist")
    refuses(evaluate.main, ["."], "is no run: it has no config.json")
    refuses(evaluate.main, [run, "--split", "tests"], "no split 'tests'; it has train, val, test")
    refuses(evaluate.main, [run, "--data", "folderr"], "did you mean 'folder'?")
    refuses(evaluate.main, [run, "--root", "nowhere"], "'nowhere' does not exist")
    refuses(evaluate.main, [run, "--batch-size", "0"], "--batch-size")
    refuses(evaluate.main, [run, "--batch-size", "x"], "--batch-size")


def test_export_and_reconstruct_refuse(refuses, copied, here):
    (here / "exports/tiny").mkdir(parents=True)
    refuses(export.main, [copied], "'exports/tiny' exists and is no export")
    refuses(reconstruct.main, ["exports/tiny", "photos", "out"], "is no export")
    refuses(reconstruct.main, ["exports/none", "photos", "out"], "does not exist")
    refuses(reconstruct.main, ["--method", "deep_image_prior", "photos"], "give -o OUTPUT")


def test_every_verb_starts_tensorflow_silently(refuses, copied, monkeypatch):
    def start():
        raise UserError("TensorFlow starts here")

    folders = ("exports/tiny", "photos", "out")
    for verb, arguments in ((fit, RESUME), (evaluate, [copied]), (export, [copied]),
                            (reconstruct, folders)):  # fmt: skip
        monkeypatch.setattr(verb, "start_tensorflow", start)
        refuses(verb.main, arguments, "TensorFlow starts here")


def test_submit_refuses(refuses, copied, contest):
    data = ("--data", "animals_inpainting", "--root", contest)
    refuses(submit.main, [copied], "unknown competition 'folder'; known: animals_inpainting")
    refuses(submit.main, ["nowhere", *data], "run folder 'nowhere' does not exist")
    refuses(submit.main, ["--check", "none.csv", *data], "'none.csv' does not exist")
    refuses(submit.main, [copied, *data, "--batch-size", "many"], "--batch-size")
    refuses(submit.main, [copied, *data, "--split", "tests"], "no split 'tests'")


# --- the commands in general --------------------------------------------------------------------


def test_a_full_disk_during_the_other_verbs(life, here, monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere/file")

    monkeypatch.setattr(files, "_unused", full)
    monkeypatch.setattr(contenders, "of_baselines", lambda **options: {})
    shutil.copytree(life.run, here / "tiny", ignore=shutil.ignore_patterns("report"))
    arguments = ["tiny", "--root", str(life.root / "photos"), "--skip-unreadable"]
    assert evaluate.main(arguments) == 2
    sentence = one_sentence(f"{last_line(capsys.readouterr().err)}\n")
    assert sentence == "no space left on the disk while writing somewhere/file; free some"


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UserError("two\n  lines"), 2, "error: two lines\n"),
        (OSError(errno.ENOSPC, "x", "a.csv"), 2, "error: no space left on the disk while writing"),
        (OSError(errno.EDQUOT, "x"), 2, "error: no space left on the disk while writing a file"),
        (PermissionError(errno.EACCES, "denied", "a.csv"), 2, "error: cannot use 'a.csv': denied"),
        (
            RuntimeError("a/b; No space left on device\nmore"),
            2,
            "error: no space left on the disk;",
        ),
        (KeyboardInterrupt(), 130, "\nstopped by Ctrl-C\n"),
        (Stopped("stopped by SIGTERM at step 3", 15), 143, "\nstopped by SIGTERM at step 3\n"),
    ],
)
def test_what_becomes_of_an_exception(capsys, raised, code, said):
    def body(arguments):
        raise raised

    assert cli.run(lambda: cli.Parser("it", "Does it."), body, []) == code
    assert capsys.readouterr().err.startswith(said)


def test_our_own_mistakes_keep_their_traceback():
    for mistake in (RuntimeError("bug"), OSError(errno.EIO, "x"), ValueError("bug")):

        def body(arguments, mistake=mistake):
            raise mistake

        with pytest.raises(type(mistake)):
            cli.run(lambda: cli.Parser("it", "Does it."), body, [])


def test_lists_say_what_there_is(monkeypatch, tmp_path):
    monkeypatch.setenv("TFRECON_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    listed = called(fit.main, "--list", "metrics").out
    assert "mse: Mean squared error of each image pair.\n" in listed, "the first sentence only"
    assert "σ = 1.5 (eq. 13), (B,).\n" in listed, "the whole sentence"
    assert "lpips_alex: " in listed and "not in $TFRECON_WEIGHTS" in listed
    decoders = called(fit.main, "--list", "decoders").out
    assert "heads = 4" in decoders and "doublings =" not in decoders and "seed" not in decoders
    assert "mask =" not in called(fit.main, "--list", "models").out


def test_the_command_with_all_verbs(monkeypatch, capsys):
    def tfrecon(*arguments):
        monkeypatch.setattr(sys, "argv", ["tfrecon", *arguments])
        return command.main(), capsys.readouterr()

    for arguments in ((), ("--help",)):
        code, said = tfrecon(*arguments)
        assert code == 0 and all(verb in said.out for verb in command.VERBS)
    code, said = tfrecon("fitt")
    assert (code, said.err) == (2, "error: unknown verb 'fitt'; did you mean 'fit'?\n")
    code, said = tfrecon("fit", "--modle", "x")
    assert code == 2 and "did you mean '--model'?" in one_sentence(said.err)
    code, said = tfrecon("export", "--help")
    assert code == 0 and "usage: python -m tfrecon.export" in said.out


def test_python_m_gives_the_exit_code(here):
    arguments = [sys.executable, "-m", "tfrecon.fit", "--set", "fit.epoch=3", *PIX2PIX]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean 'epochs'?" in one_sentence(done.stderr)
    assert not list(here.iterdir())


def test_thread_counts_of_a_run_are_restored_and_a_started_tensorflow_is_left_alone():
    code = (
        "from tfrecon.base.system import machine\n"
        "from tfrecon.base.system import set_threads\n"
        "for intra, inter in ((3, 1), (2, 2)):\n"
        "    set_threads({'machine': {'intra_op_threads': intra, 'inter_op_threads': inter}})\n"
        "    now = machine()\n"  # starts TensorFlow
        "    print(now['intra_op_threads'], now['inter_op_threads'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["3 1", "3 1"], "recorded as they are, not as asked for"


@pytest.mark.parametrize("text", ["many", "-1", "2.5", "9" * 5000, ""])
def test_a_number_of_threads_that_is_none(refuses, monkeypatch, text):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", text)
    words = "$TF_NUM_INTRAOP_THREADS is", "no whole number of threads; correct or unset it"
    refuses(fit.main, ("--model", "pix2pix", "--steps", "1"), *words)


def test_of_two_runs_that_begin_together_the_second_gets_a_name_of_its_own(refuses, monkeypatch):
    from tfrecon.training import loop

    begun = []

    def train(config, path, **options):
        begun.append(str(path))
        if len(begun) == 1:
            path.mkdir(parents=True)
            (path / "lock").touch()
            raise Taken("another process works there")
        shutil.rmtree("checkpoints")
        raise UserError("seen enough")

    monkeypatch.setattr(loop, "train", train)
    refuses(fit.main, ("--model", "pix2pix"), "seen enough")
    assert begun == ["checkpoints/pix2pix_demo", "checkpoints/pix2pix_demo-2"]
    begun.clear()
    assert fit.main(["--model", "pix2pix", "--run", "mine"]) == 2
    assert begun == ["checkpoints/mine"]


def test_a_resumed_run_that_another_process_trains_is_refused(refuses, monkeypatch, copied):
    from tfrecon.training import loop, run

    copied.rename("checkpoints/pix2pix_folder")  # the name that it would get by itself
    monkeypatch.setattr(run, "check_same_settings", lambda *given: None)
    held = mock.Mock(side_effect=Taken("another process works there"))
    monkeypatch.setattr(loop, "train", held)
    refuses(fit.main, tiny_fit("photos", "--resume", "--steps", "5"), "another process works there")
    assert held.call_count == 1


@pytest.mark.parametrize(("section", "key", "value"), [
    ("model", "name", "stranger.model"), ("data", "recipe", {"name": "stranger.recipe"}),
    ("data", "damage", {"name": "stranger.damage"}), ("fit", "loss", [{"name": "stranger.loss"}]),
])  # fmt: skip
def test_a_received_run_imports_no_code_that_the_user_has_not_named(
    copied, here, capsys, section, key, value
):
    (here / "stranger.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    tables = json.loads((copied / "config.json").read_text())
    tables[section][key] = value
    (copied / "config.json").write_text(json.dumps(tables))
    path = value if isinstance(value, str) else (value[0] if key == "loss" else value)["name"]
    # The name of a file or run is not the user's, though it stands on the command line.
    shutil.copytree(copied, here / "checkpoints" / path)
    shutil.copytree(copied, here / path)
    verbs = [(fit.main, RESUME), (fit.main, tuple(path if a == "tiny" else a for a in RESUME))]
    if section != "fit":
        verbs += [(evaluate.main, ("checkpoints/tiny",)), (evaluate.main, (path,))]
    for main, arguments in verbs:
        sys.modules.pop("stranger", None)
        assert main([str(argument) for argument in arguments]) == 2
        said = one_sentence(capsys.readouterr().err.splitlines()[-1] + "\n")
        assert f"{path!r} is named by a file and not by you" in said and "--trust-code" in said
        assert not (here / "ran").exists()
        main([*map(str, arguments), "--trust-code"])
        assert (here / "ran").exists(), "the remedy works"
        capsys.readouterr()
        (here / "ran").unlink()


def test_code_that_the_user_names_is_imported(here, capsys):
    (here / "mine.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    (here / "mine.toml").write_text('model = "mine.model"\n')
    for arguments in (["--model", "mine.model"], ["--config", "mine.toml"],
                      ["--model", "pix2pix", "--set", "fit.loss=mine.loss"]):  # fmt: skip
        sys.modules.pop("mine", None)
        assert fit.main(arguments) == 2
        assert "mine" in capsys.readouterr().err and (here / "ran").exists()
        (here / "ran").unlink()
