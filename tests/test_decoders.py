import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.layers.attention import WindowAttention
from tfrecon.layers.haar import InverseHaar
from tfrecon.networks.decoders.frequency_aware import frequency_aware
from tfrecon.networks.decoders.transposed_conv import transposed_conv
from tfrecon.networks.decoders.wavelet import wavelet
from tfrecon.networks.decoders.window_attention_decoder import attention

BUILDERS = (transposed_conv, frequency_aware, wavelet, attention)
every_decoder = pytest.mark.parametrize("builder", BUILDERS, ids=lambda b: b.__name__)


def _features(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@every_decoder
@pytest.mark.parametrize("channels, doublings, height, width, pooling", [
    (64, 1, 5, 7, 1), (8, 0, 5, 7, 1), (12, 3, 1, 2, 1), (8, 1, 4, 6, 2), (8, 0, 4, 2, 2),
])  # fmt: skip
def test_any_tap_gives_an_image(builder, channels, doublings, height, width, pooling):
    network = builder(channels=channels, doublings=doublings, pooling=pooling, width=8).network
    image = network(_features(2, height, width, channels))
    assert image.shape == (2, height * 2**doublings, width * 2**doublings, 3)
    assert image.dtype == tf.float32
    assert np.isfinite(image).all() and 0 < np.mean(image) < 1


@every_decoder
def test_deep_taps_can_be_built(builder):
    network = builder(channels=2048, doublings=8, width=8).network
    assert network.count_params() < 60e6
    assert network(_features(1, 1, 1, 2048)).shape == (1, 256, 256, 3)


@every_decoder
def test_a_batch_is_learned_and_every_variable_takes_part(builder):
    network = builder(channels=16, doublings=2, width=16, seed=0).network
    features = _features(2, 4, 5, 16)
    # Pixels that the features determine: a fixed linear map of each position.
    pixels = np.random.default_rng(1).standard_normal((16, 3)).astype(np.float32) / 16
    target = np.repeat(np.repeat(0.5 + features @ pixels, 4, 1), 4, 2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((network(features, training=True) - target) ** 2)
    for variable, gradient in zip(
        network.trainable_variables,
        tape.gradient(loss, [v.value for v in network.trainable_variables]),
        strict=True,
    ):
        assert gradient is not None and np.abs(gradient).max() > 0, variable.path
    network.compile(keras.optimizers.Adam(3e-3), "mse")
    history = network.fit(features, target, batch_size=2, epochs=25, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]


@every_decoder
def test_bfloat16_trains_and_ends_in_float32(builder):
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = builder(channels=8, doublings=1, width=16, seed=0).network
    features, target = _features(2, 6, 5, 8), np.full((2, 12, 10, 3), 0.2, np.float32)
    image = network(features)
    assert image.dtype == tf.float32
    # The last operation is in float32 too: its values are not all bfloat16 numbers.
    assert np.any(tf.cast(tf.cast(image, tf.bfloat16), tf.float32) != image)
    network.compile(keras.optimizers.Adam(1e-2), "mse")
    history = network.fit(features, target, epochs=10, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]


@every_decoder
def test_configuration_round_trip(builder):
    network = builder(channels=8, doublings=2, width=16, seed=0).network
    again = keras.Model.from_config(network.get_config())
    again.set_weights(network.get_weights())
    features = _features(1, 3, 5, 8)
    np.testing.assert_array_equal(again(features), network(features))


@every_decoder
def test_the_seed_decides_the_weights(builder):
    first, same, other = (
        builder(channels=8, doublings=1, width=16, seed=seed).network.get_weights()
        for seed in (1, 1, 2)
    )
    for a, b in zip(first, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(np.any(a != b) for a, b in zip(first, other, strict=True))
    kernels = [w for w in first if w.shape == (3, 3, 16, 16)]
    assert all(np.any(a != b) for a, b in itertools.pairwise(kernels))


def test_transposed_conv_is_the_published_one():
    network = transposed_conv(channels=64, doublings=1).network
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == 33_731
    more = transposed_conv(channels=64, doublings=1, depth=1).network
    extra = more.count_params() - network.count_params()
    assert extra == 32 * 32 * 9 + 32 + 4 * 32, "a convolution with its bias and its normalisation"
    deep = transposed_conv(channels=256, doublings=4).network
    assert [deep.get_layer(f"up{i}").filters for i in (1, 2, 3, 4)] == [128, 64, 32, 32]
    image = network(1e3 * _features(1, 3, 3, 64)).numpy()
    assert image.min() >= 0 and image.max() <= 1


def test_pooling_averages_first():
    features = _features(1, 4, 6, 8)
    means = features.reshape(1, 2, 2, 3, 2, 8).mean((2, 4))
    pooled = frequency_aware(channels=8, doublings=1, pooling=2, width=8, seed=0).network
    plain = frequency_aware(channels=8, doublings=2, width=8, seed=0).network
    np.testing.assert_allclose(pooled(features), plain(means), atol=1e-5)


def test_frequency_aware_separates_means_from_the_rest():
    network = frequency_aware(channels=4, doublings=1, width=8, seed=0).network
    bands = keras.Model(
        network.inputs[0], [network.get_layer("low").output, network.get_layer("high").output]
    )
    features = _features(1, 5, 6, 4)
    low, high = bands(features)
    np.testing.assert_allclose(low[0, 2, 3], features[0, 1:4, 2:5].mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(low[0, 0, 0], features[0, :2, :2].mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(low + high, features, atol=1e-6)


def _haar_bands(image):
    a, b = image[:, 0::2, 0::2], image[:, 0::2, 1::2]
    c, d = image[:, 1::2, 0::2], image[:, 1::2, 1::2]
    bands = [a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d]
    return np.concatenate(bands, -1) / 2


def test_inverse_haar_undoes_the_closed_form():
    image = np.random.default_rng(0).random((2, 6, 8, 3), np.float32)
    bands = _haar_bands(image)
    np.testing.assert_allclose(InverseHaar()(bands), image, atol=1e-6)
    np.testing.assert_allclose(np.sum(bands**2), np.sum(image**2), rtol=1e-5)
    with pytest.raises(UserError, match="four"):
        InverseHaar()(image)


def test_haar_filters_are_those_of_the_separable_transform():
    # Outer products of the 1-D low-pass (1,1)/√2 and high-pass (1,-1)/√2 filters.
    low, high = np.array([1, 1]) / np.sqrt(2), np.array([1, -1]) / np.sqrt(2)
    cells = (np.outer(r, c) for r, c in ((low, low), (high, low), (low, high), (high, high)))
    for band, cell in enumerate(cells):
        one = np.zeros((1, 1, 1, 4), np.float32)
        one[..., band] = 1
        np.testing.assert_allclose(InverseHaar()(one)[0, :, :, 0], cell, atol=1e-6)


def test_wavelet_image_is_the_inverse_of_its_bands():
    network = wavelet(channels=8, doublings=2, width=8, seed=0).network
    outputs = [network.get_layer(name).output for name in ("low", "details1", "image1", "details2")]
    features = _features(1, 3, 4, 8)
    low, details, half, fine = keras.Model(network.inputs[0], outputs)(features)
    first = _haar_bands(np.asarray(half))
    np.testing.assert_allclose(first[..., :3], 2 * low, atol=1e-5)
    np.testing.assert_allclose(first[..., 3:], details, atol=1e-5)
    second = _haar_bands(np.asarray(network(features)))
    np.testing.assert_allclose(second[..., :3], 2 * half, atol=1e-5)
    np.testing.assert_allclose(second[..., 3:], fine, atol=1e-5)


def _attention_by_hand(qkv, layer):
    """Softmax attention of one map, every pair of positions looked at by itself."""
    height, width, channels = *qkv.shape[:2], qkv.shape[2] // 3
    q, k, v = (qkv[..., i * channels : (i + 1) * channels] for i in range(3))
    size, side = channels // layer.heads, 2 * layer.window - 1
    table = np.asarray(layer.position_bias).reshape(layer.heads, side, side)
    answer = np.zeros((height, width, channels))

    def cell(i, j):
        return (i + layer.shift) // layer.window, (j + layer.shift) // layer.window

    places = [(i, j) for i in range(height) for j in range(width)]
    for i, j in places:
        near = [p for p in places if cell(*p) == cell(i, j)]
        for head in range(layer.heads):
            part = slice(head * size, (head + 1) * size)
            scores = np.array([
                q[i, j, part] @ k[m, n, part] / np.sqrt(size)
                + table[head, i - m + layer.window - 1, j - n + layer.window - 1]
                for m, n in near
            ])  # fmt: skip
            weights = np.exp(scores - scores.max())
            values = np.array([v[m, n, part] for m, n in near])
            answer[i, j, part] = weights @ values / weights.sum()
    return answer


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("height, width", [(8, 4), (5, 7), (1, 2)])
def test_window_attention_agrees_with_a_plain_loop(shift, height, width):
    layer = WindowAttention(heads=2, window=4, shift=shift)
    qkv = _features(2, height, width, 24)
    layer.build(qkv.shape)
    layer.position_bias.assign(_features(2, 49))
    answer = layer(qkv).numpy()
    for image in range(2):
        np.testing.assert_allclose(answer[image], _attention_by_hand(qkv[image], layer), atol=1e-5)


def test_attention_exchanges_between_windows_but_stays_bounded():
    def touched(depth):
        network = attention(
            channels=4, doublings=1, width=8, heads=2, window=4, depth=depth, seed=0
        ).network
        features = _features(1, 16, 16, 4)
        moved = features.copy()
        moved[0, 6, 6] += 5
        change = np.abs(network(moved) - network(features))[0].max((1, 2))
        return np.flatnonzero(change > 1e-7)[[0, -1]] // 2

    # Rows 5–7 see row 6 through the embedding, in windows of rows 4–7; the head adds a row.
    assert touched(1).tolist() == [3, 8]
    # Windows moved by two: rows 2–9, since those of rows 2–5 and 6–9 meet rows 4–7.
    assert touched(2).tolist() == [1, 10]


def test_attention_says_which_heads_fit():
    with pytest.raises(UserError, match="is 3 and must divide the 64 channels"):
        attention(channels=4, doublings=1, heads=3)
    # The channels of coarse grids are limited to 256.
    with pytest.raises(UserError, match="is 3 and must divide the 256 channels"):
        attention(channels=4, doublings=4, width=48, heads=3)


@pytest.mark.parametrize("builder, options", [
    (transposed_conv, {"width": 0}), (frequency_aware, {"width": 0}),
    (frequency_aware, {"depth": -1}), (wavelet, {"width": 0}), (wavelet, {"depth": -1}),
    (attention, {"width": 0}), (attention, {"depth": -1}), (attention, {"heads": 0}),
    (attention, {"window": 0}),
])  # fmt: skip
def test_options_out_of_range_are_one_sentence(builder, options):
    (option, value), name = next(iter(options.items())), builder.__name__
    least = 0 if option == "depth" else 1
    sentence = f"^option '{option}' of '{name}' must be {least} or more, not {value}$"
    with pytest.raises(UserError, match=sentence):
        builder(channels=4, doublings=1, **options)
    if option != "width" or builder is not attention:
        builder(channels=4, doublings=1, **{"width": 4, option: least})
