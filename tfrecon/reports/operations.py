"""Multiply-adds of a model, counted on its graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

Shape = tuple[int, ...]


def multiply_adds(model: Any, size: int, channels: int) -> int | None:
    """Of the convolutions and matrix products that make one image (1,size,size,channels),
    everything that is frozen included; a loop counts as often as it runs at most.

    None where that cannot be told: shapes that depend on values, loops without a stated end, and
    images that the model does not take.
    """
    specification = tf.TensorSpec((1, size, size, channels), tf.float32)

    @tf.function(autograph=False)
    def answer(x: Any) -> Any:
        return model(x, training=False)

    try:
        graph = answer.get_concrete_function(specification).graph
        return _graph(graph.as_graph_def(add_shapes=True))
    except (_Unknown, KeyError, TypeError, ValueError, tf.errors.InvalidArgumentError):
        return None


class _Unknown(Exception):
    """Something that the number depends on is known at run time only."""


def _graph(definition: Any) -> int:
    functions = {f.signature.name: f for f in definition.library.function}
    known: dict[str, int] = {}

    def function(name: str) -> int:
        if name not in known:
            body = functions[name]
            # Shapes of a function's nodes stand in the attribute of each node.
            known[name] = total(body.node_def, _arguments(body))
        return known[name]

    def total(nodes: Any, arguments: Mapping[str, list[Shape]]) -> int:
        by_name = {node.name: node for node in nodes}

        def shape(name: str) -> Shape:
            place = name.removeprefix("^").split(":")
            if place[0] in by_name:
                return _output(by_name[place[0]], int(place[-1]) if len(place) > 1 else 0)
            if place[0] in arguments:
                return arguments[place[0]][0]
            raise _Unknown

        count = 0
        for node in nodes:
            if node.op in COUNTED:
                inputs = [shape(name) for name in node.input if not name.startswith("^")]
                count += COUNTED[node.op](node, inputs, _output(node, 0))
            elif node.op in ("While", "StatelessWhile"):
                count += _trips(node, by_name) * function(node.attr["body"].func.name)
            elif node.op in ("If", "StatelessIf"):
                branches = (node.attr[name].func.name for name in ("then_branch", "else_branch"))
                count += max(map(function, branches))
            elif node.op in ("Case", "StatelessCase"):
                count += max(function(branch.name) for branch in node.attr["branches"].list.func)
            elif node.op in ("PartitionedCall", "StatefulPartitionedCall"):
                count += function(node.attr["f"].func.name)
        return count

    return total(definition.node, {})


def _arguments(function: Any) -> dict[str, list[Shape]]:
    """The shapes of a function's arguments, where they are stated."""
    shapes: dict[str, list[Shape]] = {}
    for place, argument in enumerate(function.signature.input_arg):
        stated = function.arg_attr[place].attr["_output_shapes"].list.shape
        if stated and not stated[0].unknown_rank:
            shapes[argument.name] = [tuple(side.size for side in stated[0].dim)]
    return shapes


def _output(node: Any, place: int) -> Shape:
    shapes = node.attr["_output_shapes"].list.shape
    if place >= len(shapes) or shapes[place].unknown_rank:
        raise _Unknown
    return tuple(side.size for side in shapes[place].dim)


def _trips(node: Any, by_name: Mapping[str, Any]) -> int:
    """The most rounds of a while loop, its second input where it is a constant ≥ 0."""
    source = by_name.get(node.input[1].split(":")[0])
    if source is None or source.op != "Const":
        raise _Unknown
    rounds = int(tf.make_ndarray(source.attr["value"].tensor))
    if rounds < 0:
        raise _Unknown
    return rounds


def _volume(shape: Shape) -> int:
    if any(side < 0 for side in shape):
        raise _Unknown
    return math.prod(shape)


def _product(node: Any, inputs: list[Shape], output: Shape) -> int:
    turned = node.attr["transpose_a"].b or node.attr["adj_x"].b
    return _volume(output) * inputs[0][-2 if turned else -1]


def _einsum(node: Any, inputs: list[Shape], output: Shape) -> int:
    terms = node.attr["equation"].s.decode().split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, inputs, strict=True):
        if "." in term or len(term) != len(shape):
            raise _Unknown
        sizes |= dict(zip(term, shape, strict=True))
    return _volume(tuple(sizes.values()))


COUNTED: dict[str, Callable[[Any, list[Shape], Shape], int]] = {
    # Kernels are (h,w,in/groups,out); a transposed one is (h,w,out,in), and enlarges inputs[2].
    "Conv2D": lambda node, inputs, output: _volume(output) * _volume(inputs[1][:3]),
    "DepthwiseConv2dNative": lambda node, inputs, output: _volume(output) * _volume(inputs[1][:2]),
    "Conv2DBackpropInput": lambda node, inputs, output: _volume(inputs[2]) * _volume(inputs[1][:3]),
    "MatMul": _product,
    "BatchMatMul": _product,
    "BatchMatMulV2": _product,
    "Einsum": _einsum,
}
"""Operations whose multiply-adds count; element-wise ones are left out, as is usual."""
