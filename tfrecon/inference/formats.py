"""The kinds of files that an export can be: what writes each, and what runs it.

All have the signatures of `tfrecon.inference.saved_model` and its record beside them (`RECORD`);
the files of LiteRT and ONNX hold the record as well, as they are taken away alone. What a runtime
lacks is named by the operation of TensorFlow.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrecon.base import extras, images, platforms
from tfrecon.base.errors import UserError, foreign, some
from tfrecon.base.files import RECORD

if TYPE_CHECKING:
    import numpy as np

OPSET = 17
"""The version of ONNX's operations that is written: of 2022, all runtimes know it."""
_FLOATS = (1, 10, 11)
"""ONNX's numbers of float32, float16 and float64."""


@dataclass(frozen=True)
class Exported:
    """What is written of a model: itself, its signatures, functions of TensorFlow by name, the
    module that holds their variables, and the record."""

    model: Any
    module: Any
    signatures: Mapping[str, Any]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Runtime:
    """A loaded export."""

    signatures: frozenset[str]
    call: Callable[[str, Mapping[str, np.ndarray]], np.ndarray]
    """The image ``restored`` by a signature of its inputs."""


@dataclass(frozen=True)
class Format:
    """One kind of files in the folder of an export."""

    title: str
    write: Callable[[Exported, Path], None]
    load: Callable[[Path, bool], Runtime]
    """Of a folder, and whether who made it is trusted."""
    usage: Callable[[str, Sequence[str]], list[str]]
    """The lines of Python that use one, of its path, Python, too, and its inputs' names."""
    extra: str | None = None
    """The extra of its packages."""
    pixels: str = "uint8"
    """What images are in these lines."""

    def check(self) -> None:
        """Raises UserError where its packages are missing."""
        if self.extra:
            extras.check(self.extra, f"an export to {self.title}")


def _lacking(title: str, operations: Iterable[str], error: Any = "") -> UserError:
    """The error for a model with operations that a format lacks, or that fails to be converted."""
    names = some(sorted(set(operations)))
    reason = f"has no operation {names}, or none for such inputs" if names else (
        f"takes no model like this one ({str(error).partition(chr(10))[0][:200]})"
    )  # fmt: skip
    return UserError(f"{title} {reason}; nothing was written; export it with --format savedmodel")


# --- TensorFlow's own


def _write_saved_model(exported: Exported, folder: Path) -> None:
    found = exported.signatures
    _save(
        exported.module, {**found, "serving_default": found.get("encoded", found["serve"])}, folder
    )


def _save(module: Any, signatures: Mapping[str, Any], folder: Path) -> None:
    import tensorflow as tf

    # Of functions with loops whose weights are constants it can save no gradients.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=bool(module.weights))
    try:
        tf.saved_model.save(module, str(folder), signatures, options)
    except tf.errors.OpError as error:
        raise UserError(
            f"export {str(folder)!r} cannot be written ({error.message}); name another with --out"
        ) from error


def _load_saved_model(folder: Path, trusted: bool) -> Runtime:
    import tensorflow as tf

    from tfrecon.inference import graph_scan

    if not trusted:
        graph_scan.check(folder)
    module: Any = tf.saved_model.load(str(folder))

    def call(signature: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return module.signatures[signature](**tensors)["restored"].numpy()

    return Runtime(frozenset(module.signatures), call)


def _use_saved_model(path: str, names: Sequence[str]) -> list[str]:
    return [
        "import tensorflow as tf", f"model = tf.saved_model.load({path})",
        f'restored = model.serve({", ".join(names)})["restored"]',
    ]  # fmt: skip


# --- LiteRT, which was TensorFlow Lite

MODEL = "model.tflite"


def _write_litert(exported: Exported, folder: Path) -> None:
    import tensorflow as tf

    # Of a module with a method ``serve`` the converter takes that one alone.
    graphs, bare = folder / "graphs", tf.Module()
    bare.weights = exported.module.weights
    _save(bare, exported.signatures, graphs)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(graphs), signature_keys=list(exported.signatures)
    )
    try:
        (folder / MODEL).write_bytes(converter.convert())
    except Exception as error:  # its own type is private
        # "TF Select ops: A, B": those that only TensorFlow's own kernels have.
        lists = re.findall(r"^(?:TF Select|Custom) ops: (.+)$", str(error), re.MULTILINE)
        names = [name.strip() for each in lists for name in each.split(",")]
        raise _lacking("LiteRT", names or re.findall(r"'tf\.(\w+)'", str(error)), error) from error
    shutil.rmtree(graphs)
    # The way of TensorFlow Lite's metadata: a zip archive behind the model.
    with zipfile.ZipFile(folder / MODEL, "a") as archive:
        archive.writestr(RECORD, json.dumps(exported.record, indent=2))


