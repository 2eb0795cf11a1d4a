"""Restores a photo by the REST API of TensorFlow Serving, in a second; needs NumPy and Pillow.

python -m tfrecon.export checkpoints/NAME --out served/NAME/1
tensorflow_model_server --rest_api_port=8501 --model_name=NAME --model_base_path=$PWD/served/NAME
python tf_serving.py http://localhost:8501/v1/models/NAME photo.png restored.png [mask.png]
"""

from __future__ import annotations

import json
import sys
import urllib.request

import numpy as np
from PIL import Image


def main(model: str, photo: str, output: str, mask: str | None = None) -> None:
    """Restores the file `photo`, of any size, and writes it to `output`."""
    inputs = {"image": np.asarray(Image.open(photo).convert("RGB"))[None]}
    if mask is not None:
        inputs["mask"] = np.asarray(Image.open(mask).convert("L"))[None, :, :, None]
    asked = {
        "signature_name": "serve",
        "inputs": {name: pixels.tolist() for name, pixels in inputs.items()},
    }
    request = urllib.request.Request(f"{model}:predict", json.dumps(asked).encode())
    with urllib.request.urlopen(request) as answer:
        restored = json.load(answer)["outputs"]  # of a single output, without its name
    Image.fromarray(np.array(restored, np.uint8)[0]).save(output)
    print(f"{photo} restored to {output}")


if __name__ == "__main__":
    main(*sys.argv[1:])
