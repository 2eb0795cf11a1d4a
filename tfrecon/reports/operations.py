"""Multiply-adds of a model, counted on its graph."""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

Shape = tuple[int | None, ...]


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
        return _count(answer.get_concrete_function(specification).graph)
    except (KeyError, TypeError, ValueError, tf.errors.InvalidArgumentError):
        return None


def _count(graph: Any) -> int:
    """The multiply-adds of a graph's operations and of the functions that they call."""

    def called(function: Any) -> int:
        return _count(graph._get_function(function.name).graph)

    count = 0
    for operation in graph.get_operations():
        kind, attribute = operation.type.removeprefix("Stateless"), operation.get_attr
        if kind in COUNTED:
            inputs = [tuple(tensor.shape.as_list()) for tensor in operation.inputs]
            output = tuple(operation.outputs[0].shape.as_list())
            count += COUNTED[kind](operation, inputs, output)
        elif kind == "While":
            rounds = tf.get_static_value(operation.inputs[1])  # the most that it goes
            if rounds is None or rounds < 0:
                raise ValueError("known at run time only")
            count += int(rounds) * called(attribute("body"))
        elif kind == "If":
            count += max(called(attribute(name)) for name in ("then_branch", "else_branch"))
        elif kind == "Case":
            count += max(map(called, attribute("branches")))
        elif kind in ("PartitionedCall", "StatefulPartitionedCall"):
            count += called(attribute("f"))
    return count


def _volume(shape: Shape) -> int:
    if None in shape:
        raise ValueError("known at run time only")
    return math.prod(side or 0 for side in shape)


def _product(operation: Any, inputs: list[Shape], output: Shape) -> int:
    turned = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
    return _volume((*output, inputs[0][-2 if turned else -1]))


def _einsum(operation: Any, inputs: list[Shape], output: Shape) -> int:
    terms = operation.get_attr("equation").decode().split("->")[0].split(",")
    sizes: dict[str, int | None] = {}
    for term, shape in zip(terms, inputs, strict=True):
        if "." in term or len(term) != len(shape):
            raise ValueError("known at run time only")
        sizes |= dict(zip(term, shape, strict=True))
    return _volume(tuple(sizes.values()))


COUNTED: dict[str, Callable[[Any, list[Shape], Shape], int]] = {
    # Kernels are (h,w,in/groups,out); a transposed one is (h,w,out,in), and enlarges inputs[2].
    "Conv2D": lambda _, inputs, output: _volume(output) * _volume(inputs[1][:3]),
    "DepthwiseConv2dNative": lambda _, inputs, output: _volume(output) * _volume(inputs[1][:2]),
    "Conv2DBackpropInput": lambda _, inputs, output: _volume(inputs[2]) * _volume(inputs[1][:3]),
    "MatMul": _product,
    "BatchMatMul": _product,
    "BatchMatMulV2": _product,
    "Einsum": _einsum,
}
"""Operations whose multiply-adds count; element-wise ones are left out, as is usual."""
