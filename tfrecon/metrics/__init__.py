"""Metrics: one value an image, shape (B,); the caller reduces."""

from tfrecon.metrics.logged import METRICS, ImageMetric, keras_metric, results

__all__ = ["METRICS", "ImageMetric", "keras_metric", "results"]
