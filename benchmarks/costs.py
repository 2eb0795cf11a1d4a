"""Where a training step of a model goes: convolutions by direction, products, reorders, the rest.

    python -m benchmarks.costs MODEL [MODEL …] [--batch N] [--precision bfloat16] [--steps 8]
        [--layers 6] [--set model.width=64 …]

Each model trains with its own defaults on the demo's photos in a process of its own, with one
inter-op thread, while oneDNN writes down every primitive that it runs. A line for each kind says
how many milliseconds of a step it takes, the GFLOP of its convolutions and products and the GFLOP/s
that they reach; the last line is the share of the limit: the step's GFLOP at the machine's measured
peak, that of a large convolution of the same precision, over its time. `--layers` adds the slowest
convolutions. What runs outside oneDNN (optimizer, casts, norms, concatenations) is the difference
between the step and the sum. Leave the machine idle.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import row

WARM_UP = 4
MARK = "### step"
KINDS = {
    "forward_training": "forward", "forward_inference": "forward",
    "backward_data": "gradient of the data", "backward_weights": "gradient of the weights",
}  # fmt: skip


@dataclasses.dataclass
class Cost:
    """Milliseconds of a step, calls and GFLOP."""

    ms: float = 0.0
    calls: float = 0.0
    gflop: float = 0.0

    def add(self, ms: float, gflop: float, share: float) -> None:
        """One call among `share` of a step."""
        self.ms, self.calls = self.ms + ms * share, self.calls + share
        self.gflop += gflop * share


def convolution_gflop(shape: str) -> float:
    """Of oneDNN's name for the shape of a convolution, e.g. mb8ic64oc128_ih128oh64kh4sh2…_iw128….

    A group has its share of the channels, and there are as many groups.
    """
    found = {name: int(size) for name, size in re.findall(r"([a-z]+)(\d+)", shape)}
    size = math.prod(found.get(name, 1) for name in ("mb", "oc", "oh", "ow", "kh", "kw", "ic"))
    return 2 * size / found.get("g", 1) / 1e9


def product_gflop(shape: str) -> float:
    """Of oneDNN's name for the shapes of a product, e.g. 64x256:256x512."""
    left, right = ([int(n) for n in part.split("x")] for part in shape.split(":")[:2])
    return 2 * math.prod(left) * right[-1] / 1e9


def of_line(line: str) -> tuple[str, str, float, float] | None:
    """Kind, shape, milliseconds and GFLOP of what a line of oneDNN's says was run."""
    fields = line.strip().split(",")
    if fields[0] != "onednn_verbose" or "exec" not in fields:
        return None
    kind, direction = fields[fields.index("exec") + 2], fields[fields.index("exec") + 4]
    shape, ms = fields[-2], float(fields[-1])
    if kind in ("convolution", "deconvolution"):
        return f"convolution, {KINDS[direction]}", shape, ms, convolution_gflop(shape)
    if kind in ("matmul", "inner_product"):
        return "product", shape, ms, product_gflop(shape) if ":" in shape else 0.0
    return kind, shape, ms, 0.0


