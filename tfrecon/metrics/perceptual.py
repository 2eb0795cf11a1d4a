"""LPIPS, the learned perceptual distance of Zhang et al. 2018, version 0.1.

The one implementation that the loss and the metric share. It is not in `METRICS`, which need no
weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import tensorflow as tf

from tfrecon.backbones import BACKBONES, check_image_size, feature_taps
from tfrecon.base.errors import UserError, unknown
from tfrecon.base.system import float32_policy
from tfrecon.base.weights import WeightFile, find, local, read
from tfrecon.metrics.logged import METRICS
from tfrecon.metrics.pixel_errors import checked

Net = Literal["alex", "vgg", "squeeze"]

_HEADS = (
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1"
)


@dataclass(frozen=True)
class _Trunk:
    """A backbone, the taps whose distances are summed, and the files of its complete weights."""

    backbone: str
    taps: tuple[str, ...]
    files: tuple[str, ...]
    heads_sha256: str


_TRUNKS: dict[str, _Trunk] = {
    "alex": _Trunk(
        "alexnet",
        ("conv1", "conv2", "conv3", "conv4", "conv5"),
        ("alexnet_features.npz", "alexnet-owt-7be5be79.pth"),
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    ),
    "vgg": _Trunk(
        "vgg16",
        ("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3"),
        ("vgg16-397923af.pth",),
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    ),
    "squeeze": _Trunk(
        "squeezenet1_1",
        ("stem", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9"),
        ("squeezenet1_1_features.npz", "squeezenet1_1-b8a52dc0.pth"),
        "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
    ),
}

NETS = tuple(_TRUNKS)
"""The networks that LPIPS is defined on."""


def available(net: Net) -> bool:
    """Whether the weights of `net` are on this machine, so that it needs no download."""
    trunk = _trunk(net)
    heads = any(local(file.name) for file in head_files(net))
    return heads and any(local(name) for name in trunk.files)


@functools.cache
def lpips_network(net: Net) -> LpipsNetwork:
    """The network of that name, built once in a process and then shared.

    Call it outside graphs and replicas. Raises UserError for an unknown name and where a weight
    file is neither on this machine nor to be had.
    """
    return LpipsNetwork(net)


class LpipsNetwork:
    """Frozen trunk and linear heads, as constants: nothing here is a variable of another model.

    All is computed in float32, under any precision policy.
    """

    def __init__(self, net: Net) -> None:
        trunk = _trunk(net)
        self._backbone, self._taps = trunk.backbone, trunk.taps
        self._heads = [tf.constant(head) for head in _heads(net)]
        with float32_policy():
            self._model = feature_taps(trunk.backbone, trunk.taps, weights="torchvision")
        for number, (head, tap) in enumerate(zip(self._heads, self._model.outputs, strict=True)):
            if head.shape != tap.shape[-1:]:
                raise UserError(
                    f"LPIPS head 'lin{number}' of net {net!r} must be {tuple(tap.shape[-1:])} and "
                    f"is {tuple(head.shape)}; give the heads of that net"
                )
        self._constants = [tf.constant(variable.numpy()) for variable in self._model.variables]

    def distance_maps(self, y_true: Any, y_pred: Any) -> list[Any]:
        """Where the images differ: one map (B,h,w) for each tap; their means sum to the distance.

        y_true, y_pred: (B,H,W,3) in [0,1]. Raises UserError for images too small for the trunk.
        """
        truth, prediction = self._features(y_true), self._features(y_pred)
        return [
            tf.einsum("bhwc,c->bhw", tf.math.squared_difference(_unit(f), _unit(g)), head)
            for f, g, head in zip(truth, prediction, self._heads, strict=True)
        ]

    def distance(self, y_true: Any, y_pred: Any, masks: Any = None) -> Any:
        """LPIPS (eq. 1) of each image pair, (B,), over masks (B,H,W,1) unless None; 0 for equal
        images. Otherwise as the maps."""
        maps = self.distance_maps(y_true, y_pred)
        return tf.add_n([_mean(distances, masks) for distances in maps])

    def _features(self, images: Any) -> list[Any]:
        images = tf.cast(images, tf.float32)
        if images.shape.rank != 4 or images.shape[-1] != 3:
            raise UserError(f"LPIPS needs RGB images (B,H,W,3), not {images.shape}")
        height, width = images.shape[1:3]
        if height is not None and width is not None:
            check_image_size(self._backbone, self._taps, (height, width))
        # The authors scale [-1,1] by mean (-.030,-.088,-.188) and deviation (.458,.448,.450): on
        # [0,1] these are the mean and deviation that the trunks' own preprocessing takes.
        answer = self._model.stateless_call([], self._constants, images, training=False)
        return answer[0]


def lpips_metric(net: Net = "alex") -> Callable[..., Any]:
    """The function ``lpips(y_true, y_pred, masks=None) -> (B,)`` (Zhang et al. 2018, version 0.1).

    `available` tells whether this needs a download. Raises UserError for an unknown net and where
    its weights are not found.
    """
    network = lpips_network(net)

    def lpips(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
        """y_true, y_pred: (B,H,W,3) in [0,1]; 0 means equal.

        With masks (B,H,W,1) each layer's map is averaged with the share of hole in each cell of its
        grid as the weight, though what surrounds a hole reaches its cells; NaN without a hole.
        Raises ValueError for values outside [0,1] and for images too small.
        """
        y_true, y_pred, masks = checked(y_true, y_pred, masks)
        check_range(y_true, "the truth")
        check_range(y_pred, "the prediction")
        return network.distance(y_true, y_pred, masks)

    return lpips


def metrics_at_hand(size: int) -> dict[str, Callable[..., Any]]:
    """`METRICS`, and ``lpips_alex`` where it needs no download and images of `size` pixels do."""
    trunk = _TRUNKS["alex"]
    smallest = max(BACKBONES[trunk.backbone].taps[tap].smallest for tap in trunk.taps)
    if not available("alex") or size < smallest:
        return dict(METRICS)
    return {**METRICS, "lpips_alex": lpips_metric("alex")}


def check_range(images: Any, what: str) -> None:
    """Raises UserError for values outside [0,1]. Inside a graph they cannot be known."""
    images = tf.convert_to_tensor(images)
    if not hasattr(images, "numpy"):
        return
    low, high = (float(f(tf.cast(images, tf.float32))) for f in (tf.reduce_min, tf.reduce_max))
    if not (low >= -1e-5 and high <= 1 + 1e-5):  # so that NaN is outside, too
        raise UserError(
            f"{what} of LPIPS must lie in [0,1], not between {low:g} and {high:g}; "
            "scale or clip the images"
        )


def _mean(distances: Any, masks: Any) -> Any:
    """Mean of (B,h,w), weighted by masks (B,H,W,1) at its size, NaN where they are 0; (B,)."""
    if masks is None:
        return tf.reduce_mean(distances, axis=(1, 2))
    weights = tf.image.resize(masks, tf.shape(distances)[1:3], method="area")[..., 0]
    total = tf.reduce_sum(weights, axis=(1, 2))
    inside = tf.reduce_sum(distances * weights, axis=(1, 2))
    return tf.where(total > 0, inside / tf.where(total > 0, total, 1.0), float("nan"))


def _unit(features: Any) -> Any:
    """Features divided by their norm over channels; the gradient is finite where all are 0."""
    squares = tf.reduce_sum(tf.square(features), axis=-1, keepdims=True)
    norms = tf.where(squares > 0, tf.sqrt(tf.where(squares > 0, squares, 1.0)), 0.0)
    return features / (norms + 1e-10)


def _trunk(net: str) -> _Trunk:
    if net not in _TRUNKS:
        raise unknown("LPIPS net", net, _TRUNKS)
    return _TRUNKS[net]


def head_files(net: str) -> list[WeightFile]:
    """The pack of arrays ``lin0`` …, and the authors' file of convolutions 1×1."""
    published = WeightFile(f"lpips_{net}.pth", f"{_HEADS}/{net}.pth", _TRUNKS[net].heads_sha256)
    return [WeightFile(f"lpips_linear_{net}.npz"), published]


def _heads(net: str) -> list[Any]:
    """One weight a channel for each tap."""
    path = find(head_files(net))
    arrays = read(path)
    suffix = "" if path.suffix == ".npz" else ".model.1.weight"
    names = [f"lin{number}{suffix}" for number in range(len(_TRUNKS[net].taps))]
    if absent := [name for name in names if name not in arrays]:
        raise UserError(
            f"weight file {str(path)!r} holds no array {absent[0]!r}; give the LPIPS heads of "
            f"net {net!r}"
        )
    return [arrays[name].reshape(-1) for name in names]
