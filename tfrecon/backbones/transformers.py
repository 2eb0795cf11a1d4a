"""ViT-S/16 (Dosovitskiy et al. 2021; the small width of Touvron et al. 2021), timm's, and PVT-v2-B2
(Wang et al. 2022, "PVT v2: Improved baselines with pyramid vision transformer")."""

from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

from tfrecon.backbones.backbone import Backbone, Tap
from tfrecon.backbones.weight_sets import HALVES, timm
from tfrecon.layers.attention import Attention

# --- ViT-S/16

PATCH, VIT_WIDTH, VIT_DEPTH, VIT_HEADS = 16, 384, 12, 6
GRID = 14
"""Patches along a side of the 224-pixel images that the weights were trained on."""


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


def vit_s16_graph(x: Any) -> dict[str, Any]:
    """Taps ``block1`` … ``block12``: the patches' tokens as a grid, 14×14 at 224 pixels."""
    patches = layers.Conv2D(VIT_WIDTH, PATCH, PATCH, name="patch_embed.proj")(x)
    x = ClassToken(name="cls_token")(layers.Reshape((-1, VIT_WIDTH))(patches))
    x = PositionEmbedding(name="pos_embed")(x, patches)
    taps: dict[str, Any] = {}
    for number in range(VIT_DEPTH):
        x = _vit_block(x, f"blocks.{number}")
        taps[f"block{number + 1}"] = PatchGrid()(x, patches)
    return taps


def _vit_block(x: Any, name: str) -> Any:
    """Attention, then a perceptron of four times the width; each reads a normalised copy."""
    y = _norm(x, f"{name}.norm1", 1e-6)
    packed: Any = layers.Dense(3 * VIT_WIDTH, name=f"{name}.attn.qkv")(y)
    y = Attention(VIT_HEADS, name=f"{name}.attn")(packed[..., :VIT_WIDTH], packed[..., VIT_WIDTH:])
    x = layers.Add()([x, layers.Dense(VIT_WIDTH, name=f"{name}.attn.proj")(y)])
    y = _norm(x, f"{name}.norm2", 1e-6)
    y = layers.Dense(4 * VIT_WIDTH, "gelu", name=f"{name}.mlp.fc1")(y)  # the exact GELU
    return layers.Add()([x, layers.Dense(VIT_WIDTH, name=f"{name}.mlp.fc2")(y)])


# --- PVT-v2-B2

# One entry a stage; Table 1 of the paper.
WIDTHS, DEPTHS, HEADS = (64, 128, 320, 512), (3, 4, 6, 3), (1, 2, 5, 8)
MLP_RATIOS, REDUCTIONS = (8, 8, 4, 4), (8, 4, 2, 1)


def pvt_v2_b2_graph(x: Any) -> dict[str, Any]:
    """Taps ``stage1`` … ``stage4``, each after the norm whose output also feeds the next stage."""
    taps: dict[str, Any] = {}
    for stage, width in enumerate(WIDTHS):
        kernel, stride = (3, 2) if stage else (7, 4)
        place = f"stages.{stage}.downsample" if stage else "patch_embed"
        x = layers.ZeroPadding2D(kernel // 2)(x)
        x = layers.Conv2D(width, kernel, stride, name=f"{place}.proj")(x)
        x = _norm(x, f"{place}.norm", 1e-5)
        for number in range(DEPTHS[stage]):
            x = _pvt_block(x, stage, f"stages.{stage}.blocks.{number}")
        x = taps[f"stage{stage + 1}"] = _norm(x, f"stages.{stage}.norm", 1e-6)
    return taps


def _pvt_block(x: Any, stage: int, name: str) -> Any:
    """Attention to a coarser grid, then a perceptron with a depthwise convolution; (B,h,w,C)."""
    width, reduction = WIDTHS[stage], REDUCTIONS[stage]
    y = _norm(x, f"{name}.norm1", 1e-6)
    queries = layers.Dense(width, name=f"{name}.attn.q")(y)
    if reduction > 1:
        y = layers.Conv2D(width, reduction, reduction, name=f"{name}.attn.sr")(y)
        y = _norm(y, f"{name}.attn.norm", 1e-5)
    keys_values = layers.Dense(2 * width, name=f"{name}.attn.kv")(y)
    y = Attention(HEADS[stage], name=f"{name}.attn")(queries, keys_values)
    x = layers.Add()([x, layers.Dense(width, name=f"{name}.attn.proj")(y)])
    y = _norm(x, f"{name}.norm2", 1e-6)
    y = layers.Dense(MLP_RATIOS[stage] * width, name=f"{name}.mlp.fc1")(y)
    y = layers.DepthwiseConv2D(3, padding="same", name=f"{name}.mlp.dwconv")(y)
    y = layers.Activation("gelu")(y)  # the exact GELU
    return layers.Add()([x, layers.Dense(width, name=f"{name}.mlp.fc2")(y)])


def _norm(x: Any, name: str, epsilon: float) -> Any:
    return layers.LayerNormalization(epsilon=epsilon, name=name)(x)


TRANSFORMERS = {
    "vit_s16": Backbone(
        "ViT-S/16 (timm); patch tokens as a grid, without the class token; positions resampled",
        {f"block{number}": Tap(VIT_WIDTH, PATCH) for number in range(1, VIT_DEPTH + 1)},
        vit_s16_graph,
        {"timm": timm("vit_small_patch16_224.augreg_in21k_ft_in1k", HALVES)},
        size_multiple=PATCH,
    ),
    "pvt_v2_b2": Backbone(
        "PVT-v2-B2 (timm), with overlapping patches and spatial-reduction attention",
        {f"stage{stage + 1}": Tap(width, 4 * 2**stage) for stage, width in enumerate(WIDTHS)},
        pvt_v2_b2_graph,
        {"timm": timm("pvt_v2_b2.in1k")},
        size_multiple=32,
    ),
}
