"""Losses: one value an image, shape (B,); Keras reduces."""

from tfrecon.losses.image_loss import LOSSES, ImageLoss, mixture

__all__ = ["LOSSES", "ImageLoss", "mixture"]
