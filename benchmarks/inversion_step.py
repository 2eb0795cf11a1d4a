"""Training steps of the `residual` inversion of VGG16 block1 against the same network in PyTorch.

    python -m benchmarks.inversion_step [--rounds 8] [--steps 20] [--python FILE]

Ours is `feature_inversion` in bfloat16, compiled as training does it with the model's own defaults
(log-MSE, batches of 8 crops of 96 pixels) but the optimizer (Adam 1e-3, clipnorm 1, not Muon),
inside `model.fit`. PyTorch has the same starting weights and batch, eager and channels_last, in
float32 and under bfloat16 autocast. Each of the three is a process of its own with as many threads
as there are cores, and they take turns, a round of steps each. Leave the machine idle otherwise:
PyTorch's threads wait for each other far longer than TensorFlow's where a core is shared. Batches
come from memory; warm-up is left out. The mean loss over all steps, printed first, shows that they
train the same network.

Makes a temporary virtual environment with torch (a download of some 200 MB, or more where the
registry has builds for GPUs only) unless ``--python`` names an interpreter that has it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.environment import Worker, add_python, answer, interpreter, obey
from benchmarks.record import rates, row

BATCH, SIDE, WARM_UP = 8, 96, 5
LEARNING_RATE, CLIPNORM, LOG_EPSILON, ADAM_EPSILON = 1e-3, 1.0, 1e-5, 1e-7
WORKERS = ("tfrecon bfloat16", "torch float32", "torch bfloat16")
PACKAGES = ("torch==2.13.0", "numpy")


def ours(start: Path) -> None:
    """The worker of tfrecon: writes weights and batch to `start`, then steps when it is told to."""
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
    adam = {"name": "adam", "clipnorm": 1.0}
    as_simple_as_pytorch_below = {
        "fit": {"schedule": "constant", "warmup_steps": 0, "optimizer": adam}
    }
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
            seconds = time.perf_counter() - self.started
            answer({"seconds": seconds, "loss": loss, "versions": versions})
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
    losses: list[float] = []

    def steps(count: int) -> dict[str, Any]:
        started = time.perf_counter()
        losses.extend([float(loss) for loss in [step() for _ in range(count)]])
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "loss": statistics.mean(losses), "versions": versions}

    obey(steps, steps(WARM_UP))


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


def compare(torch_python: Path, rounds: int, steps: int) -> None:
    """Runs the three workers in turns and prints what they reached."""
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        workers: list[Worker] = []
        for name in WORKERS:
            python = sys.executable if name == WORKERS[0] else torch_python
            start = ("--worker", name, "--start", str(Path(folder, "start.npz")))
            module = "benchmarks.inversion_step"
            workers.append(Worker(name, python, module, *start, threads=threads))
            stack.callback(workers[-1].stop)
        print("; ".join(worker.ready["versions"] for worker in workers[:2]))
        print(f"{rounds} rounds of {steps} steps", flush=True)
        done = [[worker.ask(steps) for worker in workers] for _ in range(rounds)]
    turns = dict(zip(WORKERS, zip(*done, strict=True), strict=True))
    print(*(f"{name}: mean loss {turn[-1]['loss']:.4f}" for name, turn in turns.items()), sep="\n")
    seconds = {name: [each["seconds"] for each in turn] for name, turn in turns.items()}
    row("step of the residual inversion", "images/s", rates(seconds, BATCH * steps))


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
        with interpreter(options.python, PACKAGES) as python:
            compare(python, options.rounds, options.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
