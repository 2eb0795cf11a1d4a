"""What silently ruins a training: mixed-up pairs, squashed ranges, shifted splits, leaked photos.

`inspect` looks at a sample of the files before the first step and answers in sentences. Mixed-up
pairs, squashed ranges and photos that are all of one colour stop the training. The rest is a
warning, photos in two splits too: whoever overfits on purpose shares them all.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tfrecon.base import files
from tfrecon.base.errors import UserError
from tfrecon.base.images import finest_diagonal
from tfrecon.data.photos import THUMBNAIL, thumbnail
from tfrecon.data.sample import Sample
from tfrecon.data.store import Parts, Read, parts_of

SAMPLED = 48
"""Images of each split that are looked at."""

FEW = 8
"""Below so many pairs chance alone could make them look mixed up."""

FLAT = 1 / 255
"""A thumbnail whose standard deviation is no larger shows nothing that a pair could share."""

MARGIN = 0.05
"""How much better a damaged photo must correlate with its own target than with others; less is
enough where all photos resemble each other, if it exceeds two standard errors."""

MIDDLE = 2048
"""Side in pixels of the square in which noise is estimated, which takes ten times its bytes."""

SURE = 0.9
"""From this correlation on a photo fits its target, however well it fits others."""

DARKEST = 8
"""A set of photos whose brightest value of 255 is lower was squashed on the way to its files."""

RESEMBLING = 0.8
"""Correlation from which the halves of photos are taken for two pictures of one thing."""

NOISE_RATIO, NOISE_LEVEL = 1.5, 1.5 / 255
"""Noise of two splits differs where it does by this factor and by this much."""

BRIGHTNESS = 0.08
"""Mean brightness of two splits differs by more than this, in units of [0,1]."""

Array = np.ndarray[Any, np.dtype[np.float32]]
Splits = Mapping[str, Sequence[Sample]]


def inspect(
    splits: Splits, *, paired: bool, least_side: int = 1, read: Read | None = None
) -> list[str]:
    """What the files of ``train``, ``val`` and ``test`` give reason to say; empty splits are left
    out.

    `paired`: the damaged files are used, and so must belong to their targets. `least_side` is that
    of the training crops in pixels; `read` takes the place of `images.read`. The first sentence
    says what is in order, the others are warnings. Raises UserError for pairs that are mixed up,
    with the evidence, and for photos of which no value reaches 8 of 255 or each shows a single
    colour.
    """
    looked = {split: spread(samples) for split, samples in splits.items() if samples}
    # One photo after the other: all of them may be too large for the memory.
    part = "input" if paired else "target"
    seen = {
        split: [_seen(parts_of(sample, sample.parts, read), part) for sample in samples]
        for split, samples in looked.items()
    }
    for split, photos in seen.items():
        _check_range(split, photos)
    train = seen["train"]
    fine = [f"values up to {max(photo['target'].brightest for photo in train)} of 255"]
    if paired:
        fine = [*_check_pairs(looked["train"], train), *fine]
    warnings = [*_leaks(splits), *_shifts(looked, seen, part)]
    if paired:
        warnings += _empty_masks(splits)
    small = [photo for photo in train if photo["target"].side < least_side]
    if small:
        warnings.append(
            f"{len(small)} of {len(train)} training photos looked at are smaller than the "
            f"training crops of {least_side} pixels and are enlarged; choose a smaller crop"
        )
    halves = [plane.halves for photo in train for plane in photo.values()]
    if min(halves) > 0 and np.mean(halves) > RESEMBLING:
        warnings.append(
            "all photos looked at are twice as wide as high, and their halves correlate by "
            f"{np.mean(halves):.2f}: are they pairs side by side? recipe 'folder' reads them so "
            "with --set data.recipe.layout=side_by_side"
        )
    if not any(warning.startswith("identical") for warning in warnings):
        fine.append("no photo in two splits")
    return [f"data checks: {'; '.join(fine)}", *(f"data warning: {text}" for text in warnings)]


def spread(samples: Sequence[Sample]) -> list[Sample]:
    """The up to SAMPLED samples that are looked at, in neighbouring pairs evenly over the list:
    lists that slipped by one place show between neighbours."""
    if len(samples) <= SAMPLED:
        return list(samples)
    starts = np.linspace(0, len(samples) - 2, SAMPLED // 2).astype(int)
    return [samples[index] for index in sorted({*starts.tolist(), *(starts + 1).tolist()})]


@dataclass(frozen=True)
class Seen:
    """What is kept of one part of a photo; `noise` of that alone which a model is given."""

    brightest: int
    is_flat: bool
    """Of one colour."""
    side: int
    """The shorter, in pixels."""
    mean: float
    grey: Array
    """(THUMBNAIL²,), see `photos.thumbnail`."""
    noise: Array
    halves: float
    """How the halves of what is twice as wide as high correlate; 0 for all else."""


Photo = Mapping[str, Seen]


def _seen(parts: Parts, given: str) -> dict[str, Seen]:
    """Of ``target``, ``input`` and ``mask`` of one photo what the guards look at."""
    return {
        part: Seen(
            brightest=int(plane.max()), is_flat=not np.ptp(plane, axis=(0, 1)).any(),
            side=min(plane.shape[:2]), mean=float(plane.mean()),
            grey=thumbnail(np.repeat(plane, 3, -1) if part == "mask" else plane),
            noise=noise_levels(plane) if part == given else np.zeros(3, np.float32),
            halves=_halves(plane) if part == given and len(parts) == 1 else 0.0,
        )
        for part, plane in parts.items()
    }  # fmt: skip


def _halves(pixels: Any) -> float:
    """How the halves of (H,2H,3) uint8 correlate; 0 for other shapes."""
    if pixels.shape[1] != 2 * pixels.shape[0]:
        return 0.0
    left, right = (thumbnail(half)[None] for half in np.hsplit(pixels, 2))
    return float(correlations(left, right, np.zeros_like(left))[0, 0])


def _check_range(split: str, photos: Sequence[Photo]) -> None:
    for part in ("target", "input"):
        planes = [photo[part] for photo in photos if part in photo]
        brightest = max((plane.brightest for plane in planes), default=DARKEST)
        if brightest < DARKEST:
            raise UserError(
                f"the brightest value of {len(planes)} {part} files of split {split!r} is "
                f"{brightest} of 255: they look like values in [0,1] that were saved as bytes; "
                "save them scaled to 0–255"
            )
        if planes and all(plane.is_flat for plane in planes):
            raise UserError(
                f"each of {len(planes)} {part} files of split {split!r} shows a single colour: "
                "nothing can be learnt from them; correct the files or the recipe"
            )


def correlations(inputs: Array, targets: Array, masks: Array) -> Array:
    """Pearson's r of every input (N,P) with every target (N,P) over the known pixels of the input;
    `masks` (N,P) hold 1 = damaged. 0 where an image is constant."""
    rows: list[Array] = []
    for image, mask in zip(inputs, masks, strict=True):
        known = mask < 0.5
        mine = image[known] - image[known].mean() if known.any() else np.zeros(1, np.float32)
        theirs = targets[:, known] if known.any() else np.zeros((len(targets), 1), np.float32)
        theirs = theirs - theirs.mean(axis=1, keepdims=True)
        lengths = np.linalg.norm(mine) * np.linalg.norm(theirs, axis=1)
        rows.append(theirs @ mine / np.maximum(lengths, 1e-6))
    return np.stack(rows)


def _check_pairs(samples: Sequence[Sample], photos: Sequence[Photo]) -> list[str]:
    """What the correlations say in favour of the pairs, nothing where too few photos show
    something. Raises UserError where they speak against them."""
    inputs, targets = (
        np.stack([photo[part].grey for photo in photos]) for part in ("input", "target")
    )
    blank = np.zeros(THUMBNAIL**2, np.float32)
    masks = np.stack([photo["mask"].grey if "mask" in photo else blank for photo in photos])
    shown = np.flatnonzero((inputs.std(axis=1) > FLAT) & (targets.std(axis=1) > FLAT))
    if len(shown) < FEW:
        return []
    samples = [samples[index] for index in shown]
    table = correlations(inputs[shown], targets[shown], masks[shown])
    fit = table.diagonal()
    others = (table.sum(axis=1) - fit) / (len(fit) - 1)
    gain = fit - others
    enough = min(MARGIN, 2 * float(gain.std(ddof=1)) / len(gain) ** 0.5)
    evidence = (
        f"damaged photos correlate with their own targets by {fit.mean():.2f} and with those of "
        f"other photos by {others.mean():.2f} ({len(fit)} pairs looked at)"
    )
    best = table.argmax(axis=1)
    elsewhere = np.flatnonzero((table.max(axis=1) > fit + MARGIN) & (fit < SURE))
    unlike = fit.mean() < SURE and gain.mean() <= enough
    if unlike or len(elsewhere) > len(fit) / 2:
        example = ""
        if len(elsewhere):
            index = int(elsewhere[np.argmax(table.max(axis=1)[elsewhere])])
            example = (
                f"; {Path(str(samples[index].input)).name!r} fits the target of "
                f"{samples[int(best[index])].id!r} best ({table[index].max():.2f} against "
                f"{fit[index]:.2f})"
            )
        remedy = "rename the files so that each pair shares its name"
        if samples[0].input_region:
            remedy = "the halves of these photos are no pairs, so leave out layout=side_by_side"
        raise UserError(
            f"inputs and targets look mixed up: {evidence}{example}; {remedy}, or set "
            "data.check_pairs=false where the damage leaves nothing"
        )
    return [evidence]


def _leaks(splits: Splits) -> list[str]:
    """Photos that lie in two splits with the same bytes, whatever their names."""
    by_size: defaultdict[tuple[int, Any], list[tuple[str, Sample, Path]]] = defaultdict(list)
    for split, samples in splits.items():
        for sample in samples:
            path = sample.target or sample.input
            if path is not None:
                by_size[path.stat().st_size, sample.region].append((split, sample, path))
    places: defaultdict[tuple[bytes, Any], dict[str, str]] = defaultdict(dict)
    for (_, region), alike in by_size.items():
        if len({split for split, _, _ in alike}) > 1:  # only equal sizes can be equal files
            for split, sample, path in alike:
                places[files.digest(path), region].setdefault(split, sample.id)
    shared: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for where in places.values():
        for first, second in itertools.combinations(where, 2):
            shared[first, second].append((where[first], where[second]))
    return [
        f"identical photos in splits {first!r} and {second!r}: {len(pairs)} of the "
        f"{len(splits[second])} of {second!r}, e.g. "
        f"{pairs[0][0]!r} and {pairs[0][1]!r}; scores on {second!r} are too good"
        for (first, second), pairs in shared.items()
    ]


def _empty_masks(splits: Splits) -> list[str]:
    """Photos without a hole among photos with holes."""
    whole = {split: [s.id for s in samples if not s.has_mask] for split, samples in splits.items()}
    return [
        f"the masks of {len(ids)} of {len(splits[split])} photos of split {split!r} cover "
        f"nothing, e.g. that of {ids[0]!r}; give all photos holes or none"
        for split, ids in whole.items()
        if 0 < len(ids) < len(splits[split])
    ]


def _shifts(
    looked: Mapping[str, Sequence[Sample]], photos: Mapping[str, Sequence[Photo]], part: str
) -> list[str]:
    """In what the photos that a model is given, a `part`, differ between training and the other
    splits."""
    facts = {
        split: _facts([getattr(sample, part) for sample in looked[split]],
                      [photo[part] for photo in photos[split] if part in photo])
        for split in looked
    }  # fmt: skip
    warnings: list[str] = []
    train = facts.pop("train")
    for split, other in facts.items():
        if not train or not other:
            continue
        between = f"the photos of 'train' and {split!r}"
        mine, theirs = (", ".join(sorted(facts["kinds"])) for facts in (train, other))
        noise = list(zip(("Y", "Cb", "Cr"), train["noise"], other["noise"], strict=True))
        differences: list[tuple[Any, str]] = [
            (not train["kinds"] & other["kinds"],
             f"{between} are of different formats ({mine} against {theirs}): JPEG hides noise that "
             "PNG keeps"),
            *((abs(a - b) > NOISE_LEVEL and max(a, b) > NOISE_RATIO * min(a, b),
               f"the noise of {between} differs in {name}: {255 * a:.1f} against {255 * b:.1f} of "
               "255") for name, a, b in noise),
            (abs(train["brightness"] - other["brightness"]) > BRIGHTNESS,
             f"the brightness of {between} differs: {train['brightness']:.2f} against "
             f"{other['brightness']:.2f}"),
            (not 0.5 <= train["side"] / other["side"] <= 2,
             f"the size of {between} differs: short sides of {train['side']:.0f} against "
             f"{other['side']:.0f} pixels (medians)"),
        ]  # fmt: skip
        warnings += [sentence for differs, sentence in differences if differs]
    return warnings


def _facts(paths: Sequence[Path | None], photos: Sequence[Seen]) -> dict[str, Any]:
    if len(photos) < FEW:
        return {}
    return {
        "kinds": {path.suffix.lower().replace("jpeg", "jpg") for path in paths if path},
        "noise": np.median([photo.noise for photo in photos], axis=0),
        "brightness": float(np.mean([photo.mean for photo in photos]) / 255),
        "side": float(np.median([photo.side for photo in photos])),
    }


def noise_levels(pixels: Any) -> Array:
    """Standard deviation of the noise of (H,W,3) uint8 in Y, Cb and Cr, in units of [0,1].

    Rounding to bytes alone is about 0.3/255. Of larger photos the MIDDLE is looked at.
    """
    top, left = (max(0, side - MIDDLE) // 2 for side in pixels.shape[:2])
    pixels = pixels[top : top + MIDDLE, left : left + MIDDLE]
    band = finest_diagonal(np.asarray(Image.fromarray(pixels).convert("YCbCr"), np.float32) / 255)
    return (np.median(np.abs(band), axis=(0, 1)) / 0.6745).astype(np.float32)