def _load_litert(folder: Path, trusted: bool) -> Runtime:
    litert: Any = extras.imported("litert", f"export {str(folder)!r}", "ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(str(folder / MODEL), num_threads=len(platforms.cores()))
    runner = functools.cache(interpreter.get_signature_runner)

    def call(signature: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return runner(signature)(**inputs)["restored"]

    return Runtime(frozenset(interpreter.get_signature_list()), call)


def _use_litert(path: str, names: Sequence[str]) -> list[str]:
    return [
        "from ai_edge_litert.interpreter import Interpreter",
        f"model = Interpreter({path} + {'/' + MODEL!r}).get_signature_runner('serve')",
        f'restored = model({_named(names)})["restored"]',
    ]


# --- ONNX, a file for each signature: it knows one function a file


def _write_onnx(exported: Exported, folder: Path) -> None:
    onnx: Any = extras.imported("onnx", f"export {str(folder)!r}")
    tf2onnx: Any = extras.imported("onnx", f"export {str(folder)!r}", "tf2onnx.convert")
    floored = _floored()
    for name, function in exported.signatures.items():
        with _complaints() as complaints:
            model, _ = tf2onnx.from_function(
                function, function.input_signature, opset=OPSET, custom_op_handlers=floored
            )
        if (unknown := _no_onnx(onnx, model)) or complaints:
            raise _lacking("ONNX", unknown, "".join(complaints[:1]))
        onnx.helper.set_model_props(model, {"tfrecon": json.dumps(exported.record)})
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())


def _load_onnx(folder: Path, trusted: bool) -> Runtime:
    what = f"export {str(folder)!r}"
    onnx: Any = extras.imported("onnx", what)
    onnxruntime: Any = extras.imported("onnx", what, "onnxruntime")
    files = {path.stem: path for path in folder.glob("*.onnx")}

    @functools.cache
    def session(signature: str) -> Any:
        with foreign("export", files[signature], "export it again", "cannot be read"):
            model = onnx.load(files[signature], load_external_data=False)
            if unknown := _no_onnx(onnx, model):
                raise UserError(
                    f"{what} holds what ONNX has not, {some(sorted(unknown))}; export it again"
                )
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = len(platforms.cores())
            # Of the bytes, so that it can name no other files.
            return onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )

    def call(signature: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        return session(signature).run(["restored"], dict(inputs))[0]

    return Runtime(frozenset(files), call)


def _use_onnx(path: str, names: Sequence[str]) -> list[str]:
    given = ", ".join(f"{name!r}: {name}" for name in names)
    return [
        "from onnxruntime import InferenceSession",
        f"model = InferenceSession({path} + '/serve.onnx')",
        f'restored = model.run(["restored"], {{{given}}})[0]',
    ]


def _no_onnx(onnx: Any, model: Any) -> set[str]:
    """The operations of a model that are not ONNX's, and what it keeps in other files."""
    graphs, wrong = [model.graph], {"functions of its own" for _ in model.functions}
    while graphs:
        graph = graphs.pop()
        for node in graph.node:
            if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type):
                wrong.add(node.op_type)
            graphs += [each.g for each in node.attribute if each.HasField("g")]
        wrong |= {"weights in other files" for each in graph.initializer if each.data_location}
    return wrong


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tf2onnx logs as errors in the block, instead of printing it."""
    found: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(record.getMessage().splitlines()[0])
    logger = logging.getLogger("tf2onnx")
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def _floored() -> dict[str, Any]:
    """Handlers of x // y and x mod y, which tf2onnx rounds towards zero for whole numbers."""
    own: Any = extras.imported("onnx", "ONNX", "tf2onnx.onnx_opset.math")

    def is_whole(context: Any, node: Any) -> bool:
        return context.get_dtype(node.input[0]) not in _FLOATS

    def divide(context: Any, node: Any, name: str, arguments: Any) -> None:
        x, y = node.input
        if is_whole(context, node):  # (x - x mod y) / y leaves nothing to be rounded
            remainder = context.make_node("Mod", [x, y]).output[0]
            context.replace_inputs(node, [context.make_node("Sub", [x, remainder]).output[0], y])
        own.FloorDiv.version_6(context, node)

    def modulo(context: Any, node: Any, name: str, arguments: Any) -> None:
        if is_whole(context, node):
            node.type = "Mod"
        else:
            own.FloorMod.version_7(context, node)

    return {"FloorDiv": (divide, []), "FloorMod": (modulo, [])}


# --- Keras's own

NETWORK = "model.keras"


def _write_keras(exported: Exported, folder: Path) -> None:
    from tfrecon.inference.plain_keras import plain

    if "ensemble" in exported.record:
        raise UserError("--ensemble has no effect on an export to Keras; leave it out")
    plain(exported.model, exported.record["has_mask"]).save(folder / NETWORK)


def _load_keras(folder: Path, trusted: bool) -> Runtime:
    import keras
    import tensorflow as tf

    if not trusted:
        raise UserError(
            f"export {str(folder)!r} is one of Keras, which may name code; if you trust who made "
            "it, add --trust-code (in Python, trusted=True)"
        )
    model: Any = keras.saving.load_model(folder / NETWORK, compile=False)
    graph: Any = tf.function(functools.partial(model, training=False), reduce_retracing=True)

    def call(signature: str, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        if signature == "restore":
            return graph(dict(inputs))["restored"].numpy()
        floats = {"image": images.to_float(inputs["image"])}
        if "mask" in inputs:
            floats["mask"] = (inputs["mask"] != 0).astype("float32")
        return images.to_uint8(call("restore", floats))

    return Runtime(frozenset({"restore", "serve"}), call)


def _use_keras(path: str, names: Sequence[str]) -> list[str]:
    given = ", ".join(f"{name!r}: {name}" for name in names)
    return [
        "import keras", f"model = keras.saving.load_model({path} + {'/' + NETWORK!r})",
        f'restored = model({{{given}}})["restored"]',
    ]  # fmt: skip


def _named(arguments: Iterable[str]) -> str:
    return ", ".join(f"{name}={name}" for name in arguments)


FORMATS = {
    "savedmodel": Format(
        "a SavedModel", _write_saved_model, _load_saved_model, _use_saved_model
    ),
    "litert": Format("LiteRT", _write_litert, _load_litert, _use_litert, "litert"),
    "onnx": Format("ONNX", _write_onnx, _load_onnx, _use_onnx, "onnx"),
    "keras": Format("Keras", _write_keras, _load_keras, _use_keras, pixels="values in [0,1]"),
}  # fmt: skip
"""Every format that ``export --format`` knows; exports without a word of theirs are the first."""
