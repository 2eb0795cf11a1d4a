"""Every figure that needs a GPU, in one command; without one it says so.

    python -m benchmarks.accelerator [--steps 200]

Runs, one after the other: images/s of a pix2pix step in each precision against the tutorial's
(`benchmarks.step`), every model in float16, bfloat16 and float32 with loss scale and PSNR and the
price of deterministic operations (`benchmarks.precision`), and a resume that has to end bit for bit
the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200, help="steps of each training (200)")
    options = parser.parse_args()
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        print(
            "there is no GPU that TensorFlow sees, so there is nothing to measure; install tfrecon "
            "with its extra 'gpu' on a machine with an NVIDIA GPU and its driver"
        )
        return 0
    for gpu in gpus:
        print(gpu.name, tf.config.experimental.get_device_details(gpu), flush=True)
    steps = str(options.steps)
    precisions = ["float32", "bfloat16", "float16"]
    programs = [
        ["benchmarks.step", "--batch", "1", "8", "32", "--precision", *precisions],
        ["benchmarks.precision", "--steps", steps, "--deterministic"],
    ]
    codes = [subprocess.call([sys.executable, "-m", *program]) for program in programs]
    return max([*codes, resumed()])


def resumed() -> int:
    """Trains 40 steps of the demo's pix2pix in float16 with deterministic operations at once, and
    20 and 20; says whether both ended alike."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ["fit.precision=float16", "fit.deterministic=true", "data.image_size=128"]
        for name, parts in (("whole", [40]), ("parted", [20, 40])):
            for number, steps in enumerate(parts):
                given = ["--config", "pix2pix/demo", *(f"--set={text}" for text in settings)]
                given += ["--set", "fit.schedule=constant", "--set", "fit.checkpoint_seconds=0"]
                command = [sys.executable, "-m", "tfrecon.fit", "--run", str(Path(folder, name))]
                goes_on = ["--resume"] if number else given
                subprocess.check_call([*command, *goes_on, "--steps", str(steps)])
        from tfrecon.base import checkpoint

        states = [
            checkpoint.load(Path(folder, name, "state.npz"))[0] for name in ("whole", "parted")
        ]
    different = [name for name, array in states[0].items() if (array != states[1][name]).any()]
    print(f"resumed in float16: {len(different)} of {len(states[0])} arrays differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
