"""Long fuzzing of one target, led by coverage; needs atheris (`pip install -e '.[fuzz]'`).

    python -m tests.fuzz.run TARGET --seconds 600 [--corpus DIR]

DIR keeps the inputs that reached new code, for the next run. What is found is made small, printed,
and written to tests/fuzz/corpus/TARGET, where the default tests find it from then on.
"""

import argparse
import hashlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris  # pyright: ignore[reportMissingImports] - of the extra `fuzz`
import tensorflow as tf  # noqa: F401 - else the first input that needs it pays for the import

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does

LIBRARIES = ["tfrecon", "PIL", "zipfile", "tomllib", "csv", "json", "pickle", "pickletools"]
MEMORY_GIB = 8
LONGEST = 20_000
"""Bytes of an input."""


def smallest(content: bytes, is_found: Callable[[bytes], bool], tries: int = 400) -> bytes:
    """`content` with as much cut out as `tries` show to be of no matter."""
    step = len(content) // 2
    while step and tries > 0:
        for start in range(0, len(content), step):
            shorter, tries = content[:start] + content[start + step :], tries - 1
            if is_found(shorter):
                content = shorter
                break
        else:
            step //= 2
    return content


def main() -> None:
    """Fuzzes until the time is over, then prints executions and findings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--corpus", type=Path)
    arguments = parser.parse_args()
    with atheris.instrument_imports(include=LIBRARIES):
        from fuzz import seeds, targets
    name, began = arguments.target, time.monotonic()
    corpus = arguments.corpus or Path(tempfile.mkdtemp())
    corpus.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp())
    for content in (*seeds.SEEDS[name], *(c for c in seeds.HOSTILE[name] if len(c) < LONGEST)):
        (corpus / hashlib.sha256(content).hexdigest()).write_bytes(content)
    found: dict[str, str] = {}
    count = 0

    def one(content: bytes) -> None:
        nonlocal count
        count += 1
        wrong = targets.finding(name, content, folder)
        kind = (wrong or "").partition(":")[0]
        if wrong and kind not in found:
            small = smallest(
                content, lambda c: (targets.finding(name, c, folder) or "").startswith(kind)
            )
            path = targets.CORPUS / name / hashlib.sha256(small).hexdigest()[:12]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(small)
            found[kind] = wrong
            print(f"finding: {wrong} ({len(small)} bytes, {path})", flush=True)
        if time.monotonic() - began > arguments.seconds:
            seconds = time.monotonic() - began
            print(
                f"{name}: {count:,} executions in {seconds:.0f} s, {len(found)} findings, "
                f"{len(os.listdir(corpus))} inputs in the corpus"
            )
            sys.stdout.flush()
            os._exit(bool(found))

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_GIB * 2**30,) * 2)
    options: list[Any] = [
        sys.argv[0], str(corpus), f"-max_len={LONGEST}", "-handle_alrm=0", "-timeout=3600",
        "-rss_limit_mb=0", "-print_final_stats=0", f"-artifact_prefix={tempfile.mkdtemp()}/",
    ]  # fmt: skip
    atheris.Setup(options, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