def run_model(
    name: str, batch: int | None, precision: str, steps: int, settings: Sequence[str]
) -> None:
    """Trains `name`, and prints a mark and the seconds of each step after the first ones."""
    import keras

    from tfrecon.base.cli import start_tensorflow
    from tfrecon.base.system import set_threads

    start_tensorflow()
    set_threads()
    from tfrecon.base.config import merged, parse_set
    from tfrecon.models import defaults
    from tfrecon.training import loop
    from tfrecon.training.run import complete

    class Marks(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.ended = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            float(next(iter(logs.values())))
            now = time.perf_counter()
            os.write(1, f"{MARK} {batch + 1} {now - self.ended}\n".encode())
            self.ended = time.perf_counter()

    inverts = "damage" in defaults(name).get("data", {}) and name != "inpainting_unet"
    damage = "identity" if inverts else {"name": "boxes", "size": 75, "count": 2}
    total = WARM_UP + steps
    fit: dict[str, Any] = {"steps": total, "steps_per_epoch": total, "precision": precision}
    if batch:
        fit["batch_size"] = batch
    data = {"recipe": "demo", "damage": damage}
    asked = merged({"model": {"name": name}, "data": data, "fit": fit}, parse_set(settings))
    with tempfile.TemporaryDirectory() as folder:
        loop.train(complete(asked), Path(folder, "run"), callbacks=[Marks()])


def peak(precision: str) -> float:
    """GFLOP/s of a large convolution, the best of some runs."""
    import tensorflow as tf

    x = tf.cast(tf.random.normal((8, 64, 64, 256)), precision)
    kernel = tf.cast(tf.random.normal((3, 3, 256, 256)), precision)
    run = tf.function(lambda: tf.nn.conv2d(x, kernel, 1, "SAME"))
    seconds: list[float] = []
    for _ in range(8):
        started = time.perf_counter()
        run().numpy()
        seconds.append(time.perf_counter() - started)
    return 2 * 8 * 64 * 64 * 9 * 256**2 / min(seconds) / 1e9


def measured(
    name: str, batch: int | None, precision: str, steps: int, settings: Sequence[str]
) -> tuple[dict[str, Cost], dict[str, Cost], float]:
    """Costs of a step by kind and by layer, and milliseconds of a step."""
    command = [sys.executable, "-m", "benchmarks.costs", name, "--child", "--steps", str(steps)]
    command += ["--precision", precision, *(["--batch", str(batch)] if batch else [])]
    command += [word for setting in settings for word in ("--set", setting)]
    environment = {**os.environ, "TF_NUM_INTEROP_THREADS": "1", "ONEDNN_VERBOSE": "profile_exec"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    kinds: dict[str, Cost] = collections.defaultdict(Cost)
    layers: dict[str, Cost] = collections.defaultdict(Cost)
    seconds: list[float] = []
    step = 0
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            step = int(line.split()[2])
            if step > WARM_UP:
                seconds.append(float(line.split()[3]))
        elif WARM_UP <= step < WARM_UP + steps and (found := of_line(line)):
            kind, shape, ms, gflop = found
            kinds[kind].add(ms, gflop, 1 / steps)
            layers[f"{kind.removeprefix('convolution, ')}  {shape}"].add(ms, gflop, 1 / steps)
    return kinds, layers, 1000 * statistics.median(seconds)


def line(what: str, cost: Cost) -> str:
    """A line of the table."""
    rate = f"{cost.gflop:9.2f} GFLOP  {1000 * cost.gflop / cost.ms:6.0f} GFLOP/s"
    return f"  {what:34}{cost.ms:9.1f} ms  {cost.calls:6.1f} calls  {rate if cost.gflop else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--layers", type=int, default=0, help="how many of the slowest to show")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="of the configuration, as `fit` takes it")  # fmt: skip
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        run_model(asked.models[0], asked.batch, asked.precision, asked.steps, asked.set)
        return
    limit = peak(asked.precision)
    print(f"a large convolution in {asked.precision}: {limit:.0f} GFLOP/s")
    for name in asked.models:
        kinds, layers, whole = measured(name, asked.batch, asked.precision, asked.steps, asked.set)
        of = {"precision": asked.precision, **({"batch": asked.batch} if asked.batch else {})}
        of |= {"with": " ".join(asked.set)} if asked.set else {}
        inside = sum(cost.ms for cost in kinds.values())
        gflop = sum(cost.gflop for cost in kinds.values())
        print(f"\n{name}, batch {asked.batch or 'of its defaults'}: {whole:.1f} ms a step")
        for kind, cost in sorted(kinds.items(), key=lambda pair: -pair[1].ms):
            print(line(kind, cost))
            row(f"{name}: {kind}", "ms a step", {"tfrecon": cost.ms}, **of)
        print(f"  {'outside oneDNN':34}{whole - inside:9.1f} ms")
        print(f"  {gflop:.1f} GFLOP a step: {gflop / limit / whole * 1e5:.0f}% of the limit")
        row(f"{name}: outside oneDNN", "ms a step", {"tfrecon": whole - inside}, **of)
        row(f"{name}: whole", "ms a step", {"tfrecon": whole}, **of)
        row(f"{name}: of the limit", "share", {"tfrecon": gflop / limit / whole * 1e3}, **of)
        for layer, cost in sorted(layers.items(), key=lambda pair: -pair[1].ms)[: asked.layers]:
            print(line(layer, cost))


if __name__ == "__main__":
    main()
