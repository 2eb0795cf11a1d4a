"""What Linux, macOS and Windows do differently, each simulated here."""

import math
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import fakes
import numpy as np
import other_systems
import pytest
import restored_folders
import tensorflow as tf
from PIL import Image

import tfrecon
from tfrecon import fit
from tfrecon.base import cli, extras, files, platforms
from tfrecon.base.config import from_tables
from tfrecon.base.errors import UserError, fewer_at_once, is_out_of_memory
from tfrecon.base.registry import Spec
from tfrecon.data.boxes import read_boxes
from tfrecon.data.recipes import samples
from tfrecon.data.sample import Sample, split_by_hash
from tfrecon.data.store import content_fingerprint
from tfrecon.inference.folder import restore_files
from tfrecon.inference.restoring import Settings
from tfrecon.training import loop

WRITTEN = "Käfer-é"
COMPOSED, APART = (unicodedata.normalize(form, WRITTEN) for form in ("NFC", "NFD"))


@pytest.fixture
def macos(monkeypatch):
    other_systems.macos(monkeypatch)


@pytest.fixture
def windows(monkeypatch):
    other_systems.windows(monkeypatch)


# --- names


def test_names_pair_however_their_accents_are_written(tmp_path, folders):
    """Archives made on macOS take accents apart; a mask, a partner or a row may come from there."""
    rows = [("0", f"{COMPOSED}.png", 1, 2, 3, 4)]
    assert f"{APART}.png" in read_boxes(restored_folders.table(folders.table, rows))
    photo, hole = folders.photos / f"{APART}.png", np.uint8(255) * restored_folders.HOLE
    restored_folders.save(photo, restored_folders.photo(20, 30))
    restored_folders.save(folders.masks / f"{COMPOSED}.png", hole)
    assert restore_files(restored_folders.Fake(), folders.photos, folders.out, masks=folders.masks)
    for number, form in enumerate((COMPOSED, APART, COMPOSED)):
        pixels = restored_folders.photo(20, 30)
        restored_folders.save(tmp_path / "pairs" / "input" / f"{form}{number}.png", pixels)
        other = unicodedata.normalize("NFD" if form == COMPOSED else "NFC", form)
        restored_folders.save(tmp_path / "pairs" / "target" / f"{other}{number}.png", pixels)
    assert len(samples(Spec("folder"), tmp_path / "pairs", "train")) == 1


def test_a_data_set_is_the_same_on_macos(tmp_path):
    assert {
        split_by_hash(COMPOSED + str(n)) == split_by_hash(APART + str(n)) for n in range(50)
    } == {True}
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    prints = {content_fingerprint([Sample(name, tmp_path / "x.png")]) for name in (COMPOSED, APART)}
    assert len(prints) == 1


def test_a_file_system_that_ignores_case_is_seen(tmp_path, monkeypatch):
    assert not platforms.ignores_case(tmp_path / "not" / "there")
    monkeypatch.setattr(Path, "exists", lambda path: path.name.lower() in ("a", "tmp"))
    monkeypatch.setattr(Path, "samefile", lambda path, other: True)
    assert platforms.ignores_case(Path("/tmp/A/not/there"))


@pytest.mark.parametrize("other", ["PHOTO.jpg", "Photo.jpg"])
def test_photos_are_not_restored_over_each_other_where_case_is_ignored(folders, monkeypatch, other):
    for name in ("photo.png", other):
        restored_folders.save(folders.photos / name, restored_folders.photo(20, 30))
    monkeypatch.setattr(platforms, "ignores_case", lambda folder: True)
    restored_folders.refused(folders, "would both be written to")
    monkeypatch.setattr(platforms, "ignores_case", lambda folder: False)
    fake = restored_folders.Fake(has_mask=False)
    assert restore_files(fake, folders.photos, folders.out) == 2


def test_runs_that_differ_in_case_alone_are_one_elsewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("checkpoints/Demo").mkdir(parents=True)
    assert fit.main(["--model", "pix2pix", "--run", "demo"]) == 2
    said = capsys.readouterr().err
    assert "--run 'demo' and 'checkpoints/Demo' differ in case alone" in said
    assert not Path("checkpoints/demo").exists()


RESERVED = ["NUL.png", "con", "Com1.tar.gz", "a?.png", "b:c", "name.", "name "]


@pytest.mark.parametrize("name", RESERVED)
def test_windows_keeps_names_for_itself(tmp_path, name, windows):
    for block in (files.replacing, files.replacing_folder, files.claimed):
        with pytest.raises(UserError, match=r"Windows keeps .* for itself"), block(tmp_path / name):
            pytest.fail("it would be written to a device, or to another name")
    assert not [*tmp_path.iterdir()]


