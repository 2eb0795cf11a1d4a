"""Kaggle, asked by its own packages: a competition's data from it, submissions to it.

The packages, an extra, find the user's token: ``KAGGLE_API_TOKEN`` (a token, or a file that holds
one), ``~/.kaggle/access_token``, ``kaggle.json``, or ``KAGGLE_USERNAME`` and ``KAGGLE_KEY``. What
they raise and print becomes one sentence here, and a silent service is not waited for without end.
"""

import contextlib
import errno
import importlib
import io
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from tfrecon.base import extras, files
from tfrecon.base.errors import UserError, some

SILENCE_SECONDS = 60.0
"""After so long without a byte the service is given up; its packages would wait for ever."""

ATTEMPTS = 3
"""How often a file is sent that does not arrive; the package would send it eleven times."""

PAUSES_SECONDS = (5, 8, 12, 18, 27, 40, *[60] * 720)
"""Between two questions whether a submission is scored: for twelve hours, as the package does."""

RECORD = ".kaggle_competition"
"""The file beside downloaded data that holds the competition's name."""

NO_TOKEN = (
    "Kaggle's packages find no valid token; make one on https://www.kaggle.com/settings and put it "
    "into KAGGLE_API_TOKEN or the file ~/.kaggle/access_token (or kaggle.json beside it, or "
    "KAGGLE_USERNAME and KAGGLE_KEY)"
)


def page(competition: str) -> str:
    """The address of a competition."""
    return f"https://www.kaggle.com/competitions/{competition}"


def download(competition: str, root: Path, holds: Sequence[str]) -> None:
    """Downloads a competition's data to `root`, which appears whole or not at all.

    Archives in the archive are unpacked, and `root` is the folder that `holds` these folders,
    wherever that is in it; a `root` that holds them is kept. Raises UserError for another that is
    not empty, for data without the folders, and for what Kaggle refuses.
    """
    if root.is_dir() and any(root.iterdir()):
        if all((root / name).is_dir() for name in holds):
            return print(f"{root} is there already and kept")
        raise UserError(
            f"folder {str(root)!r} is not empty and does not hold {' and '.join(holds)}; give an "
            "empty one with --root DIR"
        )
    extras.check("kaggle", "--competition")
    with files.replacing_folder(root) as place:
        with _asked(competition, f"give the data of competition {competition!r}"):
            kagglehub: Any = importlib.import_module("kagglehub")
            try:
                lies = kagglehub.competition_download(competition, output_dir=str(place))
            except kagglehub.exceptions.UnauthenticatedError:
                raise UserError(NO_TOKEN) from None
            _unpack(place)
        if Path(lies) != place:  # in a notebook of Kaggle's
            raise UserError(
                f"Kaggle has put the data into {lies!r}; leave --prepare out and give --root {lies}"
            )
        found = (each for each in (place, *sorted(place.rglob("*"))) if each.is_dir())
        top = next((each for each in found if all((each / name).is_dir() for name in holds)), None)
        if top is None:
            raise UserError(
                f"competition {competition!r} holds {some(sorted(os.listdir(place)))}, and nowhere "
                f"the folders {' and '.join(holds)} that the recipe reads; correct --competition"
            )
        for entry in [] if top == place else [*top.iterdir()]:
            entry.replace(place / entry.name)
        (place / RECORD).write_text(f"{competition}\n", encoding="utf-8")


def recorded(root: str | os.PathLike[str] | None) -> str | None:
    """The competition from which the data in `root` was downloaded, where that is known."""
    record = Path(root or ".") / RECORD
    return record.read_text(encoding="utf-8").strip() if root and record.is_file() else None


