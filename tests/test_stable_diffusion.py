"""The networks of Stable Diffusion 1.x, small: weights by name, and as parts of diffusion."""

import functools

import keras
import numpy as np
import pytest
import safetensors.numpy
from test_diffusion import FEATURES, photos

from tfrecon.backbones.backbone import to_torch, torch_names
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.inference.restorer import restorer
from tfrecon.losses import mixture
from tfrecon.models import stable_diffusion as sd1
from tfrecon.models.diffusion import diffusion
from tfrecon.models.stable_diffusion import OLD_NAMES, load_autoencoder, load_denoiser

TINY_UNET = {"widths": (8, 8, 16, 16), "heads": 2, "groups": 4, "text_width": 12}
TINY_VAE = {"widths": (8, 8, 8, 8), "groups": 4}


def small_sd1(monkeypatch):
    """`diffusion` builds them small."""
    for name, tiny in (("sd1_denoiser", TINY_UNET), ("encoder", TINY_VAE), ("decoder", TINY_VAE)):
        monkeypatch.setattr(sd1, name, functools.partial(getattr(sd1, name), **tiny))


def tiny_sd1(condition=3, vector=0):
    network = sd1.sd1_denoiser(condition_channels=condition, global_channels=vector, **TINY_UNET)
    return network, sd1.encoder(**TINY_VAE), sd1.decoder(**TINY_VAE)


@pytest.fixture(scope="module")
def tiny():
    """The three networks for tests that look at their names and shapes and not at their values."""
    return tiny_sd1()


def saved(folder, part, networks, rename=lambda name: name, channels=4):
    """Arrays as diffusers saves them, random, for all variables of `networks`; `channels` of the
    first convolution's."""
    random = np.random.default_rng(0)
    arrays = {}
    for network in networks:
        for name, variable in torch_names(network).items():
            array = random.normal(0, 0.1, variable.shape).astype(np.float32)
            array = to_torch(array) if array.ndim > 1 else array
            if name == "conv_in.weight":
                array = array[:, :channels]
            arrays[rename(name)] = np.ascontiguousarray(array)
    (folder / part).mkdir(parents=True)
    safetensors.numpy.save_file(arrays, folder / part / "diffusion_pytorch_model.safetensors")
    return arrays


def test_sd1_weights_load_by_name_and_the_condition_starts_silent(tmp_path, tiny):
    network, encoder, decoder = tiny_sd1(vector=5)
    arrays = saved(tmp_path, "unet", tiny[:1])
    load_denoiser(network, str(tmp_path))
    kernel = np.asarray(network.get_layer("conv_in").kernel)
    np.testing.assert_array_equal(kernel[:, :, :4], arrays["conv_in.weight"].transpose(2, 3, 1, 0))
    assert kernel.shape[2] == 7 and not kernel[:, :, 4:].any()
    random = np.random.default_rng(0)
    noisy, condition = (
        random.standard_normal((1, 16, 16, 4)),
        random.standard_normal((1, 16, 16, 3)),
    )
    vector, t = random.standard_normal((1, 5)), np.float32([0.3])
    said = network([noisy, condition, t, vector])
    np.testing.assert_allclose(said, network([noisy, 0 * condition, t, 0 * vector]), atol=1e-6)
    assert np.abs(said - network([noisy, condition, t + 0.5, vector])).max() > 1e-4

    def old(name):
        for before, after in OLD_NAMES.items():
            name = name.replace(after, before)
        return name

    arrays = saved(tmp_path, "vae", [encoder, decoder], old)
    load_autoencoder(encoder, decoder, str(tmp_path))
    query = encoder.get_layer("encoder.mid_block.attentions.0.to_q").kernel
    np.testing.assert_array_equal(query, arrays["encoder.mid_block.attentions.0.query.weight"].T)
    x = photos(1)
    latent = encoder(x)[..., :4]
    assert latent.shape == (1, 4, 4, 4) and decoder(latent).shape == x.shape


