"""What folders, columns and files are called after what they hold: damaged photos, their targets,
masks; train, val, test. A layout that people have is an entry in one of these tables."""

import itertools

from tfrecon.base.platforms import nfc

ROLES = {
    "input": (
        "input", "inputs", "a", "lq", "lr", "noisy", "noise", "rainy", "rain", "blur", "blurry",
        "blurred", "hazy", "haze", "low", "damaged", "degraded", "corrupted", "distorted", "masked",
        "scratched",
    ),
    "target": (
        "target", "targets", "b", "gt", "groundtruth", "ground_truth", "hq", "hr", "clean", "sharp",
        "clear", "high", "original", "whole", "unmasked", "norain",
    ),
    "mask": ("mask", "masks"),
    "photo": ("photo", "photos", "image", "images", "img", "imgs", "picture", "pictures"),
}  # fmt: skip
"""``photo`` says nothing: inputs or targets where the others are named, else clean photos."""

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}

MEANINGS = {
    name: (split, role)
    for split, role in itertools.product(("", *SPLITS), ("", *ROLES))
    for first, second in itertools.product(SPLITS.get(split, ("",)), ROLES.get(role, ("",)))
    for between in ("", "_", "-", " ")
    for name in (f"{first}{between}{second}", f"{second}{between}{first}")
    if name and name.strip("_- ") == name
}
"""Split and role, each or "", by a name in small letters: ``train``, ``input``, ``traina``."""


def meaning(name: str) -> tuple[str, str]:
    """The split and role that a name says, each or ""."""
    return MEANINGS.get(nfc(name).lower(), ("", ""))


def word(name: str) -> str:
    """``a`` of ``trainA``: what of a name says its role."""
    split, role = meaning(name)
    name = nfc(name).lower()
    ends = (each for each in ROLES[role] if name.endswith(each) or name.startswith(each))
    return max(ends, key=len) if split else name
