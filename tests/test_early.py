"""What is wrong with the settings is said before an image is decoded, however many there are."""

import inspect
import re
import shutil
from pathlib import Path

import fakes
import pytest

from tfrecon import evaluate, fit, reconstruct, study, submit
from tfrecon.base import images
from tfrecon.base.config import from_tables, merged
from tfrecon.base.errors import UserError
from tfrecon.base.journal import Journal
from tfrecon.data.damage import DAMAGES
from tfrecon.data.sample import Sample
from tfrecon.losses import LOSSES
from tfrecon.models import CONTEXT, MODELS, builder
from tfrecon.reports import contenders, scoring
from tfrecon.training import loop
from tfrecon.training.optimizers import OPTIMIZERS

BOXES = '{name = "boxes", size = 8}'
BASE = {
    "model.name": "pix2pix", "model.base_filters": "4", "model.discriminator_filters": "4",
    "data.recipe": "folder", "data.root": "photos", "data.image_size": "32", "data.zoom": "1.0",
    "data.color_jitter": "0.0", "data.cache": "none", "data.damage": BOXES, "fit.steps": "1",
}  # fmt: skip


@pytest.fixture(autouse=True)
def unread(tmp_path, monkeypatch):
    """A working folder with ``photos`` and ``pairs``, whose files are none, and no way to read
    them."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "pairs/input", "pairs/target"):
        Path(name).mkdir(parents=True)
        for number in range(12):
            Path(name, f"{number}.png").write_bytes(b"no image")

    def opened(*_, **options):
        raise AssertionError("a file is opened")

    monkeypatch.setattr(images, "decoded", opened)
    monkeypatch.setattr(images, "size", opened)


def refused(capsys, verb, *arguments):
    assert verb.main([*arguments]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ('data.damage={name="scratches", count=[-1, 2]}', "'count' of damage 'scratches'"),
        ('data.damage={name="chain", steps=["blur", "nope"]}', "unknown damage 'nope'"),
        ('data.damage={name="boxes", size=300}', "does not fit into images of 32×32"),
        ('data.damage={name="strokes", width=900}', "hides whole images"),
        ('data.damage={name="scratches", mask=true, count=0, dust=0}', "masks not a single pixel"),
        ("data.image_size=50", "data.image_size"),
        (
            "fit.loss=ssim; data.crop_size=8; data.damage=blur; model.base_filters=; "
            "model.discriminator_filters=; model.name=nafnet; model.encoder=[1]; model.middle=1; "
            "model.decoder=[1]",
            "SSIM needs images of 11×11 pixels",
        ),
        ("fit.loss=ssim; fit.hole_weight=2", "cannot weigh single pixels"),
        ("fit.monitor=val_nothing", "unknown fit.monitor 'val_nothing'"),
        ("fit.strategy=mirrored; fit.batch_size=3", "cannot be shared by 2 replicas"),
        ("data.damage=blur; model.fill=harmonic", "no masks to fill"),
        ("data.feature_cache_gib=1; data.load_size=32", "has no frozen features"),
        ('data.extra=[{name="folder", root="photos", weight=-1}]', "weight of data.extra"),
        ('data.extra=[{name="folder", root="photos", weight=1e-9}]', "shows no photo in an epoch"),
        ('data.extra=[{name="folder", root="photos", nope=1}]', "unknown option 'nope' of recipe"),
        ('data.extra="nope"', "unknown recipe 'nope'"),
        ("data.recipe={name='folder', nope=1}", "unknown option 'nope' of recipe 'folder'"),
        ("data.root=pairs; data.damage={name='blur', sigma=-1}", "'sigma' of damage 'blur'"),
        ('fit.optimizer={name="adam", beta_1=2}', "'beta_1' of optimizer 'adam'"),
    ],
)  # fmt: skip
def test_a_setting_is_refused_before_a_photo_is_read(setting, sentence, capsys):
    settings = {**BASE, **dict(one.split("=", 1) for one in setting.split("; "))}
    given = [f"--set={key}={value}" for key, value in settings.items() if value]
    assert sentence in refused(capsys, fit, *given)
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("fit.loss=ssim; fit.hole_weight=2", "fit.hole_weight=1"),
        ("data.feature_cache_gib=1; data.load_size=32", "data.feature_cache_gib=0"),
        ("data.feature_cache_gib=1", "data.load_size=32; data.feature_cache_gib=0"),
        ("data.load_size=16", "data.load_size=32"),
        ("fit.steps=2; fit.epochs=1", "fit.steps="),
        ("fit.schedule=linear; fit.reduce_on_plateau_patience=1", "fit.schedule=constant"),
        ("fit.strategy=mirrored; fit.batch_size=3", "fit.batch_size=2"),
        ("fit.monitor=val_snr", "fit.monitor=val_psnr"),
        ("data.damage={name='boxes', size=300}", "data.damage={name='boxes', size=9}"),
        ("data.damage={name='boxes', size=40}", "data.image_size=64"),
    ],
)  # fmt: skip
def test_the_remedy_of_a_refusal_is_taken(setting, remedy, capsys):
    """What the sentence says is done; then the photos are read."""

    def given(*changes):
        pairs = (one.split("=", 1) for change in changes for one in change.split("; "))
        return [f"--set={key}={value}" for key, value in {**BASE, **dict(pairs)}.items() if value]

    said = refused(capsys, fit, *given(setting))
    for key in re.findall(r"((?:data|fit)\.\w+)=", remedy):
        assert key in said
    with pytest.raises(AssertionError, match="a file is opened"):
        fit.main(given(setting, remedy))


def tables(**over):
    base = {
        "model": {"name": "pix2pix", "base_filters": 4},
        "data": {"recipe": "folder", "root": "photos", "image_size": 32, "damage": "blur",
                 "cache": "none"},
        "fit": {"steps": 1},
    }  # fmt: skip
    return merged(base, over)


def specs():
    """Every part that is built by name: its builder, its name, and the tables that ask for it."""
    for name, part in DAMAGES.items():
        yield part, name, lambda spec: tables(data={"damage": spec})
    for name, part in LOSSES.items():
        yield part, name, lambda spec: tables(fit={"loss": [spec]})
    for name, part in OPTIMIZERS.items():
        yield part, name, lambda spec: tables(fit={"optimizer": spec})
    for name in MODELS:
        yield builder(name), name, lambda spec: tables(model=spec)


def test_every_option_of_every_part_is_refused_before_a_photo_is_read():
    """No option takes an object that no file can write; what another option is called none does."""
    told = {*CONTEXT, "learning_rate"}
    seen = 0
    for part, name, asked in specs():
        options = [key for key in inspect.signature(part).parameters if key not in told]
        for option in ("nonsense", *options):
            with pytest.raises(UserError) as refusal:
                loop.train(from_tables(asked({"name": name, option: object()})), Path("x"))
            assert option in str(refusal.value), name
            seen += 1
    assert seen > 100 and not Path("x").exists()


def test_evaluate_and_submit_see_their_options_first(plain, capsys):
    path = str(shutil.copytree(plain.path, "run"))
    there = ("--root", "photos")
    for option, sentence in (
        ("--set model.nope=1", "model.nope cannot be set"),
        ("--set model.base_filters=8", "model.base_filters cannot be set"),
        ("--draws 2", "model.draw cannot be set"),
        ("--metric nowhere.at_all", "metric 'nowhere.at_all' cannot be imported"),
        ("--metric nowhere", "unknown metric 'nowhere'"),
        ("--split nope", "has no split 'nope'"),
        ("--data nope", "unknown recipe 'nope'"),
    ):
        assert sentence in refused(capsys, evaluate, path, *there, *option.split())
    assert not (Path(path) / "report").exists()
    Path("data_pipelines").mkdir()
    Path("data_pipelines/own.py").write_text(
        "from tfrecon.data.sample import Sample\nSPLITS = ('submit',)\n"
        "def samples(root, split):\n"
        "    return [Sample('a', root / '1.png', boxes=((0, 0, 8, 8),))]\n"
    )
    contest = ("--data", "own", *there, "--competition", "animals_inpainting")
    Path(path, "best.npz").rename("kept")
    assert "has no weights yet" in refused(capsys, submit, path, *contest)
    Path("kept").rename(Path(path, "best.npz"))
    assert "unknown competition 'nope'" in refused(capsys, submit, path, *contest[:-1], "nope")


def test_reconstruct_and_study_see_their_options_first(capsys):
    for option, sentence in (
        ("harmonic_fill", "must be told what is damaged"),
        ("deep_image_prior --set method.steps=-1", "option 'steps' of method"),
        ("deep_image_prior --overlap 900", "--overlap must be 0 or more"),
        ("deep_image_prior --mask-from alpha", "no effect without --masks"),
    ):
        method = ("--method", *option.split(), "photos", "out")
        assert sentence in refused(capsys, reconstruct, *method)
    Path("own.toml").write_text(
        "[model]\nname='pix2pix'\n[data]\nrecipe='folder'\nroot='photos'\n[fit]\nsteps=1\n"
        "[[axes]]\nname='blur'\nkey='data.damage'\nvalues=[{name='blur', sigma=-1}]\n"
    )
    assert "option 'sigma' of damage 'blur'" in refused(capsys, study, "own.toml")
    assert not Path("out").exists()


def test_the_time_of_a_method_is_taken_once_its_graph_is_there(monkeypatch, tmp_path):
    """Of nine images in batches of eight, by a method that takes 100 s for a size of batch that it
    has not seen and 1 s an image else."""
    now, seen = [0.0], set()

    def apply(batch):
        size = len(batch["id"])
        now[0] += size if size in seen else 100.0
        seen.add(size)
        return batch["input"]

    monkeypatch.undo()
    monkeypatch.setattr(scoring.time, "perf_counter", lambda: now[0])
    folder = fakes.photo_folder(tmp_path / "real", 9)
    config = from_tables(tables(data={"root": str(folder)})).data
    samples = [Sample(path.stem, target=path) for path in folder.rglob("photo_*")]
    judge = scoring.scorer(
        {"slow to begin": contenders.Contender(apply)},
        32,
        9,
        masked=False,
        metric_paths=(),
        further={},
    )
    _, paid = scoring.score(
        judge, samples, config, batch_size=8, path=tmp_path / "per_image.csv",
        journal=Journal(tmp_path / "journal"), key="k",
    )  # fmt: skip
    assert paid["slow to begin"].seconds_per_image == 1.0
