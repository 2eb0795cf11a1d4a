"""Files and folders that take their place whole, locks, and what killed processes leave."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfrecon.base import files
from tfrecon.base.journal import Journal

HOLDER = """
import sys, time
from pathlib import Path
from tfrecon.base import files
with files.{block} as place:
    if place:
        (place / "half" if place.is_dir() else place).write_text("half")
    print("in", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that stays inside a block of `tfrecon.base.files`; kills it at the end."""
    started = []

    def start(block):
        path = str(tmp_path / "folder")
        script = HOLDER.format(block=block.format(path=f"Path({path!r})"))
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"in\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_folder_is_for_one_process_until_it_ends_or_dies(tmp_path, holder):
    folder = tmp_path / "folder"
    process = holder("claimed({path})")
    with pytest.raises(files.Taken, match="another process works in"), files.claimed(folder):
        pytest.fail("the folder is another's")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with files.claimed(folder):  # what the dead one left locks nothing
        assert (folder / files.LOCK).is_file()
    assert not (folder / files.LOCK).exists()


def test_who_waits_gets_the_folder_next(tmp_path, holder, capsys):
    process = holder("claimed({path})")
    began = time.monotonic()
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill {process.pid}"])
    with files.claimed(tmp_path / "folder", wait=True):
        assert time.monotonic() - began > 0.4
    assert "waiting for the process that works in" in capsys.readouterr().out
    killer.wait()


def test_an_empty_folder_goes_and_one_that_was_there_or_holds_something_stays(tmp_path):
    with files.claimed(tmp_path / "new" / "run"):
        assert (tmp_path / "new" / "run").is_dir()
    assert not (tmp_path / "new").exists()
    with files.claimed(tmp_path / "new" / "run"):
        (tmp_path / "new" / "run" / "a").touch()
    assert os.listdir(tmp_path / "new" / "run") == ["a"]
    (tmp_path / "old").mkdir()
    with pytest.raises(KeyError), files.claimed(tmp_path / "old"):
        raise KeyError
    assert os.listdir(tmp_path / "old") == []


def test_a_file_system_without_locks_is_told_of(tmp_path, monkeypatch, capsys):
    import fcntl

    def refuses(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuses)
    with files.claimed(tmp_path / "run"):
        pass
    assert "has no locks (No locks available): let only one process" in capsys.readouterr().err


def test_what_a_process_makes_is_made_by_no_other(tmp_path, holder):
    path = tmp_path / "folder" / "a.csv"
    process = holder("making({path} / 'a.csv')")
    left = [path.with_name(f".{name}.12345678.part") for name in ("a.csv", "b.csv")]
    for file in left:
        file.touch()
    with pytest.raises(files.Taken), files.making(path):
        pytest.fail("another makes it")
    process.kill()
    process.wait()
    with files.making(path) as workplace:
        assert (workplace / "half").read_text() == "half", "what can be gone on with stays"
        assert not left[0].exists() and left[1].exists(), "leftovers of its own name alone go"
        (workplace / "half").unlink()
    assert not workplace.exists()


@pytest.mark.parametrize("block", ["replacing({path} / 'a.csv')", "replacing_folder({path} / 'a')"])
def test_leftovers_of_the_dead_go_and_what_lives_stays(tmp_path, holder, block):
    folder = tmp_path / "folder"
    process = holder(block)
    files.remove_leftovers(folder)
    assert len(list(folder.glob(".*.part"))) == 1, "its process still writes it"
    process.kill()
    process.wait()
    (folder / ".mine.part.txt").touch()
    files.remove_leftovers(folder)
    assert os.listdir(folder) == [".mine.part.txt"]


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)]
)
def test_the_umask_is_respected_and_nothing_is_changed_later(
    tmp_path, monkeypatch, umask, file, folder
):
    """File systems of Windows refuse chmod."""

    def refuses(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    for place in (os, Path):
        monkeypatch.setattr(place, "chmod", refuses)
    before = os.umask(umask)
    try:
        files.write_json(tmp_path / "a.json", {})
        with files.replacing_folder(tmp_path / "made") as made:
            (made / "b").write_text("b")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"a.json": file, "made": folder}
    assert (tmp_path / "made" / "b").stat().st_mode & 0o777 == file


def test_a_journal_leaves_nothing_of_a_killed_process(tmp_path):
    (tmp_path / "..journal.01234567.part").touch()
    journal = Journal(tmp_path / ".journal")
    journal.add("done")
    assert not journal.lines, "what is written is not kept in memory"
    assert Journal(tmp_path / ".journal").lines == ["done"]
    journal.remove()
    assert os.listdir(tmp_path) == []


def test_what_was_there_comes_back_when_a_process_dies_as_it_is_replaced(tmp_path):
    old = tmp_path / ".export.01234567.part" / "old"
    old.mkdir(parents=True)
    (old / "model").write_text("mine")
    files.remove_leftovers(tmp_path)
    assert (tmp_path / "export" / "model").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
