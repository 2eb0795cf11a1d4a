"""A training is followed by the trackers that fit.log names, through their own Keras callbacks."""

import contextlib
import sys
from types import ModuleType, SimpleNamespace

import keras
import pytest
from tiny_runs import config, interrupted

from tfrecon import fit
from tfrecon.base import extras
from tfrecon.base.errors import UserError
from tfrecon.training import loop
from tfrecon.training.run import Run, open_run
from tfrecon.training.trackers import hyperparameters, tracked


@pytest.fixture
def trackers(monkeypatch):
    """Stand-ins for both packages, which note what they are told."""
    told = SimpleNamespace(begun=[], ended=[], epochs=[], params={})

    class Epochs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            told.epochs.append((epoch, {*(logs or {})}))

    @contextlib.contextmanager
    def begin(package, known, **options):
        told.begun.append((package, known, options))
        yield SimpleNamespace(id="w1", info=SimpleNamespace(run_id="m1"))
        told.ended.append(package)

    class Begun:
        def __init__(self, package, known, **options):
            self.manager = begin(package, known, **options)
            self.run = self.manager.__enter__()
            self.id, self.info = self.run.id, self.run.info

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return self.manager.__exit__(*error)

    modules = {
        "wandb": {"init": lambda id, **options: Begun("wandb", id, **options)},
        "wandb.integration": {},
        "wandb.integration.keras": {"WandbMetricsLogger": Epochs},
        "mlflow": {
            "start_run": lambda run_id, **options: Begun("mlflow", run_id, **options),
            "log_params": told.params.update,
        },
        "mlflow.keras": {"MlflowCallback": Epochs},
    }
    for name, attributes in modules.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    return told


def begun(trackers):
    return [(package, known) for package, known, _ in trackers.begun]


def test_both_begin_with_the_settings_and_go_on_under_their_name(tmp_path, photos, trackers):
    run = Run(tmp_path / "run", config(photos, log=["wandb", "mlflow"]), {"mask": True})
    with tracked(run, None) as callbacks:
        assert len(callbacks) == 2 and not trackers.ended
    assert begun(trackers) == [("wandb", None), ("mlflow", None)]
    assert trackers.begun[0][2]["config"]["model"]["base_filters"] == 4
    assert trackers.params["model.base_filters"] == 4 and "data.root" not in trackers.params
    assert run.facts["tracked_as"] == {"wandb": "w1", "mlflow": "m1"}
    assert trackers.ended == ["mlflow", "wandb"]
    trackers.begun.clear()
    trackers.params.clear()
    with tracked(run, run):
        assert begun(trackers) == [("wandb", "w1"), ("mlflow", "m1")] and not trackers.params


@pytest.mark.slow
def test_both_follow_a_run_that_is_stopped_and_resumed(
    tmp_path, photos, trackers, monkeypatch, eagerly
):
    settings = config(photos, log=["wandb", "mlflow"])
    interrupted(monkeypatch, settings, tmp_path / "run", 4)
    assert open_run(tmp_path / "run").facts["tracked_as"] == {"wandb": "w1", "mlflow": "m1"}
    trackers.begun.clear()
    loop.train(settings, tmp_path / "run", resume=True)
    assert begun(trackers) == [("wandb", "w1"), ("mlflow", "m1")]
    assert [epoch for epoch, _ in trackers.epochs] == [0, 0, 1, 1, 2, 2]
    assert all({"val_psnr", "reconstruction"} <= names for _, names in trackers.epochs)


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_a_missing_package_is_told_before_anything(tmp_path, photos, monkeypatch, capsys, package):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extras, "missing", lambda extra: [extra])
    words = ["--model", "pix2pix", "--data", "folder", "--root", str(photos), "--steps", "1"]
    assert fit.main([*words, "--set", f'fit.log=["{package}"]']) == 2
    said = capsys.readouterr().err
    assert f'needs the package {package}; add it with pip install "tfrecon[{package}]"' in said
    assert not [*tmp_path.iterdir()]


def test_one_that_does_not_start_ends_the_run_before_it_begins(
    tmp_path, photos, trackers, monkeypatch
):
    def refused(**options):
        raise RuntimeError("api_key not configured")

    monkeypatch.setattr(sys.modules["wandb"], "init", refused)
    with pytest.raises(UserError, match=r"wandb does not start \(api_key not configured\); set"):
        loop.train(config(photos, log=["wandb"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"fit\.log must be"):
        config(photos, log=["comet"])


def test_hyperparameters_are_plain_values_by_dotted_names():
    tables = {"fit": {"steps": 3, "minutes": None, "loss": [{"name": "l1"}]}, "model": "x"}
    assert hyperparameters(tables) == {"fit.steps": 3, "fit.loss": '[{"name": "l1"}]', "model": "x"}
