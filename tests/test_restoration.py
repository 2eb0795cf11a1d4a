import keras
import numpy as np
import pytest
from scipy import ndimage

from tfrecon.base.errors import UserError
from tfrecon.layers.grids import DepthToSpace, SpaceToDepth
from tfrecon.layers.top_hats import TopHats
from tfrecon.models.nafnet import nafnet, nafnet_network
from tfrecon.models.residual_unet import residual_unet

SMALL = {
    "residual_unet": lambda **more: residual_unet(width=8, seed=0, **more),
    "residual_unet, fine": lambda **more: residual_unet(width=8, grids="fine", seed=0, **more),
    "residual_unet, marks": lambda **more: residual_unet(width=8, top_hats=[3], seed=0, **more),
    "nafnet": lambda **more: nafnet(width=8, seed=0, **more),
}


@pytest.mark.parametrize("name", SMALL)
def test_they_start_as_do_nothing_and_leave_known_pixels(name):
    random = np.random.default_rng(0)
    x = random.random((2, 32, 48, 4), np.float32)
    x[..., 3] = x[..., 3] > 0.7
    model = SMALL[name](mask=True)
    np.testing.assert_array_equal(model(x), x[..., :3])
    for weight in model.trainable_variables:
        weight.assign(random.normal(0, 0.1, weight.shape))
    restored, known = np.asarray(model(x)), x[..., 3] == 0
    np.testing.assert_array_equal(restored[known], x[known][:, :3])
    assert np.abs(restored - x[..., :3])[~known].mean() > 1e-3
    assert restored.min() >= 0 and restored.max() <= 1


def test_sizes_of_the_default_networks():
    assert residual_unet().network.count_params() == 4_226_460
    fine = residual_unet(grids="auto")
    assert (fine.network.count_params(), fine.size_multiple) == (989_676, 8)
    holes = residual_unet(grids="auto", mask=True)
    assert (holes.network.count_params(), holes.size_multiple) == (4_228_188, 16)
    # 17.11 M: NAFNet of width 32 as its authors give it for GoPro.
    published = nafnet(encoder=[1, 1, 1, 28], middle=1, decoder=[1, 1, 1, 1])
    assert 17.0e6 < published.network.count_params() < 17.2e6
    assert published.size_multiple == 16


def test_a_naf_block_against_numpy():
    """One block with every scale at 1, spelled from the paper's equations."""
    network = nafnet_network(channels=3, width=4, encoder=[], middle=1, decoder=[], seed=0)
    random = np.random.default_rng(1)
    for weight in network.weights:
        weight.assign(random.normal(0, 0.3, weight.shape))
    x = random.random((1, 6, 5, 3), np.float32)
    w = {"/".join(v.path.split("/")[-2:]): np.asarray(v) for v in network.weights}

    def conv3(x, kernel):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        rows, columns = x.shape[1:3]
        return sum(
            padded[:, r : r + rows, c : c + columns] @ kernel[r, c]
            for r in range(3) for c in range(3)
        )  # fmt: skip

    def point(x, name):
        return x @ w[f"middle_block0_{name}/kernel"][0, 0] + w[f"middle_block0_{name}/bias"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * w[f"middle_block0_{name}/gamma"] + w[f"middle_block0_{name}/beta"]

    h = conv3(x, w["intro/kernel"]) + w["intro/bias"]
    y = point(norm(h, "norm1"), "conv1")
    depthwise = w["middle_block0_conv2/kernel"][..., 0]
    y = conv3(y, np.stack([[np.diag(tap) for tap in row] for row in depthwise]))
    y = y + w["middle_block0_conv2/bias"]
    y = y[..., :4] * y[..., 4:]
    y = y * point(y.mean((1, 2), keepdims=True), "attention")
    h = h + point(y, "conv3") * w["middle_block0_beta/scale"]
    y = point(norm(h, "norm2"), "conv4")
    h = h + point(y[..., :4] * y[..., 4:], "conv5") * w["middle_block0_gamma/scale"]
    expected = conv3(h, w["ending/kernel"]) + w["ending/bias"]
    np.testing.assert_allclose(network(x), expected, atol=2e-5)


def test_space_to_depth_is_undone_by_depth_to_space():
    x = np.random.default_rng(0).random((2, 6, 4, 3), np.float32)
    squares = SpaceToDepth()(x)
    assert squares.shape == (2, 3, 2, 12)
    np.testing.assert_array_equal(squares[0, 0, 0], x[0, :2, :2].reshape(-1))
    np.testing.assert_array_equal(DepthToSpace()(squares), x)


def test_bfloat16_keeps_the_input_exact():
    """The residual is added to the image as it came, not to its bfloat16."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = residual_unet(width=8, seed=0)
        x = np.random.default_rng(0).random((1, 16, 16, 3), np.float32)
        np.testing.assert_array_equal(model(x), x)
        assert model.network.get_layer("residual_unet").get_layer("enter").compute_dtype == (
            "bfloat16"
        )
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(("build", "words"), [
    (lambda: residual_unet(width=0), "'width' of 'residual_unet' must be 1 or more"),
    (lambda: residual_unet(depth=0), "'depth' of 'residual_unet' must be 1 or more"),
    (lambda: nafnet(encoder=[1, 1]), "equally many"),
    (lambda: nafnet(middle=-1), "'middle' of 'nafnet' must be 0 or more"),
    (lambda: nafnet(decoder=[1, -1, 1]), "'decoder' of 'nafnet' must be 0 or more"),
])  # fmt: skip
def test_options_out_of_range(build, words):
    with pytest.raises(UserError, match=words):
        build()


def test_top_hats_are_those_of_scipy_and_hold_thin_marks_alone():
    image = np.random.default_rng(0).random((1, 24, 30, 4), np.float32)
    image[:, 8:12] += 2.0
    marks = np.asarray(TopHats([3, 7])(image))
    grey = image[0, ..., :3].mean(-1)
    for place, side in enumerate((3, 7)):
        for black, hat in enumerate((ndimage.white_tophat, ndimage.black_tophat)):
            np.testing.assert_allclose(marks[0, ..., 2 * place + black], hat(grey, side), atol=1e-6)
    assert marks[0, 9:11, :, 0].max() < 1.0 < marks[0, 9:11, :, 2].min()  # four pixels wide


def test_they_are_shown_to_the_network_where_no_mask_shows_the_damage():
    for mask, channels in ((False, 3 + 2), (True, 3 + 1)):
        model = residual_unet(width=8, top_hats=[5], mask=mask, seed=0)
        enter = model.network.get_layer("residual_unet").get_layer("enter")
        assert enter.kernel.shape[2] == 4 * channels
    with pytest.raises(UserError, match="top_hats"):
        residual_unet(top_hats=[0])
