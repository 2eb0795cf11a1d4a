"""The Kaggle submission: its bytes, and what the check says about each kind of wrong file."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from golden.make_submission import PAGES, PHOTOS, pixel
from PIL import Image

from tfrecon import submit
from tfrecon.base import files
from tfrecon.base.config import DataConfig
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data.sample import Sample
from tfrecon.inference import submission
from tfrecon.inference.submission import check_submission, find

animals_inpainting = find("animals_inpainting")
GOLDEN = json.loads((Path(__file__).parent / "golden/submission.json").read_text())
GOLDEN_PAGES = Path(__file__).parent / "golden/denoising_dirty_documents.csv"

SAMPLES = [
    Sample("Cat-Test (37).jpeg", boxes=((10, 20, 75, 75), (50, 5, 75, 75))),
    Sample('a, "b".png', boxes=((0, 1, 75, 75), (9, 9, 75, 75))),
]


def pairs(samples=SAMPLES):
    random = np.random.default_rng(0)
    return [(sample, random.random((128, 160, 3), np.float32)) for sample in samples]


def write_submission(path, made, competition, listed=SAMPLES):
    """The pairs (sample, image) in batches of one."""
    batches = (([sample], [image]) for sample, image in made)
    return submission.write_submission(path, listed, lambda _: batches, competition, "test")


@pytest.fixture(scope="module")
def right(tmp_path_factory) -> list[bytes]:
    """The lines of a right file for SAMPLES."""
    path = tmp_path_factory.mktemp("right") / "right.csv"
    assert write_submission(path, pairs(), animals_inpainting) == 67501
    return path.read_bytes().splitlines(keepends=True)


def mistake(tmp_path: Path, lines: list[bytes], sample: list[bytes] | None = None) -> str:
    """What the check says about a file of these lines; "" when it passes."""
    path, published = tmp_path / "file.csv", None
    path.write_bytes(b"".join(lines))
    if sample is not None:
        published = tmp_path / "sample.csv"
        published.write_bytes(b"".join(sample))
    try:
        assert check_submission(path, SAMPLES, animals_inpainting, published) == 67501
    except UserError as error:
        return str(error).replace(f"{tmp_path}/", "")
    return ""


# --- the format -----------------------------------------------------------------------------------


def test_keys_count_rows_and_columns_in_the_whole_photo():
    sample = Sample("Cat-Train (61).jpeg", boxes=((106, 1, 75, 75), (3, 181, 75, 75)))
    ids = animals_inpainting.ids(sample).to_list()
    assert len(ids) == len(set(ids)) == 33750
    assert ids[0] == "Cat-Train (61).jpeg_box1_106_1_0"
    assert ids[1:4] == [f"Cat-Train (61).jpeg_box1_106_{end}" for end in ("1_1", "1_2", "2_0")]
    assert ids[225] == "Cat-Train (61).jpeg_box1_107_1_0"
    assert ids[16874] == "Cat-Train (61).jpeg_box1_180_75_2"
    assert ids[16875] == "Cat-Train (61).jpeg_box2_3_181_0"
    assert ids[-1] == "Cat-Train (61).jpeg_box2_77_255_2"


def test_values_are_those_of_the_key(right):
    images = {sample.id: image for sample, image in pairs()}
    for line in right[1::997]:
        key, value = line.decode().rsplit(",", 1)
        name, box, row, column, channel = key.strip('"').replace('""', '"').rsplit("_", 4)
        assert box in ("box1", "box2")
        expected = images[name][int(row), int(column), int(channel)]
        assert value == f"{expected:.6f}\n"


def test_float_noise_is_rounded_into_the_range(tmp_path):
    image = np.full((128, 160, 3), 1 + 1e-7)
    image[:, ::2] = -1e-9
    write_submission(tmp_path / "file.csv", [(SAMPLES[0], image)], animals_inpainting, SAMPLES[:1])
    lines = (tmp_path / "file.csv").read_text().splitlines()[1:]
    assert {line.rsplit(",", 1)[1] for line in lines} == {"0.000000", "1.000000"}


def test_a_competition_is_found_by_name_or_dotted_path(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="did you mean 'animals_inpainting'"):
        find("animal_inpainting")
    with pytest.raises(UserError, match="check the dotted path"):
        find("nowhere.at_all")
    (tmp_path / "my_contests").mkdir()
    (tmp_path / "my_contests/first.py").write_text("HEADER = ('id', 'value')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="has no 'ids'; it needs HEADER and ids and values"):
        find("my_contests.first")


def test_another_competition_is_another_module(tmp_path):
    import polars as pl

    means: Any = SimpleNamespace(
        HEADER=("image", "mean"),
        ids=lambda sample: pl.Series([sample.id]),
        values=lambda sample, image: image.mean(keepdims=True).ravel(),
    )
    path = tmp_path / "file.csv"
    made = [(SAMPLES[0], np.full((2, 2, 3), 0.25))]
    assert write_submission(path, made, means, SAMPLES[:1]) == 2
    assert path.read_text() == "image,mean\nCat-Test (37).jpeg,0.250000\n"
    path.write_text("image,mean\nDog.png,0.25\n")
    with pytest.raises(UserError, match=r"line 2 of .* has id 'Dog\.png'; expected 'Cat-Test"):
        check_submission(path, SAMPLES[:1], means)


# --- the check ------------------------------------------------------------------------------------

FIRST, SECOND, THIRD = (f"Cat-Test (37).jpeg_box1_10_20_{channel}" for channel in range(3))


def test_right_files_pass_however_they_are_written(tmp_path, right):
    assert mistake(tmp_path, right) == ""
    assert mistake(tmp_path, right, sample=right) == ""
    assert mistake(tmp_path, [line.replace(b"\n", b"\r\n") for line in right]) == ""
    assert mistake(tmp_path, [*right[:-1], right[-1].rstrip()]) == ""
    quoted = [line.replace(b"Cat", b'"Cat').replace(b",", b'",') for line in right[1:33751]]
    assert mistake(tmp_path, [right[0], *quoted, *right[33751:]]) == ""


def with_value(text: bytes):
    return lambda lines: [*lines[:5], lines[5].rsplit(b",", 1)[0] + b"," + text, *lines[6:]]


FIFTH = "Cat-Test (37).jpeg_box1_10_21_1"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: [], "line 1 of file.csv is empty; expected the header"),
        (lambda x: x[1:], f"line 1 of file.csv is '{FIRST},0."),
        (lambda x: [b"id,value\n", *x[1:]], "'id,value'; expected the header 'filename_box_pixel,"),
        (lambda x: x[:1], f"ends after line 1; line 2 with id {FIRST!r} was expected"),
        (
            lambda x: x[:40000],
            'file.csv ends after line 40000; line 40001 with id \'a, "b".png_box',
        ),
        (
            lambda x: [*x, b"x,1\n"],
            "line 67502 of file.csv is 'x,1'; the file should end after line",
        ),
        (
            lambda x: [*x, b"\n"],
            "line 67502 of file.csv is empty; the file should end after line 67",
        ),
        (
            lambda x: [*x[:2], *x[3:]],
            f"line 3 of file.csv has id {THIRD!r}; expected {SECOND!r}; t",
        ),
        (lambda x: [*x[:2], *x[3:]], "; the expected id is missing, this id belongs to line 4"),
        (
            lambda x: [*x[:2], *x[1:]],
            f"line 3 of file.csv has id {FIRST!r}; expected {SECOND!r}; t",
        ),
        (lambda x: [*x[:2], *x[1:]], "; this id repeats line 2"),
        (lambda x: [x[0], x[2], x[1], *x[3:]], f"line 2 of file.csv has id {SECOND!r}; expected"),
        (lambda x: [x[0], x[2], x[1], *x[3:]], "; the lines are out of order, this id belongs to"),
        (
            lambda x: [x[0], *x[33751:], *x[1:33751]],
            'line 2 of file.csv has id \'a, "b".png_box1_0',
        ),
        (
            lambda x: [*x[:33750], *x[33751:]],
            'line 33751 of file.csv has id \'a, "b".png_box1_0_1_0',
        ),
        (lambda x: [*x[:5], b"\n", *x[5:]], "line 6 of file.csv is empty; expected two fields, id"),
        (with_value(b"0.1,0.2\n"), f"line 6 of file.csv is '{FIFTH},0.1,0.2'; expected two fields"),
        (with_value(b"nan\n"), f"line 6 of file.csv has the value 'nan' for id {FIFTH!r}"),
        (with_value(b"inf\n"), "line 6 of file.csv has the value 'inf'"),
        (with_value(b"\n"), "line 6 of file.csv has the value ''"),
        (with_value(b"red\n"), "line 6 of file.csv has the value 'red' for id"),
        (with_value(b"1.000001\n"), "line 6 of file.csv has the value '1.000001' for id"),
        (with_value(b"-0.000001\n"), "expected a number from 0 to 1"),
        (with_value(b"\xff\n"), "line 6 of file.csv has the value '\ufffd'"),
    ],
)
def test_the_first_wrong_line_is_named(tmp_path, right, change, expected):
    assert expected in mistake(tmp_path, change(right))


def test_swapped_x_and_y_are_recognised(tmp_path):
    swapped = [
        replace(sample, boxes=tuple((x, y, height, width) for y, x, height, width in sample.boxes))
        for sample in SAMPLES
    ]
    random = np.random.default_rng(0).random((160, 160, 3))
    write_submission(
        tmp_path / "swapped.csv", [(sample, random) for sample in swapped], animals_inpainting,
        swapped,
    )  # fmt: skip
    lines = (tmp_path / "swapped.csv").read_bytes().splitlines(keepends=True)
    said = mistake(tmp_path, lines)
    assert said.startswith("line 2 of file.csv has id 'Cat-Test (37).jpeg_box1_20_10_0'")
    assert "x and y are swapped" in said
    assert "x and y are swapped" in mistake(tmp_path, lines[:100])


def test_swapped_numbers_in_the_key_are_recognised(tmp_path, right):
    def exchanged(line: bytes) -> bytes:
        key, row, column, rest = line.rsplit(b"_", 3)
        return b"_".join((key, column, row, rest))

    assert "x and y are swapped" in mistake(tmp_path, [right[0], *map(exchanged, right[1:])])


def test_the_published_ids_are_compared_too(tmp_path, right):
    said = mistake(tmp_path, right, sample=[right[0], *right[33751:], *right[1:33751]])
    assert said.startswith(f'line 2 of file.csv has id {FIRST!r}, but sample.csv has \'a, "b".png')
    assert said.endswith("the same ids in another order")
    said = mistake(tmp_path, right, sample=[*right[:4], b"other,0\n", *right[5:]])
    assert "line 5 of file.csv" in said and said.endswith("but sample.csv has 'other' there")
    said = mistake(tmp_path, right, sample=right[:50000])
    assert said.startswith("line 50001 of file.csv") and said.endswith("sample.csv ends before it")
    said = mistake(tmp_path, right, sample=[*right, b"more,0\n"])
    assert said.startswith("line 67502 of sample.csv is 'more,0'; the file should end after")
    zeros = [line.rsplit(b",", 1)[0] + b",zero\n" for line in right[1:]]
    assert mistake(tmp_path, right, sample=[right[0], *zeros]) == ""


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv' does not exist"):
        check_submission(tmp_path / "none.csv", SAMPLES, animals_inpainting)


# --- failures while writing -----------------------------------------------------------------------


def spoilt(value: float):
    made = pairs()
    made[1][1][20, 30, 1] = value
    return made


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (lambda: spoilt(math.nan), r"restored image of 'a, .* holds [12] values that are not"),
        (lambda: spoilt(math.inf), "not finite"),
        (lambda: spoilt(1.01), r"values from .* to 1\.01; a submission takes 0 to 1"),
        (lambda: spoilt(-0.01), r"values from -0\.01 to"),
        (lambda: [pairs()[0], (SAMPLES[1], np.zeros((128, 160)))], r"shape \(128, 160\), not"),
        (lambda: [pairs()[0], (SAMPLES[1], np.zeros((80, 160, 3)))], "leaves the image of 80×160"),
        (lambda: [(replace(SAMPLES[0], boxes=()), np.zeros((80, 80, 3)))], "exactly two of 75×75"),
        (lambda: pairs()[:1], r"ends after line 33751; line 33752 with id 'a, "),
    ],
)
def test_a_failure_midway_leaves_the_folder_as_it_was(tmp_path, made, error):
    path = tmp_path / "file.csv"
    path.write_text("the last one")
    with pytest.raises(UserError, match=error):
        write_submission(path, made(), animals_inpainting)
    assert path.read_text() == "the last one"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_to_write_and_ids_that_repeat_are_refused(tmp_path):
    for listed, error in (([], "there is no image"), (SAMPLES[:1] * 2, "share the id")):
        with pytest.raises(UserError, match=error):
            write_submission(tmp_path / "a.csv", pairs(listed), animals_inpainting, listed)
    assert not any(tmp_path.iterdir())


class Killed(BaseException):
    """Ends the work as SIGKILL does: nothing is put in order."""


@pytest.mark.parametrize("torn", [b"", b"a half-written li"])
def test_what_was_written_before_a_kill_is_gone_on_with(tmp_path, right, capsys, torn):
    path, asked = tmp_path / "file.csv", []

    def write(identity="test", dies=False):
        def restored(samples):
            asked.append([sample.id for sample in samples])
            for sample, image in pairs():
                if sample in samples:
                    yield [sample], [image]
                    if dies:
                        raise Killed

        return submission.write_submission(path, SAMPLES, restored, animals_inpainting, identity)

    unfinished = tmp_path / ".file.csv.unfinished"
    for identity in ("another", "test"):
        with pytest.raises(Killed):
            write(identity, dies=True)
        assert not path.exists() and len(asked.pop()) == 2, "another identity begins anew"
    with (unfinished / "rows.csv").open("ab") as file:
        file.write(torn)
    with (unfinished / "journal").open("ab") as file:
        file.write(torn)
    files.remove_leftovers(tmp_path)
    capsys.readouterr()
    assert write() == 67501
    assert asked == [[SAMPLES[1].id]], "the first image is not restored again"
    assert "1 of 2 photos were restored before; 1 to go" in capsys.readouterr().out
    assert path.read_bytes() == b"".join(right)
    assert list(tmp_path.iterdir()) == [path]


def test_one_process_at_a_time_writes_a_file(tmp_path):
    leftover = tmp_path / ".file.csv.12345678.part"
    other = tmp_path / ".other.csv.12345678.part"
    leftover.touch()
    other.touch()
    with files.claimed(tmp_path / ".file.csv.unfinished"), pytest.raises(files.Taken):
        write_submission(tmp_path / "file.csv", pairs(), animals_inpainting)
    assert leftover.exists() and not (tmp_path / "file.csv").exists()
    write_submission(tmp_path / "file.csv", pairs(), animals_inpainting)
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "file.csv"]


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def contest(tmp_path) -> Path:
    """The photos of the golden file in the contest's layout."""
    testing = tmp_path / "contest/Testing_Data"
    testing.mkdir(parents=True)
    table = [",filename,y1,x1,y2,x2"]
    for number, (name, height, width, boxes) in enumerate(PHOTOS):
        row, column, channel = np.indices((height, width, 3))
        photo = pixel(number, row, column, channel).astype(np.uint8)
        y1, x1, y2, x2 = boxes
        for top, left in ((y1, x1), (y2, x2)):
            photo[top : top + 75, left : left + 75] = 0
        # PNG whatever the name says: JPEG would not keep the pixels exactly.
        Image.fromarray(photo).save(testing / name, format="PNG")
        table.append(f"{number},{name},{y1},{x1},{y2},{x2}")
    (testing / "masked_info.csv").write_text("\n".join(table) + "\n")
    return testing.parent


