"""Metrics: one value an image, shape (B,); the caller reduces."""
