"""ViT's positions and tokens on grids other than the trained one, with sizes known and unknown."""

import numpy as np
import pytest
import tensorflow as tf

from tfrecon.backbones import feature_taps
from tfrecon.backbones.transformers import PatchGrid, PositionEmbedding


def positions(height, width, *, value=None, policy="float32"):
    """What is added to the tokens of a grid, and the trained vectors: all `value`, or drawn."""
    layer = PositionEmbedding(dtype=policy)
    dtype = layer.compute_dtype
    tokens = tf.zeros((2, 1 + height * width, 8), dtype)
    patches = tf.zeros((2, height, width, 8), dtype)
    layer.build(tokens.shape, patches.shape)
    vectors = np.random.default_rng(0).normal(size=(1, 197, 8)) if value is None else value
    layer.pos_embed.assign(np.broadcast_to(vectors, (1, 197, 8)).astype(np.float32))
    found = layer(tokens, patches)
    unknown = [tf.TensorSpec((None,) * rank + (8,), dtype) for rank in (2, 3)]
    np.testing.assert_array_equal(
        tf.function(layer, input_signature=unknown)(tokens, patches), found
    )
    return np.asarray(tf.cast(found, tf.float32)), layer.pos_embed.numpy()


def test_positions_of_the_trained_grid_are_kept_to_the_bit():
    """Also where a graph knows no sizes, which `positions` compares."""
    found, trained = positions(14, 14)
    np.testing.assert_array_equal(found, np.repeat(trained, 2, axis=0))


@pytest.mark.parametrize(("height", "width"), [(28, 28), (4, 4), (6, 10), (14, 7), (1, 1)])
def test_positions_of_other_grids(height, width):
    found, trained = positions(height, width)
    assert found.shape == (2, 1 + height * width, 8)
    np.testing.assert_array_equal(found[:, 0], np.repeat(trained[:, 0], 2, axis=0))
    constant, _ = positions(height, width, value=0.7)
    np.testing.assert_allclose(constant, 0.7, rtol=1e-6)


def test_positions_are_resampled_before_they_are_rounded():
    exact, half = positions(6, 10)[0], positions(6, 10, policy="mixed_bfloat16")[0]
    np.testing.assert_array_equal(half, tf.cast(tf.cast(exact, tf.bfloat16), tf.float32))


def test_tokens_lie_on_the_grid_row_by_row():
    tokens = np.arange(7.0, dtype=np.float32).reshape(1, 7, 1)
    found = PatchGrid()(tokens, np.zeros((1, 2, 3, 1), np.float32))
    np.testing.assert_array_equal(found[0, ..., 0], [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_vit_takes_images_whose_size_a_graph_does_not_know(size):
    model = feature_taps("vit_s16", ["block1"], None)
    x = np.random.default_rng(0).random((2, *size, 3), np.float32)
    graph = tf.function(
        lambda x: tf.nest.flatten(model(x))[0],
        input_signature=[tf.TensorSpec((None, None, None, 3))],
    )
    assert graph(x).shape == (2, size[0] // 16, size[1] // 16, 384)
    np.testing.assert_allclose(graph(x), tf.nest.flatten(model(x))[0], atol=1e-5)
