import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data.damage import strokes
from tfrecon.layers.harmonic_fill import harmonic_fill
from tfrecon.losses import mixture
from tfrecon.models.inpainting_unet import HoleContext, halved, inpainting_unet

SMALL = {"width": 8, "reduction": 2, "seed": 0}


def holed(count=2, height=64, width=64, seed=0, hole=None):
    random = np.random.default_rng(seed)
    y = tf.image.resize(random.random((count, 4, 4, 3), np.float32), (height, width)).numpy()
    if hole is None:
        hole = np.zeros((count, height, width, 1), np.float32)
        hole[:, 10:34, 12:40] = 1
    return np.concatenate([y * (1 - hole), hole], -1), y


def test_it_starts_at_the_harmonic_fill_and_keeps_known_pixels():
    x, _ = holed()
    model = inpainting_unet(**SMALL)
    np.testing.assert_allclose(model(x), harmonic_fill(x[..., :3], x[..., 3:]), atol=0.02)
    for weight in model.trainable_variables:
        weight.assign_add(0.1 * tf.ones(weight.shape))
    restored, known = np.asarray(model(x)), x[..., 3] == 0
    np.testing.assert_array_equal(restored[known], x[known][:, :3])
    assert np.abs(restored - x[..., :3])[~known].max() > 0.1


def test_it_learns_to_beat_its_own_fill():
    """The hole is brighter than its surroundings, which no fill can know."""
    x, y = holed(8)
    y = np.where(x[..., 3:] > 0, np.minimum(y + 0.3, 1), y)
    model = inpainting_unet(**SMALL)
    model.compile(keras.optimizers.Adam(2e-3), loss=mixture([Spec("l2")]), jit_compile=False)
    model.fit(x, y, batch_size=8, epochs=40, verbose=0)
    hole = x[..., 3:]

    def error(restored):
        return float((np.square(restored - y) * hole).sum() / hole.sum())

    assert error(model(x)) < 0.3 * error(harmonic_fill(x[..., :3], hole))


def test_context_channels():
    x, _ = holed(1, 8, 16, hole=np.zeros((1, 8, 16, 1), np.float32))
    x[:, :4, :4, 3] = 1
    context = np.asarray(HoleContext(4)(x[..., :3], x[..., 3:]))[0]
    assert context.shape == (2, 4, 9)
    np.testing.assert_allclose(context[1, 2, :3], x[0, 4:, 8:12, :3].mean((0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(context[..., 3], [[0, 1, 1, 1], [1, 1, 1, 1]])
    mean = x[0, ..., :3][x[0, ..., 3] == 0].mean(0)
    np.testing.assert_allclose(context[..., 4:7], context[..., :3] - mean, atol=1e-6)
    np.testing.assert_allclose(context[:, 0, 7], [-1, 1])
    np.testing.assert_allclose(context[0, :, 8], [-1, -1 / 3, 1 / 3, 1], atol=1e-6)


def test_strokes_whole_holes_and_odd_sizes():
    _, y = holed(1)
    _, mask = strokes()(tf.constant(y[0]), [1, 2])
    x = np.concatenate([y[0] * (1 - mask), mask], -1)[None]
    model = inpainting_unet(**SMALL)
    assert 0 < float(tf.reduce_mean(mask)) < 1
    np.testing.assert_array_equal(model(x)[0][mask[..., 0] == 0], y[0][mask[..., 0] == 0])
    nothing = np.concatenate([np.zeros_like(y), np.ones_like(y[..., :1])], -1)
    assert np.isfinite(model(nothing)).all()


def test_training_sees_halved_photos():
    x, y = holed(1, 8, 8, hole=np.zeros((1, 8, 8, 1), np.float32))
    x[:, 2:5, 3:6, 3] = 1
    small, truth = halved(x, y, 1)
    assert small.shape == (1, 4, 4, 4) and truth.shape == (1, 4, 4, 3)
    hole = np.asarray(small)[0, ..., 3]
    np.testing.assert_array_equal(hole, [[0] * 4, [0, 0, 1, 0], [0] * 4, [0] * 4])
    np.testing.assert_allclose(truth[0, 3, 3], y[0, 6:, 6:].mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(small[0, 3, 3, :3], truth[0, 3, 3], rtol=1e-6)
    np.testing.assert_allclose(small[0, 1, 1, :3], x[0, 2:4, 2, :3].mean(0), rtol=1e-6)


@pytest.mark.parametrize("halvings", [0, 1, 2])
def test_both_networks_are_one(halvings):
    """A correction by one number, on a hole along the grid, is the same on halved photos."""
    x, y = holed(1, hole=np.zeros((1, 64, 64, 1), np.float32))
    x[:, 16:40, 16:40, 3] = 1
    model = inpainting_unet(**{**SMALL, "reduction": 4, "train_halvings": halvings})
    core = model.network.get_layer("inpainting_unet")
    core.get_layer("head").bias.assign(tf.fill(12, -0.3))
    small, _ = halved(x, y, halvings)
    trained = np.asarray(model(small, training=True))
    expected, _ = halved(tf.concat([model(x, training=False), 0 * x[..., 3:]], -1), y, halvings)
    inside = trained.min(-1, keepdims=True) > 0  # inference clips
    np.testing.assert_allclose(trained * inside, expected[..., :3] * inside, atol=0.03)
    assert (np.abs(trained - harmonic_fill(small[..., :3], small[..., 3:])) > 0.25).any()


def test_holes_can_weigh_more():
    x, y = holed()
    model = inpainting_unet(**SMALL)
    model.compile(keras.optimizers.SGD(0.0), loss=mixture([Spec("l2")]), jit_compile=False)
    plain = model.train_on_batch(x, y)
    weights = 1 + 3 * x[..., 3:]
    weighed = model.train_on_batch(x, y, sample_weight=weights)
    assert 2 * plain < weighed < 4 * plain, "the error lies in the holes"


def test_bad_options():
    with pytest.raises(UserError, match=r"cannot be halved 3 times"):
        inpainting_unet(reduction=4, train_halvings=3)
    with pytest.raises(UserError, match="this data has no masks"):
        inpainting_unet(mask=False)
    with pytest.raises(UserError, match="'width' of 'inpainting_unet' must be 1 or more"):
        inpainting_unet(width=0)
