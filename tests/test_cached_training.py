"""What a model becomes that is trained from kept features."""

import dataclasses

import fakes
import numpy as np
import pytest
import tensorflow as tf
from tiny_runs import assert_equal_states, interrupted, state

from tfrecon.base.config import from_tables, merged
from tfrecon.base.errors import UserError
from tfrecon.data.feature_cache import FeatureCache
from tfrecon.models.feature_inversion import feature_inversion
from tfrecon.training import loop

INVERSION = {"name": "feature_inversion", "weights": None,
             "decoder": {"name": "residual", "width": 8}}  # fmt: skip


def run_config(root, tmp_path, data=None, model=INVERSION, **fit):
    tables = {
        "model": model,
        "data": {"recipe": "folder", "root": str(root), "image_size": 32, "crop_size": 32,
                 "load_size": 32, "val_size": 32, "flip": False, "damage": "identity",
                 "feature_cache_gib": 1, "cache_dir": str(tmp_path / "cache"), **(data or {})},
        "fit": {"steps": 8, "batch_size": 2, "steps_per_epoch": 3, "ema_decay": 0.9, "loss": "mse",
                "checkpoint_seconds": 0, "learning_rate": 1e-3, "seed": 5},
    }  # fmt: skip
    return from_tables(merged(tables, {"fit": fit}))


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    root = tmp_path_factory.mktemp("squares")
    for number in range(12):
        fakes.save(root / f"{number}.png", fakes.photo(32, 32, seed=number))
    return root


def test_a_model_takes_the_features_in_the_place_of_the_image():
    options = {"image_size": 32, "weights": None, "seed": 0, "refine": "gradient_descent"}
    model = feature_inversion(**options, taps=["block1", "block2"], decoder="transposed_conv")
    x = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    model.adapt([x], 3)
    raw = tuple(model.raw_features(x))
    for training_now in (False, True):
        np.testing.assert_allclose(
            model(raw, training=training_now), model(x, training=training_now), atol=1e-6
        )
    halves = tuple(tf.cast(part, tf.float16) for part in raw)
    np.testing.assert_allclose(model.decode(model.features(halves)),
                               model.decode(model.features(x)), atol=5e-3)  # fmt: skip


RESNET = {"backbone": "resnet34", "weights": "none", "width": 8}


@pytest.mark.parametrize("model", [
    INVERSION,
    pytest.param({"name": "diffusion", "taps": ["layer2", "avgpool"], "steps": 1, **RESNET},
                 marks=pytest.mark.slow),
    pytest.param({"name": "feature_gan", "taps": ["layer2"], "discriminator_filters": 4, **RESNET},
                 marks=pytest.mark.slow),
], ids=lambda model: model["name"])  # fmt: skip
def test_training_from_the_cache_is_training_on_the_images(tmp_path, squares, eagerly, model):
    off, optimizer = {"feature_cache_gib": 0.0}, {"optimizer": "sgd"}
    settings = {"model": model, **(optimizer if model is not INVERSION else {})}
    kept = loop.train(run_config(squares, tmp_path, **settings), tmp_path / "kept")
    plain = loop.train(run_config(squares, tmp_path, off, **settings), tmp_path / "plain")
    still = loop.train(run_config(squares, tmp_path, off, **settings, steps=1), tmp_path / "still")
    mine, theirs, start = (state(run)[0] for run in (kept, plain, still))
    names = [name for name in theirs if name.startswith("model/") and theirs[name].ndim == 4]
    moved = sum(np.abs(theirs[name] - start[name]).sum() for name in names)
    apart = sum(np.abs(mine[name] - theirs[name]).sum() for name in names)
    # float16 has 11 bits: 0.001 seen, and 0.035 where batches of two are normalised.
    assert moved > 0 and apart < (0.01 if model is INVERSION else 0.1) * moved
    assert list((tmp_path / "cache" / "features").glob("*/*.shard"))


@pytest.mark.slow
def test_a_stopped_run_ends_as_if_it_had_never_stopped(tmp_path, monkeypatch, squares, eagerly):
    config = run_config(squares, tmp_path, {"flip": True})
    whole = loop.train(config, tmp_path / "whole")
    interrupted(monkeypatch, config, tmp_path / "stopped", 4)
    resumed = loop.train(config, tmp_path / "stopped", resume=True)
    assert_equal_states(resumed, whole)
    for name in ("history.csv", "best.npz"):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_what_cannot_be_kept_is_refused(tmp_path, squares):
    for value in (-1, "nan"):
        with pytest.raises(UserError, match="feature_cache_gib must be 0 or more and finite"):
            run_config(squares, tmp_path, {"feature_cache_gib": float(value)})
    for load_size in (40, None):
        with pytest.raises(UserError, match=r"set data.load_size to data.crop_size \(32\)"):
            run_config(squares, tmp_path, {"load_size": load_size})
    boxes = {"damage": {"name": "boxes", "size": 8}}
    with pytest.raises(UserError, match=r"set data\.damage=identity"):
        FeatureCache([], run_config(squares, tmp_path, boxes).data, list, "")
    config = dataclasses.replace(
        run_config(squares, tmp_path),
        model=from_tables({"model": {"name": "pix2pix", "base_filters": 4}}).model,
    )
    with pytest.raises(UserError, match="'pix2pix' has no frozen features"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
