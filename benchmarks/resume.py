"""Kills a training run three times with SIGKILL, resumes it, and compares every array of its state
with an uninterrupted run's: weights, optimizer slots, moving average, random generators.

    python benchmarks/resume.py [pix2pix|feature_inversion]

Augmentation, dropout, BatchNorm and EMA are on, where the model has them. A control resumes with
the random generators' state left out, and must differ; a model that draws nothing in its step has
no such state and no control. Exits with 1 if a claim does not hold.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEPS = 240
OPTIONS = {
    "pix2pix": [
        "model.base_filters=8",
        "model.discriminator_filters=8",
        "model.dropout=0.5",
        "data.image_size=64",
        "data.damage.name=boxes",
        "data.damage.size=20",
    ],
    "feature_inversion": [
        "model.weights=none",
        "model.decoder=transposed_conv",
        "data.image_size=64",
        "data.crop_size=32",
        "data.load_size=80",
        "data.val_size=64",
    ],
}
"""Settings that make a step quick; random backbones need no file."""
COMMON = [
    "fit.batch_size=2", "fit.ema_decay=0.99", "fit.steps_per_epoch=37", "fit.schedule=cosine",
    "fit.early_stopping_patience=100", "fit.checkpoint_seconds=0.5", "fit.seed=7",
]  # fmt: skip


MODEL = sys.argv[1] if len(sys.argv) > 1 else "pix2pix"


def command(folder: Path, resume: bool) -> list[str]:
    """The run's command line; the same one after every kill, with --resume."""
    if resume:
        return [sys.executable, "-m", "tfrecon.fit", "--run", str(folder), "--resume"]
    settings = [part for option in (*OPTIONS[MODEL], *COMMON) for part in ("--set", option)]
    return [
        sys.executable, "-m", "tfrecon.fit", "--model", MODEL, "--data", "demo",
        "--steps", str(STEPS), "--run", str(folder), *settings,
    ]  # fmt: skip


def step_of(folder: Path) -> int:
    """The step of the run's last checkpoint, 0 without one."""
    from tfrecon.base import checkpoint

    path = folder / "state.npz"
    return checkpoint.load(path)[1]["step"] if path.exists() else 0


def kill_after(folder: Path, step: int, seconds: float, resume: bool) -> None:
    """Runs until a checkpoint has passed `step`, some more `seconds`, and kills."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command(folder, resume), stdout=log, stderr=log)
        while step_of(folder) <= step:
            if process.poll() is not None:
                log.seek(0)
                sys.exit(f"the run ended before it was killed:\n{log.read().decode()}")
            time.sleep(0.05)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    print(f"  killed; the last checkpoint is of step {step_of(folder)}", flush=True)


def finish(folder: Path, resume: bool) -> dict[str, np.ndarray]:
    """Runs to the end and returns the arrays of its state."""
    from tfrecon.base import checkpoint

    subprocess.run(command(folder, resume), check=True, capture_output=True)
    return checkpoint.load(folder / "state.npz")[0]


def generators(folder: Path) -> list[str]:
    """The random generators among the arrays of the checkpoint: the model's only integers."""
    from tfrecon.base import checkpoint

    arrays, _ = checkpoint.load(folder / "state.npz")
    return [
        name for name, array in arrays.items()
        if name.startswith("model/") and np.issubdtype(array.dtype, np.integer)
    ]  # fmt: skip


def forget_generators(folder: Path) -> int:
    """Sets the random generators of the checkpoint back to their start; returns how many."""
    from tfrecon.base import checkpoint

    path = folder / "state.npz"
    arrays, note = checkpoint.load(path)
    forgotten = generators(folder)
    for name in forgotten:  # Keras keeps a generator as (seed, counter)
        arrays[name] = np.array([arrays[name][0], 0], arrays[name].dtype)
    groups: dict[str, list[np.ndarray]] = {}
    for name in sorted(arrays):
        groups.setdefault(name.split("/")[0], []).append(arrays[name])
    checkpoint.save(path, groups, note)
    return len(forgotten)


def compare(name: str, a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Prints and returns whether all arrays are equal bit for bit."""
    different = [key for key in a if a[key].tobytes() != b[key].tobytes()]
    print(f"{name}: {len(a) - len(different)} of {len(a)} arrays bit-identical", flush=True)
    return a.keys() == b.keys() and not different


def main() -> None:
    draw = random.Random(time.time_ns())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        whole = finish(folder / "whole", resume=False)
        killed = folder / "killed"
        for number in range(3):
            start = step_of(killed)
            step = draw.randrange(start, max(start + 1, (number + 1) * STEPS // 4))
            kill_after(killed, step, draw.random(), resume=number > 0)
        same = compare("killed three times and resumed", whole, finish(killed, resume=True))

        if not generators(folder / "whole"):
            print("resume is exact" if same else "FAILED: resume is not exact")
            sys.exit(0 if same else 1)
        control = folder / "control"
        kill_after(control, STEPS // 4, 0.0, resume=False)
        print(f"control: {forget_generators(control)} random generators set back", flush=True)
        differs = not compare("control", whole, finish(control, resume=True))
    print("resume is exact" if same else "FAILED: resume is not exact")
    print("the control differs" if differs else "FAILED: the control does not differ")
    sys.exit(0 if same and differs else 1)


if __name__ == "__main__":
    main()
