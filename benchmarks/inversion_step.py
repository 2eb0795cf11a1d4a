"""Training steps of the `residual` inversion of VGG16 block1 against the same network in PyTorch.

    python benchmarks/inversion_step.py [--rounds 8] [--steps 20] [--python FILE]

Ours is `feature_inversion` in bfloat16, compiled as training does it with the model's own defaults
(log-MSE, Adam 1e-3, clipnorm 1, batches of 8 crops of 96 pixels), inside `model.fit`. PyTorch has
the same starting weights and batch, eager and channels_last, in float32 and under bfloat16
autocast. Each of the three is a process of its own with as many threads as there are cores, and
they take turns, a round of steps each. Leave the machine idle otherwise: PyTorch's threads wait for
each other far longer than TensorFlow's where a core is shared. Batches come from memory; warm-up is
left out. Prints images/s (min, median, max), the mean loss over all steps, which shows that they
train the same network, and the ratios of the medians.

Makes a temporary virtual environment with torch (a download of some 200 MB, or more where the
registry has builds for GPUs only) unless ``--python`` names an interpreter that has it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environment import add_python, interpreter

BATCH, SIDE, WARM_UP = 8, 96, 5
LEARNING_RATE, CLIPNORM, LOG_EPSILON, ADAM_EPSILON = 1e-3, 1.0, 1e-5, 1e-7
WORKERS = ("tfrecon bfloat16", "torch float32", "torch bfloat16")
PACKAGES = ("torch==2.13.0", "numpy")


def answer(**values: Any) -> None:
    """One line to the process that asked."""
    print(json.dumps(values), file=sys.__stdout__, flush=True)


def ours(start: Path) -> None:
    """The worker of tfrecon: writes weights and batch to `start`, then steps when it is told to."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    import keras
    import numpy as np
    import tensorflow as tf

    from tfrecon.base import system
    from tfrecon.models.feature_inversion import feature_inversion
    from tfrecon.training import preparation
    from tfrecon.training.preparation import POLICIES
    from tfrecon.training.run import complete

    system.set_threads()
    keras.config.set_dtype_policy(POLICIES["bfloat16"])
    as_simple_as_pytorch_below = {"fit": {"schedule": "constant", "warmup_steps": 0}}
    fit = complete({"model": "feature_inversion", **as_simple_as_pytorch_below}).fit
    model = feature_inversion(weights=None, image_size=SIDE, seed=0)
    x = np.random.default_rng(0).random((BATCH, SIDE, SIDE, 3), np.float32)
    model.adapt([x], BATCH)
    arrays = {variable.path: np.asarray(variable) for variable in model.variables}
    np.savez(start, x=x, **{path.replace("/", "|"): array for path, array in arrays.items()})
    preparation.compile_model(model, fit, 1, tf.distribute.get_strategy())

    class Rounds(keras.callbacks.Callback):
        """Answers after each round, and waits for the next."""

        def on_train_begin(self, logs: Any = None) -> None:
            self.left, self.started = WARM_UP, time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.left -= 1
            if self.left:
                return
            loss = float(logs["loss"])  # waits for a device that computes behind our back
            answer(seconds=time.perf_counter() - self.started, loss=loss, versions=versions)
            self.left = int(sys.stdin.readline() or 0)
            self.model.stop_training = not self.left
            self.started = time.perf_counter()

    threads = system.machine()["intra_op_threads"]
    versions = f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {threads} threads"
    data = tf.data.Dataset.from_tensors((x, x)).repeat().prefetch(2)
    model.fit(data, steps_per_epoch=10**9, callbacks=[Rounds()], verbose=0, shuffle=False)


def theirs(start: Path, precision: str) -> None:
    """The worker of PyTorch: steps from the weights in `start` when it is told to."""
    import numpy as np
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    with np.load(start) as saved:
        arrays = {name.replace("|", "/"): torch.from_numpy(saved[name]) for name in saved}
    step = torch_step(arrays, precision)
    versions = f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"
    total, count, left = torch.zeros(()), 0, WARM_UP
    while left:
        started = time.perf_counter()
        for _ in range(left):
            total += step()
        count += left
        seconds = time.perf_counter() - started
        answer(seconds=seconds, loss=float(total) / count, versions=versions)
        left = int(sys.stdin.readline() or 0)


