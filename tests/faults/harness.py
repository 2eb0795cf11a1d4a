"""Commands that faults strike, commands that go on after them, and what is left of both."""

import dataclasses
import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import tensorflow as tf
from PIL import Image

from tfrecon.base import checkpoint

VICTIM = Path(__file__).parent / "victim"
TEMPORARY = re.compile(r"\.([^/]+)\.\w{8}\.part")
REPOSITORY = Path(__file__).parents[2]


@dataclasses.dataclass(frozen=True)
class Fault:
    """`what` happens just before the `nth` `event` on a path that contains `of`."""

    what: str
    """SIGKILL, SIGTERM, SIGINT, "torn write" (half of a buffer, then SIGKILL), "full disk" (half of
    a buffer, then nothing more) or "clock +24h"."""
    event: str
    of: str = ""
    nth: int = 1
    program: str = "tfrecon.fit"

    def __str__(self):
        return f"{self.event} {self.of} #{self.nth}"


@dataclasses.dataclass(frozen=True)
class Done:
    """What became of a command: its end, the places of the faults that struck, and the number of
    events where none ended it."""

    code: int
    stdout: str
    stderr: str
    struck: list[str]
    events: int


def command(arguments, here, faults=(Fault("nothing", "no event"),)):
    """Runs ``python -m tfrecon.…`` in the folder `here`; the faults strike it."""
    marks = [here.with_name(f"{here.name}-struck-{n}") for n in range(len(faults))]
    for mark in marks:
        mark.unlink(missing_ok=True)
    specs = [
        {**dataclasses.asdict(fault), "struck_at": str(mark)}
        for fault, mark in zip(faults, marks, strict=True)
    ]
    environment = {
        **os.environ, "FAULTS": json.dumps(specs), "PYTHONPATH": f"{VICTIM}:{REPOSITORY}",
        "TF_NUM_INTRAOP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=here, env=environment, capture_output=True,
        text=True,
    )  # fmt: skip
    counted = Path(f"{marks[0]}.events")
    return Done(
        done.returncode, done.stdout, done.stderr,
        [TEMPORARY.sub(r"new \1", mark.read_text()) for mark in marks if mark.exists()],
        int(counted.read_text()) if counted.exists() else 0,
    )  # fmt: skip


RANDOM = 0


def drawn(faults, seed, most):
    """The faults, those at `RANDOM` events at one of the first `most`."""
    numbers = random.Random(seed)
    return [
        fault if fault.nth else dataclasses.replace(fault, nth=numbers.randint(1, most))
        for fault in faults
    ]


CODES = {
    "SIGKILL": (-9,), "torn write": (-9,), "full disk": (2,), "SIGINT": (130,),
    "SIGTERM": (143, -15),
}  # fmt: skip
"""Exit codes of a command that a fault ended; only training has a handler of SIGTERM."""
GO_ON = re.compile(r"go on with python -m (.+)")


def chain(begin, go_on, here, faults, row):
    """Runs the command `begin`, and after each of the `faults` a command that goes on, to the end.

    What goes on is the very command that the struck one has named, else `go_on()`. `row` is called
    with each fault, its place and what became of the command.
    """
    arguments = begin
    for fault in faults:
        done = command(arguments, here, (fault,))
        if not done.struck and fault.event == "any" and not done.code:
            continue  # it has ended before
        assert done.struck, f"{fault} does not occur:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        said = f"exit {done.code}"
        assert done.code in CODES[fault.what], f"{fault}: {said}\n{done.stderr[-4000:]}"
        assert "Traceback" not in done.stderr, done.stderr[-4000:]
        if fault.what == "full disk":
            assert done.stderr.splitlines()[-1].startswith("error: no space left"), done.stderr
        check_whole(here)
        named = GO_ON.search(done.stderr)
        if fault.what in ("SIGINT", "SIGTERM") and done.code in (130, 143) and named:
            said += ", command named"
        arguments = shlex.split(named[1]) if named else go_on()
        row(fault.what, done.struck[0], said)
    last = Fault("clock +24h", "any", nth=3), Fault("clock -48h", "rename", "per_image.csv")
    done = command(arguments, here, last)
    assert done.code == 0, done.stderr[-4000:]
    for fault, place in zip(last, done.struck, strict=False):
        row(fault.what, place, "exit 0")


READERS = {
    ".npz": checkpoint.load, ".json": lambda path: json.loads(path.read_text()),
    ".png": lambda path: Image.open(path).load(),
}  # fmt: skip


def check_whole(folder):
    """No file is half-written under its final name."""
    for path in folder.rglob("[!.]*"):
        if path.suffix in READERS:
            READERS[path.suffix](path)


def contents(folder):
    """What is to be equal after all faults: for each file of a folder, its content; for those that
    hold times, that they are there; for all of TensorBoard's, their values."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if "tfevents" in name:
            found.setdefault(f"{path.parent.name}/tfevents", []).extend(tensorboard(path))
        elif path.name in TIMED:
            found[name] = "there"
        elif path.suffix == ".npz":
            arrays, note = checkpoint.load(path)
            found[name] = note, {key: array.tobytes() for key, array in arrays.items()}
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


TIMED = ("time.json", "evaluation.json", "summary.csv", "summary.md", "summary.txt")


def assert_same(mine, theirs):
    """Two folders hold the same, bit for bit."""
    found, expected = contents(mine), contents(theirs)
    assert found.keys() == expected.keys(), set(found) ^ set(expected)
    different = [name for name in expected if found[name] != expected[name]]
    assert not different


def tensorboard(path):
    """(step, tag, value) of each event in one file, as far as it was written."""
    values = []
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            values += [
                (event.step, v.tag, v.tensor.SerializeToString()) for v in event.summary.value
            ]
    except tf.errors.DataLossError:  # the end of a torn file
        pass
    return values
