"""What folders, columns and files are called after what they hold: damaged photos, their targets,
masks; train, val, test. A layout that people have is an entry in one of these tables."""

import itertools
import re

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
    "train": ("train", "training", "trainset"),
    "val": ("val", "valid", "validation", "dev", "valset"),
    "test": ("test", "testing", "testset", "eval", "evaluation"),
}

MEANINGS = {
    name: (split, role, second)
    for split, role in itertools.product(("", *SPLITS), ("", *ROLES))
    for first, second in itertools.product(SPLITS.get(split, ("",)), ROLES.get(role, ("",)))
    for between in ("", "_")
    for name in (f"{first}{between}{second}", f"{second}{between}{first}")
    if name and name.strip("_") == name
}
"""Split and role, each or "", and the word that says the role, by a name as `_plain` writes it:
``train``, ``input``, ``traina``."""

EMPTY = re.compile(
    rf"_?({'|'.join(ROLES['photo'])}|data|dataset|set|crops|patches|quality|resolution|res|20\d\d)$"
)
"""Ends of names that say nothing: of ``noisy_images``, ``Testing Data``, ``train2017``."""


def meaning(name: str) -> tuple[str, str]:
    """The split and role that a name says, each or ""."""
    return MEANINGS.get(_plain(name), ("", "", ""))[:2]


def word(name: str) -> str:
    """``a`` of ``trainA``: what of a name says its role."""
    return MEANINGS[_plain(name)][2]


def _plain(name: str) -> str:
    """A name in small letters, its words joined by ``_``, without those that say nothing."""
    plain = re.sub(r"[\s_-]+", "_", nfc(name).lower())
    while plain not in MEANINGS and (shorter := EMPTY.sub("", plain)) != plain:
        plain = shorter
    return plain
