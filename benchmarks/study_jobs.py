"""How much sooner a study ends that trains two cells at a time, each on half of the cores.

    python -m benchmarks.study_jobs [--steps 200] [--jobs 2]

Four cells of residual_unet on the demo's photos, trained in turn with --jobs 1 and --jobs N.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import row

STUDY = """
[data]
damage = "gaussian_noise"
image_size = 64
crop_size = 64
load_size = 64
[fit]
steps = {steps}
steps_per_epoch = {steps}
batch_size = 8
[[axes]]
name = "width"
key = "model"
values = ["residual_unet"]
[[axes]]
name = "rate"
key = "fit.learning_rate"
values = [0.001, 0.0007, 0.0005, 0.0003]
"""


def main() -> int:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for jobs in (1, arguments.jobs):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "own.toml").write_text(STUDY.format(steps=arguments.steps))
            command = [sys.executable, "-m", "tfrecon.study", "own.toml", "--jobs", str(jobs)]
            started = time.monotonic()
            subprocess.run(
                command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
            )
            seconds = time.monotonic() - started
        row(f"study of four cells on {cores} cores", "s", {"tfrecon": seconds}, workers=jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
