"""One pix2pix training step at 256×256 against the formulation of TensorFlow's pix2pix tutorial.

    python -m benchmarks.step [--batch 1 8] [--steps 20] [--threads N] [--python FILE …]

Ours is `tfrecon.models.pix2pix(mask=False)`, compiled as training does it, inside `model.fit`; the
tutorial's is written anew below: two tapes in a `tf.function`, two Adams. The steps alternate in
one process on the same batch (ours, theirs, ours, …), so that other work on the machine meets both.
A row in bfloat16 or float16 (ours only; the tutorial has none) is for information.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import Worker
from benchmarks.record import rates, row

WARM_UP = 3
SIDE = 256


def tutorial() -> Callable[[Any, Any], Any]:
    """``step(x, y) -> generator's loss`` of the tutorial, for batches in [-1,1]."""
    import keras
    import tensorflow as tf
    from keras import layers

    def start() -> keras.initializers.Initializer:
        return keras.initializers.RandomNormal(0.0, 0.02)

    def down(filters: int, norm: bool = True) -> keras.Sequential:
        block = [
            layers.Conv2D(filters, 4, 2, "same", kernel_initializer=start(), use_bias=False),
            *([layers.BatchNormalization()] if norm else []),
            layers.LeakyReLU(),
        ]
        return keras.Sequential(block)

    def up(filters: int, dropout: bool = False) -> keras.Sequential:
        convolution = layers.Conv2DTranspose(
            filters, 4, 2, "same", kernel_initializer=start(), use_bias=False
        )
        block = [convolution, layers.BatchNormalization()]
        return keras.Sequential(
            [*block, *([layers.Dropout(0.5)] if dropout else []), layers.ReLU()]
        )

    def unet() -> keras.Model:
        x = inputs = keras.Input((SIDE, SIDE, 3))
        skips = []
        for stage, filters in enumerate((64, 128, 256, 512, 512, 512, 512, 512)):
            x = down(filters, norm=stage > 0)(x)
            skips.append(x)
        for stage, filters in enumerate((512, 512, 512, 512, 256, 128, 64)):
            x = up(filters, dropout=stage < 3)(x)
            x = layers.Concatenate()([x, skips[-2 - stage]])
        head = layers.Conv2DTranspose(
            3, 4, 2, "same", kernel_initializer=start(), activation="tanh"
        )
        return keras.Model(inputs, head(x))

    def patch_gan() -> keras.Model:
        inputs = [keras.Input((SIDE, SIDE, 3)), keras.Input((SIDE, SIDE, 3))]
        x = layers.Concatenate()(inputs)
        for filters in (64, 128, 256):
            x = down(filters, norm=filters > 64)(x)
        x = layers.ZeroPadding2D()(x)
        x = layers.Conv2D(512, 4, kernel_initializer=start(), use_bias=False)(x)
        x = layers.LeakyReLU()(layers.BatchNormalization()(x))
        x = layers.ZeroPadding2D()(x)
        return keras.Model(inputs, layers.Conv2D(1, 4, kernel_initializer=start())(x))

    generator, discriminator = unet(), patch_gan()
    adams = [keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in range(2)]
    judge = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            made = generator(x, training=True)
            real = discriminator([x, y], training=True)
            fake = discriminator([x, made], training=True)
            l1 = tf.reduce_mean(tf.abs(y - made))
            generator_loss = judge(tf.ones_like(fake), fake) + 100.0 * l1
            discriminator_loss = judge(tf.ones_like(real), real) + judge(tf.zeros_like(fake), fake)
        pairs = (
            (adams[0], generator_tape, generator_loss, generator.trainable_variables),
            (adams[1], discriminator_tape, discriminator_loss, discriminator.trainable_variables),
        )
        for adam, tape, loss, variables in pairs:
            adam.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return generator_loss

    return step