def mirror(monkeypatch, folder: Path, recipe: str, root: Path, mask: bool) -> None:
    """`open_run` gives a fixed tiny model: mirrored left to right, 64 levels."""
    import keras

    from tfrecon.models.supervised import wrapped

    class Mirror(keras.layers.Layer):
        def call(self, x):
            mirrored: Any = keras.ops.flip(x[..., :3], axis=2)
            level: Any = keras.ops.round(mirrored * 255)
            return (level - level % 4) / 256

    inputs = keras.Input((None, None, 3 + mask))
    model = wrapped(keras.Model(inputs, Mirror()(inputs)))
    data = DataConfig(Spec(recipe), root=str(root))
    (folder / "best.npz").touch()
    config = SimpleNamespace(data=data, model=Spec("mirror"))
    trained = SimpleNamespace(
        name="mirror",
        has_mask=mask,
        path=folder,
        config=config,
        placed=config,
        load_model=lambda options=None: model,
    )
    monkeypatch.setattr("tfrecon.training.run.open_run", lambda path: trained)


@pytest.fixture
def mirroring_run(contest, monkeypatch, tmp_path) -> None:
    mirror(monkeypatch, tmp_path, "animals_inpainting", contest, mask=True)


def test_a_second_contest_is_one_file_that_writes_its_golden_csv(monkeypatch, tmp_path, capsys):
    for number, (name, height, width) in enumerate(PAGES):
        row, column = np.indices((height, width))
        page = pixel(number, row, column, 0).astype(np.uint8)
        (tmp_path / "pages/test").mkdir(parents=True, exist_ok=True)
        Image.fromarray(page).save(tmp_path / f"pages/test/{name}.png")
    mirror(monkeypatch, tmp_path, "denoising_dirty_documents", tmp_path / "pages", mask=False)
    path = tmp_path / "out.csv"
    assert submit.main(["checkpoints/mirror", "--out", str(path)]) == 0
    assert path.read_bytes() == GOLDEN_PAGES.read_bytes()
    data = ["--data", "denoising_dirty_documents", "--root", str(tmp_path / "pages")]
    named = ["--competition", "denoising-dirty-documents"]  # as in its address
    check = ["--check", str(GOLDEN_PAGES), *data, *named, "--sample", str(path)]
    assert submit.main(check) == 0
    assert "passed the check: 2 images, 23 lines" in capsys.readouterr().out


