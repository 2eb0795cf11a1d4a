"""How soon tfrecon reaches the quality that PyTorch reaches in five minutes, with one network.

    TFRECON_WEIGHTS=DIR python -m benchmarks.time_to_quality BSDS500 [--minutes 5] [--rounds 2]
        [--shares 0.6 0.4] [--python FILE]

The network is the `residual` decoder of VGG16 block1 with its linear start, fitted by tfrecon.
PyTorch trains it as tfrecon's defaults say, under bfloat16 autocast, channels_last: Adam 1e-3 with
warm-up, cosine and clipnorm, log-MSE, batches of 8 crops of 96 pixels, EMA, for `--minutes` of wall
time. Then `tfrecon.fit` trains it with Muon for a share of that time, on the same photos; seed and
order differ by round. All are scored by the mean PSNR of the 100 validation photos, and PyTorch's
score before training, the linear start's, shows that they measure alike. Leave the machine idle.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.environment import add_python, interpreter
from benchmarks.inversion_step import (
    ADAM_EPSILON,
    BATCH,
    LEARNING_RATE,
    PACKAGES,
    SIDE,
    torch_network,
    trained,
)  # fmt: skip
from benchmarks.record import row

WARM_UP, DECAY, CALIBRATION = 100, 0.999, 30


def prepare(root: Path, folder: Path) -> None:
    """Writes the photos, and the network's weights before training, to `folder`."""
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    import numpy as np

    from tfrecon.data import augment, pipeline, recipes
    from tfrecon.data.store import parts_of
    from tfrecon.models import build_model
    from tfrecon.training.run import complete

    config = complete({
        "model": "feature_inversion", "data": {"recipe": "bsds500", "root": str(root)},
    })  # fmt: skip
    model = build_model(config.model, image_size=config.data.image_size, mask=False, seed=0)
    train, val = (recipes.samples(config.data.recipe, root, split) for split in ("train", "val"))
    batches = list(pipeline.dataset(train, config.data, batch_size=1))
    model.adapt([batch["target"] for batch in batches], len(batches))
    arrays = {variable.path.replace("/", "|"): np.asarray(variable) for variable in model.variables}
    np.savez(folder / "start.npz", **arrays)
    wide = {}
    for sample in train:
        parts = augment.resize_short_side(
            parts_of(sample, ["target"]), None, size=config.data.load_size, method="bicubic"
        )
        photo = np.clip(parts["target"].numpy() / 255, 0, 1)
        wide[sample.id] = np.ascontiguousarray(np.moveaxis(photo, -1, 0))
    np.savez(folder / "train.npz", **wide)
    scored = pipeline.dataset(val, config.data, batch_size=1)
    tested = [batch["target"].numpy()[0] for batch in scored]
    np.save(folder / "val.npy", np.moveaxis(np.stack(tested), -1, 1))


def averaged(average: Any, raw: Any, count: Any) -> Any:
    """The moving average as tfrecon has it: short at first, so that the start is forgotten."""
    decay = min(DECAY, (1.0 + int(count)) / (10.0 + int(count)))
    return decay * average + (1 - decay) * raw


