"""Weight files: where they are found, the download, and the readers of each format."""

import collections
import functools
import hashlib
import http.server
import re
import threading
from typing import ClassVar

import numpy as np
import pytest
from torch_files import Call, Global, legacy, parameter, pickled, tensor, zipped

from tfrecon.backbones import BACKBONES, weight_sets
from tfrecon.base import torch_file, weights
from tfrecon.base.errors import UserError
from tfrecon.base.weights import VARIABLE, WeightFile
from tfrecon.metrics import perceptual

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """``/file`` whole or from where a range begins; ``/deaf``, which knows no ranges; ``/torn``,
    which ends after 3,000 bytes; ``/busy``, which answers at the third attempt."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self):
        asked = self.headers.get("Range")
        self.asked.append((self.path, asked))
        attempts = sum(path == self.path for path, _ in self.asked)
        start = int(asked[6:-1]) if asked and self.path != "/deaf" else 0
        if self.path == "/gone" or (self.path == "/busy" and attempts < 3):
            return self.send_error(404 if self.path == "/gone" else 503)
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end = start + 3000 if self.path == "/torn" else None
        self.wfile.write(CONTENT[start:end])

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
    monkeypatch.setattr(weights, "PAUSES_SECONDS", (0, 0, 0))
    Handler.asked.clear()
    return tmp_path / "own", tmp_path / "cache" / "tfrecon"


def test_own_folder_before_cache_before_publisher(folders, server):
    own, cache = folders
    file = WeightFile("a.bin", f"{server}/file", SHA256)
    assert weights.find([file]) == cache / "a.bin" and (cache / "a.bin").read_bytes() == CONTENT
    assert weights.find([WeightFile("a.bin", f"{server}/gone", SHA256)]) == cache / "a.bin"
    own.mkdir()
    (own / "a.bin").write_bytes(CONTENT)
    assert weights.find([file]) == own / "a.bin"
    (own / "b.bin").write_bytes(b"mine")
    assert weights.find([WeightFile("b.bin"), file]) == own / "b.bin", "nobody publishes b.bin"


@pytest.mark.parametrize("place", ["own", "cache"])
def test_a_file_that_is_here_is_checked_too_whenever_it_changes(folders, server, place):
    folder = folders[0] if place == "own" else folders[1]
    folder.mkdir(parents=True)
    path, file = folder / "a.bin", WeightFile("a.bin", f"{server}/gone", SHA256)
    path.write_bytes(CONTENT)
    assert weights.find([file]) == path == weights.find([file])
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(UserError) as caught:
        weights.find([file])
    assert f"weight file {str(path)!r} has SHA256 " in str(caught.value)
    assert f"not {SHA256} as that of {server}/gone; remove it and it is fetched" in str(
        caught.value
    )
    md5 = hashlib.md5(CONTENT).hexdigest()
    with pytest.raises(UserError, match=f"has MD5 .*, not {md5} as"):
        weights.find([WeightFile("a.bin", f"{server}/file", md5=md5)])
    path.unlink()
    assert weights.find([WeightFile("a.bin", f"{server}/file", md5=md5)]).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("place", "sha256", "message"),
    [
        ("file", "0" * 64, f"has SHA256 {SHA256}, not {'0' * 64} as that of"),
        ("file", None, f"has MD5 {hashlib.md5(CONTENT).hexdigest()}, not None as that of"),
        ("gone", SHA256, "'a.bin' is not in .*gone does not answer .*404.*put it into one of them"),
    ],
)
def test_a_wrong_or_absent_download_leaves_nothing(folders, server, place, sha256, message):
    with pytest.raises(UserError, match=message):
        weights.find([WeightFile("a.bin", f"{server}/{place}", sha256)])
    assert not folders[1].exists()
    assert [path for path, _ in Handler.asked] == [f"/{place}"], "asked once"


def test_a_download_that_breaks_off_goes_on_where_it_was(folders, server, capsys):
    path = weights.find([WeightFile("a.bin", f"{server}/torn", SHA256)])
    assert path.read_bytes() == CONTENT and [*path.parent.iterdir()] == [path]
    assert [range for _, range in Handler.asked] == [None, "bytes=3000-", "bytes=6000-"]
    assert (
        "it ended after 3000 of 7000 bytes); trying again in 0 seconds" in capsys.readouterr().out
    )


def test_a_later_process_goes_on_and_a_finished_part_is_not_fetched_again(folders, server):
    part = folders[1] / ".a.bin.part"
    for have, place in ((4000, "/file"), (4000, "/deaf"), (7000, "/file")):
        Handler.asked.clear()
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(CONTENT[:have])
        path = weights.find([WeightFile("a.bin", server + place, SHA256)])
        assert path.read_bytes() == CONTENT and not part.exists()
        assert Handler.asked == [(place, f"bytes={have}-")]
        path.unlink()
    part.write_bytes(b"of another file" * 100)
    with pytest.raises(UserError, match="has SHA256"):
        weights.find([WeightFile("a.bin", f"{server}/file", SHA256)])
    assert not part.exists(), "the next attempt begins anew"


def test_a_server_that_is_busy_is_asked_again(server):
    path = weights.find([WeightFile("a.bin", f"{server}/busy", SHA256)])
    assert path.read_bytes() == CONTENT and len(Handler.asked) == 3


def test_every_published_file_has_a_full_hash():
    heads = [file for net in ("alex", "vgg", "squeeze") for file in perceptual.head_files(net)]
    files = [file for file in heads if file.url]
    assert len(files) == 3 and all(len(file.sha256 or "") == 64 for file in files)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in weight_sets.SHA256.values())
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in weight_sets.MD5.values())
    sets = [s for backbone in BACKBONES.values() for s in backbone.weights.values()]
    assert all(f.sha256 or (f.md5 and "keras" in f.url) for s in sets for f in s.files if f.url)
    for trunk in perceptual._TRUNKS.values():
        names = [weight_sets.torchvision_file(net).name for net in ("vgg16", "alexnet-owt",
                                                                     "squeezenet1_1")]  # fmt: skip
        assert trunk.files[-1] in names


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


def test_safetensors_of_other_numbers(tmp_path):
    """BF16 is read; 8-bit floats need scales that stand elsewhere, and are refused by name."""
    path = tmp_path / "w.safetensors"
    for kind, content in (("BF16", b"\xc0\x3f\0\xc0"), ("F8_E4M3", b"ab")):
        header = f'{{"a":{{"dtype":"{kind}","shape":[2],"data_offsets":[0,{len(content)}]}}}}'
        path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + content)
        if kind == "BF16":
            read = weights.read(path)["a"]
            assert read.dtype == np.float32 and read.tolist() == [1.5, -2]
        else:
            with pytest.raises(UserError, match="holds numbers of type 'F8_E4M3'; save them as"):
                weights.read(path)


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


def test_a_checkpoint_with_one_state_dict_gives_it_and_one_with_several_none(tmp_path):
    one = tensor("FloatStorage", "0", 12, 0, (3, 4), (4, 1))
    scalar, storages = tensor("FloatStorage", "0", 12, 1, (), ()), {"0": NUMBERS.tobytes()}
    optimizer = {"state": {0: {"exp_avg": one}}, "param_groups": [{"lr": 0.1}]}
    checkpoint = {"epoch": scalar, "optimizer": optimizer, "params": {"a": one}}
    read = weights.read(zipped(tmp_path / "one.pth", checkpoint, storages))
    assert list(read) == ["a"] and read["a"].shape == (3, 4)
    several = zipped(tmp_path / "two.pth", {**checkpoint, "model_ema": {"a": scalar}}, storages)
    with pytest.raises(UserError, match=r"several state dicts \(params, model_ema\); save the one"):
        weights.read(several)


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
