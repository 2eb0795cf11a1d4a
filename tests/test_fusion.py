import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.models.feature_inversion import feature_inversion
from tfrecon.networks.fusion import FUSIONS

CHANNELS = [6, 4, 3]
every_fusion = pytest.mark.parametrize("name", sorted(FUSIONS.keys() - {"sum"}))


def _sources(channels=CHANNELS, count=2):
    random = np.random.default_rng(0)
    return [random.standard_normal((count, 3, 5, c)).astype(np.float32) + i
            for i, c in enumerate(channels)]  # fmt: skip


def _projections(fusion, sources):
    """The 1×1 projections, by hand."""
    kernels = [fusion.get_layer(f"project{i}").kernel for i in range(1, len(sources) + 1)]
    return [x @ np.asarray(k)[0, 0] for x, k in zip(sources, kernels, strict=True)]


@every_fusion
@pytest.mark.parametrize("channels", [[6], [6, 4], CHANNELS])
def test_any_number_of_sources(name, channels):
    fusion = FUSIONS[name](channels=channels, width=8, seed=0)
    assert fusion(_sources(channels)).shape == (2, 3, 5, 8)


@every_fusion
def test_no_channels_are_one_sentence(name):
    with pytest.raises(UserError, match=f"'width' of '{name}' must be 1 or more, not 0"):
        FUSIONS[name](channels=CHANNELS, width=0)


@every_fusion
def test_every_variable_takes_part_and_the_configuration_is_whole(name):
    fusion = FUSIONS[name](channels=CHANNELS, width=8, seed=0)
    sources = _sources()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(fusion(sources) ** 2)
    for variable, gradient in zip(
        fusion.trainable_variables,
        tape.gradient(loss, [v.value for v in fusion.trainable_variables]),
        strict=True,
    ):
        assert gradient is not None and np.abs(gradient).max() > 0, variable.path
    again = keras.Model.from_config(fusion.get_config())
    again.set_weights(fusion.get_weights())
    np.testing.assert_array_equal(again(sources), fusion(sources))
    same = FUSIONS[name](channels=CHANNELS, width=8, seed=0)
    np.testing.assert_array_equal(same(sources), fusion(sources))
    other = FUSIONS[name](channels=CHANNELS, width=8, seed=1)
    assert np.any(np.abs(other(sources) - fusion(sources)) > 1e-3)


@every_fusion
def test_bfloat16(name):
    exact = FUSIONS[name](channels=CHANNELS, width=8, seed=0)
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = FUSIONS[name](channels=CHANNELS, width=8, seed=0)
    sources = _sources()
    np.testing.assert_allclose(tf.cast(half(sources), tf.float32), exact(sources), atol=0.1)


def test_weighted_starts_at_the_average_and_learns_shares():
    fusion = FUSIONS["weighted"](channels=CHANNELS, width=8, seed=0)
    sources = _sources()
    projections = _projections(fusion, sources)
    np.testing.assert_allclose(fusion(sources), np.mean(projections, 0), atol=1e-5)
    fusion.get_layer("mix").logits.assign(np.log([1.0, 2.0, 5.0]))
    expected = np.tensordot([0.125, 0.25, 0.625], projections, 1)
    np.testing.assert_allclose(fusion(sources), expected, atol=1e-5)


def test_concat_is_one_matrix():
    fusion = FUSIONS["concat"](channels=CHANNELS, width=8, seed=0)
    sources = _sources()
    kernel = np.asarray(fusion.get_layer("project").kernel)[0, 0]
    np.testing.assert_allclose(fusion(sources), np.concatenate(sources, -1) @ kernel, atol=1e-5)


def test_sum_has_no_parameters_and_needs_equal_channels():
    fusion = FUSIONS["sum"](channels=[6, 6], seed=0)
    sources = _sources([6, 6])
    assert not fusion.weights
    np.testing.assert_allclose(fusion(sources), sources[0] + sources[1], atol=1e-6)
    with pytest.raises(UserError, match="needs taps of as many channels, not 6, 4; choose"):
        FUSIONS["sum"](channels=[6, 4], seed=0)
    with pytest.raises(UserError, match="unknown option 'width' of fusion 'sum'"):
        feature_inversion(
            image_size=32, backbone="vgg16", taps=["block1", "block2"], weights=None,
            fusion={"name": "sum", "width": 8},
        )  # fmt: skip


def test_attention_has_shares_of_each_image():
    fusion = FUSIONS["attention"](channels=CHANNELS, width=8, seed=0)
    sources = _sources()
    scores = keras.Model(fusion.inputs, fusion.get_layer("scores").output)(sources)
    shares = tf.nn.softmax(scores).numpy()
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert np.abs(shares[0] - shares[1]).max() > 1e-3
    expected = sum(
        p * shares[:, i, None, None, None] for i, p in enumerate(_projections(fusion, sources))
    )
    np.testing.assert_allclose(fusion(sources), expected, atol=1e-5)
    alone = fusion([source[1:] for source in sources])
    np.testing.assert_allclose(alone, fusion(sources)[1:], atol=1e-5)
