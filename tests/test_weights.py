"""Weight files: where they are found, the download, and the readers of each format."""

import collections
import functools
import hashlib
import http.server
import threading

import numpy as np
import pytest
from torch_files import Call, Global, legacy, parameter, pickled, tensor, zipped

from tfrecon.base import torch_file, weights
from tfrecon.base.errors import UserError
from tfrecon.base.weights import VARIABLE, WeightFile

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """``/stated`` redirects as Hugging Face does, with the SHA-256 beside the redirect."""

    def do_GET(self):
        if self.path.startswith("/stated"):
            self.send_response(302)
            self.send_header("Location", "/file")
            good = self.path == "/stated"
            self.send_header("X-Linked-ETag", f'"{SHA256 if good else "0" * 64}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path in ("/file", "/short"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT if self.path == "/file" else CONTENT[:100])
        else:
            self.send_error(404)

    def log_message(self, format, *args):
        """Quiet."""


@pytest.fixture(scope="module")
def server():
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "own", tmp_path / "cache" / "tfrecon"


def test_own_folder_before_cache_before_publisher(folders, server):
    own, cache = folders
    file = WeightFile("a.bin", f"{server}/file", SHA256[:8])
    assert weights.find([file]) == cache / "a.bin" and (cache / "a.bin").read_bytes() == CONTENT
    assert weights.find([WeightFile("a.bin", f"{server}/gone", "00")]) == cache / "a.bin"
    own.mkdir()
    (own / "a.bin").write_bytes(b"mine")
    assert weights.find([file]) == own / "a.bin"
    (own / "b.bin").write_bytes(b"mine")
    assert weights.find([WeightFile("b.bin"), file]) == own / "b.bin"


def test_the_server_may_state_the_hash(folders, server):
    assert weights.find([WeightFile("a.bin", f"{server}/stated")]).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("place", "sha256", "message"),
    [
        ("file", "12345678", f"has SHA-256 {SHA256}, not 12345678, and was removed"),
        ("stated-wrong", None, f"has SHA-256 {SHA256}, not {'0' * 64}"),
        ("file", None, "not one that its server states"),
        ("short", SHA256, f"not {SHA256}"),
        ("gone", SHA256, "'a.bin' is not in .*gone does not answer .*404.*put it into one of them"),
    ],
)
def test_a_wrong_or_absent_download_leaves_nothing(folders, server, place, sha256, message):
    with pytest.raises(UserError, match=message):
        weights.find([WeightFile("a.bin", f"{server}/{place}", sha256)])
    assert not list(folders[1].iterdir())


def test_without_network_one_sentence_names_both_remedies(folders):
    file = WeightFile("a.bin", "http://127.0.0.1:9/a.bin", SHA256)  # nobody listens there
    for download in (True, False):
        with pytest.raises(UserError) as caught:
            weights.find([file], download=download)
        said = str(caught.value)
        assert "\n" not in said and "'a.bin'" in said and str(folders[1]) in said
        assert "put it into one of them, or connect to the network" in said


# --- formats


