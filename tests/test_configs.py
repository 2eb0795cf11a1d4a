"""Every file under configs/: its head is a reproduction contract, and it trains."""

import functools
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fakes
import keras
import pytest

from tfrecon import fit
from tfrecon.base import facts
from tfrecon.base.config import Config, merged, parse_set, read_toml
from tfrecon.base.registry import Spec, check, check_options
from tfrecon.data import recipes
from tfrecon.data.damage import damage
from tfrecon.losses import LOSSES
from tfrecon.models import MODELS, check_model, frozen_features
from tfrecon.models.pix2pix import pix2pix
from tfrecon.reports import evaluation, pictures
from tfrecon.training import loop
from tfrecon.training.optimizers import OPTIMIZERS, build_optimizer
from tfrecon.training.run import complete, open_run

REPOSITORY = Path(__file__).parents[1]
CONFIGS = sorted(
    path for path in (REPOSITORY / "configs").rglob("*.toml") if path.parent.name != "studies"
)
HEAD = ("command", "data", "hardware", "time", "score")

every_config = pytest.mark.parametrize(
    "path", CONFIGS, ids=[str(path.relative_to(REPOSITORY / "configs")) for path in CONFIGS]
)


def head(path: Path) -> dict[str, str]:
    """The fields of the comment at a file's head; a line without a name continues the one above."""
    fields: dict[str, str] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        word, _, rest = line[1:].strip().partition(" ")
        if line.startswith(f"# {word} ") and word in HEAD:
            name, text = word, rest
        else:
            text = line[1:]
        fields[name] = f"{fields.get(name, '')} {text.strip()}".strip()
    return fields


def read(path: Path) -> Config:
    return complete(read_toml(path), str(path))


def test_there_are_configurations():
    names = {str(path.relative_to(REPOSITORY / "configs")) for path in CONFIGS}
    assert {"pix2pix/demo.toml", "pix2pix/animals_inpainting.toml"} <= names


@every_config
def test_the_head_says_how_to_get_which_score(path):
    fields = head(path)
    assert set(fields) == {"", *HEAD}, "title, command, data, hardware, time and score"
    assert all(fields.values())
    command = f"python -m tfrecon.fit --config {path.relative_to(REPOSITORY)}"
    assert fields["command"].startswith(command)
    for name in ("time", "score"):
        assert "not measured" in fields[name] or re.search(r"\d", fields[name]), name
    if "not measured" not in fields["score"]:
        assert "seed" in fields["score"], "a score is measured with a seed, and on a named split"


