"""The programs of examples/clients restore photos without tfrecon, as the model does."""

import base64
import http.server
import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from exported_models import tiny
from PIL import Image

from tfrecon.base import extras, images
from tfrecon.inference import saved_model
from tfrecon.inference.restorer import restorer
from tfrecon.inference.saved_model import export_model

CLIENTS = Path(__file__).parents[1] / "examples" / "clients"


@pytest.fixture(autouse=True)
def fewer(monkeypatch):
    monkeypatch.setattr(saved_model, "SIZES", ((1, 40, 40),))


@pytest.fixture
def photo(tmp_path):
    """A photo and a mask as PNG, and as PPM and PGM; what the tiny model makes of them."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (37, 51, 3), np.uint8)
    mask = (random.random((37, 51)) < 0.3).astype(np.uint8) * 255
    for array, suffix in ((pixels, "ppm"), (mask, "pgm")):
        for name in (f"photo.{suffix}", f"photo_{suffix}.png"):
            Image.fromarray(array).save(tmp_path / name)
    x = np.concatenate((images.to_float(pixels), images.to_float(mask)[..., None]), axis=-1)
    return images.to_uint8(restorer(tiny(True))(x[None])[0])


def needs(*programs):
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"no {program}")


def exported(format, tmp_path):
    if format != "savedmodel" and extras.missing(format):
        pytest.skip(extras.install(format))
    export_model(tiny(True), tmp_path / format, True, format=format)


def run(*command, cwd):
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(tmp_path, expected, name="restored.ppm"):
    restored = np.asarray(Image.open(tmp_path / name))
    assert np.abs(restored.astype(int) - expected).max() <= 1


@pytest.mark.slow
def test_cpp(tmp_path, photo):
    needs("g++")
    exported("litert", tmp_path)
    found = importlib.util.find_spec("ai_edge_litert")
    assert found and found.origin
    place = Path(found.origin).parent
    library = place / "libLiteRt.so"
    build = ["g++", "-std=c++17", "-O2", "-Wall", "-Werror", CLIENTS / "restore.cc", "-o"]
    run(*build, "restore", library, f"-Wl,-rpath,{place}", cwd=tmp_path)
    command = ["litert/model.tflite", "photo.ppm", "restored.ppm", "photo.pgm"]
    said = run(tmp_path / "restore", *command, cwd=tmp_path)
    assert "photo.ppm restored to restored.ppm, 51x37" in said
    check(tmp_path, photo)


@pytest.mark.slow
def test_javascript(tmp_path, photo):
    needs("node", "npm")
    exported("onnx", tmp_path)
    for name in ("restore.mjs", "package.json"):
        shutil.copy(CLIENTS / name, tmp_path)
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    if subprocess.run(install, cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("npm cannot install onnxruntime-web here")
    command = ["onnx/serve.onnx", "photo.ppm", "restored.ppm", "photo.pgm"]
    said = run("node", "restore.mjs", *command, cwd=tmp_path)
    assert "photo.ppm restored to restored.ppm, 51x37" in said
    check(tmp_path, photo)


class Serving(http.server.BaseHTTPRequestHandler):
    """Answers as TensorFlow Serving's REST API does to a request in columns."""

    model = None

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/models/tiny:predict"
        signature = self.model.signatures[asked.get("signature_name", "serving_default")]
        given = {
            name: tf.constant([base64.b64decode(value["b64"]) for value in values])
            for name, values in asked["inputs"].items()
        }
        answers = {
            name: [{"b64": base64.b64encode(value).decode()} for value in tensor.numpy()]
            for name, tensor in signature(**given).items()
            if name.endswith("_bytes")  # which tells the server to answer so
        }
        # A single output is given without its name.
        outputs = next(iter(answers.values())) if len(answers) == 1 else answers
        body = json.dumps({"outputs": outputs}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


@pytest.mark.slow
def test_tensorflow_serving(tmp_path, photo):
    export_model(tiny(True), tmp_path / "served" / "1", True, serving=True)
    Serving.model = tf.saved_model.load(str(tmp_path / "served" / "1"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Serving)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        place = f"http://127.0.0.1:{server.server_port}/v1/models/tiny"
        command = [place, "photo_ppm.png", "restored.png", "photo_pgm.png"]
        run(sys.executable, CLIENTS / "tf_serving.py", *command, cwd=tmp_path)
    finally:
        server.shutdown()
        server.server_close()
    check(tmp_path, photo, "restored.png")