class Contest:
    """A competition, asked with the user's token.

    Raises UserError, as all its methods, for no name, a missing package or token, without a
    network, and for what the service refuses, in the words of its package.
    """

    def __init__(self, name: str | None) -> None:
        if name is None:
            raise UserError(
                "--upload needs the competition as in its address, "
                "www.kaggle.com/competitions/NAME; give it with --competition NAME"
            )
        extras.check("kaggle", "--upload")
        self.name = name
        with _asked(name, f"give access to competition {name!r}"):
            from kaggle.api.kaggle_api_extended import KaggleApi

            if os.path.isdir(KaggleApi.config):  # the package takes it for no token
                raise IsADirectoryError(None, None, KaggleApi.config)
            self._client: Any = KaggleApi()
            self._client.authenticate()
            self._standing()

    def _standing(self) -> Any:
        """What the service tells of the competition; among it `user_rank` and `team_count`."""
        from kagglesdk.competitions.types.competition_api_service import ApiGetCompetitionRequest

        request = ApiGetCompetitionRequest()
        request.competition_name = self.name
        with self._client.build_kaggle_client() as service:
            return service.competitions.competition_api_client.get_competition(request)

    def send(self, path: Path, message: str) -> int:
        """Submits a file; returns the number of the submission."""
        again = f"; the file is kept: --check {path} --upload sends it as it is"
        quiet = not sys.stderr.isatty() or "TQDM_DISABLE" in os.environ
        with _asked(self.name, f"take {str(path)!r} for competition {self.name!r}", again) as said:
            answer = self._client.competition_submit(str(path), message, self.name, quiet)
            if answer.message == self._client.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
                raise ConnectionError(_caused(said.getvalue()) or answer.message)
        print(f"submission {answer.ref} to {page(self.name)}: {answer.message}")
        return answer.ref

    def wait(self, submission: int) -> None:
        """Waits until a submission is scored, and prints its status, score and rank.

        Raises UserError, too, where it cannot be scored.
        """
        what, place = f"submission {submission}", f"{page(self.name)}/submissions"
        for pause in PAUSES_SECONDS:
            with _asked(self.name, f"tell the score of {what}"):
                facts = self._scored(submission)
                rank = self._standing().user_rank if facts and facts.public_score else None
            if facts and facts.status.name == "ERROR":
                reason = " ".join(facts.error_description.split()) or "it does not say why"
                raise UserError(f"Kaggle cannot score {what} ({reason}); see {place}")
            if facts:
                score = facts.public_score or "not published"
                ranked = f", rank {rank} on the leaderboard" if rank else ""
                return print(f"{what}: complete, public score {score}{ranked}")
            time.sleep(pause)
        raise UserError(f"{what} is not scored after 12 hours; see {place}")

    def _scored(self, submission: int) -> Any:
        """What the service tells of a submission; None while it is not scored."""
        from requests import HTTPError

        try:
            facts = self._client.get_submission(submission)
        except HTTPError as error:
            if error.response.status_code == 404:  # one that has just been made
                return None
            raise
        return None if facts.status.name == "PENDING" else facts


@contextlib.contextmanager
def _asked(competition: str, what: str, again: str = "") -> Generator[io.StringIO]:
    """The boundary around Kaggle's packages, which yields what they print: whatever fails in the
    block becomes the sentence that Kaggle does not do `what`."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), _impatient():
            yield said
    except UserError:
        raise
    except SystemExit:  # how the package says that it has no token
        raise UserError(NO_TOKEN) from None
    except IsADirectoryError as error:
        raise UserError(
            f"Kaggle's token {error.filename!r} is a folder; put a file that holds it there"
        ) from None
    except Exception as error:
        if isinstance(error, OSError) and (error.filename or error.errno == errno.ENOSPC):
            raise  # of the disk, which `cli.run` explains
        raise UserError(
            f"Kaggle does not {what} ({_caused(str(error)) or type(error).__name__}); "
            f"{_remedy(error, competition)}{again}"
        ) from error


def _caused(text: str) -> str:
    """The words of an error without those of the layers around it."""
    _, layers, cause = " ".join(text.split()).rpartition("(Caused by ")
    return (cause.removesuffix(")") if layers else cause)[:300]


def _remedy(error: Any, competition: str) -> str:
    answer = getattr(error, "response", None)
    if answer is None:
        return "try again, and see that there is a network"
    remedies = {
        401: "make a new token on https://www.kaggle.com/settings",
        403: f"accept the rules on {page(competition)}/rules with the account of the token",
        404: "give its name as in its address with --competition NAME",
        429: "wait a while, and try again",
    }
    return remedies.get(answer.status_code, f"see {page(competition)}, and try again")


@contextlib.contextmanager
def _impatient() -> Generator[None]:
    """In the block no answer is waited for longer than SILENCE_SECONDS, and nothing sent more often
    than ATTEMPTS: the packages leave neither to their callers."""
    from requests.adapters import HTTPAdapter

    send: Any = HTTPAdapter.send

    def limited(self: Any, request: Any, stream: Any = False, timeout: Any = None, **o: Any) -> Any:
        if self.max_retries.total >= ATTEMPTS:
            self.max_retries = self.max_retries.new(total=ATTEMPTS - 1)
        return send(self, request, stream=stream, timeout=timeout or SILENCE_SECONDS, **o)

    HTTPAdapter.send = limited
    try:
        yield
    finally:
        HTTPAdapter.send = send


def _unpack(folder: Path) -> None:
    """Unpacks the archives in a folder, each into a folder of its name, where it does not hold one,
    and removes them and what the download has left."""
    for path in sorted(folder.rglob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            tops = {name.split("/")[0] for name in archive.namelist()} - {"__MACOSX"}
            archive.extractall(path.parent if tops == {path.stem} else path.with_suffix(""))
        path.unlink()
    shutil.rmtree(folder / ".complete", ignore_errors=True)
