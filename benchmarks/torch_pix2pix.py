"""The pix2pix training step of `benchmarks.step` in PyTorch, in a process of its own.

The paper's networks (U-Net of 64 to 512 filters, PatchGAN), batch normalisation, L1 and binary
cross-entropy, one forward pass of each image, one fused Adam for each network; eager or
`torch.compile`d, channels_last, under bfloat16 autocast or in float32. `benchmarks.step --python
FILE` starts it and takes turns with it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks.environment import obey

SIDE = 256


def networks() -> tuple[Any, Any]:
    """Generator, of images (B,3,H,W) in [-1,1], and discriminator, of two images in one."""
    import torch  # pyright: ignore[reportMissingImports]

    nn = torch.nn

    def down(before: int, after: int, norm: bool = True) -> Any:
        layers = [nn.Conv2d(before, after, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(after)] if norm else []
        return nn.Sequential(*layers, nn.LeakyReLU(0.2))

    def up(before: int, after: int, dropout: bool) -> Any:
        layers = [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after)]
        return nn.Sequential(*layers, *([nn.Dropout(0.5)] if dropout else []), nn.ReLU())

    class Unet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths, out = [3, 64, 128, 256, 512, 512, 512, 512, 512], [512, 512, 512, 512, 256, 128]
            self.down = nn.ModuleList(
                down(a, b, norm=0 < stage < 7)  # PyTorch normalises no single position
                for stage, (a, b) in enumerate(itertools.pairwise(widths))
            )
            into = [512, *(a + b for a, b in zip(out, widths[-2:1:-1], strict=False))]
            self.up = nn.ModuleList(
                up(a, b, stage < 3)
                for stage, (a, b) in enumerate(zip(into, [*out, 64], strict=True))
            )
            self.head = nn.ConvTranspose2d(128, 3, 4, 2, 1)

        def forward(self, x: Any) -> Any:
            skips = []
            for block in self.down:
                x = block(x)
                skips.append(x)
            for block, skip in zip(self.up, skips[-2::-1], strict=True):
                x = torch.cat([block(x), skip], 1)
            return torch.tanh(self.head(x))

    blocks = [down(6, 64, norm=False), down(64, 128), down(128, 256)]
    last = [nn.ZeroPad2d(1), nn.Conv2d(256, 512, 4, bias=False), nn.BatchNorm2d(512),
            nn.LeakyReLU(0.2), nn.ZeroPad2d(1), nn.Conv2d(512, 1, 4)]  # fmt: skip
    return Unet(), nn.Sequential(*blocks, *last)


def stepper(batch: int, precision: str, compiled: bool) -> Callable[[], float]:
    """``step() -> generator's loss``, which trains both networks on one batch."""
    import torch  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    f, lasting = torch.nn.functional, torch.channels_last
    generator, judge = (network.to(memory_format=lasting) for network in networks())
    adams = [
        torch.optim.Adam(network.parameters(), 2e-4, betas=(0.5, 0.999), fused=True)
        for network in (generator, judge)
    ]
    if compiled:
        import torch._functorch.config as functorch  # pyright: ignore[reportMissingImports]

        functorch.donated_buffer = False  # a graph is differentiated twice
        generator, judge = torch.compile(generator), torch.compile(judge)
    images = (torch.rand(batch, 3, SIDE, SIDE) * 2 - 1 for _ in range(2))
    x, y = (image.contiguous(memory_format=lasting) for image in images)

    def against(logits: Any, label: float) -> Any:
        logits = logits.float()
        return f.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))

    parameters = [list(network.parameters()) for network in (generator, judge)]

    def step() -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            made = generator(x)
            real, fake = (judge(torch.cat([x, image], 1)) for image in (y, made))
        judged = 0.5 * (against(real, 1.0) + against(fake, 0.0))
        loss = against(fake, 1.0) + 100.0 * (y - made.float()).abs().mean()
        wanted = [
            torch.autograd.grad(judged, parameters[1], retain_graph=True),
            torch.autograd.grad(loss, parameters[0]),
        ][::-1]
        for adam, own, gradients in zip(adams, parameters, wanted, strict=True):
            for parameter, gradient in zip(own, gradients, strict=True):
                parameter.grad = gradient
            adam.step()
        return loss.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], required=True)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    import torch  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    step = stepper(options.batch, options.precision, options.compile)

    def steps(count: int) -> dict[str, Any]:
        started = time.perf_counter()
        losses = [step() for _ in range(count)]
        return {"seconds": time.perf_counter() - started, "loss": losses[-1]}

    obey(steps, {**steps(3), "version": torch.__version__})


if __name__ == "__main__":
    main()
