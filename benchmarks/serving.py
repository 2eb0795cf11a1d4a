"""An exported pix2pix generator at 256×256 pixels against other runtimes on this processor.

    python -m benchmarks.serving [--batch 1 16] [--rounds 8] [--images 16] [--python FILE]
        [--run checkpoints/NAME] [--only WORKER …]

Ours are exports with ``--precision bfloat16`` and ``float32``, asked through the signature
``restore``; the peers are the same network with the same weights: ONNX Runtime and OpenVINO on the
export to ONNX, and PyTorch, eager and channels_last, in bfloat16. Each is a process of its own with
as many threads as there are cores, and they take turns, a round each; the difference of each from
our float32 on a photo is printed first. Without ``--run`` the weights are random, and the photos
say nothing but how near the two precisions are to each other.

Needs the extra ``onnx`` and the package openvino, and PyTorch in the interpreter that ``--python``
names; what is missing is left out, and said.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.environment import Worker, add_python, obey
from benchmarks.record import rates, row

SIDE = 256
Serve = Callable[[Any], Any]
"""Images (B,256,256,3) float32 in [0,1] to such."""


def of_tfrecon(folder: Path, precision: str, threads: int) -> tuple[Serve, str]:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    restore = tf.saved_model.load(str(folder / precision)).signatures["restore"]  # type: ignore[attr-defined]
    return lambda x: restore(image=tf.constant(x))["restored"].numpy(), tf.__version__


def of_onnxruntime(folder: Path, precision: str, threads: int) -> tuple[Serve, str]:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(folder / "onnx" / "restore.onnx", options)
    return lambda x: session.run(["restored"], {"image": x})[0], onnxruntime.__version__


def of_openvino(folder: Path, precision: str, threads: int) -> tuple[Serve, str]:
    import openvino  # pyright: ignore[reportMissingImports]

    core, compiled = openvino.Core(), {}
    kind = {"bfloat16": "bf16", "float32": "f32"}[precision]
    hints = {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": threads,
             "PERFORMANCE_HINT": "LATENCY"}  # fmt: skip

    def serve(x: Any) -> Any:
        if x.shape not in compiled:
            model = core.read_model(folder / "onnx" / "restore.onnx")
            model.reshape({"image": list(x.shape)})
            compiled[x.shape] = core.compile_model(model, "CPU", hints)
        return compiled[x.shape]({"image": x})["restored"]

    return serve, openvino.__version__


def of_torch(folder: Path, precision: str, threads: int) -> tuple[Serve, str]:
    import numpy as np
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(threads)
    with np.load(folder / "weights.npz") as saved:
        arrays = {name.replace("|", "/"): torch.from_numpy(saved[name]) for name in saved}
    unet = torch_unet(arrays).to(torch.bfloat16).to(memory_format=torch.channels_last).eval()

    def serve(x: Any) -> Any:
        with torch.inference_mode():
            images = torch.from_numpy(x).permute(0, 3, 1, 2)  # NHWC is channels_last
            answer = unet((images * 2 - 1).to(torch.bfloat16)).float()
            return (answer * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).contiguous().numpy()

    return serve, torch.__version__


def torch_unet(arrays: dict[str, Any]) -> Any:
    """The U-Net of pix2pix whose arrays, HWIO, Keras calls so."""
    import torch  # pyright: ignore[reportMissingImports]

    nn, f = torch.nn, torch.nn.functional
    found = {path.partition("/")[0] for path in arrays}

    def convolution(name: str) -> Any:
        kernel = arrays[f"{name}/kernel"]
        turned = not name.startswith("down")
        bias = arrays.get(f"{name}/bias")
        kind = nn.ConvTranspose2d if turned else nn.Conv2d
        weight = kernel.permute(3, 2, 0, 1).contiguous()
        sides = weight.shape[:2] if turned else weight.shape[:2][::-1]
        made = kind(*sides, 4, 2, 1, bias=bias is not None)
        made.weight.data = weight
        if bias is not None:
            made.bias.data = bias.clone()
        if f"{name}_norm" not in found:
            return made
        norm = nn.BatchNorm2d(sides[1], eps=1e-5)
        parts = [arrays[f"{name}_norm/{part}"].clone()
                 for part in ("gamma", "beta", "moving_mean", "moving_variance")]  # fmt: skip
        norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var = parts
        return nn.Sequential(made, norm)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList(convolution(f"down{n}") for n in range(1, 9))
            self.up = nn.ModuleList(convolution(f"up{n}") for n in range(1, 8))
            self.head = convolution("head")

        def forward(self, x: Any) -> Any:
            skips = []
            for stage, down in enumerate(self.down):
                x = down(f.leaky_relu(x, 0.2) if stage else x)
                skips.append(x)
            skips.pop()
            for up in self.up:
                x = torch.cat([up(f.relu(x)), skips.pop()], 1)
            return self.head(f.relu(x)).tanh()

    return UNet()


WORKERS: dict[str, Callable[[Path, str, int], tuple[Serve, str]]] = {
    "tfrecon bfloat16": of_tfrecon, "tfrecon float32": of_tfrecon,
    "onnxruntime float32": of_onnxruntime, "openvino bfloat16": of_openvino,
    "openvino float32": of_openvino, "torch bfloat16": of_torch,
}  # fmt: skip


def work(name: str, folder: Path, threads: int, images: int) -> None:
    """Answers each batch size with the seconds that so many images took."""
    import numpy as np

    serve, version = WORKERS[name](folder, name.split()[1], threads)
    photo = np.load(folder / "photo.npy")
    np.save(folder / f"{name}.npy", serve(photo))

    def round(batch: int) -> float:
        x = np.ascontiguousarray(np.repeat(photo, batch, axis=0))
        started = time.perf_counter()
        for _ in range(-(-images // batch)):
            serve(x)
        return (time.perf_counter() - started) / -(-images // batch) / batch

    obey(round, version)


def prepare(folder: Path, run: str | None, onnx: bool) -> None:
    """Writes the exports, the weights for PyTorch and a photo to `folder`."""
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    import numpy as np

    from tfrecon.base.system import dtype_policy
    from tfrecon.inference import constants
    from tfrecon.inference.saved_model import export_model
    from tfrecon.models.pix2pix import pix2pix
    from tfrecon.training.preparation import POLICIES
    from tfrecon.training.run import open_run

    def made(precision: constants.Precision) -> constants.Constants:
        if run:
            return constants.of_run(open_run(run), precision)
        with dtype_policy(POLICIES[precision]):
            model = pix2pix(mask=False, seed=0)
        random = np.random.default_rng(0)
        for variable in model.inference_variables:  # of a norm that has seen nothing: no work
            if len(variable.shape) == 1:
                variable.assign(variable + random.uniform(0.01, 0.1, variable.shape))
        return constants.Constants(precision, model, constants.shipped(False))

    exact = made("float32")
    for kind in (exact, made("bfloat16")):
        export_model(exact.model, folder / kind.precision, False, constants=kind)
        record = json.loads((folder / kind.precision / "export.json").read_text(encoding="utf-8"))
        print(f"{kind.precision}: {constants.sentence(record['photos'])}", flush=True)
    if onnx:
        export_model(exact.model, folder / "onnx", False, format="onnx")
    named = {"/".join(v.path.split("/")[-2:]): v for v in exact.model.inference_variables}
    arrays = {path.replace("/", "|"): np.asarray(variable) for path, variable in named.items()}
    np.savez(folder / "weights.npz", **arrays)
    photo = constants.shipped(False).pairs[0][0][:, 20 : 20 + SIDE, 100 : 100 + SIDE]
    np.save(folder / "photo.npy", np.ascontiguousarray(photo))


def compare(folder: Path, names: list[str], options: argparse.Namespace) -> None:
    """Lets the workers take turns."""
    import numpy as np

    threads = len(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        workers: list[Worker] = []
        for name in names:
            python = options.python if name.startswith("torch") else sys.executable
            given = ("--worker", name, str(folder), str(threads), str(options.images))
            workers.append(Worker(name, python, "benchmarks.serving", *given, threads=threads))
            stack.callback(workers[-1].stop)
        answers = {name: np.load(folder / f"{name}.npy") for name in names}
        reference = answers.get("tfrecon float32", answers[names[0]])
        for worker in workers:
            apart = float(np.abs(answers[worker.name] - reference).max())
            print(f"{worker.name} {worker.ready}: largest difference {apart:.1e}", flush=True)
        for batch in options.batch:
            for worker in workers:
                worker.ask(batch)
            turns = [[worker.ask(batch) for worker in workers] for _ in range(options.rounds)]
            seconds = dict(zip(names, zip(*turns, strict=True), strict=True))
            row("pix2pix generator, 256×256", "images/s", rates(seconds, 1), batch=batch)


def there(name: str, python: Path | None) -> bool:
    """Whether a worker has its packages here."""
    package = name.split()[0]
    found = bool(python) if package == "torch" else importlib.util.find_spec(package) is not None
    if not found:
        print(f"{name} is left out: {package} is not here", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16], help="batch sizes (1 16)")
    parser.add_argument("--rounds", type=int, default=8, help="turns of each (8)")
    parser.add_argument("--images", type=int, default=16, help="in a round (16)")
    parser.add_argument("--run", help="a run of pix2pix without masks, instead of random weights")
    parser.add_argument("--only", nargs="+", default=list(WORKERS), choices=WORKERS)
    add_python(parser, "torch")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        name, folder, threads, images = options.worker
        work(name, Path(folder), int(threads), int(images))
        return 0
    names = [name for name in options.only if there(name, options.python)]
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), options.run, any(name.startswith(("onnx", "open")) for name in names))
        compare(Path(folder), names, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
