"""What is installed and found on this machine, and what mends what is broken.

TensorFlow may be missing or broken, or end the process that imports it: a process of its own tries
it, and all else is told without it.
"""

import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tfrecon.base import extras, facts, platforms
from tfrecon.base.errors import UserError

SECONDS = 300
"""How long TensorFlow may take to start and the weights to be read."""


class Broken(str):
    """What is wrong, and what mends it."""


def diagnose(tell: Callable[[str], None]) -> list[str]:
    """Gives `tell` a line for each thing found; returns what is broken, in sentences."""
    broken: list[str] = []
    tried = _tried()
    for section in (_packages, _machine, _caches, _weights, _extras):
        try:
            for line in section(tried):
                tell(f"  BROKEN: {line}" if isinstance(line, Broken) else line)
                broken += [line] if isinstance(line, Broken) else []
        except ImportError as error:
            tell(f"  the rest cannot be told: {error}")
    return broken


def _tried() -> dict[str, Any]:
    """What `probe` prints in a process of its own, or, under ``error``, what became of it."""
    code = "from tfrecon.training.diagnosis import probe; probe()"
    here = os.pathsep.join(filter(None, sys.path))
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": here},
            capture_output=True, text=True, errors="replace", timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"it does not answer within {SECONDS} seconds"}
    if not done.returncode:
        return json.loads(done.stdout.splitlines()[-1])
    said = [line for line in done.stderr.splitlines() if line.strip()] or ["no word"]
    how = f"the process ended with code {done.returncode}: " if done.returncode < 0 else ""
    return {"error": f"{how}{said[-1].strip()[:300]}"}


def probe() -> None:
    """Prints as JSON what needs TensorFlow: versions, devices, the precision that auto picks, and
    `_files`."""
    import keras
    import tensorflow as tf

    from tfrecon.training.preparation import fast_precision, gpu_names

    found = {
        "tensorflow": tf.__version__, "keras": keras.__version__, "gpus": gpu_names(),
        "precision": fast_precision(), "weights": _files(),
    }  # fmt: skip
    print(json.dumps(found))


def _files() -> dict[str, dict[str, str]]:
    """Of each pretrained file that is here what is ``known`` of it, or what is ``wrong``."""
    from tfrecon.backbones import BACKBONES
    from tfrecon.base.weights import checked, local
    from tfrecon.metrics.perceptual import NETS, head_files

    sets = [each for backbone in BACKBONES.values() for each in backbone.weights.values()]
    files = [file for each in sets for file in each.files]
    files += [file for net in NETS for file in head_files(net)]
    found: dict[str, dict[str, str]] = {}
    for file in files:
        if path := local(file.name):
            try:
                checked(path, file)
                kind = "SHA-256" if file.sha256 else "MD5"
                known = f"verified by its {kind}" if file.url else "no hash of it is published"
                found[str(path)] = {"known": known}
            except UserError as error:
                found[str(path)] = {"wrong": str(error)}
    return found


def _packages(tried: dict[str, Any]) -> Iterator[str]:
    yield f"tfrecon {facts.version()} in {facts.PACKAGE.parent}"
    yield f"Python {platform.python_version()} in {sys.executable}"
    from packaging.specifiers import SpecifierSet

    needed, pythons = extras.required()
    if pythons and not SpecifierSet(pythons).contains(platform.python_version(), True):
        yield Broken(
            f"Python {platform.python_version()} is not {pythons}; make an environment with one "
            "that is: python3.12 -m venv .venv"
        )
    wrong = [misfit for each in needed if (misfit := extras.misfit(each))]
    yield from map(Broken, wrong)
    yield f"required packages: {len(needed) - len(wrong)} of {len(needed)} are here"


def _machine(tried: dict[str, Any]) -> Iterator[str]:
    if "error" in tried:
        yield Broken(f"TensorFlow does not start ({tried['error']}); {_mends_tensorflow()}")
    else:
        yield f"TensorFlow {tried['tensorflow']}, Keras {tried['keras']}"
        yield f"devices: {', '.join(['CPU', *(f'GPU {name}' for name in tried['gpus'])])}"
        yield f'precision "auto" is {tried["precision"]} here'
        if not tried["gpus"] and (name := _gpu()):
            mends = f"{extras.install('gpu')} (on Windows inside WSL2)"
            yield Broken(f"TensorFlow does not use {name}; {mends}")
    yield f"system: {platform.platform()}"
    yield f"processor: {platforms.processor_name()}, {len(platforms.cores())} cores"
    memory = platforms.memory_bytes()
    if memory < math.inf:
        yield f"memory: {memory / 2**30:.1f} GiB"


def _mends_tensorflow() -> str:
    if platforms.lacks_avx():
        return extras.NO_AVX
    version = extras.version("tensorflow")
    return f'pip install --force-reinstall "tensorflow{f"=={version}" if version else ""}"'


def _gpu() -> str:
    """The first GPU that NVIDIA's driver knows, if any."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return ""
    said = subprocess.run([tool, "-L"], capture_output=True, text=True).stdout
    return said.splitlines()[0].strip() if said.startswith("GPU") else ""


def _caches(tried: dict[str, Any]) -> Iterator[str]:
    from tfrecon.base.config import DataConfig
    from tfrecon.base.weights import VARIABLE, cache, folders

    yield "caches:"
    for what, path in (
        ("decoded photos and features, of this folder", Path(DataConfig().cache_dir)),
        ("pretrained weights and all below", cache()),
        ("leaves that were drawn", cache() / "dead_leaves"),
        ("decoders that were fitted for features", cache() / "decoders"),
    ):
        yield f"  {what}: {path}, {_size(path)}"
    place = next(folder for folder in (cache(), *cache().parents) if folder.exists())
    if not os.access(place, os.W_OK):
        yield Broken(f"{str(place)!r} cannot be written to; set XDG_CACHE_HOME to another folder")
    for folder in folders()[:-1]:
        yield f"  ${VARIABLE}: {folder}, {_size(folder)}"
        if not folder.is_dir():
            yield Broken(f"${VARIABLE} names {str(folder)!r}, which is no folder; unset {VARIABLE}")


def _size(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 2**20:,.1f} MiB" if folder.is_dir() else "not there"


def _weights(tried: dict[str, Any]) -> Iterator[str]:
    from tfrecon.base.cards import presets

    yield "weights:"
    for preset in presets():
        try:
            preset.check()
            yield f"  preset {preset.name}: verified by its SHA-256"
        except UserError as error:
            yield Broken(error)
    if "error" in tried:
        yield "  pretrained ones cannot be told without TensorFlow"
    for path, said in tried.get("weights", {}).items():
        yield Broken(said["wrong"]) if "wrong" in said else f"  {path}: {said['known']}"


def _extras(tried: dict[str, Any]) -> Iterator[str]:
    yield "extras:"
    for name in extras.EXTRAS:
        absent = extras.missing(name)
        yield f"  {name}: {f'missing; {extras.install(name)}' if absent else 'installed'}"
