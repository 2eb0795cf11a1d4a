"""Losses: one value an image, shape (B,); Keras reduces."""