def test_names_are_those_that_diffusers_saves(tiny):
    """A few of each kind, of the files of Stable Diffusion 1.5."""
    names = {name for network in tiny for name in torch_names(network)}
    attention = "down_blocks.0.attentions.0.transformer_blocks.0"
    for name in (
        "conv_in.weight", "time_embedding.linear_1.weight",
        "down_blocks.0.resnets.0.time_emb_proj.bias", "down_blocks.0.downsamplers.0.conv.weight",
        f"{attention}.attn2.to_k.weight", f"{attention}.attn1.to_out.0.bias",
        f"{attention}.ff.net.0.proj.weight", f"{attention}.ff.net.2.weight",
        "mid_block.attentions.0.proj_in.weight", "up_blocks.1.upsamplers.0.conv.weight",
        "up_blocks.3.resnets.2.conv_shortcut.weight", "conv_norm_out.weight", "conv_out.bias",
        "encoder.down_blocks.0.resnets.0.norm1.weight", "encoder.conv_out.weight",
        "encoder.mid_block.attentions.0.to_q.weight", "quant_conv.weight", "post_quant_conv.weight",
        "decoder.up_blocks.0.resnets.0.conv1.weight", "decoder.conv_norm_out.bias",
    ):  # fmt: skip
        assert name in names, name


def test_weights_of_sd_inpainting_find_mask_and_photo_where_they_expect_them(tmp_path, monkeypatch):
    network = sd1.sd1_denoiser(condition_channels=5, global_channels=0, **TINY_UNET)
    arrays = saved(tmp_path, "unet", [network], channels=9)
    load_denoiser(network, str(tmp_path))
    kernel = np.asarray(network.get_layer("conv_in").kernel)
    np.testing.assert_array_equal(kernel, arrays["conv_in.weight"].transpose(2, 3, 1, 0))
    # Their order: noisy latents, mask, latents of the damaged photo.
    y = photos(1, 64)
    x = np.concatenate([y, np.ones((1, 64, 64, 1), np.float32)], -1)
    small_sd1(monkeypatch)
    model = diffusion(image_size=64, mask=True, autoencoder="sd1", denoiser="sd1")
    (condition,) = model.condition(x)
    np.testing.assert_array_equal(condition[..., 0], np.ones((1, 8, 8)))
    np.testing.assert_allclose(condition[..., 1:], model.space.encode(y), atol=1e-5)


def test_sd1_weights_that_do_not_fit(tmp_path, tiny):
    network = tiny[0]
    with pytest.raises(UserError, match=r"has no unet/diffusion_pytorch_model\.safetensors"):
        load_denoiser(network, str(tmp_path))
    other = sd1.sd1_denoiser(condition_channels=3, **{**TINY_UNET, "widths": (8, 16, 16, 16)})
    saved(tmp_path, "unet", [other])
    with pytest.raises(UserError, match=r"must be .* and is"):
        load_denoiser(network, str(tmp_path))


def test_diffusion_with_the_networks_of_sd1(monkeypatch, eagerly):
    """At small widths; benchmarks/sd1.py runs the whole ones."""
    small_sd1(monkeypatch)
    options = {"autoencoder": "sd1", "denoiser": "sd1", "steps": 2}
    model = diffusion(image_size=128, **options)
    assert model.size_multiple == 64
    assert model.options["prediction"] == "noise", "what the weights were trained with"
    assert model.options["schedule"] == {"name": "scaled_linear"}
    model.compile(keras.optimizers.Adam(1e-4), loss=mixture([Spec("l2")]), jit_compile=False)
    x = photos(1, 128)
    trained = len(model.trainable_variables)
    assert trained == len(model.network.trainable_variables), "the autoencoder is frozen"
    assert np.isfinite(model.fit(x, x, batch_size=1, verbose=0).history["loss"][0])
    assert np.asarray(model(x)).shape == x.shape
    assert restorer(model)(x[:, :100, :80]).shape == (1, 100, 80, 3), "padded to 64"
    with pytest.raises(UserError, match=r"set model\.autoencoder=sd1"):
        diffusion(denoiser="sd1")
    with pytest.raises(UserError, match=r"model\.sd1_weights are for"):
        diffusion(sd1_weights="folder")
    with pytest.raises(UserError, match="multiples of 64"):
        diffusion(image_size=96, **FEATURES, **options)
