"""What the graph of a received export may hold: operations that compute, nothing else.

An operation is let in when TensorFlow has it, it keeps no state, and no text goes into it, as input
or as an attribute of free choice: to read a file, open a connection or call Python takes a name.
`ALLOWED` are those beside that models need. A list of what is dangerous could not be whole:
TensorFlow has 1,900 operations.
"""

from pathlib import Path
from typing import Any

from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from tfrecon.base.errors import UserError

ALLOWED = frozenset({
    "AssignVariableOp", "DisableCopyOnRead", "ReadVariableOp", "ResourceGather", "VarHandleOp",
    "VariableShape",
    "Case", "If", "PartitionedCall", "StatefulPartitionedCall", "While",
    "Multinomial", "RandomShuffle", "RandomStandardNormal", "RandomUniform", "RandomUniformInt",
    "StatelessRandomGetAlg", "TruncatedNormal",
    "DecodeImage", "EncodePng",
    "AsString", "Assert", "CheckNumerics", "PreventGradient", "StringFormat", "StringJoin",
    "Einsum", "GatherNd", "ImageProjectiveTransformV2", "ImageProjectiveTransformV3",
    "ScaleAndTranslate", "ScaleAndTranslateGrad", "ScatterNd", "TensorScatterAdd",
    "TensorScatterMax", "TensorScatterMin", "TensorScatterSub", "TensorScatterUpdate",
})  # fmt: skip
"""Variables, control flow, randomness, files that are given as bytes, messages of assertions, and
options that are words."""

SAVING = frozenset({
    "MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename", "StaticRegexFullMatch",
})  # fmt: skip
"""What TensorFlow adds to each SavedModel for saving it again, in functions that nothing calls."""

MARKS = frozenset({"_construction_context", "_input_shapes"})
"""The attributes of those functions. By others TensorFlow may put one function in another's place
(``api_implements``), without a call that names it."""


def check(folder: Path) -> None:
    """Raises UserError naming the operations that the SavedModel in `folder` should not hold, and
    other errors for a damaged one. Nothing of it is run."""
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    if not graph.HasField("object_graph_def"):
        raise ValueError("a graph of TensorFlow 1, which is run to be loaded")
    library, nodes = graph.graph_def.library, graph.graph_def.node
    saver = {
        name.partition(":")[0]
        for name in (graph.saver_def.save_tensor_name, graph.saver_def.restore_op_name)
    }
    saving = {
        value.func.name for node in nodes if node.name in saver for value in node.attr.values()
    }
    others: list[Any] = [
        *(node for node in nodes if node.name not in saver),
        *(function for function in library.function if function.signature.name not in saving),
        *library.gradient, *library.registered_gradients, graph.object_graph_def,
    ]  # fmt: skip
    text = b"".join(part.SerializeToString() for part in others)
    own = {function.signature.name for function in library.function}
    wrong = {node.op for node in nodes if not (node.op in own or _computes(node.op))}
    for function in library.function:
        name = function.signature.name
        uncalled = name in saving and name.encode() not in text and set(function.attr) <= MARKS
        allowed = own | SAVING if uncalled else own
        wrong |= {n.op for n in function.node_def if not (n.op in allowed or _computes(n.op))}
    if graph.asset_file_def:
        wrong.add("files of its own (assets)")
    if wrong:
        raise UserError(
            f"export {str(folder)!r} holds what only computing an image does not need and what may "
            f"use files, the network or code: {', '.join(sorted(wrong)[:5])}; if you trust who "
            "made it, add --trust-code (in Python, trusted=True)"
        )


def _computes(name: str) -> bool:
    """Whether the rule above lets an operation in."""
    about = op_def_registry.get(name)
    if about is None or name in ALLOWED:
        return about is not None
    ends = [*about.input_arg, *about.output_arg]
    words = [
        attribute
        for attribute in about.attr
        if "string" in attribute.type and not attribute.allowed_values.list.s
    ]
    named = any(end.type == types_pb2.DT_STRING for end in ends) or words
    return not (about.is_stateful or named or name.startswith("_") or "Dataset" in name)
