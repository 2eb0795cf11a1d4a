"""Keras callbacks: checkpoints that resume exactly, EMA, logs and pictures."""
