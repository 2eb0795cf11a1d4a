"""Every model, trained briefly and small in float16, bfloat16 and float32: loss scale and PSNR.

    python -m benchmarks.precision [--models NAME …] [--steps 200] [--deterministic]

The photos are the demo's at 64×64, the settings each model's own. Of float16 the line holds the
loss scale at the end and how many steps were left out because a gradient overflowed; of all the
PSNR of the validation photos, the change of it from float32 and the seconds a step. On a CPU
float16 is slow: no processor here has convolutions of its own for it. `--deterministic` trains each
once more with ``fit.deterministic``, for the price of that.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PRECISIONS = ("float32", "bfloat16", "float16")
SIDE = 64
SMALL: dict[str, dict[str, Any]] = {
    "pix2pix": {"base_filters": 8, "discriminator_filters": 8},
    "feature_inversion": {"backbone": "vgg16", "taps": ["block1"]},
    "feature_gan": {"taps": ["block2"], "width": 32, "discriminator_filters": 16},
    "autoencoder": {"width": 16, "depth": 1, "discriminator_filters": 8},
    "diffusion": {"width": 16, "steps": 4},
    "residual_unet": {"width": 16},
    "nafnet": {"width": 8, "encoder": [1, 1], "middle": 1, "decoder": [1, 1]},
    "inpainting_unet": {"width": 16, "reduction": 2},
    "skip_vae": {"base_filters": 8, "latent": 16},
    "restoration_gan": {"base_filters": 8, "discriminator_filters": 8},
}
"""Options with which a step of each model is quick."""


def trained(name: str, steps: int, precision: str, folder: Path, **fit: Any) -> dict[str, float]:
    """``psnr``, ``seconds`` a step and, in float16, ``scale`` and ``left_out`` of a training."""
    import keras

    from tfrecon.models import defaults
    from tfrecon.training import loop
    from tfrecon.training.optimizers import loss_scale
    from tfrecon.training.run import complete

    inverts = "damage" in defaults(name).get("data", {}) and name != "inpainting_unet"
    data = {"recipe": "demo", "image_size": SIDE, "crop_size": SIDE, "load_size": SIDE}
    data |= {"damage": "identity" if inverts else {"name": "boxes", "size": 20, "count": 1}}
    length = {"steps": steps, "steps_per_epoch": steps, "ema_decay": 0.0, "warmup_steps": 10}
    fit = {**length, "batch_size": 4, "precision": precision, "monitor": "val_psnr", **fit}
    asked = {"model": {"name": name, **SMALL[name]}, "data": {**data, "val_size": SIDE}, "fit": fit}
    found: dict[str, float] = {}

    class Watch(keras.callbacks.Callback):
        """Sees the first step, which traces, the last and the validation behind it."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 0:
                self.began = time.perf_counter()

        def on_test_begin(self, logs: Any = None) -> None:
            found["seconds"] = (time.perf_counter() - self.began) / max(1, steps - 1)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            found["psnr"] = float(logs["val_psnr"])
            if scale := loss_scale(self.model.optimizer):
                left_out = steps - int(self.model.optimizer.iterations.numpy())
                found.update(scale=scale, left_out=left_out)

    loop.train(complete(asked), folder, callbacks=[Watch()])
    keras.backend.clear_session()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(SMALL), choices=list(SMALL))
    parser.add_argument("--steps", type=int, default=200, help="steps of each training (200)")
    parser.add_argument("--deterministic", action="store_true", help="float32 with it, at the end")
    options = parser.parse_args()
    from tfrecon.base.cli import start_tensorflow

    start_tensorflow()
    from tfrecon.base.system import set_threads

    set_threads()
    rows = [(precision, {}) for precision in PRECISIONS]
    if options.deterministic:  # it cannot be switched off again
        rows.append(("float32", {"deterministic": True}))
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        before: dict[str, float] = {}
        for precision, fit in rows:
            for name in options.models:
                place = Path(folder, f"{name}-{precision}-{len(fit)}")
                found = trained(name, options.steps, precision, place, **fit)
                base = before.setdefault(name, found["psnr"])
                line = f"{name:18} {precision:9}{' deterministic' * len(fit)} "
                line += f"{found['psnr']:6.2f} dB ({found['psnr'] - base:+.2f})"
                line += f"  {found['seconds']:.3f} s a step"
                if "scale" in found:
                    line += f"  loss scale {found['scale']:g}, {found['left_out']} steps left out"
                lines.append(line)
                print(line, flush=True)
    print(f"\n{options.steps} steps at {SIDE}×{SIDE}, batch 4", *lines, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
