"""Gauss–Newton: its products against dense algebra, what it recovers; certificates of answers."""

import numpy as np
import pytest
import tensorflow as tf

from tfrecon.layers.ridge import Standardise
from tfrecon.models import certificates as certificates_module
from tfrecon.models import gauss_newton as module
from tfrecon.models.certificates import certificates, eigenvalue_bound
from tfrecon.models.gauss_newton import gauss_newton, linearised, preconditioner, solved
from tfrecon.models.refinement import gradient_descent

SIZE, STRIDE = 16, 2
RANDOM = np.random.default_rng(3)
KERNELS = [
    RANDOM.normal(0, 0.3, shape).astype(np.float32) for shape in [(3, 3, 3, 16), (3, 3, 16, 64)]
]


def features(image, kernels=KERNELS):
    """A frozen network of its own: two convolutions with ReLU, then the larger of 2×2."""
    x = image - 0.5
    for kernel in kernels:
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + 0.1)
    return [tf.nn.max_pool2d(x, 2, 2, "VALID")]


def blind(image):
    """The same features of an image whose last two channels are exchanged for their mean."""
    mean = tf.reduce_mean(image[..., 1:], -1, keepdims=True)
    return features(tf.concat([image[..., :1], mean, mean], -1))


def photos(count=2, size=SIZE):
    coarse = np.random.default_rng(1).random((count, 5, 5, 3), np.float32)
    return tf.image.resize(0.1 + 0.8 * coarse, (size, size))


def near(x, deviation=0.01):
    noise = np.random.default_rng(2).normal(0, deviation, x.shape).astype(np.float32)
    return tf.clip_by_value(x + noise, 0, 1)