def test_the_command_writes_the_golden_file(contest, mirroring_run, tmp_path, capsys):
    path = tmp_path / "out/golden.csv"
    data = ["--data", "animals_inpainting", "--root", str(contest)]
    assert submit.main(["checkpoints/mirror", *data, "--out", str(path)]) == 0
    assert "2 images, 67,501 lines" in capsys.readouterr().out
    lines = path.read_text().splitlines()
    assert (lines[1], lines[-1], len(lines)) == (GOLDEN["first"], GOLDEN["last"], GOLDEN["lines"])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == GOLDEN["sha256"]
    assert submit.main(["--check", str(path), *data]) == 0
    assert "passed the check: 2 images, 67,501 lines" in capsys.readouterr().out


def test_data_and_name_default_to_those_of_the_run(mirroring_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert submit.main(["checkpoints/mirror", "--batch-size", "1"]) == 0
    written = (tmp_path / "kaggle_submission/mirror.csv").read_bytes()
    assert hashlib.sha256(written).hexdigest() == GOLDEN["sha256"]


def test_unreadable_photos_are_listed_before_the_work(contest, mirroring_run, tmp_path, capsys):
    for name, *_ in PHOTOS:
        (contest / "Testing_Data" / name).write_bytes(b"")
    out = tmp_path / "file.csv"
    assert submit.main(["checkpoints/mirror", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "2 of 2 photos cannot be read" in said and all(name in said for name, *_ in PHOTOS)
    assert not out.exists()


def test_a_signal_ends_it_after_the_batch_and_the_same_command_goes_on(
    contest, mirroring_run, tmp_path, capsys, monkeypatch, usual_handlers
):
    out, values = tmp_path / "a b.csv", submission._values
    arguments = ["checkpoints/mirror", "--out", str(out), "--batch-size", "1"]

    def stopped(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        return values(*given)

    with monkeypatch.context() as patched:
        patched.setattr(submission, "_values", stopped)
        assert submit.main(arguments) == 143
    said = capsys.readouterr().err
    assert "stopped by SIGTERM after 1 of 2 photos; go on with python -m tfrecon.submit" in said
    assert f"--out '{out}'" in said and not out.exists()
    assert submit.main(arguments) == 0
    assert "1 of 2 photos were restored before; 1 to go" in capsys.readouterr().out
    assert hashlib.sha256(out.read_bytes()).hexdigest() == GOLDEN["sha256"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "give a run"),
        (["--check", "a.csv"], "needs --data RECIPE"),
        (["checkpoints/a", "--sample", "a.csv"], "--sample belongs to --check"),
        (["--check", "a.csv", "--data", "demo", "--out", "b.csv"], "exclude each other"),
        (["checkpoints/a", "--batch-size", "0"], "must be 1 or more"),
        (["--check", "a.csv", "--data", "animals_inpaint"], "did you mean 'animals_inpainting'?"),
        (["checkpoints/none_of_these"], "does not exist"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments, expected, capsys):
    assert submit.main(arguments) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count("\n") == 1
