"""Exports whose weights are constants, and what their precision costs on real photos."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tfrecon.base import images
from tfrecon.base.errors import UserError
from tfrecon.data import pipeline, recipes
from tfrecon.data.photos import of_skimage
from tfrecon.inference.frozen_graph import frozen
from tfrecon.inference.restorer import Restore
from tfrecon.metrics.pixel_errors import psnr
from tfrecon.models.base import ReconstructionModel
from tfrecon.training.preparation import POLICIES
from tfrecon.training.run import Run

Precision = Literal["bfloat16", "float32"]

LOSS_DB, LEAST_DB = 0.05, 40.0
"""By how much an export may restore worse than its model in float32, on average over real photos;
and, where no truth is known, how near their answers are to each other at least."""

COUNT = 8
"""Photos of a run that are compared."""

SHIPPED = "chelsea.png", "coffee.png", "astronaut.png"
"""Photos of scikit-image's, for a run whose own are not at hand."""

MOST_BYTES = 2**31 - 2**27
"""Of a file of TensorFlow's, which holds constants and the graph."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Photos:
    """Real photos, `name` says which: of each what a model is given, (1,H,W,C) in [0,1], and the
    truth (1,H,W,3) where it is known."""

    name: str
    pairs: Sequence[tuple[Array, Array | None]]


@dataclass(frozen=True)
class Constants:
    """How an export computes whose weights are constants: `model` is the one that is exported, made
    anew for this `precision`, and `photos` are those on which they are compared."""

    precision: Precision
    model: ReconstructionModel
    photos: Photos

    def network(self, channels: int) -> Callable[[Any], Any]:
        """The model on images of sizes that fit. Raises UserError for one that is too large, or
        that TensorFlow cannot freeze."""
        self._check_size()
        images = self._images(channels)
        return self._frozen(lambda x: tf.cast(self.model(x, training=False), tf.float32), images)

    def sampled(self, channels: int) -> Callable[[Any, Any], Any]:
        """The samples of a model that makes some, of images and a whole number."""
        number = tf.TensorSpec((), tf.int32)
        return self._frozen(
            lambda x, draw: tf.cast(self.model.sample(x, draw), tf.float32),
            self._images(channels), number,
        )  # fmt: skip

    def _images(self, channels: int) -> tf.TensorSpec:
        side = self.model.fixed_size
        return tf.TensorSpec((None, side, side, channels), tf.float32)

    def _frozen(self, function: Callable[..., Any], *specs: tf.TensorSpec) -> Callable[..., Any]:
        try:
            return frozen(function, *specs)
        except Exception as error:  # TensorFlow's own are of many kinds
            raise UserError(
                f"the weights of model {self.model.name!r} cannot be made constants "
                f"({str(error).partition(chr(10))[0][:200]}); nothing was written; leave out "
                "--precision"
            ) from error

    def _check_size(self) -> None:
        size = sum(4 * int(np.prod(v.shape)) for v in self.model.inference_variables)
        if size > MOST_BYTES:
            raise UserError(
                f"the weights of model {self.model.name!r} take {size / 2**30:.1f} GiB and a "
                "SavedModel holds 2 GiB of constants at most; leave out --precision"
            )

    def compared(self, model: Restore, export: Restore) -> dict[str, Any]:
        """How `export` differs from `model` on the photos, for its record.

        Raises UserError where it is worse by more than `LOSS_DB`, or further away than `LEAST_DB`.
        """
        rows: dict[str, list[float]] = {"psnr_between": [], "psnr_model": [], "psnr_export": []}
        largest = 0.0
        for x, truth in self.photos.pairs:
            expected, found = model(x), export(x)
            largest = max(largest, float(np.abs(found - expected).max()))
            rows["psnr_between"].append(float(psnr(expected, found)[0]))
            if truth is not None:
                rows["psnr_model"].append(float(psnr(truth, expected)[0]))
                rows["psnr_export"].append(float(psnr(truth, found)[0]))
        means = {name: round(float(np.mean(v)), 4) for name, v in rows.items() if v}
        about = {"of": self.photos.name, "images": len(self.photos.pairs), **means}
        about["largest"] = largest
        if "psnr_model" in means:
            good = means["psnr_export"] >= means["psnr_model"] - LOSS_DB
        else:
            good = means["psnr_between"] >= LEAST_DB
        if not good:
            allowed = f"at most {LOSS_DB} dB worse, or {LEAST_DB:g} dB from it without a truth"
            raise UserError(
                f"in {self.precision} the export is too far from the model: {sentence(about)} "
                f"(allowed: {allowed}); nothing was written; "
                + ("leave out --precision" if self.precision == "float32"
                   else "export it with --precision float32")
            )  # fmt: skip
        return about


def sentence(about: Mapping[str, Any]) -> str:
    """What `Constants.compared` has found."""
    truth = (
        f"PSNR {about['psnr_export']:.2f} dB, the model's in float32 {about['psnr_model']:.2f} dB; "
        if "psnr_model" in about
        else ""
    )
    return (
        f"{about['images']} {about['of']}: {truth}{about['psnr_between']:.1f} dB between both, "
        f"largest difference {about['largest']:.1e}"
    )


def of_run(run: Run, precision: Precision, options: Mapping[str, Any] | None = None) -> Constants:
    """The best weights of `run` in this precision, and validation photos of its own where these are
    at hand. Raises what `Run.load_model` raises."""
    model = run.load_model(options, POLICIES[precision])
    data = dataclasses.replace(run.placed.data, cache="none")
    try:
        root = Path(data.root) if data.root else None
        samples = recipes.samples(data.recipe, root, "val")
        batches = pipeline.dataset(samples[:: -(-len(samples) // COUNT)], data, batch_size=1)
        pairs = [
            (_given(batch, run.has_mask), batch["target"].numpy() if "target" in batch else None)
            for batch in batches
        ]
    except (UserError, tf.errors.OpError):  # it was moved, or its data was
        return Constants(precision, model, shipped(run.has_mask))
    return Constants(precision, model, Photos("validation photos of the run", pairs))


def _given(batch: pipeline.Batch, has_mask: bool) -> Array:
    return np.asarray(pipeline.model_input(batch) if has_mask else batch["input"])


def shipped(has_mask: bool) -> Photos:
    """Photos of scikit-image's; with masks each has a hole, which is black, and a truth."""
    pairs: list[tuple[Array, Array | None]] = []
    for name in SHIPPED:
        photo = images.to_float(images.read(of_skimage(name)))[None]
        if not has_mask:
            pairs.append((photo, None))
            continue
        mask = np.zeros((*photo.shape[:3], 1), np.float32)
        mask[:, 60:110, 90:150] = 1
        pairs.append((np.concatenate((photo * (1 - mask), mask), axis=-1), photo))
    return Photos("photos of scikit-image's", pairs)
