"""The model contract: every fact that training, inference and reports ask of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import keras
import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.layers.harmonic_fill import HarmonicFill
from tfrecon.layers.ranges import Composite, MeanFill

if TYPE_CHECKING:
    from tfrecon.layers.defences import Defended
    from tfrecon.models.frozen_features import Extractor

SHALLOWEST, DEEPEST = 3, 8

Fill = Literal["none", "mean", "harmonic", "auto"]
"""What a network sees in holes: what the photo has there, the mean colour, the harmonic fill; auto
is the harmonic fill where there are masks."""


class ReconstructionModel(keras.Model):
    """From images to images: `model(x, training=False)` takes float32 images in [0,1], (B,H,W,3) or
    (B,H,W,4) with a mask as the last channel (1 = damaged), and returns images (B,H,W,3) in [0,1].

    The library reads the attributes below and looks for no others. Each has the value of a model
    that has nothing to say; a subclass overrides those that differ. A plain Keras model becomes one
    of these by `tfrecon.models.supervised.wrapped`.
    """

    size_multiple: int = 1
    """The sides of the images that it takes are multiples of so many pixels, …"""
    smallest_size: int = 1
    """… and at least so many pixels."""
    fixed_size: int | None = None
    """The only side in pixels that it takes; larger photos go through it in tiles. None: any."""
    weighs_pixels: bool = True
    """Whether its loss is one of pixels, so that `fit.hole_weight` can weigh them."""
    refine: Callable[..., Any] | None = None
    """Moves the pixels of an answer at inference (`tfrecon.models.refinement`). Training sets it to
    None: it watches the decoder's own answer."""
    adapts_to: Literal["input", "target"] | None = None
    """The images that `adapt` is given before the first step; None: it is not called."""
    makes_samples: bool = False
    """Whether it makes several answers to one photo, by `sample`."""
    is_latent: bool = False
    """Whether its answers come out of an autoencoder, which `bound` is the limit of."""
    extractor: Extractor | None = None
    """Reads the frozen features that it sees of an image; None: it sees the image."""
    tap_stride: int = 1
    """Pixels a side for one position of the finest of those features."""
    features_key: str | None = None
    """What `raw_features` depend on beside the image; None: it has none that could be kept."""
    defence: Defended | None = None
    """What is done to those features before they are decoded; None: nothing."""
    fingerprint: str | None = None
    """A hash of its frozen weights, which no checkpoint holds; None: it has none."""
    waited: float = 0.0
    """Seconds that its steps have waited for their batches."""

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Keras's own, but for several machines, where it fails (keras#20585); all is built here
        already, but for metrics, which the first step builds."""
        if not self._on_machines:
            super()._maybe_symbolic_build(iterator, data_batch)

    @property
    def _on_machines(self) -> bool:
        return isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy)

    def _make_function(self, step_function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What trains and validates, in the place of Keras's own, which fails to bring together the
        values of replicas on several machines, here their means, and fetches batches inside of its
        graph, where nobody sees for how long it waits."""
        strategy = self.distribute_strategy

        def on_all(data: Any) -> Any:
            values = strategy.run(step_function, (data,))
            return tf.nest.map_structure(lambda v: strategy.reduce("MEAN", v, axis=None), values)

        if not self.run_eagerly:
            options = {"jit_compile": self.jit_compile, "reduce_retracing": True}
            on_all = tf.function(on_all, autograph=False, **options)

        def step(iterator: Any) -> Any:
            began = time.perf_counter()
            data = next(iterator)
            self.waited += time.perf_counter() - began
            return on_all(data)

        return step

    @property
    def inference_variables(self) -> list[Any]:
        """The variables that `call` uses: what moving averages, ``best.npz`` and exports hold."""
        return list(self.weights)

    @property
    def optimized_variables(self) -> list[Any]:
        """The variables that the optimizer updates, in the order that `train_step` gives them."""
        return list(self.trainable_variables)

    @property
    def frozen_variables(self) -> list[Any]:
        """The variables that no checkpoint holds, because a configuration rebuilds them."""
        return []

    @property
    def monitored(self) -> list[str]:
        """The names of its own losses that validation reports, compiled or not."""
        return list(dict.fromkeys(["loss", *(metric.name for metric in self.metrics)]))

    def adapt(self, batches: Iterable[Any], images: int) -> dict[str, Any]:
        """Fits what is not learned by gradients in passes over `batches` of images (B,H,W,3),
        `images` in all; returns what a run records of that, JSON-ready. Called before the first
        step where `adapts_to` says so."""
        raise NotImplementedError

    def raw_features(self, images: Any) -> list[Any]:
        """What frozen networks say of images (B,H,W,3): the model can be trained on it in the place
        of x. Asked for where `features_key` is set."""
        raise NotImplementedError

    def sample(self, x: Any, draw: Any) -> Any:
        """The answer to x that the whole number `draw` chooses, (B,H,W,3) in [0,1]. Asked for where
        `makes_samples` is set."""
        raise NotImplementedError

    def bound(self, x: Any, y: Any) -> Any:
        """The best that samples could be, (B,H,W,3) in [0,1], where the truth is `y` (B,H,W,3).
        Asked for where `is_latent` is set."""
        raise NotImplementedError


class FromOptions(ReconstructionModel):
    """A model that is made of `options` alone, the options of its builder: they are what Keras
    saves of it beside its weights."""

    options: dict[str, Any]

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {"name": self.name, **self.options}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FromOptions:
        """The model that `get_config` describes, with fresh weights."""
        options = dict(config)
        name = options.pop("name")
        return cls(options, name=name)


def composed(x: Any, restored: Any, composite: bool) -> keras.Model:
    """The network from `x` (B,H,W,3 or 4) to `restored` (B,H,W,3); with `composite` and a mask the
    known pixels of x pass through unchanged."""
    if composite and x.shape[-1] == 4:
        restored = Composite(name="composite")(x[..., :3], restored, x[..., 3:])
    return keras.Model(x, restored, name="generator")


def filled(model: str, x: Any, fill: Fill) -> tuple[Any, Any]:
    """The photos of `x` (B,H,W,3 or 4) with their holes filled, (B,H,W,3), and what a network sees
    of them: these, and the mask behind where there is one. Raises UserError for a `fill` without
    masks."""
    if x.shape[-1] == 4:
        photos, masks = x[..., :3], x[..., 3:]
        if fill != "none":
            layer = MeanFill if fill == "mean" else HarmonicFill
            photos = layer(name="fill")(photos, masks)
        return photos, keras.layers.Concatenate(name="seen")([photos, masks])
    if fill not in ("none", "auto"):
        raise UserError(
            f"option 'fill' of model {model!r} is {fill!r}, but this data has no masks to fill; "
            "remove the option"
        )
    return x, x


def halvings(model: str, image_size: int) -> int:
    """How often a network can halve a side of `image_size` pixels, `DEEPEST` times at most.

    Raises UserError where that is less than `SHALLOWEST` times.
    """
    depth = min(DEEPEST, (image_size & -image_size).bit_length() - 1)
    if depth < SHALLOWEST:
        raise UserError(
            f"{model} cannot take data.image_size = {image_size}: it halves the side, so it must "
            f"be a multiple of {2**SHALLOWEST}; the published size is 256"
        )
    return depth


def refuse_masks(model: str, mask: bool) -> None:
    """Raises UserError for data with masks."""
    if mask:
        raise UserError(
            f"model {model!r} sees whole images and takes no masks; set data.damage=identity, or "
            "choose a restoration model"
        )
