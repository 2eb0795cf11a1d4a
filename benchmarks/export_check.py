"""Compares exports with their models, in an environment that holds TensorFlow and nothing else.

    python benchmarks/export_check.py checkpoints/NAME exports/NAME [RUN EXPORT …]

Makes a fresh virtual environment with TensorFlow of this version (a download of about 600 MB),
loads each export there, and compares both signatures with the model of the run here, on a photo
of 40×40, 256×256 and 300×451 pixels. Prints one line a size; exits with 1 for a difference above
the tolerances. ``--python FILE`` uses the interpreter of an existing environment.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
from environment import add_python, interpreter

SIZES = ((40, 40), (256, 256), (300, 451))
FLOAT_TOLERANCE, UINT8_TOLERANCE = 1e-5, 1

ALONE = """
import importlib.util
import sys
if importlib.util.find_spec("tfrecon"):
    sys.exit("tfrecon can be imported here; the check would prove nothing")
import numpy as np
import tensorflow as tf
export, given, answers = sys.argv[1:]
model = tf.saved_model.load(export)
given, found = np.load(given), {"version": tf.__version__}
for size in sorted({name.split()[-1] for name in given.files}):
    names = [name for name in ("image", "mask") if f"{name} {size}" in given]
    inputs = {name: given[f"{name} {size}"] for name in names}
    floats = {name: value.astype(np.float32) for name, value in inputs.items()}
    floats["image"] /= np.float32(255)
    for signature, values in (("serve", inputs), ("restore", floats)):
        tensors = {name: tf.constant(value) for name, value in values.items()}
        found[f"{signature} {size}"] = model.signatures[signature](**tensors)["restored"].numpy()
np.savez(answers, **found)
"""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("pairs", nargs="+", metavar="RUN EXPORT")
    add_python(options, "TensorFlow only")
    arguments = options.parse_args()
    if len(arguments.pairs) % 2:
        options.error("give pairs: a run, then its export")
    tensorflow = (f"tensorflow=={metadata.version('tensorflow')}",)
    with (
        tempfile.TemporaryDirectory() as folder,
        interpreter(arguments.python, tensorflow) as python,
    ):
        good = [
            check(python, run, export, Path(folder))
            for run, export in zip(arguments.pairs[::2], arguments.pairs[1::2], strict=True)
        ]
    return 0 if all(good) else 1


def check(python: Path, run: str, export: str, folder: Path) -> bool:
    from tfrecon.base import images
    from tfrecon.inference.restorer import restorer
    from tfrecon.training.run import open_run

    trained = open_run(run)
    restore = restorer(trained.load_model())
    given, expected = {}, {}
    for height, width in SIZES:
        pixels, mask = photo(height, width)
        given[f"image {height}×{width}"] = pixels
        x = images.to_float(pixels)
        if trained.has_mask:
            given[f"mask {height}×{width}"] = mask
            x = np.concatenate((x, mask.astype(np.float32)), axis=-1)
        expected[f"{height}×{width}"] = restore(x)
    np.savez(folder / "given.npz", **given)
    command = [str(python), "-I", "-c", ALONE, str(Path(export).resolve())]
    command += [str(folder / "given.npz"), str(folder / "answers.npz")]
    done = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{export} cannot be used with TensorFlow alone:\n{done.stderr}")
        return False
    answers = np.load(folder / "answers.npz")
    masks = "with" if trained.has_mask else "without"
    print(f"{trained.name} ({masks} masks), TensorFlow {answers['version']} alone:")
    good = True
    for size, image in expected.items():
        floats = float(np.abs(answers[f"restore {size}"] - image).max())
        integers = np.abs(answers[f"serve {size}"].astype(int) - images.to_uint8(image)).max()
        good &= bool(floats <= FLOAT_TOLERANCE and integers <= UINT8_TOLERANCE)
        print(f"  {size:>8}: largest difference {floats:.1e} (float), {integers} (uint8)")
    return good


def photo(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle of a real photo, (1,H,W,3) uint8 with a hole blanked, and its mask (1,H,W,1)."""
    from skimage import data

    pixels = data.chelsea()  # 300×451
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    pixels = pixels[top : top + height, left : left + width].copy()
    mask = np.zeros((height, width, 1), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 1
    return (pixels * (1 - mask))[None], mask[None]


if __name__ == "__main__":
    sys.exit(main())
