"""The boundary around what strangers wrote: one sentence, whatever is wrong and wherever it is."""

import json
import os

import numpy as np
import pytest

from tfrecon import evaluate, fit, reconstruct, study
from tfrecon.base import cli, config, files
from tfrecon.base.errors import UserError, foreign
from tfrecon.data import disk_cache
from tfrecon.reports import plots
from tfrecon.training.run import Run, open_run


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("too deep"), KeyError("a"), OSError("torn"),
              FileNotFoundError(2, "No such file", "another"), OverflowError(9)],
)  # fmt: skip
def test_whatever_fails_inside_is_one_sentence(error):
    with pytest.raises(UserError) as caught, foreign("table", "a.csv", "save it again"):
        raise error
    said = str(caught.value)
    assert said.startswith(f"table 'a.csv' is truncated or damaged ({type(error).__name__}")
    assert said.endswith("; save it again") and "\n" not in said


def test_what_the_system_refuses_and_what_is_missing_is_said_as_such(tmp_path):
    with pytest.raises(PermissionError), foreign("table", "a.csv", "save it again"):
        raise PermissionError(13, "Permission denied", "a.csv")
    with pytest.raises(UserError, match="does not exist"), foreign("table", tmp_path / "a", "no"):
        (tmp_path / "a").read_bytes()
    with pytest.raises(UserError, match="is a folder"), foreign("table", tmp_path, "no"):
        tmp_path.read_bytes()
    with pytest.raises(UserError, match=r"^own$"), foreign("table", tmp_path, "no"):
        raise UserError("own")


LONG, LATIN = "x" * 300, "caf\udce9"  # as the system hands over bytes that are not UTF-8


@pytest.mark.parametrize("name", [LONG, LATIN, f"{LONG}/{LATIN}", "a\0b"])
@pytest.mark.parametrize(
    ("verb", "arguments"),
    [(evaluate, ["{}"]), (fit, ["--config", "{}"]), (fit, ["--run", "{}", "--resume"]),
     (fit, ["--model", "pix2pix", "--set", "data.recipe=folder", "--set", "data.root={}"]),
     (study, ["{}"]), (reconstruct, ["{}", "in", "out"]),
     (reconstruct, ["--method", "harmonic_fill", "in", "out", "--masks", "{}"])],
)  # fmt: skip
def test_names_that_no_file_can_have(tmp_path, monkeypatch, capsys, verb, arguments, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    assert verb.main([argument.format(name) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["in"]


def test_a_folder_to_write_to_has_a_name_that_is_text(tmp_path, capsys):
    def body(arguments):
        with files.claimed(tmp_path / LATIN):
            pytest.fail("TensorFlow cannot write there")

    assert cli.run(lambda: cli.Parser("fit", ""), body, []) == 2
    assert "is no valid text; rename what has it" in capsys.readouterr().err
    assert not os.listdir(tmp_path)


def test_a_name_that_the_terminal_cannot_show_is_shown_all_the_same(capfd):
    assert cli.run(lambda: cli.Parser("fit", ""), lambda _: print(LATIN, "×"), []) == 0
    assert capfd.readouterr().out.startswith("caf\\udce9")


def test_what_a_stranger_wrote_does_not_fill_the_screen(capsys):
    def body(arguments):
        raise UserError("line 3: " + "9" * 100_000 + " is no pixel position")

    assert cli.run(lambda: cli.Parser("fit", ""), body, []) == 2
    said = capsys.readouterr().err
    assert len(said) < 2100 and "line 3" in said and said.endswith("is no pixel position\n")


@pytest.mark.parametrize(
    "index",
    [b"", b"\n", b"[" * 100_000, b"[]", b"5", b'{"type": "|u1", "crc32": [1]}', b"\xff",
     b'{"type": "|u1", "crc32": [1], "shapes": 5}', b'{"type": 5, "crc32": [1], "shapes": [[]]}',
     b'{"type": "|u1", "crc32": [1], "shapes": [[["a"]]]}',
     b'{"type": "|u1", "crc32": [-1], "shapes": [[[24]]]}',
     b'{"type": "|u1", "crc32": [1], "shapes": [[[24]], [[1]]]}',
     b'{"type": "|u1", "crc32": [1], "shapes": [[[74]]]}'],
)  # fmt: skip
def test_a_torn_index_of_a_cache_is_written_anew(tmp_path, index):
    def computed(start, stop):
        return iter([[np.arange(24, dtype=np.uint8).reshape(4, 6)]])

    disk_cache.Records(tmp_path, 1, computed)
    (path,) = tmp_path.glob("*.shard")
    whole = path.read_bytes()
    path.write_bytes(whole[:64] + b"\n" + index)
    ((array,),) = disk_cache.Records(tmp_path, 1, computed)
    np.testing.assert_array_equal(array, np.arange(24).reshape(4, 6))
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ('{"mask": "yes"}', r"run\.json': mask must be true or false, not 'yes'"),
        ('{"mask": true, "machine": 3}', "holds a damaged run"),
        ('{"mask": true, "machine": {"intra_op_threads": "many"}}', "must be a whole number"),
        ('{"mask": true, "steps": -1}', "steps must be 0 or more"),
        ("[" * 100_000, "holds a damaged run"), ("9" * 5000, "holds a damaged run"),
    ],
)  # fmt: skip
def test_facts_of_a_received_run_are_checked(tmp_path, facts, said):
    (tmp_path / "config.json").write_text(
        json.dumps(config.Config(config.Spec("pix2pix")).to_dict())
    )
    (tmp_path / "run.json").write_text(facts)
    with pytest.raises(UserError, match=said):
        open_run(tmp_path)


def test_what_a_run_says_of_its_training_may_be_damaged(tmp_path):
    run = Run(tmp_path, config.Config(config.Spec("pix2pix")), {"mask": True})
    for content in (b"[" * 100_000, b"[]", b'{"train_seconds": "many"}', b"\xff"):
        (tmp_path / "time.json").write_bytes(content)
        assert run.train_minutes is None
    for content in (b"step,val_psnr\n1,many\n", b"step,val_psnr\n\xff,1\n", b"val_psnr\n1\n"):
        (tmp_path / "history.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"history\.csv' is damaged .*; remove it"):
            plots._history(run, "val_psnr")


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xef\xbb\xbf[fit]\nsteps = 3\n")
    assert config.read_toml(path) == {"fit": {"steps": 3}}
