"""Networks with constants in the place of their variables, in the form that processors run fastest.

- What changes each channel behind a convolution, a bias or a batch normalisation, goes into its
  kernel and a single bias. TensorFlow adds that, and applies an activation, inside the convolution.
- oneDNN brings kernels into an order of its own; of constants it keeps them so from call to call,
  but not for transposed convolutions. These become ordinary ones, whose answers are interleaved:
  one for each place of a pixel in its square, or, of a few channels, one for all places (Shi et
  al. 2016, "Is the deconvolution layer the same as a convolutional layer?",
  https://arxiv.org/abs/1609.07009).
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2
from tensorflow.python.framework import convert_to_constants, op_def_registry

from tfrecon.inference.transposed import enlarged

Array = np.ndarray[Any, Any]

ACTIVATIONS = ("Relu", "LeakyRelu")
"""Those that TensorFlow applies inside a convolution; they keep a value's sign, or make it 0."""

FLOATS = {tf.float32.as_datatype_enum, tf.bfloat16.as_datatype_enum, tf.float16.as_datatype_enum}


def frozen(function: Callable[..., Any], *specs: tf.TensorSpec) -> Callable[..., Any]:
    """`function` of tensors of `specs` to one tensor, its variables frozen into constants."""
    traced = tf.function(function, input_signature=specs).get_concrete_function()
    constant, graph = convert_to_constants.convert_variables_to_constants_v2_as_graph(
        traced, lower_control_flow=False
    )
    (output,) = constant.outputs
    network = _Network(graph, output.op.name)
    network.forget_reads()
    network.activations_before_joints()
    for node in list(graph.node):
        if node.op in ("Conv2D", "Conv2DBackpropInput"):
            network.one_convolution(node)
    needed = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    needed.node.extend(network.needed([output.op.name, *(t.op.name for t in constant.inputs)]))
    names = [f"{tensor.op.name}:0" for tensor in constant.inputs]

    def call(*tensors: Any) -> Any:
        given = dict(zip(names, tensors, strict=True))
        return tf.import_graph_def(needed, given, [f"{output.op.name}:0"], name="")[0]

    answer = tf.function(call, input_signature=specs).get_concrete_function()
    del traced, constant, graph, network
    gc.collect()  # a graph is a circle, and holds all weights
    return answer


def _function(graph: Any) -> Any:
    """A graph as a function, of which parts can be asked for."""
    return tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph, name=""), [])


def _name(place: str) -> str:
    """The node of an input ``name``, ``name:0`` or ``^name``."""
    return place.lstrip("^").partition(":")[0]


