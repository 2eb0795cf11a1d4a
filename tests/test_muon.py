"""Muon: its matrix against a singular value decomposition, its updates, replicas, and resume."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kit import two_replicas
from tiny_runs import assert_equal_states, config, interrupted

from tfrecon.training import loop
from tfrecon.training.optimizers import OPTIMIZERS, FusedAdam, Muon, is_wide, orthogonal


@pytest.mark.parametrize("shape", [(40, 16), (16, 40), (24, 24)])
def test_it_is_the_orthogonal_part_of_a_matrix(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    matrix = left * np.maximum(values, 0.1 * values[0]) @ right
    seen = left.T @ orthogonal(tf.constant(matrix)).numpy() @ right.T
    diagonal = np.diag(seen)
    assert 0.65 < diagonal.min() <= diagonal.max() < 1.25
    np.testing.assert_allclose(seen - np.diag(diagonal), 0, atol=2e-4)


def test_kernels_are_its_own_and_the_rest_is_adams():
    shapes = {
        "kernel": (3, 3, 16, 20),
        "head": (3, 3, 16, 3),
        "first": (3, 3, 3, 16),
        "bias": (20,),
    }
    random = np.random.default_rng(0)
    values = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    mine = {name: keras.Variable(value) for name, value in values.items()}
    theirs = {name: keras.Variable(value) for name, value in values.items()}
    muon, adam = OPTIMIZERS["muon"](learning_rate=1e-2, ratio=2.0), FusedAdam(1e-2)
    average, expected = np.zeros(shapes["kernel"], np.float32), values["kernel"].astype(np.float64)
    for _ in range(3):
        gradients = [random.normal(size=shape).astype(np.float32) for shape in shapes.values()]
        muon.apply([tf.constant(g) for g in gradients], list(mine.values()))
        adam.apply([tf.constant(g) for g in gradients], list(theirs.values()))
        average = 0.95 * average + gradients[0]
        step = orthogonal(tf.reshape(gradients[0] + 0.95 * average, (144, 20))).numpy()
        expected -= 1e-2 * 2.0 * 0.2 * 12.0 * step.reshape(shapes["kernel"])
    np.testing.assert_allclose(mine["kernel"], expected, atol=1e-5)
    for name in ("head", "first", "bias"):
        assert not is_wide(shapes[name])
        np.testing.assert_array_equal(mine[name], theirs[name])
    kept = [variable.path for variable in muon.variables if "moment" in variable.path]
    assert len(kept) == 4 and len(muon.variables) - len(adam.variables) == -1, "no second moment"


def test_it_is_saved_as_what_it_is():
    again = Muon.from_config(OPTIMIZERS["muon"](learning_rate=1e-2, ratio=2.0).get_config())
    assert (again.momentum, again.ratio, again.beta_2) == (0.95, 2.0, 0.999)


def test_one_and_two_replicas_update_alike():
    ends = []
    for strategy in (tf.distribute.get_strategy(), two_replicas()):
        with strategy.scope():
            keras.utils.set_random_seed(0)
            layers = [keras.layers.Conv2D(16, 3), keras.layers.Conv2D(16, 3)]
            model = keras.Sequential([keras.Input((8, 8, 16)), *layers])
            model.compile(Muon(1e-2), "mse", jit_compile=False)
        x = np.random.default_rng(0).random((4, 8, 8, 16), np.float32)
        model.fit(x, x[:, :4, :4], batch_size=4, epochs=3, verbose=0, shuffle=False)
        ends.append([np.asarray(variable) for variable in model.weights])
    for one, two in zip(*ends, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.slow
def test_a_run_goes_on_bit_for_bit(tmp_path, monkeypatch, photos, eagerly):
    settings = config(photos, optimizer="muon")
    whole = loop.train(settings, tmp_path / "whole")
    interrupted(monkeypatch, settings, tmp_path / "stopped", 4)
    assert_equal_states(loop.train(settings, tmp_path / "stopped", resume=True), whole)
