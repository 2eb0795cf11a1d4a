"""Keras layers and functions on images that several networks, losses or methods share.

A layer without `get_config` is saved by Keras's own, which keeps the arguments of the constructor.
"""
