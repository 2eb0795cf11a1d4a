"""The whole networks of Stable Diffusion 1.x, random weights: one training step and one sample.

    python benchmarks/sd1.py [--image-size 256] [--steps 4] [--weights FOLDER]

Prints the parameters, the seconds of each part and the peak of the process's memory. About 15 GB.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from typing import Any

import keras
import numpy as np

from tfrecon.base.registry import Spec
from tfrecon.losses import mixture
from tfrecon.models.diffusion import diffusion

PUBLISHED = 859_520_964
"""Parameters of the denoiser, without a condition."""


def main() -> int:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--weights", help="folder of Stable Diffusion 1.x as diffusers saves it")
    arguments = parser.parse_args()
    model: Any = told("build", lambda: diffusion(
        image_size=arguments.image_size, mask=True, autoencoder="sd1", denoiser="sd1",
        sd1_weights=arguments.weights, schedule="scaled_linear", prediction="noise",
        steps=arguments.steps,
    ))  # fmt: skip
    kernel = model.network.get_layer("conv_in").kernel
    own = model.network.count_params() - (kernel.shape[2] - 4) * 9 * kernel.shape[3]
    print(f"denoiser {own:,} parameters without its condition's, published {PUBLISHED:,}")
    size = arguments.image_size
    y = np.random.default_rng(0).random((1, size, size, 3), np.float32)
    mask = np.zeros((1, size, size, 1), np.float32)
    mask[:, size // 4 : size // 2, size // 4 : size // 2] = 1
    x = np.concatenate([y * (1 - mask), mask], -1)
    model.compile(keras.optimizers.Adam(1e-5), loss=mixture([Spec("l2")]), jit_compile=False)
    history = told("one training step", lambda: model.fit(x, y, batch_size=1, verbose=0).history)
    sample = told(f"a sample of {arguments.steps} steps", lambda: np.asarray(model(x)))
    finite = np.isfinite(sample).all() and np.isfinite(history["loss"][0])
    print(f"loss and sample {sample.shape} are " + ("finite" if finite else "NOT FINITE"))
    return 0 if finite else 1


def told(what: str, call: Any) -> Any:
    """What `call` returns; its seconds and the peak memory so far are printed."""
    started = time.monotonic()
    answer = call()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what}: {time.monotonic() - started:.1f} s, peak memory {peak:.1f} GiB", flush=True)
    return answer


if __name__ == "__main__":
    sys.exit(main())
