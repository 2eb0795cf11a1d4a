"""Images from features that were computed elsewhere, each with what tells how far to trust it."""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecon.backbones import BACKBONES, DEFAULT
from tfrecon.base import checkpoint, files, images, weights
from tfrecon.base.errors import UserError, fitting, some
from tfrecon.base.registry import Spec
from tfrecon.base.spread import Each, Opened, Work, here, opened
from tfrecon.base.system import float32_policy
from tfrecon.data import dead_leaves, recipes
from tfrecon.inference.feature_files import Array, FeatureFile, model_options
from tfrecon.inference.places import file_names
from tfrecon.inference.restorer import restored_bands
from tfrecon.layers.grids import align
from tfrecon.models import build_model
from tfrecon.models.certificates import Certificate, certificates
from tfrecon.models.feature_inversion import FeatureInversion
from tfrecon.training.run import Run

DECODER = {"name": "boosted"}
IMAGES, SIDE, SHALLOW = (80, 200), (160, 224), 4
"""How many pictures, of how many pixels, a decoder is fitted to: for taps of at most SHALLOW pixels
from position to position, and for deeper ones, of which a picture has fewer positions."""

USUAL_TIMES, EDGE = 10, 2
"""How many times the usual residual is more than pictures explain, and positions at each edge that
do not count: of images whose sides the tap does not divide, the last pixels are not known."""


