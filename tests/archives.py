"""What the archives of a release hold: ``python tests/archives.py FILES WHEEL SDIST`` prints it and
ends with exit code 1 where a file is missing or too much. FILES: a list of the files of git.
"""

from __future__ import annotations

import collections
import sys
import tarfile
import zipfile
from pathlib import Path

FACTS = {
    "configs": ("configs", (".toml",)),
    "data_pipelines": ("data_pipelines", (".py",)),
    "kaggle_submission": ("kaggle_submission", (".py",)),
    "presets": ("preset_files", (".npz", ".json", ".webp")),
}
"""Folders of the repository: where they lie below tfrecon/ in the wheel, and which files do."""


def in_wheel(path: str) -> str | None:
    """Where a file of the repository lies in the wheel; None where it does not belong there."""
    top, _, below = path.partition("/")
    folder, endings = FACTS.get(top, ("", ()))
    if path.endswith(endings):
        return f"tfrecon/{folder}/{below}"
    return path if top == "tfrecon" else None


def agree(name: str, holds: set[str], wanted: set[str]) -> bool:
    """Prints how many files there are by their folder, and which are missing or too much."""
    folders = collections.Counter("/".join(path.split("/")[:-1][:2]) for path in holds)
    print(f"{name}: {len(holds)} files")
    print("  " + ", ".join(f"{folder or '.'} {count}" for folder, count in sorted(folders.items())))
    for what, paths in (("is missing", wanted - holds), ("is too much", holds - wanted)):
        for path in sorted(paths):
            print(f"  {path} {what}")
    return holds == wanted


def main(listed: Path, wheel: Path, sdist: Path) -> int:
    """Compares both archives with the files of the repository."""
    files = set(listed.read_text(encoding="utf-8").splitlines())
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    notes = {name.partition(".dist-info/")[2] for name in names if ".dist-info/" in name}
    print(f"{wheel.name}: beside its files {', '.join(sorted(notes))}")
    held = {name for name in names if ".dist-info/" not in name}
    right = agree(wheel.name, held, {place for file in files if (place := in_wheel(file))})
    with tarfile.open(sdist) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    made = {name for name in names if name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name}
    wanted = {file for file in files if not file.startswith(".")}
    right &= agree(sdist.name, {*names} - made, wanted)
    return int(not right or "licenses/LICENSE" not in notes)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
