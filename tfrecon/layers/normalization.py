"""Normalisation and dropout with an explicit choice of what they do at inference."""

from typing import Any, Literal

import keras
import tensorflow as tf
from keras import ops

Inference = Literal["moving", "batch"]


@keras.saving.register_keras_serializable("tfrecon")
class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation (Ioffe & Szegedy 2015) over (B,H,W,C), with a choice at inference.

    ``inference="moving"`` uses the moving averages. ``"batch"`` uses the statistics of the test
    image, as pix2pix does with test batches of one (Isola et al. 2017, section 6.2); here each
    image of a batch has its own, so that no result depends on the other images. Training under
    several replicas takes the statistics over all of them.
    """

    def __init__(self, inference: Inference = "moving", **kwargs: Any) -> None:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        kwargs.setdefault("synchronized", replicas > 1)
        super().__init__(**kwargs)
        self.inference = inference

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalises `inputs`; moving averages change in training only."""
        if training and self.trainable and mask is None and self._has_kernel(inputs):
            return self._by_kernel(inputs)
        if training or self.inference == "moving":
            return super().call(inputs, training=training, mask=mask)
        x = ops.cast(inputs, "float32")
        moments: Any = ops.moments(x, axes=(1, 2), keepdims=True)
        mean, variance = moments
        x = (x - mean) * ops.rsqrt(variance + self.epsilon) * self.gamma + self.beta
        return ops.cast(x, inputs.dtype)

    def _has_kernel(self, inputs: Any) -> bool:
        """Whether TensorFlow's own kernel does all that this layer is asked for. In float32 its
        plain sums err by 1e-5, and several replicas, which have none, would differ from one."""
        plain = self.scale and self.center and not self.synchronized
        return plain and len(inputs.shape) == 4 and inputs.dtype in ("bfloat16", "float16")

    def _by_kernel(self, inputs: Any) -> Any:
        """Training's normalisation in one pass over memory; Keras's dozen operations in float32
        took 3 to 5 times as long."""
        x, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=ops.cast(self.gamma, "float32"),
            offset=ops.cast(self.beta, "float32"), mean=[], variance=[],
            epsilon=self.epsilon, is_training=True,
        )  # fmt: skip
        # The kernel gives the estimate for the population, n / (n - 1) of the images' own variance.
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], "float32")
        for moving, new in (
            (self.moving_mean, mean),
            (self.moving_variance, variance * (count - 1) / count),
        ):
            moving.assign(moving * self.momentum + new * (1 - self.momentum))
        return x

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        # `synchronized` follows the strategy of the process that loads the layer.
        config = super().get_config()
        config.pop("synchronized", None)
        return {**config, "inference": self.inference}


@keras.saving.register_keras_serializable("tfrecon")
class Dropout(keras.layers.Dropout):
    """Dropout that can stay on at inference, where pix2pix takes its noise from it.

    At inference the draw depends on `seed` alone and is the same for all images, so that a result
    can be repeated and an exported model agrees with its original.
    """

    def __init__(self, rate: float, at_inference: bool = False, **kwargs: Any) -> None:
        super().__init__(rate, **kwargs)
        self.at_inference = at_inference

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Drops a share `rate` of (B,H,W,C) in training, and at inference where asked to."""
        if training or not self.at_inference or not self.rate:
            return super().call(inputs, training=training)
        shape = tf.shape(inputs)[1:]
        draw = tf.random.stateless_uniform(shape, seed=(self.seed or 0, 0))
        kept = ops.cast(draw >= self.rate, inputs.dtype)
        return inputs * kept / (1 - self.rate)

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {**super().get_config(), "at_inference": self.at_inference}


def normalization(kind: str, inference: Inference, name: str) -> keras.layers.Layer:
    """The layer for ``"batch"``, ``"instance"`` (Ulyanov et al. 2016) or ``"none"``."""
    if kind == "batch":
        return BatchNorm(inference=inference, epsilon=1e-5, momentum=0.9, name=name)
    if kind == "instance":
        return keras.layers.GroupNormalization(groups=-1, epsilon=1e-5, name=name)
    return keras.layers.Identity(name=name)