def dense(x, of=features):
    """J (f,n) of one image, float64, by differentiating each feature."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reshape(of(x)[0], (-1,))
    return tape.jacobian(value, x).numpy().reshape(len(value), -1).astype(np.float64)


def test_the_transposed_jacobian_is_the_slope_of_the_features():
    def smooth(image):
        return [tf.tanh(tf.nn.conv2d(image, KERNELS[0], 2, "SAME"))]

    x = photos(1)
    _, pull, value = linearised(x, smooth)
    p = np.random.default_rng(4).normal(size=x.shape).astype(np.float32)
    r = np.random.default_rng(5).normal(size=value.shape).astype(np.float32)
    step = (smooth(x + 1e-2 * p)[0] - smooth(x - 1e-2 * p)[0]) / 2e-2
    assert np.sum(r * step) == pytest.approx(np.sum(p * pull(r)), rel=5e-3)


def test_products_are_those_of_the_jacobian():
    x = photos(1)
    jacobian = dense(x)
    normal, pull, value = linearised(x, features)
    np.testing.assert_allclose(value, features(x)[0])
    p = np.random.default_rng(4).normal(size=x.shape).astype(np.float32)
    r = np.random.default_rng(5).normal(size=value.shape).astype(np.float32)
    np.testing.assert_allclose(pull(r).numpy().ravel(), jacobian.T @ r.ravel(), atol=1e-4)
    expected = jacobian.T @ (jacobian @ p.ravel())
    np.testing.assert_allclose(normal(p).numpy().ravel(), expected, rtol=1e-3, atol=1e-3)


def test_conjugate_gradients_end_at_the_dense_solution():
    x = photos(1)
    normal, _, _ = linearised(x, features)
    convolution = preconditioner(normal, tf.shape(x), STRIDE)
    right = np.random.default_rng(6).normal(size=x.shape).astype(np.float32)
    jacobian = dense(x)
    matrix = jacobian.T @ jacobian + 0.5 * np.eye(jacobian.shape[1])
    expected = np.linalg.solve(matrix, right.ravel())
    found = solved(lambda p: normal(p) + 0.5 * p, right, convolution.inverse, 200).numpy().ravel()
    np.testing.assert_allclose(found, expected, atol=5e-3 * np.abs(expected).max())


def test_the_preconditioner_inverts_a_convolution_and_stays_positive():
    kernel = RANDOM.normal(0, 0.05, (3, 3, 3, 3)).astype(np.float32)
    kernel[1, 1] += np.eye(3)

    def normal(p):
        """AᵀA of a convolution A, zero beyond the border."""
        once = tf.nn.conv2d(p, kernel, 1, "SAME")
        return tf.nn.conv2d_transpose(once, kernel, p.shape, 1, "SAME")

    shape = (2, 64, 64, 3)
    convolution = preconditioner(normal, tf.constant(shape), 2)
    a, b = (np.random.default_rng(n).normal(size=shape).astype(np.float32) for n in (7, 8))
    left, right = (
        np.sum(a * convolution.inverse(b), (1, 2, 3)),
        np.sum(convolution.inverse(a) * b, (1, 2, 3)),
    )
    np.testing.assert_allclose(left, right, rtol=1e-2)
    assert np.all(np.sum(a * convolution.inverse(a), (1, 2, 3)) > 0)
    smooth = tf.nn.avg_pool2d(a, 5, 1, "SAME").numpy()
    again = convolution.inverse(normal(smooth)).numpy()
    assert np.linalg.norm(again - smooth) < 0.5 * np.linalg.norm(smooth)


def test_it_finds_the_image_and_each_image_for_itself():
    x = photos()
    start = near(x)
    found = gauss_newton(start, features(x), features, STRIDE, 400).numpy()
    assert np.abs(start - x).max() > 0.02
    assert np.abs(found - x).max() < 2e-4
    alone = gauss_newton(start[:1], features(x[:1]), features, STRIDE, 400).numpy()
    np.testing.assert_allclose(found[:1], alone, atol=1e-4)


def test_black_and_white_places_are_found_and_not_left():
    x = tf.clip_by_value(4 * (photos(4) - 0.5) + 0.5, 0, 1)
    assert 0.3 < np.mean((x.numpy() == 0) | (x.numpy() == 1)) < 0.7
    for products, error in ((150, 3e-3), (300, 1e-4)):
        found = gauss_newton(near(x, 0.05), features(x), features, STRIDE, products).numpy()
        assert found.min() >= 0 and found.max() <= 1
        assert np.sqrt(np.mean((found - x) ** 2, (1, 2, 3))).max() < error


def test_pixels_may_leave_their_range_on_the_way(monkeypatch):
    monkeypatch.setattr(module, "SPREAD", 0.0)  # whose noise leaves it anyway
    x, seen = tf.clip_by_value(4 * (photos(1) - 0.5) + 0.5, 0, 1), []

    def watched(image):
        seen.append((float(tf.reduce_min(image)), float(tf.reduce_max(image))))
        return features(image)

    found = gauss_newton(near(x, 0.05), features(x), watched, STRIDE, 100).numpy()
    assert min(low for low, _ in seen) < 0 and max(high for _, high in seen) > 1
    assert found.min() >= 0 and found.max() <= 1


def test_an_anchor_keeps_what_the_features_do_not_say():
    x = photos()
    start = near(x)
    found = gauss_newton(start, blind(x), blind, STRIDE, 200, anchor=0.1).numpy()
    kept = (found[..., 1] - found[..., 2]) - (start[..., 1] - start[..., 2])
    assert np.abs(kept).max() < 3e-3
    mean = np.mean(found[..., 1:], -1) - np.mean(x[..., 1:], -1)
    assert np.sqrt(np.mean(mean**2)) < 0.4 * 0.01


@pytest.mark.parametrize("stride", [1, 4])
def test_other_strides(stride):
    def coarse(image):
        return (
            [tf.nn.space_to_depth(features(image)[0], 2)]
            if stride == 4
            else [tf.nn.conv2d(image, KERNELS[0], 1, "SAME")]
        )

    x = photos(1)
    found = gauss_newton(near(x), coarse(x), coarse, stride, 300)
    assert np.abs(found - x).max() < 2e-3


def test_products_are_counted(monkeypatch):
    counted = []
    real = module.linearised

    def counting(x, of):
        normal, pull, value = real(x, of)

        def product(p):
            tf.py_function(lambda: counted.append(1), [], [])
            return normal(p)

        return product, pull, value

    monkeypatch.setattr(module, "linearised", counting)
    x = photos(1)
    gauss_newton(near(x), features(x), features, STRIDE, 150)
    assert 100 < len(counted) <= 150


# --- certificates


class Frozen:
    """What `certificates` asks of a model."""

    tap_stride = STRIDE

    def __init__(self, of=features):
        self.of = of
        self.standardise = [Standardise()]
        self.standardise[0].build((None, None, None, 64))

    def features(self, x):
        return list(x) if isinstance(x, tuple) else self.of(x)


def lossy(image):
    """Features that do not see one direction of all pixels, the left against the right."""
    sign = np.where(np.arange(SIZE) < SIZE // 2, 1.0, -1.0).astype(np.float32)[:, None]
    unseen = np.broadcast_to(sign, (SIZE, SIZE, 3)) / np.sqrt(3 * SIZE**2)
    along = tf.reduce_sum(image * unseen, (1, 2, 3), keepdims=True)
    return features(image - along * unseen)


def test_the_smallest_eigenvalue_lies_above_its_bound():
    x = photos(1)
    normal, _, _ = linearised(x, features)
    convolution = preconditioner(normal, tf.shape(x), STRIDE)
    found = float(eigenvalue_bound(normal, convolution, tf.shape(x))[0])
    jacobian = dense(x)
    expected = np.linalg.eigvalsh(jacobian.T @ jacobian)[0]
    assert 0.005 * expected < found < expected


def test_a_bound_holds_and_an_image_that_is_found_is_exact():
    x, model = photos(), Frozen()
    for deviation in (1e-5, 1e-4, 1e-3):
        answers = near(x, deviation)
        error = np.abs(np.subtract(answers, x)).max(-1)
        for number, certificate in enumerate(certificates(model, answers, x)):
            assert np.all(certificate.bound >= error[number])
            assert np.all(error[number][certificate.exact] < certificates_module.HALF_LEVEL)
    found = gauss_newton(near(x), features(x), features, STRIDE, 400)
    assert [c.verdict for c in certificates(model, found, x)] == ["exact", "exact"]
    assert [c.verdict for c in certificates(model, near(x, 0.05), x)] == ["unresolved"] * 2


def test_a_wrong_place_is_not_exact_and_the_rest_is():
    x = photos(1, 48)
    answer = x.numpy()
    answer[0, 7:9, 7:9] += 0.02
    (certificate,) = certificates(Frozen(), answer, x)
    assert certificate.verdict == "exact in regions"
    assert not certificate.exact[7:9, 7:9].any()
    assert certificate.exact[20:].all()


@pytest.mark.parametrize("of", [blind, lossy])
def test_a_network_that_loses_a_direction_makes_nothing_exact(of):
    x = photos()
    found = certificates(Frozen(of), x, x)
    assert [(c.verdict, c.eigenvalue) for c in found] == [("unresolved", 0)] * 2
    assert max(c.residual for c in found) < 1e-12


def test_rounding_of_the_features_widens_the_bound():
    x, model = photos(), Frozen()
    rounded = 0.5 / 4096
    raw = tuple(tf.round(4096 * part) / 4096 for part in features(x))
    (plain, *_), (noisy, *_) = (certificates(model, x, raw, noise) for noise in (0.0, rounded))
    assert np.all(noisy.bound > plain.bound)
    assert noisy.verdict == "unresolved"


def test_descent_brings_pixels_back_that_left_the_range() -> None:
    """Of features that are the pixels: the first steps go too far, the last ones are right."""
    black, grey = tf.zeros((1, 8, 8, 3)), tf.fill((1, 8, 8, 3), 0.5)
    descend = gradient_descent(steps=80, rate=1.0)
    np.testing.assert_allclose(descend(black, [grey], lambda x: [x]), grey, atol=0.05)