def test_safetensors_and_npz(tmp_path):
    from safetensors.numpy import save_file

    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3),
        "h": np.array([0.5, -2], np.float16),
    }  # fmt: skip
    save_file(arrays, tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", **arrays)
    for name in ("w.safetensors", "w.npz"):
        read = weights.read(tmp_path / name)
        assert read.keys() == arrays.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(read[key], array)
    assert weights.read(tmp_path / "w.safetensors")["h"].dtype == np.float32


def test_damaged_absent_and_foreign_files_are_one_sentence(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(100, np.float32)}, tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", a=np.zeros(100))
    for name in ("w.safetensors", "w.npz"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(UserError, match=rf"{name}' is truncated or damaged"):
            weights.read(path)
    with pytest.raises(UserError, match=r"must end with \.npz, \.safetensors, \.pth, \.pt"):
        weights.read(tmp_path / "w.h5")
    with pytest.raises(UserError, match="does not exist"):
        weights.read(tmp_path / "absent.pth")


NUMBERS = np.arange(12, dtype=np.float32)


def test_zip_format_views_types_and_nesting(tmp_path):
    half = np.array([0.5, -3, 7], np.float16)
    state = collections.OrderedDict(
        plain=tensor("FloatStorage", "0", 12, 0, (3, 4), (4, 1)),
        turned=parameter(tensor("FloatStorage", "0", 12, 0, (4, 3), (1, 4))),
        part=tensor("FloatStorage", "0", 12, 5, (2, 2), (4, 1)),
        half=tensor("HalfStorage", "1", 3, 0, (3,), (1,)),
        bfloat=tensor("BFloat16Storage", "2", 2, 0, (2,), (1,)),
        count=tensor("LongStorage", "3", 1, 0, (), ()),
    )
    storages = {
        "0": NUMBERS.tobytes(), "1": half.tobytes(), "3": np.array([41], "<i8").tobytes(),
        "2": (np.array([1.5, -2], "<f4").view("<u4") >> 16).astype("<u2").tobytes(),
    }  # fmt: skip
    whole = NUMBERS.reshape(3, 4)
    for number, thing in enumerate((state, {"epoch": 3, "state_dict": state}, {"model": state})):
        read = weights.read(zipped(tmp_path / f"{number}.pth", thing, storages))
        np.testing.assert_array_equal(read["plain"], whole)
        np.testing.assert_array_equal(read["turned"], whole.T)
        np.testing.assert_array_equal(read["part"], [[5, 6], [9, 10]])
        np.testing.assert_array_equal(read["half"], half.astype(np.float32))
        np.testing.assert_array_equal(read["bfloat"], [1.5, -2])
        assert read["count"].shape == () and read["count"] == 41
        assert {read[name].dtype for name in ("turned", "half", "bfloat")} == {np.dtype("f4")}
        assert read["turned"].flags.c_contiguous
    big = zipped(tmp_path / "big.pth", {"a": tensor("FloatStorage", "0", 12, 0, (12,), (1,))},
                 {"0": NUMBERS.astype(">f4").tobytes()}, b"big")  # fmt: skip
    np.testing.assert_array_equal(weights.read(big)["a"], NUMBERS)


def test_legacy_format_with_the_parameters_of_early_torch(tmp_path):
    plain = functools.partial(tensor, "FloatStorage", "7", 12, 0, (3, 4), (4, 1), extra=(None,))
    early = Call(Global("torch.nn.parameter", "Parameter"), (plain("_rebuild_tensor"),),
                 (True, False, collections.OrderedDict()))  # fmt: skip
    state = collections.OrderedDict(a=plain(), b=early)
    path = tmp_path / "w.pth"
    path.write_bytes(legacy(state, {"7": (12, NUMBERS.tobytes())}))
    read = weights.read(path)
    for name in "ab":
        np.testing.assert_array_equal(read[name], NUMBERS.reshape(3, 4))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"w\.pth' is truncated or damaged .*numbers end early"):
        weights.read(path)


def as_legacy(path, thing):
    path.write_bytes(legacy(thing, {}))
    return path


@pytest.mark.parametrize("write", [lambda path, thing: zipped(path, thing, {}), as_legacy])
def test_anything_but_tensors_is_refused_and_never_called(tmp_path, write):
    marker = tmp_path / "called"
    thing = {"a": Call(Global("os", "mkdir"), (str(marker),))}
    with pytest.raises(UserError, match=r"w\.pth' asks for (os|posix)\.mkdir, which is no tensor"):
        weights.read(write(tmp_path / "w.pth", thing))
    assert not marker.exists()
    with pytest.raises(UserError, match=r"asks for torch\._utils\._rebuild_qtensor"):
        weights.read(write(tmp_path / "q.pth", Global("torch._utils", "_rebuild_qtensor")))


@pytest.mark.parametrize(
    "place", [(0, (13,), (1,)), (1, (3, 4), (4, 1)), (-1, (2,), (1,)), (0, (3,), (-1,)),
              (0, (1 << 40,), (0,))],
)  # fmt: skip
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, place):
    thing = {"a": tensor("FloatStorage", "0", 12, *place)}
    with pytest.raises(UserError, match="exceeds its 12 numbers"):
        weights.read(zipped(tmp_path / "w.pth", thing, {"0": NUMBERS.tobytes()}))


def test_damaged_torch_files_are_one_sentence(tmp_path):
    thing = {"a": tensor("FloatStorage", "0", 12, 0, (12,), (1,))}
    path = zipped(tmp_path / "w.pth", thing, {"0": NUMBERS.tobytes()})
    for content in (path.read_bytes()[:-30], b"", b"PK", b"no pickle", pickled("other")):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"w\.pth' is truncated or damaged"):
            torch_file.read(path)
    with pytest.raises(UserError, match="holds no state dict of tensors"):
        torch_file.read(zipped(path, {"epoch": 3}, {}))


def test_fingerprint_knows_names_shapes_types_and_values():
    base = {"a": np.zeros(4, np.float32)}
    others = [
        {"b": base["a"]}, {"a": np.zeros((2, 2), np.float32)}, {"a": np.zeros(4, np.int32)},
        {"a": np.array([0, 0, 0, 1], np.float32)},
    ]  # fmt: skip
    prints = {weights.fingerprint(arrays) for arrays in (base, *others)}
    assert len(prints) == 5 and weights.fingerprint({"a": np.zeros(4, np.float32)}) in prints
