"""Backbones: pretrained networks, frozen, read at named taps."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from tfrecon.backbones.applications import APPLICATIONS
from tfrecon.backbones.backbone import (
    Backbone,
    assign,
    check_orientation,
    check_same_network,
    randomise,
    torch_names,
    unwrapped,
)
from tfrecon.backbones.classics import CLASSICS
from tfrecon.backbones.resnet import RESNETS
from tfrecon.backbones.transformers import TRANSFORMERS
from tfrecon.backbones.weight_sets import timm_preprocessing
from tfrecon.base import extras, hub
from tfrecon.base import weights as files
from tfrecon.base.errors import UserError, did_you_mean, unknown

BACKBONES: dict[str, Backbone] = {**CLASSICS, **RESNETS, **APPLICATIONS, **TRANSFORMERS}

DEFAULT = "default"
"""The first weight set that a backbone lists."""


def check_taps(name: str, taps: Sequence[str], weights: str | None = DEFAULT) -> Backbone:
    """The backbone called `name`; nothing is built or read.

    Raises UserError for an unknown backbone, tap or weight set, for no tap and for one given twice.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    backbone = BACKBONES[name]
    if not taps:
        raise UserError(
            f"backbone {name!r} needs at least one tap; it has {', '.join(backbone.taps)}"
        )
    for number, tap in enumerate(taps):
        if tap not in backbone.taps:
            raise unknown(f"tap of backbone {name!r}", tap, backbone.taps)
        if tap in taps[:number]:
            raise UserError(f"tap {tap!r} of backbone {name!r} is given twice; leave one out")
    if weights is not None and hub.is_named(weights):
        extras.check("hub", weights)
    elif weights not in (None, DEFAULT, *backbone.weights) and not Path(weights).is_file():
        raise UserError(
            f"unknown weights {weights!r} of backbone {name!r}"
            f"{did_you_mean(weights, backbone.weights)}; a path must name an existing file, and a "
            f"repository of timm begins with {hub.PREFIX}timm/"
        )
    return backbone


def feature_taps(
    name: str, taps: Sequence[str], weights: str | None = DEFAULT, seed: int = 0
) -> keras.Model:
    """The frozen network from images (B,H,W,3) in [0,1] to a list of `taps`, (B,h,w,C) each.

    `weights` is the name of a weight set, the path of a file with the same arrays, a repository of
    timm on the hub, whose card says how images are preprocessed, or None for random weights drawn
    from `seed`. For a file and for random weights images are preprocessed as for the backbone's
    first weight set. The model's attribute ``fingerprint`` is a hash of its
    weights and their preprocessing. Raises UserError as `check_taps`, for a file that cannot be
    found, and for a file of another network.
    """
    backbone = check_taps(name, taps, weights)
    chosen = next(iter(backbone.weights)) if weights == DEFAULT else weights
    source = backbone.weights.get(chosen or "", next(iter(backbone.weights.values())))
    place = hub.fetched(chosen) if chosen and hub.is_named(chosen) else None
    about = timm_preprocessing(place) if place else source.preprocessing
    images = keras.Input((None, None, 3), name="images")
    graph = backbone.graph(about(images))
    model = keras.Model(images, [graph[tap] for tap in taps], name=name)
    if chosen is None:
        randomise(model, seed)
    else:
        if chosen in backbone.weights:
            what = f"weight set {chosen!r} of backbone {name!r}"
            arrays = source.load(torch_names(model))
        else:
            what = f"weight file {chosen!r}"
            file = place / hub.WEIGHTS if place else Path(chosen)
            arrays = unwrapped(source.read(file), torch_names(model), what)
            check_same_network(keras.Model(images, list(graph.values())), arrays, what)
        check_orientation(arrays, source.first_row, what)
        assign(model, arrays, what)
    model.trainable = False
    model.autocast = False  # images keep their digits until they are preprocessed
    model.fingerprint = files.fingerprint(
        {key: variable.numpy() for key, variable in torch_names(model).items()}
        | {"preprocessing": np.frombuffer(repr(about).encode(), np.uint8)}
    )
    return model


def taps_here() -> dict[str, list[str]]:
    """Of each backbone the taps whose weights, of its first set, are on this machine; a pack holds
    those of its first layers."""
    found: dict[str, list[str]] = {}
    for name, backbone in BACKBONES.items():
        source = next(iter(backbone.weights.values()))
        here = [(file, path) for file in source.files if (path := files.local(file.name))]
        if any(file.url for file, _ in here):
            found[name] = [*backbone.taps]
        elif here:
            known = source.read(here[0][1]).keys()
            images = keras.Input((None, None, 3))
            taps = {tap: keras.Model(images, end) for tap, end in backbone.graph(images).items()}
            found[name] = [tap for tap in taps if torch_names(taps[tap]).keys() <= known]
    return found


def check_image_size(name: str, taps: Sequence[str], size: int | tuple[int, int]) -> None:
    """Raises UserError, saying which sizes work, when the backbone cannot take images of `size`:
    (height, width) in pixels, or one number for both."""
    backbone = check_taps(name, taps, None)
    sides = (size, size) if isinstance(size, int) else size
    multiple = backbone.size_multiple
    smallest = max(multiple, *(backbone.taps[tap].smallest for tap in taps))
    if not all(side >= smallest and side % multiple == 0 for side in sides):
        works = f"multiples of {multiple} pixels" if multiple > 1 else f"{smallest} pixels or more"
        raise UserError(
            f"backbone {name!r} with {', '.join(taps)} takes sides of {works}, "
            f"not {sides[0]}×{sides[1]}"
        )


def describe(name: str) -> str:
    """What `fit --list backbones` prints of one: variant, weight sets and the size of each tap."""
    backbone = BACKBONES[name]
    default, *others = backbone.weights
    taps = (f"{tap} {'×'.join(map(str, place.shape_at_224()))}"
            for tap, place in backbone.taps.items())  # fmt: skip
    return (
        f"{name}: {backbone.about}\n"
        f"  weights: {', '.join([f'{default} (default)', *others])}\n"
        f"  taps at 224 pixels: {', '.join(taps)}"
    )
