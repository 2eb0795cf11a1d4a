"""Runs benchmarks, one after the other, keeps what they find as JSON, and makes RESULTS.md of it.

    python -m benchmarks                      # every benchmark, an hour of an idle machine
    python -m benchmarks step pipeline        # these
    python -m benchmarks step -- --batch 1    # with arguments of its own
    python -m benchmarks --write              # RESULTS.md and the plots, of the JSON that is there

Each is a module of this folder, runs in a process of its own, and compares its programs in turns in
one run. `results/NAME.json` holds the command, the date, the machine and every round;
`results/gpu/NAME.json` what a machine with a GPU found. A new benchmark is a module that calls
`benchmarks.record.row`, and a row of BENCHMARKS. Leave the machine idle otherwise.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import plots, record
from benchmarks.environment import machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS, TEXT = ROOT / "benchmarks" / "results", ROOT / "benchmarks" / "RESULTS.md"
BEGIN, END = "<!-- made by python -m benchmarks --write -->\n", "<!-- end of what is made -->\n"

BENCHMARKS: dict[str, list[str]] = {
    "step": ["--steps", "9"],
    "inversion_step": [],
    "costs": ["pix2pix", "residual_unet", "feature_inversion"],
    "weight_gradient": [],
    "pipeline": [],
    "large_photos": [],
    "metrics": [],
    "submission": [],
    "serving": [],
    "runtimes": ["scratches", "inpainting"],
    "study_jobs": [],
    "ray_images": [],
    "memory": [],
    "start_up": [],
}
"""Modules of this folder by name, with the arguments of a whole run."""


def run(name: str, arguments: Sequence[str]) -> bool:
    """Runs a benchmark and keeps its rows; False, and what was kept stays, where it fails."""
    before = machine()  # its load is that of others
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows")
        environment = {**os.environ, record.VARIABLE: str(rows), "PYTHONPATH": str(ROOT)}
        command = ["-m", f"benchmarks.{name}", *arguments]
        print(f"== python {' '.join(command)}", flush=True)
        done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False)
        lines = rows.read_text(encoding="utf-8").splitlines() if rows.is_file() else []
    if done.returncode or not lines:
        print(f"{name}: no figures (exit code {done.returncode}); what was kept stays", flush=True)
        return False
    found = {
        # Where an interpreter or data lies is of this machine alone.
        "command": " ".join(["python", *("FILE" if os.path.isabs(w) else w for w in command)]),
        "date": datetime.date.today().isoformat(),
        "machine": before, "rows": [json.loads(line) for line in lines],
    }  # fmt: skip
    path = RESULTS / ("gpu" if before["gpus"] else "") / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(found, ensure_ascii=False, indent=1)
    path.write_text(content + "\n", encoding="utf-8")
    return True


def kept() -> list[Path]:
    """The records, those of a GPU last, in the order of BENCHMARKS."""
    places = (RESULTS / part / f"{name}.json" for part in ("", "gpu") for name in BENCHMARKS)
    return [path for path in places if path.is_file()]


def text(paths: Sequence[Path]) -> str:
    """The part of RESULTS.md that is made of these records."""
    return "\n".join(["", *(line for path in paths for line in section(path)), ""])


def section(path: Path) -> Iterator[str]:
    """The lines of a record."""
    found, name = json.loads(path.read_text(encoding="utf-8")), path.stem
    source = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
    purpose = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0]
    where = ", ".join(f"{key} {value}" for key, value in found["machine"].items() if value)
    yield from (f"## {name}{' on a GPU' if path.parent.name == 'gpu' else ''}", "")
    yield from (" ".join(purpose.split()), "", f"`{found['command']}`, {found['date']}; {where}.")
    yield from ("", "| what | unit | ours | peer | ratio |", "|---|---|---|---|---|")
    for row in found["rows"]:
        (ours, value), *peers = row["medians"].items()
        at = "".join(f", {key} {each}" for key, each in row["at"].items())
        first = f"| {row['what']}{at} | {row['unit']} | {ours} {value:g} |"
        for peer, other in peers or [("", None)]:
            ratio = row["ratios"].get(peer, "")
            yield f"{first} {peer}{'' if other is None else f' {other:g}'} | {ratio} |"
            first = "| | | |"
    if plots.panels(found["rows"]):
        picture = path.with_suffix(".svg").relative_to(TEXT.parent).as_posix()
        yield from ("", f"![{name}: {plots.title(found['rows'])}]({picture})")
    yield ""


def digest(path: Path) -> str:
    """Of a record; its plot carries it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def write() -> None:
    """Makes RESULTS.md and the plots of the records."""
    before, _, rest = TEXT.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    for path in kept():
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        if plots.panels(rows):
            plots.write(path.with_suffix(".svg"), rows, digest(path))
    TEXT.write_text(f"{before}{BEGIN}{text(kept())}{END}{after}", encoding="utf-8")
    print(f"wrote {TEXT} of {len(kept())} records")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--write", action="store_true", help="make RESULTS.md, run nothing")
    given, _, own = " ".join(sys.argv[1:] if arguments is None else arguments).partition(" -- ")
    asked = parser.parse_args(given.split())
    if unknown := [name for name in asked.names if name not in BENCHMARKS]:
        parser.error(f"unknown benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    names = [] if asked.write else asked.names or list(BENCHMARKS)
    if own and len(names) != 1:
        parser.error("arguments after -- are those of one benchmark; name it")
    good = [run(name, own.split() or BENCHMARKS[name]) for name in names]
    write()
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