def test_elsewhere_such_names_are_names(tmp_path):
    for name in RESERVED:
        platforms.check_name(tmp_path / name)
    with pytest.MonkeyPatch.context() as patch:
        other_systems.windows(patch)
        for name in ("console.png", "a.con", ".hidden", "../up", "x" * 300):
            platforms.check_name(Path(name))


# --- files


def test_files_take_their_place_on_windows(tmp_path, windows):
    """Where no open file is renamed or removed, and what is locked is not read."""
    for text in ("first", "second"):
        with files.replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text(text)
            files.remove_leftovers(tmp_path)
            assert temporary.read_text() == text, "it is still written"
        with files.replacing_folder(tmp_path / "made") as made:
            (made / "b.txt").write_text(text)
            files.remove_leftovers(tmp_path)
            assert (made / "b.txt").exists(), "it is still made"
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "made" / "b.txt").read_text() == "second"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "made"]


def test_a_folder_is_for_one_process_on_windows(tmp_path, windows):
    with files.claimed(tmp_path / "run"):
        with pytest.raises(files.Taken), files.claimed(tmp_path / "run"):
            pytest.fail("the folder is another's")
        assert (tmp_path / "run").is_dir()
    assert not (tmp_path / "run").exists()
    for left in (tmp_path / ".a.txt.01234567.part", tmp_path / ".made.01234567.part" / "new"):
        left.mkdir(parents=True) if left.name == "new" else left.touch()
    files.remove_leftovers(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_commands_are_typed_as_the_shell_reads_them(windows):
    assert platforms.command_line(["a b", r"c\d", "e"]) == r'"a b" c\d e'


def test_paths_that_windows_finds_too_long_are_told(tmp_path, capsys, windows):
    path = str(tmp_path / ("x" * 300))

    def body(_):
        raise FileNotFoundError(2, "The system cannot find the path specified", path)

    assert cli.run(lambda: cli.Parser("fit", ""), body, []) == 2
    assert "shorten it to 259 letters, or allow long paths" in capsys.readouterr().err


def test_there_is_no_way_between_two_drives(monkeypatch):
    assert platforms.way(Path("/a/b"), Path("/a/c")) == "../c"

    def none(*_):
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", none)
    assert platforms.way(Path("/a/b"), Path("/a/c")) == "/a/c"


# --- the machine


def test_the_machine_is_told_on_macos(macos):
    assert platforms.cores() == list(range(os.cpu_count()))
    platforms.keep_to([1])  # of this thread; no other sees it
    assert platforms.cores() == [1]
    platforms.keep_to([])
    assert 2**30 < platforms.memory_bytes() < 2**50
    assert platforms.processor("flags") == "" and platforms.processor_name()
    assert not platforms.lacks_avx() and platforms.peak_memory_gib() > 0


def test_the_machine_is_told_on_windows(windows):
    assert platforms.memory_bytes() == other_systems.MEMORY
    assert not platforms.lacks_avx() and platforms.peak_memory_gib() == 0
    assert platforms.cores() == list(range(os.cpu_count()))


def test_a_system_that_tells_nothing_has_all_memory(macos, monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    assert platforms.memory_bytes() == math.inf


LIFE = """
import sys
from pathlib import Path
import other_systems, pytest
getattr(other_systems, sys.argv[1])(pytest.MonkeyPatch())
assert "tfrecon" not in sys.modules and "tensorflow" not in sys.modules
from tfrecon import export, fit, reconstruct, study, submit
from tfrecon.base import platforms
run = "checkpoints/one"
small = ("data.image_size=32", "data.crop_size=32", "data.load_size=32", "model.width=4",
         "data.damage={name = 'boxes', size = 8}", "model.encoder=[1]", "model.decoder=[1]",
         "fit.batch_size=2", "fit.steps_per_epoch=2")
begun = ["--model", "nafnet", "--data", "smoke", "--root", "photos", "--run", "one"]
settings = [word for setting in small for word in ("--set", setting)]
assert fit.main([*begun, "--trust-code", "--steps", "2", *settings]) == 0
assert fit.main(["--run", "one", "--resume", "--trust-code", "--steps", "4"]) == 0
assert export.main([run, "--trust-code"]) == 0
assert reconstruct.main(["exports/one", "photos", "restored", "--masks", "masks"]) == 0
assert submit.main([run, "--trust-code"]) == 0
if sys.argv[1] == "windows":
    assert study.main(["study.toml", "--jobs", "2", "--trust-code"]) == 0
print("cores", len(platforms.cores()))
"""

STUDY = """
model = {name = "nafnet", width = 4, encoder = [1], decoder = [1]}
fit = {steps = 2, batch_size = 2, steps_per_epoch = 2}
[data]
recipe = "smoke"
root = "photos"
image_size = 32
crop_size = 32
load_size = 32
damage = {name = "boxes", size = 8}
[[axes]]
name = "middle"
key = "model.middle"
values = [1, 2]
"""


@pytest.mark.slow
@pytest.mark.parametrize("system", ["macos", "windows"])
def test_a_run_lives_on_other_systems(tmp_path, system):
    """From its training to a submission and a study, by the verbs."""
    fakes.smoke_project(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY)
    here = Path(__file__).parent
    environment = {
        **os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "PYTHONIOENCODING": "cp1252"
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LIFE, system], cwd=tmp_path, env=environment, capture_output=True,
        text=True, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"cores {os.cpu_count()}" in done.stdout
    assert len((tmp_path / "kaggle_submission" / "one.csv").read_text().splitlines()) == 1 + 2 * 3
    assert len(list((tmp_path / "restored").glob("*.png"))) == 6
    assert not [*tmp_path.rglob("*.part"), *tmp_path.rglob(files.LOCK)]


# --- what is too old, too new or too small


@pytest.fixture
def checked():
    """Looks at TensorFlow as a new process does."""
    extras.check_tensorflow.cache_clear()
    yield extras.check_tensorflow
    extras.check_tensorflow.cache_clear()


@pytest.mark.parametrize(("package", "version", "fits"), [
    ("tensorflow", "2.18.1", False), ("tensorflow", "2.19.0", True),
    ("tensorflow", "2.22.0", False), ("tensorflow", "2.21.0rc1", True),
    ("keras", "3.9.2", False), ("keras", "3.12.0", True),
    ("numpy", "1.26.4", True), ("tensorflow", None, True),
])  # fmt: skip
def test_another_tensorflow_is_told_before_it_is_used(
    monkeypatch, capsys, checked, package, version, fits
):
    def versions(name, real=extras.version):
        return version if name == package else real(name)

    monkeypatch.setattr(extras, "version", versions)
    if fits:
        return checked()
    with pytest.raises(UserError, match=rf'{package} {version} is not .*; pip install "{package}<'):
        checked()
    assert fit.main(["--list", "models"]) == 2
    assert f"error: {package} {version} is not" in capsys.readouterr().err
    monkeypatch.delitem(vars(tfrecon), "restore", raising=False)
    with pytest.raises(UserError, match=rf"{package} {version} is not"):
        tfrecon.restore  # noqa: B018 - the access is what is tested


@pytest.mark.parametrize("flags", ["flags : fpu sse4_2", "flags : fpu avx2 avx", "Features : fp"])
def test_a_processor_without_avx_is_told_before_tensorflow_ends_the_process(
    monkeypatch, checked, flags
):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"processor: 0\n{flags}\n")
    monkeypatch.setattr(extras, "required", lambda: ([], ""))
    if "avx" in flags or "Features" in flags:
        return checked()
    with pytest.raises(UserError, match="this processor has no AVX"):
        checked()


NO_ROOM = (
    MemoryError("Unable to allocate 9.00 TiB for an array"),
    tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[8,256]"),
    tf.errors.InternalError(None, None, "Dst tensor is not initialized."),
)


@pytest.mark.parametrize("error", NO_ROOM, ids=lambda error: type(error).__name__)
def test_where_the_memory_ends_a_smaller_size_is_named(
    tmp_path, monkeypatch, capsys, folders, error
):
    def fails(*_, **__):
        raise error

    for batch, words in (
        (8, "--set fit.batch_size=4: 8 × 64×64 .* half"),
        (1, "crop_size=32: 1 ×"),
    ):
        asked = {"model": "pix2pix", "data": {"image_size": 64}, "fit": {"batch_size": batch}}
        monkeypatch.setattr(loop, "_train", fails)
        with pytest.raises(
            UserError, match=rf"the memory is too small \(.*train another .*{words}"
        ):
            loop.train(from_tables(asked), tmp_path / "run")
    assert not (tmp_path / "run").exists()

    restored_folders.save(folders.photos / "a.png", restored_folders.photo(90, 200))
    fake = restored_folders.Fake(has_mask=False)
    fake.restore = fails
    for tile, words in (
        (512, "200 pixels .*--tile 100 takes"),
        (100, "100 pixels .*--tile 50 --overlap 12"),
    ):
        with pytest.raises(UserError, match=f"the memory is too small .*tiles of {words}"):
            restore_files(fake, folders.photos, folders.out, settings=Settings(tile=tile))
    assert not folders.out.exists()

    assert cli.run(lambda: cli.Parser("export", ""), fails, []) == 2
    said = capsys.readouterr().err
    assert "error: the memory is too small (" in said and "close other programs" in said
    assert "--batch-size 4" in fewer_at_once(8) and "a single image" in fewer_at_once(1)


def test_a_full_disk_is_no_small_memory():
    full = tf.errors.ResourceExhaustedError(None, None, "x; No space left on device")
    assert not is_out_of_memory(full) and not is_out_of_memory(ValueError("of memory"))
