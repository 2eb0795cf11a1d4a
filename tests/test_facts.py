"""What ships is found from every folder, and a user's own files are found and hide nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfrecon import fit, study
from tfrecon.base import facts
from tfrecon.base.errors import UserError
from tfrecon.data import recipes
from tfrecon.data.sample import Sample
from tfrecon.inference import submission

REPOSITORY = Path(__file__).parents[1]

RECIPE = (
    "from dataclasses import dataclass\n"
    "from tfrecon.data.sample import Sample\n"
    "SPLITS = ('train', 'val', 'test')\n"
    "@dataclass\n"
    "class Option:\n"
    "    sign: str\n"
    "def samples(root, split, *, sign: str = 'x'):\n"
    "    return [Sample(split + Option(sign).sign, target=root / 'a.png')]\n"
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test begins in an empty folder, which is not on sys.path."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# --- configurations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["pix2pix/demo", "pix2pix/demo.toml", "configs/pix2pix/demo", "configs/pix2pix/demo.toml"],
)
def test_a_configuration_is_found_by_its_name(name):
    assert facts.configuration(name) == REPOSITORY / "configs/pix2pix/demo.toml"


def test_a_path_that_exists_wins_over_a_name(here):
    write(here / "pix2pix/demo.toml", "[model]\nname = 'mine'\n")
    (here / "restoration_gan").mkdir()
    assert facts.configuration("pix2pix/demo.toml") == Path("pix2pix/demo.toml")
    assert facts.configuration("pix2pix/demo").is_relative_to(REPOSITORY), "no such file here"
    assert facts.configuration("restoration_gan") == Path("restoration_gan")


def test_an_unknown_configuration_gets_the_nearest():
    with pytest.raises(UserError, match=r"'pix2pix/dmo' does not exist.*mean 'pix2pix/demo'\?"):
        facts.configuration("pix2pix/dmo")
    with pytest.raises(UserError, match="fit --list configs prints those"):
        facts.configuration("qqq.toml")


def test_fit_and_study_take_names_from_any_folder(capsys):
    arguments = fit.parser().parse_args(["--config", "pix2pix/demo"])
    assert fit.tables(arguments)["model"]["adversarial_weight"] == 0.001
    assert study.main(["studies/atlas", "--root", "x", "--list"]) == 0
    assert "tap=vgg16_block1 defence=bare" in capsys.readouterr().out


def test_a_study_is_based_on_a_configuration_that_ships(here, capsys):
    write(
        here / "mine.toml",
        "base = 'pix2pix/demo'\n"
        "[[axes]]\nname = 'lr'\nkey = 'fit.learning_rate'\nvalues = [1e-3]\n",
    )
    assert study.main(["mine.toml", "--list"]) == 0
    assert "lr=0.001" in capsys.readouterr().out


def test_the_list_of_configurations_gives_each_its_purpose(capsys):
    assert fit.main(["--list", "configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    files = sorted((REPOSITORY / "configs").rglob("*.toml"))
    assert len(lines) == len(files) > 20
    for line, path in zip(lines, files, strict=True):
        assert line.startswith(f"{path.parent.name}/{path.stem}: ")
        assert line.endswith("."), f"the head of {path} begins with a sentence on one line"


def test_a_wheel_holds_them_inside_the_package(here, monkeypatch):
    monkeypatch.setattr(facts, "PACKAGE", here / "site-packages/tfrecon")
    write(here / "site-packages/configs/other/package.toml", "")
    inside = write(here / "site-packages/tfrecon/configs/pix2pix/demo.toml", "")
    assert facts.configurations() == {"pix2pix/demo": inside}


# --- recipes and key formats ----------------------------------------------------------------------


def test_a_recipe_of_the_user_is_found_by_its_name(here, monkeypatch):
    write(here / "data_pipelines/cats.py", RECIPE)
    assert recipes.find("cats").samples(here, "val", sign="y")[0].id == "valy"
    assert recipes.samples(recipes.Spec("cats"), here, "val") == [
        Sample("valx", target=here / "a.png")
    ]
    assert "data_pipelines" not in sys.modules and "cats" not in sys.modules
    write(here / "other/data_pipelines/cats.py", RECIPE.replace("'x'", "'z'"))
    monkeypatch.chdir(here / "other")
    assert recipes.find("cats").samples(here, "val")[0].id == "valz", "of this folder, not the last"
    write(here / "other/data_pipelines/dogs.py", "SPLITS = ()\n")
    with pytest.raises(UserError, match="recipe 'dogs' has no 'samples'; it needs samples and SPL"):
        recipes.find("dogs")
    with pytest.raises(UserError, match=r"unknown recipe 'dog'; did you mean 'dogs'\?"):
        recipes.find("dog")
    write(here / "other/data_pipelines/birds.py", "import no_such_package\n")
    with pytest.raises(UserError, match=r"birds.py' cannot be imported .*no_such_package"):
        recipes.find("birds")


def test_a_recipe_of_the_user_hides_none_that_ships(here, monkeypatch, capsys):
    write(here / "data_pipelines/__init__.py", "raise SystemExit('imported')\n")
    write(here / "data_pipelines/demo.py", "raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(here)
    assert recipes.samples(recipes.Spec("demo"), None, "test")[0].id == "chelsea_0_0"
    said = capsys.readouterr().err
    assert "recipe 'demo' is the one of tfrecon" in said and "data_pipelines/demo.py" in said
    recipes.find("demo")
    assert not capsys.readouterr().err, "said once"


def test_a_key_format_of_the_user_is_found_by_its_name(here):
    write(here / "kaggle_submission/mine.py", "HEADER = ids = values = 'here'\n")
    assert submission.find("mine").HEADER == "here"
    with pytest.raises(UserError, match=r"unknown competition 'yours'; known: animals_inp.*, mine"):
        submission.find("yours")


def test_the_list_of_recipes_names_the_users_own_and_does_not_run_them(here, capsys):
    write(here / "data_pipelines/cats.py", "raise SystemExit('imported')\n")
    assert fit.main(["--list", "recipes"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("cats: ")


def test_recipes_that_ship_do_not_need_the_working_folder_on_the_path(here):
    code = (
        "import sys; from tfrecon.data import recipes\n"
        "for name in recipes.names(): recipes.find(name)\n"
        "assert not {'', '.', sys.argv[1]} & {*sys.path}, sys.path\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(here)], cwd=here, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# --- dotted paths ---------------------------------------------------------------------------------


def test_a_dotted_path_leads_to_a_module_or_to_what_it_holds(here, monkeypatch):
    write(here / "my_parts/__init__.py", "from my_parts.unet import unet\n")
    write(here / "my_parts/unet.py", "def unet(): ...\n")
    write(here / "my_parts/cats.py", RECIPE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert facts.imported("my_parts.cats", "recipe").SPLITS[0] == "train"
    assert callable(facts.imported("my_parts.unet", "model")), "not the module of that name"
    assert sys.path[-1] == str(here), "the working folder is looked in last"
    for path in ("my_parts.dogs", "no_parts.unet", "my_parts.unet.unet.x"):
        with pytest.raises(UserError, match=r"model .* cannot be imported .*check the dotted path"):
            facts.imported(path, "model")
    for path in (".unet", "my_parts.", "my parts.unet", "a..b"):
        with pytest.raises(UserError, match=r"is no dotted path, such as my_package.my_model"):
            facts.imported(path, "model")
