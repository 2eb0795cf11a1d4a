"""Right files that mutation begins with, and the small hostile ones that code writes."""

import functools
import io
import json
import struct
import zipfile
import zlib

import numpy as np
import torch_files
from PIL import Image

from tfrecon.base import config
from tfrecon.base.registry import Spec


def _image(format: str, mode: str = "RGB", **options: object) -> bytes:
    pixels = np.arange(7 * 5 * 4, dtype=np.uint8).reshape(7, 5, 4)
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def _npz(compressed: bool = False, **arrays: object) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _safetensors(header: object, content: bytes = bytes(48)) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def _torch(thing: object, content: bytes = bytes(48), packing: int = zipfile.ZIP_STORED) -> bytes:
    return torch_files.zipped(io.BytesIO(), thing, {"0": content}, packing=packing).getvalue()


def _png(width: int, height: int) -> bytes:
    """A grey PNG whose rows are all black, of any size, in few bytes."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) + packer.flush()
    return _chunks(struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), rows)


def _chunks(header: bytes, rows: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )


def _sixteen_bits(kind: int) -> bytes:
    """A PNG of three by two 16-bit colours, which Pillow cannot write: 2 is RGB, 6 has alpha."""
    row = b"\0" + bytes(range(3 * 2 * (3 if kind == 2 else 4)))
    header = struct.pack(">IIBBBBB", 3, 2, 16, kind, 0, 0, 0)
    return _chunks(header, zlib.compress(row * 2))


def _doubling(times: int) -> list[object]:
    """A list that is short in a pickle and endless as text: each holds the one before twice."""
    inner: list[object] = ["a" * 20]
    for _ in range(times):
        inner = [inner, inner]
    return inner


def _pickle_of_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], object), allow_pickle=True)
    return buffer.getvalue()


def _packed(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a.npy", bytes(100))
    return buffer.getvalue()


def _packed_bmp(width: int, height: int) -> bytes:
    """8 bits, run-length encoded, without any run."""
    head = struct.pack("<2sIHHI", b"BM", 1082, 0, 0, 1078)
    head += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 4, 0, 0, 256, 0)
    return head + bytes(1024) + b"\0\1\0\0"


_tensor = functools.partial(torch_files.tensor, "FloatStorage", "0")
_STATE = {
    "a": _tensor(12, 0, (3, 4), (4, 1)),
    "b": torch_files.parameter(_tensor(12, 5, (2,), (1,))),
}
_NOTE = np.frombuffer(b'{"step": 3}', np.uint8)
_CONFIG = config.Config(Spec("pix2pix", {"base_filters": 4})).to_dict()
_HEADER = {"a": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}}
_CSV = b"id,value\n" + b"".join(b"a.png_%d,0.5\n" % n for n in range(12))

_IMAGES = [

        _image("PNG", "RGBA"), _image("PNG", "P"), _image("JPEG"), _image("JPEG", "CMYK"),
        _image("BMP"), _image("WEBP", "RGBA"), _image("GIF", "P"), _image("PPM"), _image("AVIF"),
        _image("TIFF", "L", save_all=True, append_images=[Image.new("L", (3, 2))]),
        _image("TIFF", "RGBA", compression="tiff_lzw"),
        _image("TIFF", "F"), _image("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01"
                                    b"\0\0\0\x06\0\0\0\0\0\0\0"),
]  # fmt: skip
_OTHERS = [_image("PNG", "LA"), _image("PNG", "I;16"), _sixteen_bits(2), _sixteen_bits(6)]

_FEATURES = np.frombuffer(json.dumps({
    "backbone": "vgg16", "tap": "block1_conv1", "weights": "none", "fingerprint": "",
    "sizes": {"a.png": [2, 3]},
}).encode(), np.uint8)  # fmt: skip
SEEDS: dict[str, list[bytes]] = {
    "image": _IMAGES,
    "photo": [*_IMAGES, *_OTHERS],
    "mask": [*_IMAGES, *_OTHERS],
    "boxes": [
        b",filename,y1,x1,y2,x2\n0,a.png,1,2,3,4\n1,b.png,5,6,7.0,8\n",
        b'i,n,a,b,c,d,e\r\n0,"a ""b"".png",0,0,0,0,x\r\n',
    ],
    "metadata": [
        b"file_name,target,split\na.png,b.png,train\n", b"input;mask_file\tx\n\nb.png;a.png\n",
    ],
    "metadata_lines": [
        b'{"file_name": "a.png", "mask": "b.png", "split": "test"}\n\n{"file_name": "b.png"}\n',
        b'\xef\xbb\xbf{"input": "a.png", "target": "b.png", "split": null}',
    ],
    "toml": [
        b'[model]\nname = "pix2pix"\nbase_filters = 4\n[data]\nrecipe = "folder"\nflip = false\n'
        b'extra = [{name = "bsds500", weight = 0.5}]\n[fit]\nsteps = 3\nloss = ["l1", "mse"]\n',
        b'model = "nafnet"\nfit.learning_rate = 1e-4\n',
    ],
    "set": [b"fit.steps=3\0model.base_filters=8", b"data.damage=none\0fit.loss=[\"l1\"]"],
    "run": [json.dumps(_CONFIG).encode()],
    "submission": [_CSV, _CSV.replace(b"\n", b"\r\n"), _CSV.replace(b"0.5", b'"1e-1"')],
    "card": [
        b'{"sha256": "00", "title": "A", "minutes": 2.5, "steps": 3, "results": [{"PSNR": 30.1}]}',
    ],
    "npz": [
        _npz(**{"model/0000": np.zeros((2, 3), np.float32), "note.json": _NOTE}),
        _npz(True, **{"a": np.arange(6), "note.json": _NOTE}), b"\x93NUMPY\x01\0" + b"v\0",
    ],
    "pth": [
        _torch(_STATE), torch_files.pickled({"state_dict": _STATE}),
        torch_files.legacy(_STATE, {"0": (12, bytes(48))}),
    ],
    "safetensors": [_safetensors(_HEADER), json.dumps(_HEADER).encode()],
    "npy": [_npy(np.arange(6.0).reshape(2, 3)), _npy(np.arange(6, dtype=np.uint8))],
    "features": [
        _npz(**{"a.png": np.ones((2, 3, 64), np.float16), "note.json": _FEATURES}),
        _npz(a=np.ones((2, 64, 1, 3), np.uint8), scale=np.float32(0.5), zero=np.ones(64)),
    ],
}  # fmt: skip

# A picture of another format under the name; few bytes that are many pixels.
_NO_IMAGES = [
        _image("DDS"), b"%!PS-Adobe-3.0 EPSF-3.0\n", _png(99_999_999, 1),
        _png(100_000_001, 1), _png(1, 1) + b"x", _packed_bmp(10_000, 5600),
        b"\x00\x00\x00\x1cftypavif" + bytes(40),
]  # fmt: skip

HOSTILE: dict[str, list[bytes]] = {
    "image": _NO_IMAGES,
    "photo": _NO_IMAGES[:2],
    "mask": _NO_IMAGES[:2],
    "boxes": [
        b"\xff\xfei\0", b"i,n,a,b,c,d\n0,a,1e999,nan,inf,0\n", b'i,n,a,b,c,d\n0,"' + b"x" * 200_000,
        b"i,n,a,b,c,d\n0,a," + b"9" * 5000 + b",0,0,0\n", b"i,n,a,b,c,d\n0,\xe9,0,0,0,0\n",
    ],
    "metadata": [
        b"\xff\xfei\0", b"file_name\n\0a.png\n", b'file_name,split\n"' + b"x" * 200_000, b"\n" * 9,
        b"file_name,FILE_NAME\na.png,b.png\n", b"file_name\n../a.png\n", b"split,split\ntrain\n",
    ],
    "metadata_lines": [
        b"[" * 100_000, b"3", b"[]", b'[[1, "a.png"]]', b'{"file_name": ["a.png"], "split": {}}',
        b'{"input": ' + b"9" * 5000 + b"}", b'{"file_name": "\\ud800.png"}', b"\xff",
        b'{"a": ' * 900 + b"1" + b"}" * 900,
    ],
    "toml": [
        b"\xef\xbb\xbfmodel = 'pix2pix'\n", b"model = " + b"[" * 5000, b"x = " + b"9" * 5000,
        b"model = '\xe9'", b"model = " + b"{a=" * 200 + b"1" + b"}" * 200, b"\xff\xfe",
        b".".join([b"a"] * 5000) + b" = 1",
    ],
    "set": [
        b"fit.steps=" + b"9" * 5000, b"fit.steps=" + b"[" * 5000, b"model" + b".a" * 5000 + b"=1",
        b"data.root=\xff", b"model" + b".a" * 300 + b"=1\0model" + b".a" * 300 + b"=2",
    ],
    "run": [
        b"[" * 100_000, b'{"model": ' * 900 + b"1" + b"}" * 900, b'{"model": ' + b"9" * 5000 + b"}",
        b'{"model": {"name": "a", "b": ' + b"[" * 400 + b"]" * 400 + b"}}", b"\xff", b"[]", b"3",
        b'{"model": "\\ud800"}',
    ],
    "submission": [b"", b"id,value\n\0", b'id,value\n"' * 3, b"id,value\na.png_0," + b"9" * 5000],
    "card": [
        b"[]", b"{}", b'{"sha256": "", "results": [[]]}', b'{"sha256": "", "path": "/etc/passwd"}',
        b'{"sha256": ' + b"[" * 100_000, b'{"sha256": "", "steps": true}', b"\xff",
    ],
    "npy": [
        b"\x93NUMPY\x01\0\x46\0{'descr': '<f8', 'fortran_order': False,"
        b" 'shape': (99999999999999,)}   \n", b"\x93NUMPY\x01\0\x50\0" + b"(" * 79 + b"\n",
        _pickle_of_array(), _npz(a=np.zeros(1)),
    ],
    "features": [
        _npz(a=np.ones((1, 1, 64), np.uint8), scale=np.ones((900, 1, 1)), zero=np.ones((900, 64))),
        _npz(a=np.ones((0, 3, 64))), _npz(a=np.full((2, 2, 64), np.nan)),
        _npz(a=np.ones((64, 64, 64))),
        _npz(**{"note.json": np.frombuffer(b"[" * 90000, np.uint8), "a": np.ones((1, 1, 64))}),
        _npz(**{"note.json": np.ones(3), "a": np.ones((1, 1, 64))}),
        _npz(**{"note.json": _FEATURES, "a.png": np.ones((64, 1, 2))}),
    ],
    "npz": [
        _npz(**{"note.json": np.frombuffer(b"[3]", np.uint8)}),
        _packed(zipfile.ZIP_LZMA), _packed(zipfile.ZIP_BZIP2), _packed(zipfile.ZIP_STORED),
        _npz(True, a=np.zeros(80 * 2**20, np.uint8)), _npz(a=np.array(["text"])), b"PK\x05\x06",
        _npz(a=np.zeros(1))[:-30], b"\x93NUMPY\x01\0\x46\0{'descr': '<f8', 'fortran_order': False,"
        b" 'shape': (99999999999999,)}   \n", _pickle_of_array(),
        b"\x93NUMPY\x01\0\x50\0" + b"(" * 79 + b"\n",
    ],
    "pth": [
        torch_files.legacy({"a": _tensor(5 * 10**8, 0, (5 * 10**8,), (1,))}, {}),
        torch_files.legacy({"a": _tensor(10**8, 0, (1,), (1,))}, {"0": (10**8, b"")}),
        _torch({"a": _tensor(12, 0, (3, 4), (4, 1))}, bytes(80 * 2**20), zipfile.ZIP_DEFLATED),
        _torch({str(n): _tensor(10**6, 0, (10**6,), (1,)) for n in range(100)}, bytes(4 * 10**6),
               zipfile.ZIP_DEFLATED),
        b"\x80\x02Nr\xff\xff\xff\x0f.", b"\x80\x02Np268435455\n.",  # a memo of 268 million parts
        b"\x80\x05\x96\xff\xff\xff\x7f\0\0\0\0.", torch_files.pickled(torch_files.Record("x")),
        torch_files.pickled({torch_files.Global("os", "system"): 1}),
        torch_files.pickled(torch_files.Record(_doubling(26), 0, 0, 0, 0)),
        torch_files.pickled({"a": _tensor(-1, 0, (3,), (1,))}),
    ],
    "safetensors": [
        b"\xff" * 8, struct.pack("<Q", 2**40), b"", _safetensors([]), _safetensors({"a": 3}),
        _safetensors({"a": {"dtype": "F8_E4M3", "shape": [48], "data_offsets": [0, 48]}}),
        _safetensors({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        _safetensors({"a": {"dtype": "F32", "shape": [12], "data_offsets": [48, 0]}}),
        _safetensors({str(n): _HEADER["a"] for n in range(100)}), b"[" * 100_000,
    ],
}  # fmt: skip