def test_a_head_without_a_field_is_seen(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("# title\n#\n# command   do it\n#           so\n# time  1 h\n\n# score 3\n")
    assert head(path) == {"": "title", "command": "do it so", "time": "1 h"}


@every_config
def test_it_loads_and_all_its_names_and_options_are_known(path):
    config = read(path)
    assert path.parent.name in (config.model.name, "presets")
    check_model(config.model)
    for loss in config.fit.loss:  # not built: LPIPS would need its weights
        options = {key: value for key, value in loss.options.items() if key != "weight"}
        check(Spec(loss.name, options), LOSSES, "loss")
    build_optimizer(config.fit, total_steps=1)
    recipe = recipes.find(config.data.recipe.name)
    check_options(recipe.samples, config.data.recipe, "recipe")
    if config.data.damage:
        damage(config.data.damage)


@pytest.mark.parametrize(
    "path",
    [p for p in CONFIGS if "bsds500" not in p.name and p.parent.name == "feature_inversion"],
    ids=lambda p: p.stem,
)
def test_published_protocols_take_nothing_from_our_defaults(path):
    fit = read(path).fit
    assert check_options(OPTIMIZERS["adam"], fit.optimizer, "optimizer")["clipnorm"] is None
    assert fit.schedule == "constant" and fit.warmup_steps == 0 and fit.ema_decay == 0
    assert fit.precision == "float32" and "log_mse" not in [loss.name for loss in fit.loss]


def test_the_published_pix2pix_takes_nothing_from_our_defaults():
    name = "pix2pix/animals_inpainting"
    given = read_toml(facts.configuration(name))
    for section, settings in MODELS["pix2pix"].defaults.items():
        assert settings.keys() <= given[section].keys(), section
    options = check_options(pix2pix, complete(given).model, "model", {"image_size": 256})
    changed = {"inference": "batch", "dropout_at_inference": True}  # which the paper has
    whole = {k: p.default for k, p in inspect.signature(pix2pix).parameters.items()}
    assert {**whole, **options} == {**whole, **changed}


DATA = {
    "animals_inpainting": lambda root: fakes.animals_contest(root, count=8),
    "demo": lambda root: root,
    "dead_leaves": lambda root: root,
    "bsds500": fakes.bsds500,
    "humanface8000": fakes.humanface8000,
    "div2k": fakes.div2k,
    "imagenet_val": fakes.imagenet_val,
    "imagenette": fakes.imagenette,
}
"""Made-up photos in the layout of each recipe."""


def tiny(config: Config) -> list[str]:
    """Settings that make a step of any model quick, and need no file of weights."""
    settings = ["fit.steps_per_epoch=2"]
    if config.data.extra:
        settings.append('data.extra=[{name = "dead_leaves", count = 3, size = 64}]')
    if config.data.recipe.name == "dead_leaves":
        settings.append('data.recipe={name = "dead_leaves", count = 4, size = 64, seed = 1}')
    if config.model.name == "pix2pix":
        if not config.fit.start:  # whose weights are of one width
            settings.append("model.base_filters=4")
        return [
            *settings, "model.discriminator_filters=4", "data.image_size=64",
            "data.damage.name=boxes", "data.damage.size=16",
        ]  # fmt: skip
    if config.model.name in ("feature_gan", "diffusion", "autoencoder"):
        sizes = [f"data.{name}=64" for name in ("image_size", "load_size", "crop_size")]
        weights = ["model.weights=none"] if config.model.name != "autoencoder" else []
        settings += [*sizes, *weights, "model.width=8"]
        if config.model.name == "diffusion":
            settings.append("model.steps=2")
            if config.data.recipe.name == "demo":
                settings += ["data.damage.name=boxes", "data.damage.size=16"]
        return [*settings, "fit.batch_size=2", "fit.loss=l1"]
    if config.model.name != "feature_inversion":
        width = "base_filters" if config.model.name in ("skip_vae", "restoration_gan") else "width"
        settings += [f"model.{width}=4", "fit.batch_size=2", "data.image_size=64"]
        settings += [f"data.{name}=64" for name in ("crop_size", "load_size")]
        if config.model.name == "inpainting_unet":
            settings += ["data.damage.name=boxes", "data.damage.size=16"]
        return settings
    sizes = ("image_size", "crop_size", "load_size", "val_size")
    settings += [f"data.{name}=64" for name in sizes]
    sources = config.model.options.get("sources")
    if "decoder" not in config.model.options:  # a large kernel is slow to solve for
        settings.append('model.decoder={name = "residual", kernel_size = 1}')
    if sources is None:
        settings.append("model.weights=none")
    else:
        tables = (
            f'{{backbone = "{s["backbone"]}", taps = ["{s["taps"][0]}"], weights = "none"}}'
            for s in sources
        )
        settings.append(f"model.sources=[{', '.join(tables)}]")
    return [*settings, "fit.loss=mse", "fit.batch_size=2"]


def arguments(path: Path, folder: Path, run: str) -> list[str]:
    """Of `fit`, for two steps of a small version of the configuration on photos in `folder`."""
    config = read(path)
    root = DATA[config.data.recipe.name](folder / "photos")
    settings = (part for setting in tiny(config) for part in ("--set", setting))
    return ["--config", str(path), "--root", str(root), "--run", run, "--steps", "2", *settings]


@pytest.fixture
def quickly(monkeypatch):
    """A frozen network is built once, for the training and for its evaluation, whose pictures show
    an image each and whose baselines are quick; graphs are let go before the next configuration."""
    monkeypatch.setattr(frozen_features, "feature_taps", shared(frozen_features.feature_taps))
    monkeypatch.setattr(pictures, "SHOWN", 1)
    quick = functools.partial(evaluation.evaluate_runs, slow=False)
    monkeypatch.setattr(evaluation, "evaluate_runs", quick)
    yield
    keras.backend.clear_session()


def shared(build):
    """`build`, which gives what it built before with the same arguments."""
    built = {}

    def taps(*arguments):
        if repr(arguments) not in built:
            built[repr(arguments)] = build(*arguments)
        return built[repr(arguments)]

    return taps


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The folder of a small autoencoder, one for every diffusion in latents."""
    given = read_toml(REPOSITORY / "configs" / "autoencoder" / "demo.toml")
    small = parse_set(["fit.steps=2", *tiny(complete(given))])
    del given["fit"]["minutes"]
    return loop.train(
        complete(merged(given, small)), tmp_path_factory.mktemp("encoder") / "run"
    ).path


@pytest.mark.slow
@every_config
def test_it_trains(path, request, tmp_path, monkeypatch, capsys, eagerly, quickly):
    config = read(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if autoencoder := config.model.options.get("autoencoder"):
        shutil.copytree(request.getfixturevalue("encoder"), autoencoder)
        capsys.readouterr()
    assert fit.main(arguments(path, tmp_path, str(tmp_path / "run"))) == 0
    done = capsys.readouterr()
    masked = open_run(tmp_path / "run").has_mask
    inversion = config.data.damage is not None and config.data.damage.name == "identity"
    baseline = "mean colour" if inversion else "harmonic fill" if masked else "damaged input"
    assert baseline in done.out and "PSNR" in done.out, "it ends with the table"
    assert "warning" not in done.err.lower(), done.err
    run = open_run(tmp_path / "run")
    assert run.config.fit.steps == 2 and run.config.data.recipe.name == config.data.recipe.name
    for name in ("best.npz", "state.npz", "history.csv", "report/summary.txt"):
        assert (run.path / name).is_file(), name


@pytest.mark.slow
def test_a_configuration_trains_in_a_process_that_says_nothing_else(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # the verb silences TensorFlow
    path = REPOSITORY / "configs" / "autoencoder" / "demo.toml"
    command = [sys.executable, "-m", "tfrecon.fit", *arguments(path, tmp_path, "run")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PSNR" in done.stdout and "warning" not in done.stderr.lower(), done.stderr