def pictures(count: int, side: int) -> list[Array]:
    """`count` images (side,side,3) in [0,1] to fit to: by turns crops of the demo's photos and dead
    leaves. Measured on eight photos of BSDS500, VGG16 block1, 40 pictures of 160 pixels, six
    stages: 42.5 dB from both, 41.8 from leaves, 37.9 from crops; 44.8 from 80 of both, 8 stages."""
    crops = recipes.samples(Spec("demo"), None, "train")
    crops = [crops[number * len(crops) // count] for number in range(0, count, 2)]
    about = {"count": max(1, count // 2), "size": side}
    leaves = recipes.samples(Spec("dead_leaves", about), None, "train")
    chosen = itertools.chain.from_iterable(itertools.zip_longest(crops, leaves))
    return [crop(sample, side) for sample in chosen if sample][:count]


def crop(sample: Any, side: int) -> Array:
    """The upper left (side,side,3) in [0,1] of a sample's target."""
    pixels = images.read(sample.target)
    top, left = sample.region[:2] if sample.region else (0, 0)
    return images.to_float(pixels[top : top + side, left : left + side])


def weights_of(features: FeatureFile) -> str:
    """The weight set that the note names. Raises UserError where that was a file of one's own."""
    named = features.note.get("weights", DEFAULT)
    if named not in (DEFAULT, "none", *BACKBONES[features.backbone].weights):
        raise UserError(
            f"{str(features.path)!r} was computed with weights of one's own, {named!r}; give the "
            "path of that file with --weights"
        )
    return named


def refinement(products: int | None) -> dict[str, Any]:
    """The option of a model whose answers are refined by so many products of Gauss–Newton."""
    return {"refine": {"name": "gauss_newton", "products": products}} if products else {}


def fitted(
    backbone: str, tap: str, weight_set: str, products: int | None = None
) -> FeatureInversion:
    """The boosted decoder of a tap, fitted once to `pictures` and kept in the cache, with its
    `refinement`. Raises UserError for unknown names, and where the weights are not to be had."""
    options = model_options(backbone, tap, weight_set)
    deep = (BACKBONES[backbone].taps[tap].stride or 32) > SHALLOW
    count, side = IMAGES[deep], SIDE[deep]
    size = options.pop("image_size")
    spec = Spec("feature_inversion", {**options, "decoder": DECODER, **refinement(products)})
    with float32_policy():
        model: Any = build_model(spec, image_size=size, mask=False, seed=0)
    about = (model.features_key, DECODER, count, side, dead_leaves.VERSION)
    digest = hashlib.blake2b(repr(about).encode(), digest_size=8).hexdigest()
    path = weights.cache() / "decoders" / f"{backbone}_{tap}_{digest}" / "decoder.npz"
    with contextlib.nullcontext() if path.is_file() else files.claimed(path.parent, wait=True):
        if not path.is_file():
            print(f"fitting a decoder of {backbone} {tap}, once; it is kept in {str(path)!r}")
            began, drawn = time.monotonic(), pictures(count, model.fixed_size or side)
            batches = [tf.constant(drawn[n : n + 8]) for n in range(0, count, 8)]
            model.adapt(batches, count)
            checkpoint.save(path, {"model": model.inference_variables}, {})
            print(f"fitted in {time.monotonic() - began:.0f} seconds")
    arrays, _ = checkpoint.load(path, "remove it, and it is fitted again")
    checkpoint.assign(path, arrays, {"model": model.inference_variables})
    return model


def of_run(run: Run, features: FeatureFile, products: int | None = None) -> FeatureInversion:
    """The model of a trained run, with its own refinement where no `products` are given. Raises
    UserError unless it inverts this tap of this backbone."""
    model = run.load_model(refinement(products))
    if not isinstance(model, FeatureInversion):
        raise UserError(
            f"run {str(run.path)!r} is a {run.config.model.name}, no feature_inversion; "
            "name one, or leave --run out"
        )
    model.defence = None  # what it does to features was done to these
    told = [f"{name} {tap}" for name, _, tap in model.extractor.places]
    if told != [f"{features.backbone} {features.tap}"]:
        raise UserError(
            f"run {str(run.path)!r} inverts {' and '.join(told)}, and {str(features.path)!r} holds "
            f"{features.backbone} {features.tap}; train one on that tap, or leave --run out"
        )
    return model


def model_of(
    features: Opened[FeatureFile], run: Run | None, weight_set: str | None, products: int | None
) -> FeatureInversion:
    """The model that inverts `features`: that of a `run`, or the `fitted` one."""
    found = features.value
    if run:
        return of_run(run, found, products)
    return fitted(found.backbone, found.tap, weight_set or weights_of(found), products)


@dataclasses.dataclass(frozen=True)
class Inverted:
    """What is told of an image: its file, its sides, and how far its features are from the wanted
    ones, as a share of these features' own power (mean square of standardised values); of refined
    ones also the verdict of their certificate, and the share of pixels that are certain."""

    name: str
    file: str
    height: int
    width: int
    residual: float
    verdict: str | None = None
    certain: float | None = None

    def __str__(self) -> str:
        """The line that is printed of it."""
        said = f"{self.name}: {self.height}×{self.width}, feature residual {self.residual:.2g}"
        if self.verdict is None:
            return said
        return f"{said}, {self.verdict}: {self.certain:.1%} of the pixels are certain"


def invert(
    features: FeatureFile | Opened[FeatureFile], model: FeatureInversion | Opened[FeatureInversion],
    output: Path, *, tile: int = 512, floats: bool = False, each: Each = here,
) -> list[Inverted]:  # fmt: skip
    """Writes the image of each of the `features` as PNG into the folder `output`, with `floats`
    also as ``.npy`` (H,W,3), of refined ones a map that is white where they are certain
    (`tfrecon.models.certificates`), and ``figures.json``; prints a line for each.

    Images of longer sides than `tile` are put together of tiles; `each` says where they are made.
    Raises UserError, at the end, for features that no image reaches, with the likely cause.
    """
    given, loaded = opened(features), opened(model)
    features, model = given.value, loaded.value
    known = features.note.get("fingerprint", model.fingerprint)
    if known != model.fingerprint:
        raise UserError(
            f"{str(features.path)!r} was computed with other weights of {features.backbone} "
            f"({features.note['weights']!r}) than those here; give them with --weights"
        )
    refine, model.refine = model.refine, None
    plain = Solver(model, tile)
    usual = max(plain(example[None])[1] for example in plain.examples())
    model.refine = refine
    rows: list[Inverted] = []
    with files.claimed(output):
        work = functools.partial(_inverting, given, loaded, output, tile, floats)
        for row in each(work, [*file_names([*features.maps]).items()]):
            rows.append(row)
            print(row)
        figures = {"usual_residual": usual, "images": [dataclasses.asdict(row) for row in rows]}
        files.write_json(output / "figures.json", figures, indent=2)
    _check_reached(features, rows, usual, Solver(model, tile))
    return rows


def _inverting(
    features: Opened[FeatureFile], model: Opened[FeatureInversion], output: Path, tile: int,
    floats: bool,
) -> Work[tuple[str, str], Inverted]:  # fmt: skip
    """Writes what `invert` does for the features of a name, to files of the second name."""
    known, solve = features.value, Solver(model.value, tile)

    def of(both: tuple[str, str]) -> Inverted:
        name, stem = both
        with fitting(f"tiles of {tile} pixels are too large for it; give --tile {tile // 2}"):
            raw = solve.prepared(known.values(name), known.size(name))
            image, residual = solve(raw)
            proof = solve.certificate(image, raw, known.rounding(name))
        images.write(output / f"{stem}.png", image)
        if floats:
            with files.replacing(output / f"{stem}.npy") as part, part.open("wb") as file:
                np.save(file, image)
        if proof:
            certain = np.repeat(np.float32(proof.exact)[..., None], 3, -1)
            images.write(output / f"{stem}_certificate.png", certain)
        about = (proof.verdict, proof.share) if proof else ()
        return Inverted(name, f"{stem}.png", *image.shape[:2], residual, *about)

    return functools.partial(map, of)


class Solver:
    """A model as a function of the features (h,w,C) of one image, whatever its size."""

    def __init__(self, model: FeatureInversion, tile: int) -> None:
        self.model, self.tile = model, tile
        self._call = tf.function(self._solved, reduce_retracing=True)

    def prepared(self, features: Array, size: Sequence[int] | None) -> Array:
        """What `raw_features` would give, (1,h,w,C), for an image with these `features`, of that
        `size` where it is told and has such features. Raises UserError where none has."""
        stride, told = self.model.tap_stride, size or (0, 0)
        grid = [self._side(*axis) // stride for axis in zip(features.shape, told, strict=False)]
        return align(tf.constant(features[None]), grid, grid).numpy()

    def _side(self, positions: int, told: int) -> int:
        """The side of an image whose tap has so many positions: what is `told`, or the least."""
        model, multiple = self.model, self.model.size_multiple
        least = max(-(-positions * model.tap_stride // multiple) * multiple, model.smallest_size)
        near = [least, least + multiple, least + 2 * multiple]
        likely = [told, *near] if told in near else near
        for side in [model.fixed_size] if model.fixed_size else likely:
            (maps,) = model.extractor.maps(tf.zeros((1, side, side, 3))).values()
            if maps.shape[1] == positions:
                return side
        raise UserError(
            f"no image gives features of {positions} positions a side at this tap; were they cut "
            "out of larger ones, or padded?"
        )

    def __call__(self, raw: Array) -> tuple[Array, float]:
        """The image (H,W,3) in [0,1] of prepared features, and its residual (see `Inverted`)."""
        stride, left = self.model.tap_stride, []

        def restore(part: Any) -> Array:
            image, *maps = self._call(tf.constant(part))
            edge = EDGE if min(part.shape[1:3]) > 4 * EDGE else 0  # another image may go on there
            inner = slice(edge, -edge or None)
            left.append([np.sum(np.asarray(m)[:, inner, inner], dtype=np.float64) for m in maps])
            return tf.nn.space_to_depth(image, stride).numpy() if stride > 1 else image.numpy()

        tile = max(1, self.tile // stride)
        bands = restored_bands(
            restore, lambda place: raw[:, *place], raw.shape[:3], tile, tile // 4, 3 * stride**2
        )
        whole = np.concatenate([*bands], axis=1)
        image = tf.nn.depth_to_space(whole, stride).numpy() if stride > 1 else whole
        errors, powers = np.sum(left, axis=0)
        return image[0], float(errors / powers)

    def _solved(self, raw: Any) -> tuple[Any, Any, Any]:
        image = self.model((raw,), training=False)
        (wanted,), (found,) = self.model.features((raw,)), self.model.features(image)
        return image, tf.reduce_sum((found - wanted) ** 2, -1), tf.reduce_sum(wanted**2, -1)

    def certificate(self, image: Array, raw: Array, rounding: Any) -> Certificate | None:
        """That of an answer to features with errors up to `rounding`; of refined ones in one tile
        alone."""
        if self.model.refine is None or max(image.shape) > self.tile:
            return None
        return certificates(self.model, image[None], (tf.constant(raw),), rounding)[0]

    def seen(self, stack: Array) -> Array:
        """The features (B,h,w,C) of images (B,H,W,3)."""
        parts = [self.model.raw_features(tf.constant(image[None]))[0] for image in stack]
        return np.concatenate(parts)

    def examples(self) -> Array:
        """The features of demo's test photos, which are as they should be."""
        crops = recipes.samples(Spec("demo"), None, "test")
        side = self.model.fixed_size or max(224, self.model.smallest_size)
        return self.seen(np.stack([crop(sample, side) for sample in (crops[0], crops[-1])]))


def _check_reached(
    features: FeatureFile, rows: Sequence[Inverted], usual: float, solve: Solver
) -> None:
    """Raises UserError where the features of images are farther from the wanted ones than those of
    any image of the decoder's kind."""
    deviation = solve.model.standardise[0].deviation.numpy()
    rounding = np.mean((np.asarray(features.scale or 0.0) / deviation) ** 2) / 12
    far = [row for row in rows if not row.residual < USUAL_TIMES * (usual + rounding)]
    if far:
        worst = max(far, key=lambda row: row.residual)
        raise UserError(
            f"the features of {len(far)} of {len(rows)} images are not reached "
            f"({some([row.name for row in far])}): they leave a residual of {worst.residual:.2g}, "
            f"where {usual:.2g} is usual; {_cause(features, worst.name, solve)}"
        )


def _cause(features: FeatureFile, name: str, solve: Solver) -> str:
    """The likely cause of a residual that stays."""
    values, place = features.values(name), f"{features.backbone} {features.tap}"
    known = solve.examples()
    below = float(np.mean(values < known.min() - 1e-3 * known.std()))
    if known.min() >= 0 and below > 0.01:
        return (
            f"{below:.0%} of their values are below 0, and those of {place} never are: they were "
            "taken before its ReLU (set what is below 0 to 0), or noise was added to them"
        )
    times = float(np.abs(values).mean() / max(np.abs(known).mean(), 1e-12))
    if not 0.2 < times < 5:
        return (
            f"they are {times:.2g} times as large as those of {place}: the images were "
            "preprocessed in another way (as Caffe: up to 255, BGR), or the weights are others"
        )
    taps, channels = BACKBONES[features.backbone].taps, values.shape[-1]
    others = [t for t, tap in taps.items() if tap.channels == channels and t != features.tap]
    also = f" or of another tap of {channels} channels ({', '.join(others)})" if others else ""
    return (
        f"they may be of other weights of {features.backbone}{also}, the images preprocessed in "
        "another way (BGR, without mean and deviation), or more is lost (noise, few bits) than the "
        "decoder knows of"
    )
