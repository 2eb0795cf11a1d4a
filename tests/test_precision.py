"""Training in float16: every model, its loss scale, steps that are left out; what auto picks."""

import csv
import tomllib
from pathlib import Path
from types import SimpleNamespace

import keras
import kit
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs

from tfrecon.base.config import FitConfig, from_tables, merged
from tfrecon.training import loop, preparation
from tfrecon.training.optimizers import LossScale, halve_rate
from tfrecon.training.sentinel import SMALLEST_SCALE, Diverged, Sentinel


def config(photos, name="residual_unet", **fit):
    """Three steps in one epoch."""
    row = kit.ROWS[name]
    tables = tiny_runs.config(photos).to_dict() | {"model": {"name": name, **row.options}}
    damage = {} if row.masks[-1] else {"data": {"damage": {"name": "identity"}}}
    fit = {"steps": 3, "precision": "float16", **fit}
    return from_tables(merged(merged(tables, damage), {"fit": fit}))


@pytest.mark.parametrize("name", kit.ROWS)
def test_every_model_trains(name, eagerly):
    keras.config.set_dtype_policy("mixed_float16")
    row = kit.ROWS[name]
    model = row.build(name, row.masks[-1])
    x, y = kit._damaged_batch(3 + row.masks[-1], 32, 2)
    preparation.compile_model(model, FitConfig(), 2, tf.distribute.get_strategy())
    model.optimizer.dynamic_scale.assign(2.0**8)  # few and small as the pixels are
    before = [np.asarray(variable) for variable in model.optimized_variables]
    model.fit(tf.data.Dataset.from_tensors((x, y)).repeat(2), shuffle=False, verbose=0)
    assert model.optimizer.iterations == 2, "no step is left out"
    after = [np.asarray(variable) for variable in model.optimized_variables]
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in after)
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


class Overflow(keras.callbacks.Callback):
    """Gives the loss a scale, before step 2, with which every gradient overflows."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 1:
            self.model.optimizer.dynamic_scale.assign(2.0**126)


def test_steps_left_out_are_no_incident_and_a_resume_ends_the_same(
    photos, tmp_path, monkeypatch, eagerly, capsys
):
    """Of residual_unet; `test_resume` has every model."""
    settings = config(photos)
    run = loop.train(settings, tmp_path / "whole", callbacks=[Overflow()])
    with (run.path / "history.csv").open() as file:
        assert [float(row["loss_scale"]) for row in csv.DictReader(file)] == [2.0**124]
    out = capsys.readouterr().out
    assert "; float16 with a loss scale; 1 replica\n" in out and "loss_scale 2.127e+37" in out
    assert "incidents" not in run.facts
    arrays = tiny_runs.state(run)[0]
    assert all(np.isfinite(array).all() for array in arrays.values())
    assert arrays["optimizer/0004"] <= 1, "the optimizer itself took one step of three at most"
    tiny_runs.interrupted(monkeypatch, settings, tmp_path / "stop", 2, callbacks=[Overflow()])
    resumed = loop.train(settings, tmp_path / "stop", resume=True)
    tiny_runs.assert_equal_states(resumed, run)


def test_gradients_that_no_scale_helps_are_one():
    optimizer = LossScale(keras.optimizers.SGD())
    optimizer.build([keras.Variable(1.0)])
    sentinel = Sentinel(lambda: 4)
    sentinel.set_model(
        SimpleNamespace(optimizer=optimizer, optimized_variables=[keras.Variable(1.0)])
    )
    optimizer.dynamic_scale.assign(SMALLEST_SCALE)
    sentinel.on_train_batch_end(0, {"loss": 1.0})
    optimizer.dynamic_scale.assign(SMALLEST_SCALE / 2)
    with pytest.raises(Diverged, match="a gradient, whatever the loss scale, is not finite at"):
        sentinel.on_train_batch_end(0, {"loss": 1.0})


@pytest.mark.parametrize("bad", [0, 1])
def test_replicas_leave_a_step_out_together(bad):
    """Keras asks the first replica alone, and the gradients of the others spoil the weights."""
    strategy = kit.two_replicas()
    with strategy.scope():
        variable = keras.Variable(np.ones(3, np.float32))
        optimizer = LossScale(keras.optimizers.SGD(1.0))
        optimizer.build([variable])

    def step(infinite):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        spoilt = tf.where(tf.equal(replica, infinite), np.inf, 2.0**14)
        optimizer.apply([tf.fill([3], spoilt)], [variable])

    run = tf.function(lambda infinite: strategy.run(step, (infinite,)))
    run(tf.constant(bad))
    assert np.asarray(variable.value).tolist() == [1.0] * 3
    assert optimizer.dynamic_scale.value == 2.0**14
    run(tf.constant(-1))
    copies = strategy.experimental_local_results(variable.value)
    assert [np.asarray(copy).tolist() for copy in copies] == [[-1.0] * 3] * 2


def test_a_halved_rate_is_that_of_the_optimizer_within():
    for schedule, rate in (("constant", 1e-4), ("cosine", 5e-5)):
        optimizer = LossScale(preparation.build_optimizer(FitConfig(schedule=schedule), 10))
        halve_rate(optimizer, 2, 1)
        np.testing.assert_allclose(optimizer.learning_rate, rate, rtol=1e-6)


@pytest.mark.parametrize(
    ("gpus", "flags", "picked"),
    [
        ([], "fma avx512_bf16", "bfloat16"), ([], "fma f16c", "float32"),
        ([(8, 0)], "", "bfloat16"), ([(9, 0), (7, 5)], "", "float16"),
        ([(6, 0)], "avx512_bf16", "float16"), ([None], "", "float32"),
    ],
)  # fmt: skip
def test_auto_is_what_the_oldest_gpu_is_fast_in(monkeypatch, gpus, flags, picked):
    def details(gpu):
        return {"device_name": "T4", **({"compute_capability": gpu} if gpu else {})}

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details)
    monkeypatch.setattr(preparation, "processor", lambda about: flags)
    assert preparation.fast_precision() == picked
    line = preparation.devices_text(tf.distribute.get_strategy(), picked)
    assert line.startswith("training on " + (", ".join(["GPU T4"] * len(gpus)) or f"CPU {flags}"))


def test_determinism_is_switched_on_where_asked_for(photos, tmp_path, monkeypatch):
    switched = []
    monkeypatch.setattr(
        tf.config.experimental, "enable_op_determinism", lambda: switched.append(True)
    )
    monkeypatch.setattr(loop, "strategy_and_model", lambda *_: 1 / 0)
    for asked in (False, True):
        with pytest.raises(ZeroDivisionError):
            loop.train(config(photos, "pix2pix", deterministic=asked), tmp_path / "run")
        assert switched == [True] * asked


def test_the_extra_gpu_allows_the_versions_of_tensorflow_that_are_required():
    repository = Path(__file__).parents[1]
    required = (repository / "requirements.txt").read_text(encoding="utf-8").splitlines()
    extras = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    [gpu] = extras["project"]["optional-dependencies"]["gpu"]
    assert gpu.replace("[and-cuda]", "") in required
