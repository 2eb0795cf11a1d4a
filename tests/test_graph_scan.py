"""A received export is looked through before TensorFlow loads it."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from exported_models import fixed, tiny
from tensorflow.core.protobuf import saved_model_pb2

from tfrecon import reconstruct
from tfrecon.base.errors import UserError
from tfrecon.inference import graph_scan
from tfrecon.inference.restorer import open_export
from tfrecon.inference.saved_model import export_model


def export(path, step):
    """An export whose signatures give `step` of the photo's mean."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, "image")])
    def serve(image):
        with tf.control_dependencies([step(tf.reduce_mean(tf.cast(image, tf.float32)))]):
            return {"restored": tf.identity(image)}

    module = tf.Module()
    module.serve = serve
    tf.saved_model.save(module, str(path), signatures={"serve": serve})
    (path / "export.json").write_text(json.dumps({"has_mask": False}))


def table(name):
    words = tf.lookup.TextFileInitializer(
        name, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )  # fmt: skip
    return tf.lookup.StaticHashTable(words, -1)


HOSTILE = {
    "WriteFile": lambda x, file: tf.io.write_file(file, tf.strings.as_string(x)),
    "ReadFile": lambda x, file: tf.io.read_file(file),
    "MatchingFiles": lambda x, file: tf.io.matching_files(file),
    "EagerPyFunc": lambda x, file: tf.py_function(lambda y: y, [x], tf.float32),
    "PyFunc": lambda x, file: tf.numpy_function(lambda y: y, [x], tf.float32),
    "PyFuncStateless": lambda x, file: tf.numpy_function(lambda y: y, [x], tf.float32, False),
    "PrintV2": lambda x, file: tf.print(x, output_stream=f"file://{file}"),
    "SaveV2": lambda x, file: tf.raw_ops.SaveV2(
        prefix=file, tensor_names=["a"], shape_and_slices=[""], tensors=[x]),
    "RestoreV2": lambda x, file: tf.raw_ops.RestoreV2(
        prefix=file, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32])[0],
    "TextLineDataset": lambda x, file: tf.data.TextLineDataset(file).reduce(
        tf.constant(""), lambda _, line: line),
    "DebugIdentity": lambda x, file: tf.raw_ops.DebugIdentity(input=x, debug_urls=[f"file://{file}"]),
    "DecodeProtoV2": lambda x, file: tf.raw_ops.DecodeProtoV2(
        bytes=tf.strings.as_string(x), message_type="A", field_names=["a"],
        output_types=[tf.int32], descriptor_source=file).sizes,
    "ImmutableConst": lambda x, file: tf.raw_ops.ImmutableConst(
        dtype=tf.float32, shape=[1], memory_region_name=file),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_could_use_files_network_or_code_is_refused_by_name(tmp_path, name):
    path, file = tmp_path / "export", tmp_path / "file"
    export(path, lambda x: HOSTILE[name](x, str(file)))
    with pytest.raises(UserError, match=rf"{name}.*; if you trust who made it, add --trust-code"):
        open_export(path)
    assert not file.exists()


def test_trust_is_said_on_the_command_line(tmp_path, capsys):
    path, file = tmp_path / "export", tmp_path / "file"
    export(path, lambda x: HOSTILE["WriteFile"](x, str(file)))
    (tmp_path / "in").mkdir()
    tf.keras.utils.save_img(str(tmp_path / "in" / "a.png"), np.zeros((8, 8, 3)))
    command = [str(path), str(tmp_path / "in"), str(tmp_path / "out")]
    assert reconstruct.main(command) == 2
    assert "WriteFile" in capsys.readouterr().err and not file.exists()
    assert open_export(path, trusted=True).serve(np.zeros((1, 8, 8, 3), np.uint8)).shape[-1] == 3
    assert file.exists()


