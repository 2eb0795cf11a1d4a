"""Restores photos by the REST API of TensorFlow Serving, in a second; needs Python alone.

python -m tfrecon.export checkpoints/NAME --serving
tensorflow_model_server --rest_api_port=8501 --model_name=NAME --model_base_path=$PWD/served/NAME
python tf_serving.py http://localhost:8501/v1/models/NAME photo.jpg restored.png [mask.png]
"""

from __future__ import annotations

import base64
import json
import sys
import urllib.request
from pathlib import Path


def main(model: str, photo: str, output: str, mask: str | None = None) -> None:
    """Restores the file `photo`, JPEG or PNG of any size, and writes it to `output` as PNG."""
    inputs = {"image_bytes": [encoded(photo)]}  # several photos, and their masks, go in one request
    if mask is not None:
        inputs["mask_bytes"] = [encoded(mask)]
    request = urllib.request.Request(f"{model}:predict", json.dumps({"inputs": inputs}).encode())
    with urllib.request.urlopen(request) as answer:
        restored = json.load(answer)["outputs"]  # of a single output, without its name
    Path(output).write_bytes(base64.b64decode(restored[0]["b64"]))
    print(f"{photo} restored to {output}")


def encoded(path: str) -> dict[str, str]:
    """A file as JSON has it."""
    return {"b64": base64.b64encode(Path(path).read_bytes()).decode()}


if __name__ == "__main__":
    main(*sys.argv[1:])
