"""ViT-S/16 (Dosovitskiy et al. 2021; the small width of Touvron et al. 2021), timm's."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from tfrecon.backbones.attention import Attention
from tfrecon.backbones.base import Backbone, Preprocessing, Tap
from tfrecon.backbones.sources import timm

IMAGE_SIZE, PATCH, WIDTH, DEPTH, HEADS = 224, 16, 384, 12, 6
GRID = IMAGE_SIZE // PATCH


@keras.saving.register_keras_serializable("tfrecon")
class ClassToken(keras.layers.Layer):
    """Puts a trained token before those of the patches: (B,N,C) to (B,1+N,C)."""

    def build(self, shape: Any) -> None:
        """Creates the token."""
        self.cls_token = self.add_weight(name="cls_token", shape=(1, 1, shape[-1]))

    def call(self, tokens: Any) -> Any:
        """The class token is the first."""
        first = ops.broadcast_to(self.cls_token, (ops.shape(tokens)[0], 1, tokens.shape[-1]))
        return ops.concatenate([first, tokens], 1)


@keras.saving.register_keras_serializable("tfrecon")
class PositionEmbedding(keras.layers.Layer):
    """Adds a trained vector for each place: (B,N,C) to (B,N,C)."""

    def build(self, shape: Any) -> None:
        """Creates the vectors."""
        self.pos_embed = self.add_weight(name="pos_embed", shape=(1, *shape[1:]))

    def call(self, tokens: Any) -> Any:
        """The sum."""
        return tokens + self.pos_embed


def vit_s16_graph(x: Any) -> dict[str, Any]:
    """Taps ``block1`` … ``block12``: the patches' tokens on their 14×14 grid."""
    x = layers.Conv2D(WIDTH, PATCH, PATCH, name="patch_embed.proj")(x)
    x = layers.Reshape((GRID * GRID, WIDTH))(x)
    x = PositionEmbedding(name="pos_embed")(ClassToken(name="cls_token")(x))
    taps: dict[str, Any] = {}
    for number in range(DEPTH):
        x = _block(x, f"blocks.{number}")
        patches = layers.Cropping1D((1, 0))(x)  # without the class token
        taps[f"block{number + 1}"] = layers.Reshape((GRID, GRID, WIDTH))(patches)
    return taps


def _block(x: Any, name: str) -> Any:
    """Attention, then a perceptron of four times the width, each on a normalised copy."""
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}.norm1")(x)
    packed: Any = layers.Dense(3 * WIDTH, name=f"{name}.attn.qkv")(y)
    y = Attention(HEADS, name=f"{name}.attn")(packed[..., :WIDTH], packed[..., WIDTH:])
    x = layers.Add()([x, layers.Dense(WIDTH, name=f"{name}.attn.proj")(y)])
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}.norm2")(x)
    y = layers.Dense(4 * WIDTH, "gelu", name=f"{name}.mlp.fc1")(y)  # the exact GELU
    return layers.Add()([x, layers.Dense(WIDTH, name=f"{name}.mlp.fc2")(y)])


VITS = {
    "vit_s16": Backbone(
        "ViT-S/16 at 224 pixels (timm); patch tokens as a 14×14 grid, without the class token",
        {f"block{number}": Tap(WIDTH, PATCH) for number in range(1, DEPTH + 1)},
        vit_s16_graph,
        {
            "timm": timm(
                "vit_small_patch16_224.augreg_in21k_ft_in1k",
                Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            )
        },
        fixed_size=IMAGE_SIZE,
    ),
}
