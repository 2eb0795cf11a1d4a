"""Kaggle by its own packages: what is sent, what is downloaded, and a sentence for each failure."""

from __future__ import annotations

import importlib.util
import shutil
import socket

import fakes
import numpy as np
import polars as pl
import pytest

from tfrecon import fit, submit
from tfrecon.base import kaggle
from tfrecon.base.registry import Spec
from tfrecon.data import recipes
from tfrecon.inference.submission import find

if importlib.util.find_spec("kaggle") is None or importlib.util.find_spec("kagglehub") is None:
    pytest.skip("the extra kaggle is not installed", allow_module_level=True)

from kaggle_stand_in import NAME, RULES, TOKEN, TROUBLES, StandIn, refusal, served, zipped


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home with a token in it and nothing else that the packages look at; nothing is slept."""
    for variable in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "home/.kaggle"
    folder.mkdir(parents=True)
    (folder / "access_token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(folder))
    from kaggle.api.kaggle_api_extended import KaggleApi
    from urllib3.util import Retry

    monkeypatch.setattr(KaggleApi, "config", str(folder / "kaggle.json"))
    monkeypatch.setattr(kaggle, "PAUSES_SECONDS", (0, 0, 0))
    monkeypatch.setattr(Retry, "sleep", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def contest(tmp_path):
    """Its data with one photo to submit, and a file that passes the check."""
    root = fakes.animals_contest(tmp_path / "contest", count=1, classes=("Cat",), test_count=1)
    (sample,) = recipes.samples(Spec("animals_inpainting"), root, "submit")
    competition = find("animals_inpainting")
    columns = (competition.ids(sample), np.full(33750, 0.5))
    pl.DataFrame(dict(zip(competition.HEADER, columns, strict=True))).write_csv("right.csv")
    return root


def upload(contest, file="right.csv", *others: str, competition: str | None = NAME) -> int:
    named = ["--competition", competition] if competition else []
    data = ["--data", "animals_inpainting", "--root", str(contest)]
    return submit.main(["--check", file, *data, "--upload", *named, *others])


def sentence(capsys) -> str:
    """What the command has said of its failure, after the bars of a download: one sentence."""
    *bars, said = capsys.readouterr().err.splitlines()
    assert said.startswith("error: ") and all("B/s]" in line or not line for line in bars)
    return said


# --- what is sent ---------------------------------------------------------------------------------


def test_a_checked_file_is_sent_and_its_score_and_rank_are_printed(contest, tmp_path, capsys):
    with served(StandIn()) as service:
        assert upload(contest, "right.csv", "-m", "the first", "--wait") == 0
    assert service.received == [(tmp_path / "right.csv").read_bytes()]
    assert service.message == "the first" and service.calls.count("GetSubmission") == 3
    checked, sent, scored = capsys.readouterr().out.splitlines()
    assert checked.startswith("right.csv passed the check")
    assert sent == (
        f"submission 4711 to https://www.kaggle.com/competitions/{NAME}: "
        "Successfully submitted to Animals of a class"
    )
    assert scored == "submission 4711: complete, public score 0.0123, rank 7 on the leaderboard"


def test_without_wait_the_score_is_not_asked_for(contest, capsys):
    with served(StandIn()) as service:
        assert upload(contest) == 0
    assert "GetSubmission" not in service.calls and service.message == "right"


def test_what_the_check_rejects_is_never_sent(contest, tmp_path, capsys):
    text = (tmp_path / "right.csv").read_text()
    (tmp_path / "wrong.csv").write_text(text.replace(",0.5", ",2", 1))
    with served(StandIn()) as service:
        assert upload(contest, "wrong.csv") == 2
    assert "line 2 of wrong.csv has the value '2'" in sentence(capsys)
    assert not {"StartSubmissionUpload", "upload"} & {*service.calls}


KEPT = "the file is kept: --check right.csv --upload sends it as it is"


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        ("unauthorised", ["(Unauthenticated); make a new token"]),
        ("unknown", [f"access to competition '{NAME}' (Competition not found); give its name"]),
        ("rules", [RULES, f"accept the rules on https://www.kaggle.com/competitions/{NAME}", KEPT]),
        ("too_many", ["(Too many requests); wait a while", KEPT]),
        ("daily", ["(Submission limit of 5 a day reached; try tomorrow)", KEPT]),
        ("storage", ["(Could not submit to competition)", KEPT]),
        ("error", ["cannot score submission 4711 (ERROR: Row 2 has no value)", "/submissions"]),
    ],
)
def test_each_failure_is_a_sentence_in_the_words_of_the_package(contest, capsys, trouble, expected):
    with served(TROUBLES[trouble]()) as service:
        assert upload(contest, "right.csv", "--wait") == 2
    said = sentence(capsys)
    assert all(words in said for words in expected), said
    assert service.calls.count("upload") == int(trouble in ("daily", "storage", "error"))


def test_a_service_that_falls_silent_in_the_middle_is_given_up(contest, capsys, monkeypatch):
    class Silent(StandIn):
        def answer(self, call, asked):
            if call == "StartSubmissionUpload":  # no sooner: a busy machine may be slow
                monkeypatch.setattr(kaggle, "SILENCE_SECONDS", 0.1)
            return super().answer(call, asked)

    with served(Silent({"upload": "silent"})) as service:
        assert upload(contest) == 2
    said = sentence(capsys)
    assert "timed out" in said and "see that there is a network" in said and KEPT in said
    assert service.calls.count("upload") == kaggle.ATTEMPTS
    assert "CreateSubmission" not in service.calls


def test_without_a_network_nothing_is_tried_for_long(contest, capsys, monkeypatch):
    from kagglesdk import kaggle_env

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, and nobody listens
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, address)
        assert upload(contest) == 2
    said = sentence(capsys)
    assert "Connection refused" in said and "see that there is a network" in said


def test_a_score_that_does_not_come_is_not_waited_for_without_end(contest, capsys):
    with served(StandIn(pending=100)):
        assert upload(contest, "right.csv", "--wait") == 2
    assert "submission 4711 is not scored after 12 hours" in sentence(capsys)


# --- tokens ---------------------------------------------------------------------------------------


def no_token(home, monkeypatch):
    (home / "access_token").unlink()


def folder_in_the_environment(home, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", str(home))


def folder_at_home(home, monkeypatch):
    no_token(home, monkeypatch)
    (home / "access_token").mkdir()


def folder_of_keys(home, monkeypatch):
    no_token(home, monkeypatch)
    (home / "kaggle.json").mkdir()


def unknown_token(home, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "another")


def unknown_key(home, monkeypatch):
    no_token(home, monkeypatch)
    (home / "kaggle.json").write_text('{"username": "somebody", "key": "another"}')


BAD_TOKENS = [
    (no_token, "find no valid token; make one on https://www.kaggle.com/settings"),
    (unknown_token, "find no valid token"),
    (unknown_key, "(Unauthenticated); make a new token"),
    (folder_in_the_environment, ".kaggle' is a folder; put a file that holds it there"),
    (folder_at_home, "access_token' is a folder"),
    (folder_of_keys, "kaggle.json' is a folder"),
]


@pytest.mark.parametrize(("spoil", "expected"), BAD_TOKENS)
def test_a_token_that_cannot_be_used(contest, home, monkeypatch, capsys, spoil, expected):
    spoil(home, monkeypatch)
    with served(StandIn()) as service:
        assert upload(contest) == 2
    assert expected in sentence(capsys) and "StartSubmissionUpload" not in service.calls


def test_tokens_are_found_where_the_packages_look(contest, home, monkeypatch, tmp_path):
    (home / "access_token").rename(tmp_path / "elsewhere")
    with served(StandIn()):
        monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
        assert upload(contest) == 0
        monkeypatch.setenv("KAGGLE_API_TOKEN", str(tmp_path / "elsewhere"))
        assert upload(contest) == 0
        monkeypatch.delenv("KAGGLE_API_TOKEN")
        (home / "kaggle.json").write_text('{"username": "somebody", "key": "a_key"}')
        assert upload(contest) == 0
        (home / "kaggle.json").unlink()
        monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
        monkeypatch.setenv("KAGGLE_KEY", "a_key")
        assert upload(contest) == 0


# --- which competition ----------------------------------------------------------------------------


def test_the_competition_is_named_or_that_of_the_data(contest, capsys):
    with served(StandIn()) as service:
        for named in (None, "animals_inpainting"):
            assert upload(contest, competition=named) == 2
            assert "--upload needs the competition as in its address" in sentence(capsys)
        assert not service.calls
        (contest / kaggle.RECORD).write_text(f"{NAME}\n")
        for named in (None, "animals_inpainting"):
            assert upload(contest, competition=named) == 0
    assert len(service.received) == 2


@pytest.mark.parametrize("options", [["-m", "x"], ["--wait"]])
def test_options_of_the_upload_without_it_are_refused(contest, options, capsys):
    data = ["--data", "animals_inpainting", "--root", str(contest)]
    assert submit.main(["--check", "right.csv", *data, *options]) == 2
    assert "--message and --wait belong to --upload" in sentence(capsys)


def test_a_missing_extra_is_named(contest, capsys, monkeypatch):
    monkeypatch.setattr("tfrecon.base.extras.missing", lambda extra: ["kaggle"])
    assert upload(contest) == 2
    assert 'needs the package kaggle; add it with pip install "tfrecon[kaggle]"' in sentence(capsys)


# --- what is downloaded ---------------------------------------------------------------------------


def prepare(root="data", recipe="animals_inpainting", name: str | None = NAME) -> int:
    named = ["--competition", name] if name else []
    return fit.main(["--data", recipe, "--root", str(root), "--prepare", *named])


def below(root) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_the_data_of_a_contest_is_downloaded_into_its_layout(contest, tmp_path, capsys):
    with served(StandIn(archive=zipped(contest))) as service:
        assert prepare() == 0 and prepare() == 0
    assert service.calls.count("DownloadDataFiles") == 1
    assert capsys.readouterr().out.splitlines() == [
        "prepared data", "data is there already and kept", "prepared data",
    ]  # fmt: skip
    assert below(tmp_path / "data") == sorted([*below(contest), kaggle.RECORD])
    samples = recipes.samples(Spec("animals_inpainting"), tmp_path / "data", "submit")
    assert [sample.id for sample in samples] == ["Cat-Test (0).jpeg"]
    with served(StandIn()) as service:
        assert upload(tmp_path / "data", competition=None) == 0
    assert service.received, "the contest is known from the download"


def test_archives_in_the_archive_and_a_folder_around_all_are_unpacked(contest, tmp_path):
    (tmp_path / "outer/animals").mkdir(parents=True)
    bare, with_its_folder = (
        tmp_path / f"outer/animals/{name}_Data.zip" for name in ("Training", "Testing")
    )
    bare.write_bytes(zipped(contest / "Training_Data"))
    shutil.rmtree(contest / "Training_Data")
    with_its_folder.write_bytes(zipped(contest))
    with served(StandIn(archive=zipped(tmp_path / "outer"))):
        assert prepare() == 0
    assert {path.split("/")[0] for path in below(tmp_path / "data")} == {
        "Training_Data", "Testing_Data", kaggle.RECORD,
    }  # fmt: skip
    assert recipes.samples(Spec("animals_inpainting"), tmp_path / "data", "submit")


@pytest.mark.parametrize(
    ("troubles", "expected"),
    [
        ({"DownloadDataFiles": refusal(401, "no")}, "make sure you are authenticated"),
        ({"DownloadDataFiles": refusal(403, RULES)}, "; accept the rules on https://www.kaggle"),
        ({"DownloadDataFiles": refusal(404, "no")}, "; give its name as in its address"),
        ({"DownloadDataFiles": refusal(429, "Too many")}, "(Too many); wait a while"),
        ({}, "holds other.txt, and nowhere the folders Training_Data and Testing_Data"),
    ],
)
def test_what_cannot_be_downloaded_leaves_nothing(tmp_path, capsys, troubles, expected):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/other.txt").touch()
    with served(StandIn(troubles, archive=zipped(tmp_path / "other"))):
        assert prepare() == 2
    assert expected in sentence(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "other"]


@pytest.mark.parametrize(("spoil", "expected"), [case for case in BAD_TOKENS if case[0] not in (
    unknown_token, unknown_key)])  # fmt: skip
def test_no_data_without_a_token(home, monkeypatch, tmp_path, capsys, spoil, expected):
    spoil(home, monkeypatch)
    with served(StandIn()):
        assert prepare() == 2
    assert expected in sentence(capsys) and not (tmp_path / "data").exists()


@pytest.mark.parametrize("inside", [False, True])
def test_a_damaged_archive_is_a_sentence_and_leaves_nothing(tmp_path, capsys, inside):
    damaged = b"PK\3\4 and no more"
    if inside:
        (tmp_path / "outer").mkdir()
        (tmp_path / "outer/train.zip").write_bytes(damaged)
        damaged = zipped(tmp_path / "outer")
    with served(StandIn(archive=damaged)):
        assert prepare() == 2
    said = sentence(capsys)
    assert ("not a zip file" if inside else "Unsupported archive") in said and "try again" in said
    assert not (tmp_path / "data").exists()


def test_a_notebook_of_kaggles_has_the_data_already(monkeypatch, capsys):
    import kagglehub

    mounted = "/kaggle/input/animals"
    monkeypatch.setattr(kagglehub, "competition_download", lambda *_, **__: mounted)
    assert prepare() == 2
    assert f"has put the data into '{mounted}'; leave --prepare out" in sentence(capsys)


def test_a_contest_is_named_where_it_is_needed_and_nowhere_else(tmp_path, capsys):
    assert prepare(name=None) == 2
    assert "comes from Kaggle; name the competition as in its address" in sentence(capsys)
    assert prepare(recipe="imagenette") == 2
    assert "'imagenette' comes from no competition; leave --competition out" in sentence(capsys)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/notes.txt").touch()
    assert prepare() == 2
    assert "is not empty and does not hold Training_Data and Testing_Data" in sentence(capsys)
    assert fit.main(["--data", "demo", "--competition", NAME]) == 2
    assert "--competition belongs to --prepare" in sentence(capsys)