class _Network:
    """The nodes of a graph by their names; `output` is the one that is asked for."""

    def __init__(self, graph: Any, output: str) -> None:
        self.nodes = {node.name: node for node in graph.node}
        self.output = output
        self._constant: dict[str, bool] = {}

    def forget_reads(self) -> None:
        """Lets nothing wait for what were variables, which would keep them."""
        read = {node.name for node in self.nodes.values() if node.op in ("Identity", "Const")}
        for kinds in ({"NoOp"}, set(node.op for node in self.nodes.values())):
            for node in self.nodes.values():
                kept = [p for p in node.input if not (p.startswith("^") and _name(p) in read)]
                if node.op in kinds:
                    node.ClearField("input")
                    node.input.extend(kept)
            read |= {n.name for n in self.nodes.values() if n.op == "NoOp" and not n.input}

    def activations_before_joints(self) -> None:
        """Applies an activation of several tensors side by side to each of them, so that it can go
        into the convolution that makes one; of a tensor that another activation sees, too, to its
        answer, whose signs are the same."""
        for node in list(self.nodes.values()):
            if node.op not in ACTIVATIONS:
                continue
            joint = self.nodes[_name(node.input[0])]
            if joint.op != "ConcatV2" or len(self._users(joint)) > 1:
                continue
            for place, given in enumerate(joint.input[:-1]):
                single = node_def_pb2.NodeDef()
                single.CopyFrom(node)
                single.name, single.input[0] = f"{node.name}/{place}", given
                leaky = [user for user in self._users(self.nodes[_name(given)])
                         if user.op == "LeakyRelu" and user.input[0] == given]  # fmt: skip
                if node.op == "Relu" and leaky:
                    single.input[0] = leaky[0].name
                self.nodes[single.name] = single
                joint.input[place] = single.name
            self._becomes(node, joint.name)

    def one_convolution(self, node: Any) -> None:
        """Puts one convolution in the place of a convolution and what follows that it can hold, and
        ordinary convolutions in the place of a transposed one."""
        turned = node.op == "Conv2DBackpropInput"
        kernel, strides = (
            self._value(self._cast_from(node.input[1])),
            [*node.attr["strides"].list.i],
        )
        dilated = max([*node.attr["dilations"].list.i, 1]) > 1
        if kernel is None or dilated or node.attr["data_format"].s != b"NHWC":
            return
        if turned and not self._enlarges(node, kernel.shape[:2], strides):
            return
        kernel = kernel.swapaxes(2, 3) if turned else kernel
        last, scale, shift = self._per_channel(node, kernel.shape[3])
        users = self._users(last)
        fits = len(users) == 1 and users[0].op in ACTIVATIONS and last.name != self.output
        activation = users[0] if fits else last

        def finish(x: Any) -> Any:
            if shift.any():
                bias = np.tile(shift, x.shape[-1] // len(shift))  # of each pixel of a square
                x = tf.nn.bias_add(x, tf.constant(bias.astype(x.dtype.as_numpy_dtype)))
            if activation.op == "Relu":
                x = tf.nn.relu(x)
            elif activation.op == "LeakyRelu":
                x = tf.nn.leaky_relu(x, activation.attr["alpha"].f)
            return x

        def build(x: Any) -> Any:
            weights = (kernel * scale).astype(x.dtype.as_numpy_dtype)
            if turned:
                return enlarged(x, weights, strides[1], finish)
            padding: Any = node.attr["padding"].s.decode()
            if padding == "EXPLICIT":
                padding = np.reshape(node.attr["explicit_paddings"].list.i, (4, 2)).tolist()
            return finish(tf.nn.conv2d(x, weights, strides, padding))

        self._insert(node, activation, build, self._dtype(activation), kernel.shape[2])

    def _per_channel(self, node: Any, channels: int) -> tuple[Any, Array, Array]:
        """The last node of those behind `node` that multiply each of its channels or add to it, and
        by what."""
        last, scale, shift = node, np.ones(channels), np.zeros(channels)
        while last.name != self.output and len(users := self._users(last)) == 1:
            (user,) = users
            if user.op == "Cast" and user.attr["DstT"].type in FLOATS:
                last = user
                continue
            others = [place for place in user.input if _name(place) != last.name]
            others = [place for place in others if not place.startswith("^")]
            value = self._value(others[0]) if len(others) == 1 else None
            if value is None or value.size not in (1, channels) or max((1, *value.shape[:-1])) > 1:
                break
            value = value.astype(np.float64).reshape(-1)
            if user.op == "Mul":
                scale, shift = scale * value, shift * value
            elif user.op in ("AddV2", "Add", "BiasAdd"):
                shift = shift + value
            else:
                break
            last = user
        return last, scale, shift

    def _enlarges(self, node: Any, size: tuple[int, ...], strides: list[int]) -> bool:
        """Whether a transposed convolution has "same" padding and makes sides of just as many times
        its input's as its stride says."""
        stride = strides[1]
        if strides[2] != stride or min(size) < stride or node.attr["padding"].s != b"SAME":
            return False
        sides = self.nodes[_name(node.input[0])]
        return sides.op == "Pack" and all(
            self._times(side, stride) == [axis, node.input[2]]
            for axis, side in enumerate(sides.input[1:3], start=1)
        )

    def _times(self, place: str, stride: int) -> list[Any]:
        """The axis and the tensor whose length there, times `stride`, is at `place`."""
        product = self.nodes[_name(place)]
        if product.op != "Mul":
            return []
        values = [self._value(factor) for factor in product.input]
        lengths = [f for f, value in zip(product.input, values, strict=True) if value is None]
        if len(lengths) != 1 or stride not in [value for value in values if value is not None]:
            return []
        part = self.nodes[_name(lengths[0])]
        shape = self.nodes[_name(part.input[0])] if part.op == "StridedSlice" else part
        if shape.op != "Shape" or (begin := self._value(part.input[1])) is None:
            return []
        return [int(begin[0]), shape.input[0]]

    def _insert(
        self, node: Any, last: Any, build: Callable[[Any], Any], dtype: Any, channels: int
    ) -> None:
        """Puts what `build` makes of the images that `node` is given in the place of `last`."""
        with tf.Graph().as_default() as part:
            given = tf.as_dtype(node.attr["T"].type)
            x = tf.compat.v1.placeholder(given, (None, None, None, channels), "x")
            tf.identity(tf.cast(build(x), dtype), "made")
        prefix = f"{node.name}/inserted"
        x = node.input[2 if node.op == "Conv2DBackpropInput" else 0]
        for new in part.as_graph_def().node:
            inputs = [x if place == "x" else f"{prefix}/{place}" for place in new.input]
            new.name = f"{prefix}/{new.name}"
            new.ClearField("input")
            new.input.extend(inputs)
            if new.op != "Placeholder":
                self.nodes[new.name], self._constant[new.name] = new, False
        self._becomes(last, f"{prefix}/made")

    def _becomes(self, node: Any, place: str) -> None:
        """Makes of `node` another name of the tensor at `place`, of the same type."""
        dtype = self._dtype(node)
        node.op = "Identity"
        node.ClearField("input")
        node.ClearField("attr")
        node.input.append(place)
        node.attr["T"].type = dtype

    def _dtype(self, node: Any) -> Any:
        return node.attr["DstT" if node.op == "Cast" else "T"].type

    def _cast_from(self, place: str) -> str:
        """What is cast to the constant at `place`."""
        while (node := self.nodes[_name(place)]).op in ("Cast", "Identity"):
            place = node.input[0]
        return place

    def _users(self, node: Any) -> list[Any]:
        return [
            user
            for user in self.nodes.values()
            for place in user.input
            if _name(place) == node.name
        ]

    def _value(self, place: str) -> Array | None:
        """What is at `place` where it depends on constants alone, else None."""
        if not self._is_constant(_name(place)):
            return None
        if (node := self.nodes[_name(place)]).op == "Const":
            return tf.make_ndarray(node.attr["value"].tensor)
        needed = tf.compat.v1.GraphDef()
        needed.node.extend(self.needed([node.name]))
        part = _function(needed)
        wanted = part.graph.as_graph_element(place if ":" in place else f"{place}:0")
        return part.prune([], wanted)().numpy()

    def needed(self, names: list[str]) -> list[Any]:
        """The nodes of these names, and all that they depend on."""
        found: dict[str, Any] = {}
        while names:
            name = names.pop()
            found[name] = node = self.nodes[name]
            names += [each for each in map(_name, node.input) if each not in found]
        return list(found.values())

    def _is_constant(self, name: str) -> bool:
        if name not in self._constant:
            node = self.nodes[name]
            about = op_def_registry.get(node.op)
            self._constant[name] = node.op == "Const" or bool(
                about and not about.is_stateful and node.input and node.op != "NoOp"
                and all(self._is_constant(_name(p)) for p in node.input if not p.startswith("^"))
            )  # fmt: skip
        return self._constant[name]
