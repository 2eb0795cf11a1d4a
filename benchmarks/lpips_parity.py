"""Compares LPIPS with the authors' package, which runs in a separate environment.

    python benchmarks/lpips_parity.py [--write] [--python FILE]

Installs torch and lpips into a temporary virtual environment, fills the authors' networks with the
trunks of the packs in $TFRECON_WEIGHTS (default ../shared/weights) and prints the largest absolute
difference for each net; `--write` stores the authors' values in tests/golden/lpips.json, which
the default tests compare with. `--python` names an interpreter that has the packages already.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from environment import add_python, interpreter

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "lpips.json"
INSTALLS = (("torch==2.13.0", "scipy", "tqdm", "numpy"), ("--no-deps", "lpips==0.1.4"))
NETS = {"alex": "alexnet_features.npz", "squeeze": "squeezenet1_1_features.npz"}

AUTHORS = '''
"""Runs in the other environment: prints the authors' values as JSON."""
import json, sys, types
from importlib import metadata
import numpy as np, torch
from torch import nn

tests, packs, nets = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
sys.path.insert(0, tests)
import lpips_images


class Fire(nn.Module):
    def __init__(self, i, s, e):
        super().__init__()
        self.squeeze, self.expand1x1 = nn.Conv2d(i, s, 1), nn.Conv2d(s, e, 1)
        self.expand3x3 = nn.Conv2d(s, e, 3, padding=1)

    def forward(self, x):
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


def alexnet(pretrained=False):
    C, R, P = nn.Conv2d, nn.ReLU, lambda: nn.MaxPool2d(3, 2)
    return types.SimpleNamespace(features=nn.Sequential(
        C(3, 64, 11, 4, 2), R(), P(), C(64, 192, 5, padding=2), R(), P(),
        C(192, 384, 3, padding=1), R(), C(384, 256, 3, padding=1), R(),
        C(256, 256, 3, padding=1), R()))


def squeezenet1_1(pretrained=False):
    P = lambda: nn.MaxPool2d(3, 2, ceil_mode=True)
    return types.SimpleNamespace(features=nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(), P(), Fire(64, 16, 64), Fire(128, 16, 64), P(),
        Fire(128, 32, 128), Fire(256, 32, 128), P(), Fire(256, 48, 192), Fire(384, 48, 192),
        Fire(384, 64, 256), Fire(512, 64, 256)))


# The package asks torchvision for the trunks only; its wheel does not import beside this torch.
vision, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
models.alexnet, models.squeezenet1_1 = alexnet, squeezenet1_1
vision.models = models
vision.transforms = types.ModuleType("torchvision.transforms")
for name, module in {"": vision, ".models": models, ".transforms": vision.transforms}.items():
    sys.modules["torchvision" + name] = module
import lpips


def fill(network, pack):
    """The convolutions in their order, which is that of the pack."""
    arrays, modules = np.load(pack), [m for m in network.net.modules() if isinstance(m, nn.Conv2d)]
    names = [name.removesuffix("/kernel") for name in arrays.files if name.endswith("/kernel")]
    assert len(names) == len(modules)
    for name, module in zip(names, modules):
        kernel = torch.tensor(arrays[name + "/kernel"].transpose(3, 2, 0, 1).copy())
        assert kernel.shape == module.weight.shape, name
        module.weight.data = kernel
        module.bias.data = torch.tensor(arrays[name + "/bias"])


values = {}
for net, pack in nets.items():
    network = lpips.LPIPS(net=net, version="0.1", verbose=False, pnet_rand=True)
    fill(network, f"{packs}/{pack}")
    values[net] = {}
    for kind in lpips_images.KINDS:
        for height, width in lpips_images.SIZES:
            pair = [torch.tensor(x.transpose(2, 0, 1)[None].copy())
                    for x in lpips_images.pair(kind, height, width)]
            with torch.no_grad():
                values[net][f"{kind} {height}x{width}"] = float(network(*pair, normalize=True))
versions = {name: metadata.version(name) for name in ("lpips", "torch", "numpy")}
print(json.dumps({"versions": versions, "values": values}))
'''


def authors(python: Path, packs: Path) -> dict:
    command = [str(python), "-c", AUTHORS, str(ROOT / "tests"), str(packs), json.dumps(NETS)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def ours(net: str, cases: list[str]) -> dict[str, float]:
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import lpips_images  # pyright: ignore[reportMissingImports]

    from tfrecon.metrics.perceptual import lpips_metric

    metric = lpips_metric(net)  # pyright: ignore[reportArgumentType]
    found = {}
    for case in cases:
        kind, size = case.split()
        truth, prediction = lpips_images.pair(kind, *map(int, size.split("x")))
        found[case] = float(metric(truth[None], prediction[None])[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="store the authors' values")
    add_python(parser, "torch and lpips")
    arguments = parser.parse_args()
    packs = Path(os.environ.setdefault("TFRECON_WEIGHTS", str(ROOT.parent / "shared" / "weights")))
    with interpreter(arguments.python, *INSTALLS) as python:
        theirs = authors(python, packs)
    tool = " ".join(f"{name} {version}" for name, version in theirs["versions"].items())
    print(tool)
    for net, values in theirs["values"].items():
        mine = ours(net, list(values))
        differences = [abs(mine[case] - value) for case, value in values.items()]
        print(f"{net}: {len(values)} pairs, values {min(values.values()):.4f} to "
              f"{max(values.values()):.4f}, largest difference {max(differences):.1e}")  # fmt: skip
    if arguments.write:
        content = {
            "tool": tool,
            "command": "python benchmarks/lpips_parity.py --write",
            "tolerance": 1e-5,
            "values": theirs["values"],
        }
        GOLDEN.write_text(json.dumps(content, indent=2) + "\n")
        print(f"wrote {GOLDEN}")


if __name__ == "__main__":
    main()
