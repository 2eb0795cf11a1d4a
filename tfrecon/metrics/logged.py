"""Metrics by name: those that each epoch logs as their mean over the validation images, and those
of a user's own, by dotted path.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from tfrecon.base.errors import unknown
from tfrecon.base.registry import entry
from tfrecon.metrics.measures import HOLE, MEASURES, Measure
from tfrecon.metrics.pixel_errors import mae, mse, nrmse, psnr
from tfrecon.metrics.structural import ssim, ssim_uniform7

METRICS = {
    "mse": mse,
    "nrmse": nrmse,
    "mae": mae,
    "psnr": psnr,
    "ssim": ssim,
    "ssim_uniform7": ssim_uniform7,
}
"""``metric(y_true, y_pred, masks=None) -> (B,)`` by name, in the order that tables show them."""


def users_metrics(names: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """Metrics of a user's own by dotted path (``evaluate --metric my_metrics.sharpness``), entered
    into `MEASURES` for the whole image and for holes.

    Such a metric is a function like those of `METRICS`. How reports show it may be said by an
    attribute of the function, ``sharpness.measure = Measure("sharpness", "Sharpness", "less",
    ".3f")``; unless it is, its label is its name, and more is better. Raises UserError for a path
    that leads to nothing that can be called.
    """
    metrics = {name: entry(name, METRICS, "metric") for name in names}
    for name in [name for name in metrics if name not in METRICS]:
        default = Measure(name, name.rpartition(".")[2], "more", "#.4g")
        shown = getattr(metrics[name], "measure", default)
        MEASURES[name] = dataclasses.replace(shown, metric=name, region="image")
        MEASURES[HOLE + name] = dataclasses.replace(shown, metric=name, region="holes")
    return metrics


def keras_metric(name: str) -> keras.metrics.Metric:
    """The mean over images of the metric called `name`, logged as `name`.

    Predictions are clipped to [0,1] first, as writing them to a file does. Right under any number
    of replicas. Raises UserError for an unknown name.
    """
    return ImageMetric(name)


def results(metrics: Iterable[keras.metrics.Metric]) -> dict[str, Any]:
    """What metrics have come to, by name; the compiled ones only once a validation built them."""
    values: dict[str, Any] = {}
    for metric in metrics:
        value = metric.result() if getattr(metric, "built", True) else {}
        values.update(value if isinstance(value, dict) else {metric.name: value})
    return values


@keras.saving.register_keras_serializable(package="tfrecon")
class ImageMetric(keras.metrics.Mean):
    """The metric of `METRICS` called `metric`, averaged over all images seen since the reset."""

    def __init__(self, metric: str, name: str | None = None, dtype: Any = None) -> None:
        if metric not in METRICS:
            raise unknown("metric", metric, METRICS)
        super().__init__(name=name or metric, dtype=dtype)
        self.metric = metric
        # Where Keras looks when a callback is left to find out which way is better.
        self._direction = "up" if MEASURES[metric].better == "more" else "down"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """y_true, y_pred: (B,H,W,C). sample_weight: (B,), how much each image counts."""
        y_pred = tf.clip_by_value(tf.cast(y_pred, tf.float32), 0.0, 1.0)
        super().update_state(METRICS[self.metric](y_true, y_pred), sample_weight)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return {**super().get_config(), "metric": self.metric}
