"""LPIPS as a metric. It is not in `METRICS`, which need no weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrecon.metrics.logged import METRICS
from tfrecon.metrics.perceptual import Net, available, check_range, fits, lpips_network
from tfrecon.metrics.pixel_errors import checked, mean_over

__all__ = ["available", "lpips_metric", "metrics_at_hand"]


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
        maps = network.distance_maps(y_true, y_pred)
        return tf.add_n([_mean(distances, masks) for distances in maps])

    return lpips


def metrics_at_hand(size: int) -> dict[str, Callable[..., Any]]:
    """`METRICS`, and ``lpips_alex`` where it needs no download and images of `size` pixels do."""
    if not available("alex") or not fits("alex", size):
        return dict(METRICS)
    return {**METRICS, "lpips_alex": lpips_metric("alex")}


def _mean(distances: Any, masks: Any) -> Any:
    """Mean of (B,h,w) over the image, or weighted by the masks (B,H,W,1) at its size; (B,)."""
    if masks is None:
        return mean_over(distances[..., None], None)
    weights = tf.image.resize(masks, tf.shape(distances)[1:3], method="area")[..., 0]
    total = tf.reduce_sum(weights, axis=(1, 2))
    inside = tf.reduce_sum(distances * weights, axis=(1, 2))
    return tf.where(total > 0, inside / tf.where(total > 0, total, 1.0), float("nan"))
