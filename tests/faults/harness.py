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
    """SIGKILL, SIGTERM or SIGINT, "… of parent" where the process is a child; "torn write" (half of
    a buffer, then SIGKILL), "full disk" (half of a buffer, then nothing more), "clock +24h" or
    "another process", which does what `other` says meanwhile."""
    event: str
    of: str = ""
    nth: int = 1
    program: str = ""
    """Which process it strikes, e.g. "tfrecon.fit"; that of the command if empty."""
    other: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Done:
    """What became of a command: its end, the places of the faults that struck, and the events of a
    process that ended in order."""

    code: int
    stdout: str
    stderr: str
    struck: list[str]
    events: list[str]


NOTHING = Fault("nothing", "no event")


def command(arguments, here, faults=(NOTHING,)):
    """Runs ``python -m tfrecon.…`` in the folder `here`; the faults strike it."""
    marks = [here.with_name(f"{here.name}-struck-{n}") for n in range(len(faults))]
    for mark in marks:
        mark.unlink(missing_ok=True)
    specs = [
        {
            **dataclasses.asdict(fault),
            "program": fault.program or arguments[0],
            "struck_at": str(mark),
        }
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
        counted.read_text().splitlines() if counted.exists() else [],
    )  # fmt: skip


RANDOM = 0
CODES = {
    "SIGKILL": (-9,), "torn write": (-9,), "full disk": (2,), "SIGINT": (130,), "SIGTERM": (143,),
}  # fmt: skip
"""Exit codes of a command that a fault ended."""
GO_ON = re.compile(r"go on with python -m (.+)")
DONE_BEFORE = re.compile(r"\d+ of \d+ \w+ were \w+ before")
CLOCK = Fault("clock +24h", "any", nth=3), Fault("clock -48h", "rename", nth=3)


def chain(begin, here, faults, row, *, go_on=None, seed=0, most=1):
    """Runs the command `begin`, and after each of the `faults` a command that goes on, to the end,
    during which the clock jumps.

    What goes on is the very command that the struck one has named, else `go_on()`, else `begin`.
    Faults at a `RANDOM` event get one of the first `most`. Several faults in a tuple strike in one
    process and its children, of which the last ends it. `row` is called with each fault, its place
    and what became of the command.
    """
    numbers, arguments = random.Random(seed), begin
    for fault in faults:
        together = fault if isinstance(fault, tuple) else (fault,)
        together = [
            one if one.nth else dataclasses.replace(one, nth=numbers.randint(1, most))
            for one in together
        ]
        done, last = command(arguments, here, together), together[-1]
        if not done.struck and last.event == "any" and not done.code:
            continue  # it has ended before
        assert len(done.struck) == len(together), f"{together} do not occur: {done}"
        assert done.code in CODES[last.what.removesuffix(" of parent")], f"{together}: {done}"
        assert "Traceback" not in done.stderr, done.stderr
        if last.what == "full disk":
            assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
        check_whole(here)
        named = GO_ON.search(done.stderr)
        arguments = shlex.split(named[1]) if named else go_on() if go_on else begin
        _note(done, together, row, ", names the command" if named else "")
    done = command(arguments, here, CLOCK)
    assert done.code == 0, done
    _note(done, CLOCK[: len(done.struck)], row)


def _note(done, faults, row, more=""):
    before = DONE_BEFORE.search(done.stdout)
    more += f", {before[0]}" if before else ""
    for fault, place in zip(faults, done.struck, strict=True):
        row(fault.what, place, f"exit {done.code}{more}")


READERS = {
    ".npz": checkpoint.load, ".json": lambda path: json.loads(path.read_text()),
    ".png": lambda path: Image.open(path).load(),
}  # fmt: skip


def check_whole(folder):
    """No file is half-written under its final name."""
    for path in folder.rglob("*"):
        if path.suffix in READERS and "/." not in str(path.relative_to(folder.parent)):
            READERS[path.suffix](path)


def contents(folder):
    """What is to be equal after all faults: for each file of a folder, its content; for those that
    hold times, that they are there; for all of TensorBoard's, their values."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if "tfevents" in name:
            found.setdefault(f"{path.parent.name}/tfevents", []).extend(tensorboard(path))
        elif path.name in TIMED or path.parent.name == "output":  # what a study's cells said
            found[name] = "there"
        elif path.suffix == ".npz":
            arrays, note = checkpoint.load(path)
            found[name] = note, {key: array.tobytes() for key, array in arrays.items()}
        elif path.name == "variables.index":
            reader = tf.train.load_checkpoint(str(path.with_suffix("")))
            keys = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
            # Each process numbers them anew.
            found[name] = sorted(reader.get_tensor(key).tobytes() for key in keys)
        else:
            found[name] = path.read_bytes() if path.is_file() else "folder"
    return found


TIMED = (
    "time.json", "evaluation.json", "summary.csv", "summary.md", "summary.txt", "leaderboard.csv",
    "report.md", "report.html", "costs.csv", "saved_model.pb", "fingerprint.pb",
    "variables.data-00000-of-00001",
)  # fmt: skip


def assert_same(mine, theirs):
    """Two folders hold the same, bit for bit."""
    found, expected = contents(mine), contents(theirs)
    assert found.keys() == expected.keys(), set(found) ^ set(expected)
    different = [name for name in expected if found[name] != expected[name]]
    assert not different, different


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
