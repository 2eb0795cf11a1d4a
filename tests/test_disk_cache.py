"""Shards: finished one by one, gone on with after a kill, and checked against what was written."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from tfrecon.base.errors import UserError
from tfrecon.data import disk_cache
from tfrecon.data.disk_cache import Records

COUNT = 10


def record(place: int) -> list[np.ndarray]:
    """Two arrays, of another size each time."""
    values = np.random.default_rng(place).integers(0, 256, 60 + place, np.uint8)
    return [values[:30].reshape(2, 5, 3), values[30:]]


class Computed:
    """Yields records, and notes which."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, start: int, stop: int):
        for place in range(start, stop):
            self.asked.append(place)
            yield record(place)


@pytest.fixture(autouse=True)
def three_a_shard(monkeypatch):
    monkeypatch.setattr(disk_cache, "SHARD", 3 * 2 * disk_cache.ALIGNMENT)


def opened(folder, count=COUNT):
    """Records, and which of them were computed."""
    computed = Computed()
    return Records(folder, count, computed), computed.asked


def assert_right(records):
    read = list(records)
    assert len(read) == len(records) == COUNT
    for place, arrays in enumerate(read):
        for mine, theirs in zip(arrays, record(place), strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype and not mine.flags.writeable
            assert mine.ctypes.data % disk_cache.ALIGNMENT == 0


def written(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_records_are_computed_once(tmp_path):
    folder = tmp_path / "cache" / "key"
    records, asked = opened(folder)
    assert asked == list(range(COUNT))
    assert_right(records)
    assert [int(name.partition(".")[0]) for name in sorted(written(folder))] == [0, 3, 6, 9]
    again, asked = opened(folder)
    assert_right(again)
    assert asked == [] and again.size() == records.size() == disk_cache.size(folder)
    disk_cache.remove(folder)
    assert_right(again)  # which stay mapped


def dies_at(at: int, how):
    """Computes records up to `at`, where it calls `how`."""

    def compute(start: int, stop: int):
        for place in range(start, stop):
            if place == at:
                how()
            yield record(place)

    return compute


KILLED = """
import os, signal, sys, pathlib, test_disk_cache as tests
tests.disk_cache.SHARD, at = int(sys.argv[2]), int(sys.argv[3])
compute = tests.dies_at(at, lambda: os.kill(os.getpid(), signal.SIGKILL))
tests.Records(pathlib.Path(sys.argv[1]), tests.COUNT, compute)
"""


def interrupt():
    """What SIGINT does, also where whoever started the tests has it ignored."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("at", [0, 2, 3, 7])
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL"])
def test_who_goes_on_computes_the_rest(tmp_path, at, how, capsys):
    whole = tmp_path / "whole"
    opened(whole)
    folder = tmp_path / "cache" / "struck"
    if how == "SIGINT":
        with pytest.raises(KeyboardInterrupt):
            Records(folder, COUNT, dies_at(at, interrupt))
    else:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", KILLED, str(folder), str(disk_cache.SHARD), str(at)]
        done = subprocess.run(command, env=environment, check=False)
        assert done.returncode == -signal.SIGKILL and list(folder.glob(".*.part"))
    capsys.readouterr()
    records, asked = opened(folder)
    assert asked == list(range(at - at % 3, COUNT))
    assert_right(records)
    assert written(folder) == written(whole)
    told = capsys.readouterr().out
    assert (f"holds {at - at % 3} of 10; the rest is made now" in told) == (at >= 3)


def flipped(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


DAMAGES = {
    "first byte": lambda path: flipped(path, 0),
    "last array": lambda path: flipped(path, 5 * disk_cache.ALIGNMENT + 2),
    "type": lambda path: flipped(path, path.read_bytes().rindex(b"|u1") + 2),
    "shape": lambda path: flipped(path, path.read_bytes().rindex(b"[2, 5, 3]") + 1),
    "checksum": lambda path: flipped(path, -5),
    "shortened": lambda path: os.truncate(path, path.stat().st_size - 2),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("start", [3, 9])
def test_a_damaged_shard_alone_is_made_anew(tmp_path, damage, start, monkeypatch):
    opened(tmp_path)
    whole = written(tmp_path)
    if (start, damage) == (9, DAMAGES["last array"]):
        damage = DAMAGES["first byte"]  # this shard has one record
    damage(tmp_path / f"{start:012}.shard")
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    monkeypatch.setattr(disk_cache, "SHARD", disk_cache.SHARD // 2)  # as another version has it
    records, asked = opened(tmp_path)
    assert_right(records)
    assert asked == list(range(start, min(start + 3, COUNT)))
    same = [p for p, time in times.items() if p.exists() and p.stat().st_mtime_ns == time]
    assert len(same) == 3
    assert_right(opened(tmp_path)[0])
    monkeypatch.undo()
    assert set(written(tmp_path)) >= set(whole)


def test_a_record_is_checked_when_it_is_first_read(tmp_path, capsys):
    opened(tmp_path)
    flipped(tmp_path / "000000000003.shard", 0)
    records, asked = opened(tmp_path)
    for place in (0, 4, 9):
        np.testing.assert_array_equal(records[place][1], record(place)[1])
    assert asked == [] and "damaged" not in capsys.readouterr().out
    assert_right(records)
    assert asked == [3, 4, 5] and "000000000003.shard' is damaged; it is" in capsys.readouterr().out
    assert_right(opened(tmp_path)[0])


def test_a_disk_that_gives_other_bytes_is_told_of(tmp_path, monkeypatch):
    right = disk_cache._written

    def wrong(path, *rest):
        right(path, *rest)
        flipped(path, 0)
        return disk_cache.Shard(path)

    monkeypatch.setattr(disk_cache, "_written", wrong)
    records, _ = opened(tmp_path)
    with pytest.raises(UserError, match=r"does not keep what is written.* with data\.cache_dir"):
        _ = records[0]


def test_several_who_need_the_same_compute_it_once(tmp_path):
    computed, found = Computed(), []

    def use():
        records = Records(tmp_path / "cache" / "key", COUNT, computed)
        assert_right(records)
        found.append(records)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and computed.asked == list(range(COUNT))
    assert len(written(tmp_path / "cache" / "key")) == 4