def train_torch(folder: Path, minutes: float, seed: int) -> dict[str, float]:
    """PyTorch's scores before and after so many minutes, and its steps."""
    import numpy as np
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(seed)
    with np.load(folder / "start.npz") as saved:
        arrays = {name.replace("|", "/"): torch.from_numpy(saved[name]) for name in saved}
    with np.load(folder / "train.npz") as saved:
        photos = [torch.from_numpy(saved[name]) for name in saved]
    tested = torch.from_numpy(np.load(folder / "val.npy"))
    decoder, restore = torch_network(arrays)
    adam = torch.optim.Adam(decoder.parameters(), lr=LEARNING_RATE, eps=ADAM_EPSILON, fused=True)
    average = torch.optim.swa_utils.AveragedModel(decoder, avg_fn=averaged)

    def score() -> float:
        with torch.no_grad():
            errors = [(restore(x[None]).clamp(0, 1) - x).square().mean().item() for x in tested]
        return sum(-10 * math.log10(error) for error in errors) / len(errors)

    def crops() -> Any:
        cut = []
        for i in torch.randint(len(photos), (BATCH,)).tolist():
            top, left = (int(torch.randint(side - SIDE + 1, ())) for side in photos[i].shape[1:])
            cut.append(photos[i][:, top : top + SIDE, left : left + SIDE])
        batch = torch.stack(cut)
        mirrored = torch.rand(BATCH, 1, 1, 1) < 0.5
        batch = torch.where(mirrored, batch.flip(3), batch)
        return batch.contiguous(memory_format=torch.channels_last)

    before, began, step, total = score(), 0.0, 0, math.inf
    while step < total:
        warm = min(1.0, (step + 1) / WARM_UP)
        done = 0.0 if math.isinf(total) else max(0.0, (step - WARM_UP) / (total - WARM_UP))
        adam.param_groups[0]["lr"] = LEARNING_RATE * warm * 0.5 * (1 + math.cos(math.pi * done))
        trained(crops(), decoder, restore, adam, "bfloat16")
        average.update_parameters(decoder)
        step += 1
        if step == CALIBRATION:
            began = time.perf_counter()
        elif step == 2 * CALIBRATION:
            each = (time.perf_counter() - began) / CALIBRATION
            total = max(step + 1, round(60 * minutes / each))
    seconds = time.perf_counter() - began
    decoder.load_state_dict(average.module.state_dict())
    return {"before": before, "psnr": score(), "steps": step, "seconds": seconds}


def train_ours(root: Path, folder: Path, minutes: float, seed: int) -> dict[str, float]:
    """tfrecon's score after so many minutes, and its steps."""
    from tfrecon.training.run import open_run

    run = folder / f"ours_{seed}_{minutes:g}"
    subprocess.run(
        [sys.executable, "-m", "tfrecon.fit", "--model", "feature_inversion", "--data", "bsds500",
         "--root", str(root), "--minutes", f"{minutes:g}", "--run", str(run),
         "--set", "fit.optimizer.name=muon", "--set", f"fit.seed={seed}"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    made = open_run(run)
    psnr = made.scores().filter(method="feature_inversion")["psnr"].to_numpy().mean()
    return {"psnr": float(psnr), "steps": made.history()["step"].to_list()[-1]}


def main() -> None:
    """Prints the scores of each round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.6, 0.4])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    add_python(parser, "torch")
    asked = parser.parse_args()
    if asked.worker:
        print(json.dumps(train_torch(Path(asked.worker), asked.minutes, asked.seed)))
        return
    threads = str(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as place, interpreter(asked.python, PACKAGES) as python:
        folder = Path(place)
        prepare(asked.root, folder)
        for seed in range(asked.rounds):
            command = [python, "-m", "benchmarks.time_to_quality", str(asked.root)]
            command += ["--worker", place, "--seed", str(seed)]
            command += ["--minutes", str(asked.minutes)]
            environment = {**os.environ, "OMP_NUM_THREADS": threads}
            environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
            said = subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment
            )
            found = json.loads(said.stdout.splitlines()[-1])
            print(
                f"round {seed}: PyTorch bfloat16 {found['before']:.2f} → {found['psnr']:.2f} dB in "
                f"{found['seconds']:.0f} s, {found['steps']} steps", flush=True,
            )  # fmt: skip
            for share in asked.shares:
                ours = train_ours(asked.root, folder, share * asked.minutes, seed)
                scores = {f"tfrecon, {ours['steps']} steps": ours["psnr"], "torch": found["psnr"]}
                row(f"quality in {share:g} of PyTorch's time, round {seed}", "dB", scores)


if __name__ == "__main__":
    main()
