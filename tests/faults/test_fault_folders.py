"""Folders that two processes want, and runs whose files something else has damaged."""

import shutil

import fakes
import numpy as np
import pytest
from harness import NOTHING, Fault, assert_same, command
from test_faults import settings

from tfrecon.base import checkpoint


@pytest.mark.fault
def test_two_processes_do_not_share_a_folder(tmp_path, table):
    """A second fit begins, and a second --resume, while the first is at work."""
    here, row = tmp_path / "here", table("pix2pix")
    words = settings("pix2pix", fakes.photo_folder(tmp_path / "photos", 12))
    place = words.index("--run")
    begin = [*words[:place], *words[place + 2 :]]
    resume = ["tfrecon.fit", "--run", "pix2pix_folder", "--resume"]
    here.mkdir()
    faults = [
        Fault("another process", "rename", "config.json", other=begin),
        Fault("another process", "rename", "state.npz", 2, other=resume),
    ]
    done = command(begin, here, faults)
    assert done.code == 0, done
    begun, resumed = done.struck
    assert ": exit 0\n" in begun, begun
    assert ": exit 2\n" in resumed
    assert "\nerror: another process works in 'checkpoints/pix2pix_folder'; " in resumed
    for said in done.struck:
        row("another process", *said.splitlines()[0].split(": "))
    folder = here / "checkpoints" / "pix2pix_folder"
    assert_same(folder, folder.with_name("pix2pix_folder-2"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that nothing struck, and one that was killed after its first epoch."""
    here = tmp_path_factory.mktemp("killed")
    photos = fakes.photo_folder(here / "photos", 12)
    fault = Fault("SIGKILL", "rename", "state.npz", 5)
    for name, faults in (("whole", ()), ("cut", (fault,))):
        (here / name).mkdir()
        command(settings("pix2pix", photos), here / name, faults or (NOTHING,))
    return here


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "bit flipped": flip,
    "removed": lambda path: path.unlink(),
}


@pytest.mark.fault
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_goes_on_bit_for_bit_or_says_so(tmp_path, killed, table, damage):
    texts = ["history.csv", "time.json", "run.json", "config.json"]
    # A flipped bit may make another number of a number.
    for name in ["state.npz", "best.npz", *([] if damage == "bit flipped" else texts)]:
        here = shutil.copytree(killed / "cut", tmp_path / name)
        run = here / "checkpoints" / "run"
        DAMAGES[damage](run / name)
        before = everything(run)
        done = command(["tfrecon.fit", "--run", "run", "--resume"], here)
        assert "Traceback" not in done.stderr
        if done.code:
            assert done.code == 2 and done.stderr.count("error: ") == 1, done
            assert everything(run) == before, f"{name} {damage}"
            said = done.stderr[done.stderr.index("error: ") :].strip()
        elif "best weights are chosen anew" in done.stdout:
            assert name == "best.npz"
            ends = [place / "checkpoints" / "run" for place in (here, killed / "whole")]
            assert len({(end / "history.csv").read_bytes() for end in ends}) == 1
            mine, theirs = (checkpoint.load(end / "state.npz")[0] for end in ends)
            np.testing.assert_equal(mine, theirs)
            said = "goes on, other best weights, which is said"
        else:
            assert_same(here, killed / "whole")
            said = "goes on"
        table("pix2pix")(damage, name, said)


def everything(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("[!.]*")}
