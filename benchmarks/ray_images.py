"""2,000 images through ``reconstruct --on ray``: images a second and memory with 1 and 2 actors.

    python -m benchmarks.ray_images [EXPORT] [--images 2000] [--side 256]

The images are made up (smooth colours and noise); without an EXPORT the preset `scratches` restores
them. Each command is timed from outside, its start included, and again from the first to the last
file that appears. Memory is that of the command and of all processes below it, the most at once,
shared parts counted once. In a last round one of two actors is killed by SIGKILL when a third of
the images is there: files keep number and time where they are written once, and all are compared
byte for byte with those without Ray. Linux, and the extra `ray`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.record import row


def make_photos(folder: Path, count: int, side: int) -> None:
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(smooth + random.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:06}.jpg", quality=90)


def below(pid: int) -> list[int]:
    """The processes below a process, and it."""
    children: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        children.setdefault(parent, []).append(int(place.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def memory_mib(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return int(text.partition("\nPss:")[2].split()[0]) / 1024 if "\nPss:" in text else 0.0


def actors_of(pids: list[int]) -> list[int]:
    """Those that are Ray's actors of images."""
    found = []
    for pid in pids:
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::") and b"MapWorker" in title:
            found.append(pid)
    return found


def run(restorer: list[str], photos: Path, out: Path, words: list[str], kill_at: int) -> Any:
    """What a command took, made and left."""
    command = [sys.executable, "-m", "tfrecon.reconstruct", *restorer, str(photos), "-o", str(out)]
    began = time.perf_counter()
    process = subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL)
    states: dict[str, set[Any]] = {}
    first = last = peak = 0.0
    killed = 0
    while process.poll() is None:
        pids = below(process.pid)
        peak = max(peak, sum(map(memory_mib, pids)))
        before = len(states)
        note(out, states)
        if len(states) > before:
            last = time.perf_counter()
            first = first or last
        if kill_at and not killed and len(states) >= kill_at and (actors := actors_of(pids)):
            killed = actors[0]
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.5)
    whole = time.perf_counter() - began
    note(out, states)
    if process.returncode or (kill_at and not killed):
        sys.exit(f"{words}: exit code {process.returncode}, killed {killed}")
    return SimpleNamespace(
        images=len(states), rate=len(states) / whole, peak=peak,
        at_work=len(states) / max(last - first, 0.5),
        twice=sum(len(each) > 1 for each in states.values()),
        left_over=sum(place.suffix != ".png" for place in out.iterdir()),
    )  # fmt: skip


def note(out: Path, states: dict[str, set[Any]]) -> None:
    """Notes what tells each file in a folder from one that takes its place."""
    for place in out.glob("*.png"):
        about = place.stat()
        states.setdefault(place.name, set()).add((about.st_ino, about.st_mtime_ns))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.glob("*.png")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", nargs="?", help="instead of the preset scratches")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--side", type=int, default=256)
    arguments = parser.parse_args()
    restorer = [arguments.export] if arguments.export else ["--preset", "scratches"]
    on_ray = ["--on", "ray", "--actors"]
    cases = {"without Ray": [], "1 actor": [*on_ray, "1"], "2 actors": [*on_ray, "2"],
             "2 actors, one killed": [*on_ray, "2"]}  # fmt: skip
    found: dict[str, Any] = {}
    at = {"images": arguments.images, "side": arguments.side}
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        make_photos(photos, arguments.images, arguments.side)
        for name, words in cases.items():
            kill_at = arguments.images // 3 if "killed" in name else 0
            out = Path(folder, name.replace(" ", "_"))
            found[name] = run(restorer, photos, out, words, kill_at)
            found[name].same = content(out) == content(Path(folder, "without_Ray"))
            print(name, vars(found[name]), flush=True)
    for what, unit, figure in (
        ("the command, its start included", "images/s", "rate"),
        ("from the first file to the last", "images/s", "at_work"),
        ("memory of all processes at most", "MiB", "peak"),
        ("images written", "images", "images"), ("images written twice", "images", "twice"),
        ("files left over", "files", "left_over"),
        ("all equal to those without Ray, byte for byte", "1 is yes", "same"),
    ):  # fmt: skip
        order = ("2 actors", "1 actor", "without Ray", "2 actors, one killed")
        values = {name: float(vars(found[name])[figure]) for name in order}
        row(what, unit, values, **at)


if __name__ == "__main__":
    main()
