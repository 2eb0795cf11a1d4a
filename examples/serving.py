"""Serve an export with TensorFlow alone: tfrecon need not be installed where this runs.

    python -m tfrecon.export checkpoints/NAME
    python serving.py exports/NAME photo.png restored.png [mask.png]

Models with a mask need the mask image, white where the photo is damaged. Takes a few seconds.
"""

from __future__ import annotations

import sys

import tensorflow as tf


def main(export: str, photo: str, output: str, mask: str | None = None) -> None:
    """Restores the file `photo`, of any size, and writes it as PNG to `output`."""
    model = tf.saved_model.load(export)
    inputs = {"image": _read(photo, channels=3)}
    if mask is not None:
        inputs["mask"] = _read(mask, channels=1)
    restored = model.signatures["serve"](**inputs)["restored"]  # uint8 in, uint8 out
    tf.io.write_file(output, tf.io.encode_png(restored[0]))
    print(f"{photo} restored to {output}")


def _read(path: str, channels: int) -> tf.Tensor:
    """(1,H,W,channels) uint8."""
    return tf.io.decode_image(tf.io.read_file(path), channels, expand_animations=False)[None]


if __name__ == "__main__":
    main(*sys.argv[1:])
