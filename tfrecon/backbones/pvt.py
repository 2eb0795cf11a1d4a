"""PVT-v2-B2 (Wang et al. 2022, "PVT v2: Improved baselines with pyramid vision transformer")."""

from __future__ import annotations

from typing import Any

from keras import layers

from tfrecon.backbones.backbone import Backbone, Tap
from tfrecon.backbones.weight_sets import timm
from tfrecon.layers.attention import Attention

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
            x = _block(x, stage, f"stages.{stage}.blocks.{number}")
        x = taps[f"stage{stage + 1}"] = _norm(x, f"stages.{stage}.norm", 1e-6)
    return taps


def _block(x: Any, stage: int, name: str) -> Any:
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


PVTS = {
    "pvt_v2_b2": Backbone(
        "PVT-v2-B2 (timm), with overlapping patches and spatial-reduction attention",
        {f"stage{stage + 1}": Tap(width, 4 * 2**stage) for stage, width in enumerate(WIDTHS)},
        pvt_v2_b2_graph,
        {"timm": timm("pvt_v2_b2.in1k")},
        size_multiple=32,
    ),
}