def measure(
    batch_size: int, steps: int, precision_name: str, workers: Sequence[Worker]
) -> dict[str, list[float]]:
    """Seconds of each of our steps and of those of the tutorial and the workers that followed."""
    import keras
    import numpy as np
    import tensorflow as tf

    from tfrecon.models.pix2pix import pix2pix
    from tfrecon.training import preparation
    from tfrecon.training.preparation import POLICIES
    from tfrecon.training.run import complete

    theirs = tutorial()
    keras.config.set_dtype_policy(POLICIES[precision_name])
    config = complete({"model": "pix2pix"})
    model = pix2pix(mask=False)
    preparation.compile_model(model, config.fit, steps, tf.distribute.get_strategy())
    keras.config.set_dtype_policy("float32")

    x, y = np.random.default_rng(0).random((2, batch_size, SIDE, SIDE, 3), np.float32)
    unit = tf.data.Dataset.from_tensors((x, y)).repeat().prefetch(2)
    signed = iter(tf.data.Dataset.from_tensors((x * 2 - 1, y * 2 - 1)).repeat().prefetch(2))

    class Alternate(keras.callbacks.Callback):
        """Takes the time of a whole turn of Keras's loop, then lets the tutorial do a step."""

        def __init__(self) -> None:
            super().__init__()
            self.seconds: dict[str, list[float]] = collections.defaultdict(list)
            self.started: float | None = None

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            float(logs["reconstruction"])  # waits for a device that computes behind our back
            before = time.perf_counter()
            float(theirs(*next(signed)))
            taken = {"tfrecon": before - (self.started or before)}
            taken["tutorial float32"] = time.perf_counter() - before
            taken |= {worker.name: worker.ask(1)["seconds"] for worker in workers}
            if batch >= WARM_UP:
                for name, seconds in taken.items():
                    self.seconds[name].append(seconds)
            self.started = time.perf_counter()

    times = Alternate()
    model.fit(unit, steps_per_epoch=steps + WARM_UP, callbacks=[times], verbose=0, shuffle=False)
    return times.seconds


def pytorch(pythons: Sequence[Path], batch_size: int, precision_name: str) -> list[Worker]:
    """The step in PyTorch, eager and compiled, of each interpreter."""
    threads, made = len(os.sched_getaffinity(0)), list[Worker]()
    for python in pythons:
        for way in ("eager", "compiled"):
            arguments = ["--batch", str(batch_size), "--precision", precision_name]
            arguments += ["--compile"] if way == "compiled" else []
            worker = Worker("", python, "benchmarks.torch_pix2pix", *arguments, threads=threads)
            worker.name = f"PyTorch {worker.ready['version'].split('+')[0]} {way}"
            made.append(worker)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="batch sizes (1 8)")
    parser.add_argument("--steps", type=int, default=20, help="steps of each formulation (20)")
    parser.add_argument("--threads", type=int, help="cores to use (all that the process may use)")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"],
                        choices=["float32", "bfloat16", "float16"],
                        help="of our rows (float32 bfloat16)")  # fmt: skip
    parser.add_argument("--python", type=Path, nargs="+", default=[], metavar="FILE",
                        help="interpreters that have torch: the same step in PyTorch")  # fmt: skip
    options = parser.parse_args()
    if options.threads:
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(options.threads)
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    import keras
    import tensorflow as tf

    from tfrecon.base import system

    system.set_threads()
    machine = system.machine()
    print(
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {platform.machine()}, "
        f"{machine['processor']}, {', '.join(machine['devices'])}, "
        f"{machine['intra_op_threads']} + {machine['inter_op_threads']} threads, "
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{options.steps} steps of each in alternation; images/s min / median / max")
    for name in options.precision:
        for batch_size in options.batch:
            with contextlib.ExitStack() as stack:
                peers = pytorch(options.python, batch_size, name) if name != "float16" else []
                for worker in peers:
                    stack.callback(worker.stop)
                seconds = measure(batch_size, options.steps, name, peers)
            row(f"step in {name}", "images/s", rates(seconds, batch_size), batch=batch_size)
            keras.backend.clear_session()
    return 0


if __name__ == "__main__":
    sys.exit(main())