def torch_network(arrays: dict[str, Any]) -> tuple[Any, Callable[[Any], Any]]:
    """The decoder whose arrays, HWIO, tfrecon calls so, and ``restore(images)`` that runs it on the
    frozen features of images (B,3,H,W) in [0,1]."""
    import torch  # pyright: ignore[reportMissingImports]

    nn, f = torch.nn, torch.nn.functional

    def conv(name: str, shuffled: bool = False) -> Any:
        kernel, bias = arrays[f"{name}/kernel"].permute(3, 2, 0, 1), arrays[f"{name}/bias"]
        if shuffled:  # TensorFlow's depth_to_space counts colours fastest, pixel_shuffle slowest
            order = torch.arange(12).reshape(4, 3).T.flatten()
            kernel, bias = kernel[order], bias[order]
        made = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], padding="same")
        made.weight.data, made.bias.data = kernel.contiguous(), bias.clone()
        return made.to(memory_format=torch.channels_last)

    class Block(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.conv1, self.conv2 = conv(f"{name}_conv1"), conv(f"{name}_conv2")

        def forward(self, x: Any) -> Any:
            return x + self.conv2(f.relu(self.conv1(x)))

    blocks = [Block(f"stage0_block{number}") for number in range(4)]
    decoder = nn.Sequential(conv("enter"), *blocks, conv("head", shuffled=True))
    first, second = conv("features.0"), conv("features.2")
    ridge = conv("ridge", shuffled=True)
    imagenet = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    mean, deviation = (arrays[f"standardise0/{n}"][:, None, None] for n in ("mean", "deviation"))

    def restore(images: Any) -> Any:
        with torch.no_grad():
            x = (images - imagenet[0]) / imagenet[1]
            x = f.max_pool2d(f.relu(second(f.relu(first(x)))), 2)
            x = (x - mean) / deviation
            skip = f.pixel_shuffle(ridge(x), 2)
        return (skip.float() + f.pixel_shuffle(decoder(x), 2)).float()

    return decoder, restore


def torch_step(arrays: dict[str, Any], precision: str) -> Callable[[], Any]:
    """``step() -> loss`` of `torch_network` on the batch ``arrays["x"]``."""
    import torch  # pyright: ignore[reportMissingImports]

    images = arrays["x"].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    decoder, restore = torch_network(arrays)
    adam = torch.optim.Adam(decoder.parameters(), lr=LEARNING_RATE, eps=ADAM_EPSILON, fused=True)
    return lambda: trained(images, decoder, restore, adam, precision)


def trained(
    images: Any, decoder: Any, restore: Callable[[Any], Any], adam: Any, precision: str
) -> Any:
    """The loss of a batch (B,3,H,W), after whose gradient `adam` has stepped."""
    import torch  # pyright: ignore[reportMissingImports]

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        made = restore(images)
    errors = (made - images).square().mean((1, 2, 3))
    loss = (errors + LOG_EPSILON).log().mean()
    adam.zero_grad()
    loss.backward()
    for parameter in decoder.parameters():
        torch.nn.utils.clip_grad_norm_(parameter, CLIPNORM)
    adam.step()
    return loss.detach()


class Worker:
    """A process that does a round of steps when it is told to."""

    def __init__(self, name: str, python: Path | str, start: Path, threads: int) -> None:
        command = [str(python), __file__, "--worker", name, "--start", str(start)]
        counts = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"), str(threads))
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **counts},
        )  # fmt: skip
        self.name, self.rates = name, list[float]()
        self.last = self._answer()

    def round(self, steps: int) -> None:
        """Notes the images/s of so many steps."""
        print(steps, file=self.process.stdin, flush=True)
        self.last = self._answer()
        self.rates.append(BATCH * steps / self.last["seconds"])

    def stop(self) -> None:
        """Ends the process, which stops at the end of its orders."""
        self.process.communicate()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit(f"the worker {self.name!r} ended; its error stands above")
        return json.loads(line)


def compare(torch_python: Path, rounds: int, steps: int) -> None:
    """Runs the three workers in turns and prints what they reached."""
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        workers = []
        for name in WORKERS:
            python = sys.executable if name == WORKERS[0] else torch_python
            workers.append(Worker(name, python, Path(folder, "start.npz"), threads))
            stack.callback(workers[-1].stop)
        print("; ".join(worker.last["versions"] for worker in workers[:2]))
        print(f"{rounds} rounds of {steps} steps; images/s min / median / max", flush=True)
        for _ in range(rounds):
            for worker in workers:
                worker.round(steps)
    for worker in workers:
        found = (min(worker.rates), statistics.median(worker.rates), max(worker.rates))
        print(f"{worker.name:16}  {' / '.join(f'{rate:6.2f}' for rate in found)}   "
              f"mean loss {worker.last['loss']:.4f}")  # fmt: skip
    medians = [statistics.median(worker.rates) for worker in workers]
    for name, median in zip(WORKERS[1:], medians[1:], strict=True):
        print(f"ours : {name} = {medians[0] / median:.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=8, help="turns of each (8)")
    parser.add_argument("--steps", type=int, default=20, help="steps in a round (20)")
    add_python(parser, "torch")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker == WORKERS[0]:
        ours(options.start)
    elif options.worker:
        theirs(options.start, options.worker.split()[1])
    else:
        processor = next(
            (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")), platform.processor(),
        )  # fmt: skip
        print(f"{platform.machine()}, {processor}, load {os.getloadavg()[0]:.1f}")
        with interpreter(options.python, PACKAGES) as python:
            compare(python, options.rounds, options.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
