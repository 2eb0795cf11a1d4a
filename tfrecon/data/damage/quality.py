"""Loss of quality in lenses, files and small sensors: blur, JPEG, low resolution; no mask."""

from typing import Annotated, Any

import tensorflow as tf

from tfrecon.base import images
from tfrecon.base.registry import Above, AtLeast, Between, checked
from tfrecon.data.damage.options import Amount, Count, Draw, uniform, whole


@checked
def blur(*, sigma: Annotated[Amount, Above(0)] = 1.5) -> Draw:
    """Gaussian blur of standard deviation `sigma` pixels.

    At the border the weights inside the image are scaled to sum to 1.
    """

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        width = uniform(sigma, seed)
        rows, columns = (_gaussian(extent, width) for extent in target.shape[:2])
        # Two matrix products serve any size of image and any blur, without padding.
        return tf.einsum("ij,kl,jlc->ikc", rows, columns, target), None

    return draw


def _gaussian(extent: int, sigma: Any) -> Any:
    """(extent,extent): row i holds the weights of all pixels for pixel i, which sum to 1."""
    places = tf.range(extent, dtype=tf.float32)
    return tf.nn.softmax(-tf.square((places[:, None] - places) / sigma) / 2.0)


@checked
def jpeg(*, quality: Annotated[Count, Between(1, 100)] = 30) -> Draw:
    """The image as a JPEG file of `quality` (1 to 100) keeps it, with colour at half resolution."""

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        file = tf.raw_ops.EncodeJpegVariableQuality(
            images=images.to_uint8_tensor(target), quality=whole(quality, seed)
        )
        pixels = tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(images.to_float_tensor(pixels), target.shape), None

    return draw


@checked
def downsample(*, factor: Annotated[Amount, AtLeast(1.0)] = 2.0) -> Draw:
    """Area averages over `factor` × `factor` pixels, then bicubic interpolation to the old size."""

    def draw(target: Any, seed: Any) -> tuple[Any, Any]:
        size = tf.constant([float(extent) for extent in target.shape[:2]])
        small = tf.maximum(tf.cast(tf.round(size / uniform(factor, seed)), tf.int32), 1)
        reduced = tf.image.resize(target, small, "area")
        restored = tf.image.resize(reduced, target.shape[:2], "bicubic")
        return tf.clip_by_value(restored, 0.0, 1.0), None  # bicubic overshoots at edges

    return draw