def edited(path, edit):
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((path / "saved_model.pb").read_bytes())
    edit(saved.meta_graphs[0])
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "tiny"
    export_model(tiny(True), path, True)
    return path


def custom(graph):
    graph.graph_def.library.function[0].node_def[0].op = "OfSomeLibrary"


def at_the_top(graph):
    graph.graph_def.node.add(name="a", op="WriteFile")


def asset(graph):
    graph.asset_file_def.add(filename="../../secret")


def saving_function_as_signature(graph):
    """The functions that TensorFlow adds for saving may stand in the file; none may be called."""
    call = next(n for n in graph.graph_def.node if n.name == graph.saver_def.restore_op_name)
    graph.graph_def.node.add(name="a", op="StatefulPartitionedCall").attr["f"].CopyFrom(
        call.attr["f"]
    )


def signature_as_saving_function(graph):
    """What a file calls its saver is believed only where nothing else calls it."""
    function = graph.graph_def.library.function.add()
    function.signature.name = "of_its_own"
    function.node_def.add(name="a", op="RestoreV2")
    saver = next(n for n in graph.graph_def.node if n.name == graph.saver_def.restore_op_name)
    for place, own in enumerate(graph.graph_def.library.function):
        if own.signature.name == saver.attr["f"].func.name:  # which nothing calls its saver now
            del graph.graph_def.library.function[place]
            break
    saver.attr["f"].func.name = "of_its_own"
    graph.object_graph_def.concrete_functions["of_its_own"].bound_inputs.append(0)


def gradient(graph):
    graph.graph_def.library.gradient.add(function_name="a", gradient_func="b")
    signature_as_saving_function(graph)
    del graph.object_graph_def.concrete_functions["of_its_own"]
    graph.graph_def.library.gradient[0].gradient_func = "of_its_own"


def registered_gradient(graph):
    signature_as_saving_function(graph)
    del graph.object_graph_def.concrete_functions["of_its_own"]
    graph.graph_def.library.registered_gradients.add(gradient_func="of_its_own")


def put_in_anothers_place(graph):
    """TensorFlow calls one of the functions that implement the same, whichever was named."""
    signature_as_saving_function(graph)
    del graph.object_graph_def.concrete_functions["of_its_own"]
    for function in graph.graph_def.library.function:
        function.attr["api_implements"].s = b"restoring"


@pytest.mark.parametrize(
    ("edit", "named"),
    [(custom, "OfSomeLibrary"), (at_the_top, "WriteFile"), (asset, "assets"),
     (saving_function_as_signature, "RestoreV2"), (signature_as_saving_function, "RestoreV2"),
     (gradient, "RestoreV2"), (registered_gradient, "RestoreV2"),
     (put_in_anothers_place, "RestoreV2")],
)  # fmt: skip
def test_a_graph_that_was_edited_is_refused(right, tmp_path, edit, named):
    path = shutil.copytree(right, tmp_path / "export")
    graph_scan.check(path)
    edited(path, edit)
    with pytest.raises(UserError, match=f"{named}.*add --trust-code"):
        open_export(path)


def test_a_graph_of_the_first_tensorflow_is_not_loaded(right, tmp_path):
    path = shutil.copytree(right, tmp_path / "export")
    edited(path, lambda graph: graph.ClearField("object_graph_def"))
    with pytest.raises(UserError, match="cannot be read"):
        open_export(path)


def test_every_operation_of_the_rule_is_one_that_names_nothing():
    for name in ("Conv2D", "Cast", "TensorListReserve", "StatelessRandomUniformV2", "FFT2D"):
        assert graph_scan._computes(name)
    for name in ("IteratorV2", "HashTableV2", "RemoteCall", "XlaCustomCallV2", "DecodeCSV"):
        assert not graph_scan._computes(name)


def test_tiles_and_resizing_are_operations_that_compute(tmp_path):
    export_model(fixed(32), tmp_path / "fixed", False)
    graph_scan.check(tmp_path / "fixed")
