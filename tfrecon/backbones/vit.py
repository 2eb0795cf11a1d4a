"""ViT-S/16 (Dosovitskiy et al. 2021; the small width of Touvron et al. 2021), timm's."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

from tfrecon.backbones.backbone import Backbone, Preprocessing, Tap
from tfrecon.backbones.weight_sets import timm
from tfrecon.layers.attention import Attention

PATCH, WIDTH, DEPTH, HEADS = 16, 384, 12, 6
GRID = 14
"""Patches along a side of the 224-pixel images that the weights were trained on."""
HALVES = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@keras.saving.register_keras_serializable("tfrecon")
class ClassToken(keras.layers.Layer):
    """Puts a trained token before the patches' tokens: (B,N,C) to (B,1+N,C)."""

    def build(self, shape: Any) -> None:
        """Creates the token."""
        self.cls_token = self.add_weight(name="cls_token", shape=(1, 1, shape[-1]))

    def call(self, tokens: Any) -> Any:
        """The class token, then `tokens`."""
        first = ops.broadcast_to(self.cls_token, (ops.shape(tokens)[0], 1, tokens.shape[-1]))
        return ops.concatenate([first, tokens], 1)


@keras.saving.register_keras_serializable("tfrecon")
class PositionEmbedding(keras.layers.Layer):
    """Adds a trained vector for each place to the tokens (B,1+h·w,C) of patches (B,h,w,C).

    The vectors are those of a 14×14 grid. For another grid all but the class token's are resampled,
    as timm's `resample_abs_pos_embed` does.
    """

    def build(self, tokens_shape: Any, patches_shape: Any) -> None:
        """Creates the vectors."""
        shape = (1, 1 + GRID * GRID, tokens_shape[-1])
        # Not cast yet: they are resampled before they are rounded to the tokens' precision.
        self.pos_embed = self.add_weight(name="pos_embed", shape=shape, autocast=False)

    def call(self, tokens: Any, patches: Any) -> Any:
        """The tokens with their vectors added."""
        vectors: Any = self.pos_embed
        if tuple(patches.shape[1:3]) != (GRID, GRID):
            vectors = self._resampled(ops.shape(patches)[1:3])
        return tokens + ops.cast(vectors, tokens.dtype)

    def _resampled(self, size: Any) -> Any:
        """The vectors (1,1+h·w,C) for a grid of `size` (h,w), numbers or scalar tensors."""
        first, others = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        channels = others.shape[-1]
        grid = ops.reshape(others, (1, GRID, GRID, channels))
        grid = tf.image.resize(grid, tf.stack(size), "bicubic", antialias=True)
        return ops.concatenate([first, ops.reshape(grid, (1, -1, channels))], 1)


@keras.saving.register_keras_serializable("tfrecon")
class PatchGrid(keras.layers.Layer):
    """Tokens (B,1+h·w,C) to the patches' grid (B,h,w,C), without the class token."""

    def call(self, tokens: Any, patches: Any) -> Any:
        """(B,h,w,C), the shape of `patches`."""
        return ops.reshape(tokens[:, 1:], ops.shape(patches))

    def compute_output_shape(self, tokens_shape: Any, patches_shape: Any) -> Any:
        """That of the patches."""
        return patches_shape


def vit_s16_graph(x: Any) -> dict[str, Any]:
    """Taps ``block1`` … ``block12``: the patches' tokens as a grid, 14×14 at 224 pixels."""
    patches = layers.Conv2D(WIDTH, PATCH, PATCH, name="patch_embed.proj")(x)
    x = ClassToken(name="cls_token")(layers.Reshape((-1, WIDTH))(patches))
    x = PositionEmbedding(name="pos_embed")(x, patches)
    taps: dict[str, Any] = {}
    for number in range(DEPTH):
        x = _block(x, f"blocks.{number}")
        taps[f"block{number + 1}"] = PatchGrid()(x, patches)
    return taps


def _block(x: Any, name: str) -> Any:
    """Attention, then a perceptron of four times the width; each reads a normalised copy."""
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}.norm1")(x)
    packed: Any = layers.Dense(3 * WIDTH, name=f"{name}.attn.qkv")(y)
    y = Attention(HEADS, name=f"{name}.attn")(packed[..., :WIDTH], packed[..., WIDTH:])
    x = layers.Add()([x, layers.Dense(WIDTH, name=f"{name}.attn.proj")(y)])
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}.norm2")(x)
    y = layers.Dense(4 * WIDTH, "gelu", name=f"{name}.mlp.fc1")(y)  # the exact GELU
    return layers.Add()([x, layers.Dense(WIDTH, name=f"{name}.mlp.fc2")(y)])


VITS = {
    "vit_s16": Backbone(
        "ViT-S/16 (timm); patch tokens as a grid, without the class token; positions resampled",
        {f"block{number}": Tap(WIDTH, PATCH) for number in range(1, DEPTH + 1)},
        vit_s16_graph,
        {"timm": timm("vit_small_patch16_224.augreg_in21k_ft_in1k", HALVES)},
        size_multiple=PATCH,
    ),
}
