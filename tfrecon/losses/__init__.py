"""Losses: one value an image, shape (B,); Keras reduces."""

from tfrecon.losses.image_loss import ImageLoss
from tfrecon.losses.mixed import LOSSES, mixture, weighted

__all__ = ["LOSSES", "ImageLoss", "mixture", "weighted"]
