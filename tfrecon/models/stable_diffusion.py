"""Local weights of Stable Diffusion 1.x, as diffusers saves them, for the networks of that name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tfrecon.backbones.backbone import assign, torch_names
from tfrecon.base import weights
from tfrecon.base.errors import UserError
from tfrecon.layers.attention import Attention
from tfrecon.layers.film import TimeEmbedding
from tfrecon.layers.ranges import from_signed, to_signed
from tfrecon.networks.denoiser import denoiser_inputs

FILE = "diffusion_pytorch_model.safetensors"
OLD_NAMES = {
    ".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0.",
}  # fmt: skip
"""What the attention of the autoencoder was called when version 1.5 was saved."""


def load_denoiser(denoiser: keras.Model, folder: str) -> None:
    """Puts ``unet/`` of a folder into a `sd1_denoiser`.

    The widened part of the first convolution starts at zero, so that the condition changes nothing
    at first. Raises UserError for a folder without the file and for arrays of another shape.
    """
    arrays = dict(_arrays(folder, "unet"))
    first = arrays.get("conv_in.weight")
    wide = tuple(denoiser.get_layer("conv_in").kernel.shape)[2]
    if first is not None and first.ndim == 4 and first.shape[1] == LATENT_CHANNELS:
        more = np.zeros((first.shape[0], wide - LATENT_CHANNELS, *first.shape[2:]), first.dtype)
        arrays["conv_in.weight"] = np.concatenate([first, more], axis=1)
    for name, variable in torch_names(denoiser).items():
        if name.startswith("vector_proj."):
            arrays[name] = np.zeros(tuple(variable.shape)[::-1], np.float32)
    assign(denoiser, arrays, f"model.sd1_weights, {folder}/unet,")


def load_autoencoder(encoder: keras.Model, decoder: keras.Model, folder: str) -> None:
    """Puts ``vae/`` of a folder into both halves. Raises UserError as `load_denoiser` does."""
    arrays: dict[str, Any] = {}
    for name, array in _arrays(folder, "vae").items():
        for old, new in OLD_NAMES.items():
            name = name.replace(old, new)
        arrays[name] = array
    for network in (encoder, decoder):
        assign(network, arrays, f"model.sd1_weights, {folder}/vae,")


def _arrays(folder: str, part: str) -> Mapping[str, Any]:
    path = Path(folder) / part / FILE
    if not path.is_file():
        raise UserError(
            f"model.sd1_weights = {folder!r} has no {part}/{FILE}; give the folder of Stable "
            "Diffusion 1.x as diffusers saves it, or leave the option out for random weights"
        )
    return weights.read(path)


LATENT_CHANNELS = 4
LATENT_SCALE = 0.18215
"""What the published diffusion multiplies the latents by."""
WORDS = 77
"""Of a text of Stable Diffusion."""
REDUCTION = 8
"""Pixels a side for one position of the latent."""
UNET_MULTIPLE = 8
"""Positions a side that the UNet halves away."""


def unet(
    *, inputs: Sequence[Any], condition: Any = None, vector: Any = None,
    channels: int = LATENT_CHANNELS, widths: Sequence[int] = (320, 640, 1280, 1280),
    blocks: int = 2, heads: int = 8, groups: int = 32,
) -> Any:  # fmt: skip
    """The noise (B,h,w,channels) that [noisy (B,h,w,C), t (B,) in [0,1], text (B,N,768)] hold.

    Inputs are Keras tensors; h and w multiples of `UNET_MULTIPLE`. Of 859.5 million parameters.
    `condition` (B,h,w,K) is concatenated to the noisy latent, which widens the first convolution as
    in the published inpainting model; `vector` (B,G) is added to the time, projected from zero.
    """
    noisy, t, text = inputs
    time = TimeEmbedding(widths[0], cosines_first=True, name="time_proj")(t)
    time = layers.Dense(4 * widths[0], "silu", name="time_embedding.linear_1")(time)
    time = layers.Dense(4 * widths[0], name="time_embedding.linear_2")(time)
    if vector is not None:
        dense = layers.Dense(4 * widths[0], kernel_initializer="zeros", name="vector_proj")
        time = layers.Add(name="vector_add")([time, dense(vector)])
    time = layers.Activation("silu", name="time_act")(time)
    x = noisy if condition is None else layers.Concatenate(name="pair")([noisy, condition])
    x = _convolution(x, widths[0], "conv_in")
    skips = [x]
    last = len(widths) - 1
    for stage, width in enumerate(widths):
        name = f"down_blocks.{stage}"
        for block in range(blocks):
            x = _resnet(x, width, f"{name}.resnets.{block}", groups, time=time)
            if stage < last:
                x = _transformer(x, text, f"{name}.attentions.{block}", heads, groups)
            skips.append(x)
        if stage < last:
            x = layers.ZeroPadding2D(1, name=f"{name}.pad")(x)
            x = layers.Conv2D(width, 3, 2, name=f"{name}.downsamplers.0.conv")(x)
            skips.append(x)
    x = _resnet(x, widths[-1], "mid_block.resnets.0", groups, time=time)
    x = _transformer(x, text, "mid_block.attentions.0", heads, groups)
    x = _resnet(x, widths[-1], "mid_block.resnets.1", groups, time=time)
    for stage, width in enumerate(reversed(widths)):
        name = f"up_blocks.{stage}"
        for block in range(blocks + 1):
            x = layers.Concatenate(name=f"{name}.{block}.skip")([x, skips.pop()])
            x = _resnet(x, width, f"{name}.resnets.{block}", groups, time=time)
            if stage:
                x = _transformer(x, text, f"{name}.attentions.{block}", heads, groups)
        if stage < last:
            x = layers.UpSampling2D(2, name=f"{name}.up")(x)
            x = _convolution(x, width, f"{name}.upsamplers.0.conv")
    x = _activated(x, "conv_norm_out", "conv_act", groups, 1e-5)
    return _convolution(x, channels, "conv_out", dtype="float32")


def encoder(
    *, widths: Sequence[int] = (128, 256, 512, 512), blocks: int = 2, groups: int = 32
) -> keras.Model:
    """Images (B,H,W,3) in [0,1] to mean and log-variance of the latent, (B,H/8,W/8,8) packed."""
    images = keras.Input((None, None, 3), name="images", dtype="float32")
    x = _convolution(to_signed("signed")(images), widths[0], "encoder.conv_in")
    for stage, width in enumerate(widths):
        name = f"encoder.down_blocks.{stage}"
        for block in range(blocks):
            x = _resnet(x, width, f"{name}.resnets.{block}", groups, 1e-6)
        if stage < len(widths) - 1:
            x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}.pad")(x)
            x = layers.Conv2D(width, 3, 2, name=f"{name}.downsamplers.0.conv")(x)
    x = _middle(x, "encoder.mid_block", groups)
    x = _activated(x, "encoder.conv_norm_out", "encoder.act", groups, 1e-6)
    x = _convolution(x, 2 * LATENT_CHANNELS, "encoder.conv_out")
    x = layers.Conv2D(2 * LATENT_CHANNELS, 1, name="quant_conv", dtype="float32")(x)
    return keras.Model(images, x, name="sd1_encoder")


def decoder(
    *, widths: Sequence[int] = (128, 256, 512, 512), blocks: int = 2, groups: int = 32
) -> keras.Model:
    """Latents (B,h,w,4), not scaled, to images (B,8h,8w,3) around [0,1], float32."""
    latent = keras.Input((None, None, LATENT_CHANNELS), name="latent", dtype="float32")
    x = layers.Conv2D(LATENT_CHANNELS, 1, name="post_quant_conv")(latent)
    x = _convolution(x, widths[-1], "decoder.conv_in")
    x = _middle(x, "decoder.mid_block", groups)
    for stage, width in enumerate(reversed(widths)):
        name = f"decoder.up_blocks.{stage}"
        for block in range(blocks + 1):
            x = _resnet(x, width, f"{name}.resnets.{block}", groups, 1e-6)
        if stage < len(widths) - 1:
            x = layers.UpSampling2D(2, name=f"{name}.up")(x)
            x = _convolution(x, width, f"{name}.upsamplers.0.conv")
    x = _activated(x, "decoder.conv_norm_out", "decoder.act", groups, 1e-6)
    x = _convolution(x, 3, "decoder.conv_out", dtype="float32")
    return keras.Model(latent, from_signed("image")(x), name="sd1_decoder")


def _middle(x: Any, name: str, groups: int) -> Any:
    width = x.shape[-1]
    x = _resnet(x, width, f"{name}.resnets.0", groups, 1e-6)
    attention = f"{name}.attentions.0"
    y = _norm(x, f"{attention}.group_norm", groups, 1e-6)
    x = layers.Add(name=f"{attention}.add")([x, _attend(y, y, attention, 1, bias=True)])
    return _resnet(x, width, f"{name}.resnets.1", groups, 1e-6)


def _resnet(
    x: Any, width: int, name: str, groups: int, epsilon: float = 1e-5, time: Any = None
) -> Any:
    y = _activated(x, f"{name}.norm1", f"{name}.act1", groups, epsilon)
    y = _convolution(y, width, f"{name}.conv1")
    if time is not None:
        moved = layers.Dense(width, name=f"{name}.time_emb_proj")(time)
        moved = layers.Reshape((1, 1, width), name=f"{name}.time")(moved)
        y = layers.Add(name=f"{name}.time_add")([y, moved])
    y = _activated(y, f"{name}.norm2", f"{name}.act2", groups, epsilon)
    y = _convolution(y, width, f"{name}.conv2")
    if x.shape[-1] != width:
        x = layers.Conv2D(width, 1, name=f"{name}.conv_shortcut")(x)
    return layers.Add(name=f"{name}.add")([x, y])


def _transformer(x: Any, text: Any, name: str, heads: int, groups: int) -> Any:
    width = x.shape[-1]
    y = _norm(x, f"{name}.norm", groups, 1e-6)
    y = layers.Conv2D(width, 1, name=f"{name}.proj_in")(y)
    block = f"{name}.transformer_blocks.0"
    for number, other in (("1", None), ("2", text)):
        normed = layers.LayerNormalization(epsilon=1e-5, name=f"{block}.norm{number}")(y)
        mixed = _attend(normed, normed if other is None else other, f"{block}.attn{number}", heads)
        y = layers.Add(name=f"{block}.add{number}")([y, mixed])
    normed = layers.LayerNormalization(epsilon=1e-5, name=f"{block}.norm3")(y)
    value = layers.Dense(8 * width, name=f"{block}.ff.net.0.proj")(normed)
    # GEGLU (Shazeer 2020): the first half times GELU of the second.
    gated = value[..., : 4 * width] * ops.gelu(value[..., 4 * width :], approximate=False)
    y = layers.Add(name=f"{block}.add3")([y, layers.Dense(width, name=f"{block}.ff.net.2")(gated)])
    y = layers.Conv2D(width, 1, name=f"{name}.proj_out")(y)
    return layers.Add(name=f"{name}.add")([x, y])


def _attend(x: Any, other: Any, name: str, heads: int, bias: bool = False) -> Any:
    width = x.shape[-1]
    q, k, v = (
        layers.Dense(width, use_bias=bias, name=f"{name}.{part}")(seen)
        for part, seen in (("to_q", x), ("to_k", other), ("to_v", other))
    )
    packed = layers.Concatenate(name=f"{name}.packed")([k, v])
    mixed = Attention(heads, name=f"{name}.attention")(q, packed)
    return layers.Dense(width, name=f"{name}.to_out.0")(mixed)


def _convolution(x: Any, filters: int, name: str, **options: Any) -> Any:
    return layers.Conv2D(filters, 3, padding="same", name=name, **options)(x)


def _norm(x: Any, name: str, groups: int, epsilon: float) -> Any:
    return layers.GroupNormalization(groups, epsilon=epsilon, name=name)(x)


def _activated(x: Any, norm: str, activation: str, groups: int, epsilon: float) -> Any:
    return layers.Activation("silu", name=activation)(_norm(x, norm, groups, epsilon))


@keras.saving.register_keras_serializable("tfrecon")
class NoText(layers.Layer):
    """(B,h,w,C) to a text of zeros for each photo, (B,WORDS,width): nothing is said about it."""

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width

    def call(self, x: Any) -> Any:
        """See above."""
        return keras.ops.zeros((keras.ops.shape(x)[0], WORDS, self.width), x.dtype)


def sd1_denoiser(
    *, condition_channels: int, global_channels: int = 0, text_width: int = 768, **sizes: Any
) -> keras.Model:
    """`unet` with the inputs of `tfrecon.networks.denoiser.denoiser`, without a text; the condition
    lies on the grid of the latent. `sizes` are the options of `unet`."""
    inputs = denoiser_inputs(LATENT_CHANNELS, condition_channels, global_channels)
    noisy, condition, t, *more = inputs
    text, vector = NoText(text_width, name="text")(noisy), more[0] if more else None
    noise = unet(inputs=[noisy, t, text], condition=condition, vector=vector, **sizes)
    return keras.Model(inputs, noise, name="sd1_denoiser")
