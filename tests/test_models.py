import keras
import numpy as np
import pytest
import tensorflow as tf
from kit import check_model

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.losses import mixture
from tfrecon.models import build_model
from tfrecon.models.pix2pix import pix2pix
from tfrecon.networks.patch_discriminator import patch_discriminator
from tfrecon.training.optimizers import FusedAdam, RunSchedule

SMALL = {"base_filters": 8, "discriminator_filters": 8, "image_size": 32, "seed": 0, "dropout": 0.0}


def test_pix2pix_has_the_size_of_the_paper():
    # 8 down, 7 up, head: the published generator has 54.4 M parameters with 3 input channels.
    generator = pix2pix(mask=False).generator
    assert 54.3e6 < generator.count_params() < 54.6e6
    discriminator = patch_discriminator(channels=3)
    assert 2.7e6 < discriminator.count_params() < 2.8e6
    assert discriminator.output_shape == (None, None, None, 1)


def test_patch_discriminator_sees_70_pixels():
    network = patch_discriminator(channels=3, base_filters=4, norm="none", seed=0)
    image = tf.Variable(np.random.default_rng(0).random((1, 256, 256, 3), np.float32))
    with tf.GradientTape() as tape:
        logits = network([image, image])
        assert logits.shape == (1, 30, 30, 1)
        one = logits[0, 15, 15, 0]
    touched = np.abs(tape.gradient(one, image).numpy()[0]).sum(-1) > 0
    rows = np.flatnonzero(touched.any(1))
    assert rows[-1] - rows[0] + 1 == 70


@pytest.mark.parametrize("normalization", ["batch", "instance"])
def test_pix2pix_keeps_the_promises_of_a_model(normalization):
    check_model(lambda: pix2pix(**SMALL, normalization=normalization), channels=4, size=32)


def test_pix2pix_without_mask():
    check_model(lambda: pix2pix(**SMALL, mask=False), channels=3, size=32)


@pytest.mark.parametrize("options", [
    {"fill": "harmonic", "residual": True}, {"fill": "mean"}, {"composite": False},
    {"adversarial_weight": 0.0},
])  # fmt: skip
def test_pix2pix_options_keep_the_promises_too(options):
    check_model(lambda: pix2pix(**SMALL, **options), channels=4, size=32)


def _x(count=3, size=32):
    random = np.random.default_rng(3)
    mask = (random.random((count, size, size, 1)) < 0.3).astype(np.float32)
    image = random.random((count, size, size, 3), np.float32) * (1 - mask)
    return np.concatenate([image, mask], -1)


def test_composite_passes_known_pixels_through():
    x = _x()
    known = x[..., 3:] == 0
    restored = pix2pix(**SMALL)(x).numpy()
    np.testing.assert_array_equal(restored[known[..., 0]], x[..., :3][known[..., 0]])
    other = pix2pix(**SMALL, composite=False)(x).numpy()
    assert np.abs(other - x[..., :3])[known[..., 0]].max() > 0.01


def test_residual_starts_at_the_fill():
    from tfrecon.layers.harmonic_fill import harmonic_fill

    x = _x()
    restored = pix2pix(**SMALL, fill="harmonic", residual=True)(x).numpy()
    np.testing.assert_allclose(restored, harmonic_fill(x[..., :3], x[..., 3:]), atol=1e-6)


def _trained(**options):
    keras.utils.set_random_seed(0)
    model = pix2pix(**{**SMALL, **options})
    model.compile(FusedAdam(2e-3), loss=mixture([Spec("l1")]), jit_compile=False)
    x = _x()
    model.fit(tf.data.Dataset.from_tensors((x, x[..., :3])).repeat(), steps_per_epoch=5, verbose=0,
              shuffle=False)  # fmt: skip
    return model


def test_inference_statistics_are_an_option():
    x = _x()
    moving, batch = _trained(inference="moving"), _trained(inference="batch")
    assert np.abs(moving(x) - batch(x)).max() > 1e-3
    # Each image by its own statistics: its neighbours in the batch change nothing.
    np.testing.assert_allclose(batch(x)[:1], batch(x[:1]), atol=1e-6)
    before = [np.asarray(v) for v in batch.non_trainable_variables]
    batch(x, training=False)
    for old, new in zip(before, batch.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_dropout_at_inference_is_an_option_and_repeatable():
    x = _x()
    off, on = _trained(dropout=0.5), _trained(dropout=0.5, dropout_at_inference=True)
    assert np.abs(on(x) - off(x)).max() > 1e-3
    np.testing.assert_array_equal(on(x), on(x))
    np.testing.assert_allclose(on(x)[:1], on(x[:1]), atol=1e-6)
    assert np.abs(off(x, training=True) - off(x, training=True)).max() > 1e-3


def test_bfloat16_gives_float32_images_and_weights():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = pix2pix(**SMALL, fill="harmonic")
    assert model(_x()).dtype == tf.float32
    assert model.discriminator([_x(), _x()[..., :3]]).dtype == tf.float32
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def test_bad_options_of_pix2pix():
    for options, text in [
        ({"image_size": 100}, "must be a multiple of 8"),
        ({"dropout": 1.0}, r"must lie in \[0, 1\)"),
        ({"mask": False, "fill": "mean"}, "no masks to fill"),
        ({"base_filters": 0}, "at least 1"),
    ]:
        with pytest.raises(UserError, match=text):
            pix2pix(**options)
    with pytest.raises(UserError, match=r"unknown model 'pix2pixx'; did you mean 'pix2pix'\?"):
        build_model(Spec("pix2pixx"), image_size=32, mask=True)
    with pytest.raises(UserError, match=r"unknown option 'base_filter' .*did you mean 'base_fil"):
        build_model(Spec("pix2pix", {"base_filter": 3}), image_size=32, mask=True)
    with pytest.raises(UserError, match="must be one of 'batch', 'instance', 'none', not 'layer'"):
        build_model(Spec("pix2pix", {"normalization": "layer"}), image_size=32, mask=True)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.01}, {"clipnorm": 0.1}])
def test_fused_adam_is_adam(options):
    start = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    mine, theirs = tf.Variable(start), tf.Variable(start)
    fused = FusedAdam(1e-2, 0.5, 0.99, **options)
    plain = keras.optimizers.Adam(1e-2, 0.5, 0.99, **options)
    for step in range(50):
        gradient = tf.sin(theirs * (step + 1.0))
        fused.apply([gradient], [mine])
        plain.apply([gradient], [theirs])
        mine.assign(tf.where(tf.abs(mine - theirs) < 1e-5, theirs, mine))
    np.testing.assert_allclose(mine, theirs, atol=2e-6)


def test_schedules():
    linear = RunSchedule(1.0, "linear", 0, 100)
    assert [float(linear(step)) for step in (0, 50, 75, 100)] == [1.0, 1.0, 0.5, 0.0]
    cosine = RunSchedule(2.0, "cosine", 10, 110)
    assert float(cosine(0)) == pytest.approx(0.2)
    assert float(cosine(60)) == pytest.approx(1.0)
    assert float(cosine(110)) == pytest.approx(0.0, abs=1e-6)
