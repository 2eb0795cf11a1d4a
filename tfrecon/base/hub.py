"""Repositories of the Hugging Face hub, ``hf://user/name`` or ``hf://user/name@revision``, where a
revision is a branch, a tag or the hash of a commit.

Of a repository only `FILES` are fetched, which hold numbers and words: nothing that could run. They
stay in the hub's cache, from where they are taken without a network.
"""

import contextlib
import json
import re
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

from tfrecon.base import extras
from tfrecon.base.errors import UserError, some

PREFIX = "hf://"
WEIGHTS, CARD = "model.safetensors", "config.json"
FILES = WEIGHTS, CARD
PICKLES = ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".keras", ".h5"
"""Endings of weights that may hold code besides."""

_ANSWERS = {
    401: "for this token, or without one, there is no such repository; correct the name, or log in "
    "with hf auth login (or set HF_TOKEN)",
    403: "the token may not do this; ask for access on its page, or take a token that may, of "
    "huggingface.co/settings/tokens",
    404: "there is no such repository or revision; correct the name",
    429: "it was asked too often; wait some minutes",
}  # fmt: skip


def is_named(name: str) -> bool:
    """Whether a text names a repository of the hub."""
    return name.startswith(PREFIX)


def fetched(name: str) -> Path:
    """The folder in the hub's cache with the `FILES` of a repository. It has the commit's hash as
    its name, and is fetched where it is not there yet.

    Raises UserError for a name of another form, where the hub refuses or does not answer and the
    cache has nothing, and for a repository without weights in safetensors.
    """
    repository, revision = _parts(name)
    hub: Any = extras.imported("hub", name)
    with _asking(name):
        place = Path(hub.snapshot_download(repository, revision=revision, allow_patterns=FILES))
        if not (place / WEIGHTS).is_file():
            raise without_weights(name, hub.list_repo_files(repository, revision=place.name))
    if revision != place.name:
        print(f"{name} is at revision {place.name}")
    return place


def without_weights(name: str, files: Iterable[str]) -> UserError:
    """The error for a repository of these `files`, which have no weights that are read."""
    if pickles := [file for file in files if file.endswith(PICKLES)]:
        return UserError(
            f"{name} holds its weights as {some(pickles)} alone, and such files may run code when "
            f"they are read; ask its author for {WEIGHTS}, or name another repository"
        )
    return UserError(f"{name} has no {WEIGHTS}; name a repository that has one")


def pinned(name: str, place: Path) -> str:
    """The name of a repository at the commit that was `fetched` to `place`."""
    return f"{PREFIX}{_parts(name)[0]}@{place.name}"


def pinned_all(options: dict[str, Any], known: dict[str, str]) -> dict[str, Any]:
    """`options`, those in tables and lists too, with each repository that they name `pinned`: as
    `known` has it, else as it is now, which is added there."""

    def pin(found: re.Match[str]) -> str:
        name = found[1]
        if name not in known:
            known[name] = pinned(name, fetched(name))
        return json.dumps(known[name])

    text = json.dumps(options)
    return json.loads(re.sub(rf'"({PREFIX}[^"@]+)"', pin, text)) if PREFIX in text else options


def check_token(name: str) -> None:
    """Raises UserError unless something may be pushed to `name` by someone whom the hub knows."""
    if _parts(name)[1]:
        raise UserError(f"{name} names a revision, and what is pushed is a new one; leave out @…")
    hub: Any = extras.imported("hub", name)
    if not hub.get_token():
        raise UserError(
            f"{name} needs a token that may write; log in with hf auth login, or set HF_TOKEN to "
            "one of huggingface.co/settings/tokens"
        )
    with _asking(name):
        hub.whoami()


def has_card(name: str) -> bool:
    """Whether there is a repository `name` with a card. Raises UserError where the hub refuses."""
    hub: Any = extras.imported("hub", name)
    with _asking(name):
        return hub.file_exists(_parts(name)[0], CARD)


def push(folder: Path, name: str, message: str, private: bool) -> str:
    """Puts the files of `folder` into the repository `name`, which is made where it is missing, in
    one commit; returns the name with the commit's hash. Raises UserError where the hub refuses."""
    repository, _ = _parts(name)
    hub: Any = extras.imported("hub", name)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with _asking(name):
        hub.create_repo(repository, private=private or None, exist_ok=True)
        made = hub.create_commit(
            repository,
            [hub.CommitOperationAdd(file.relative_to(folder).as_posix(), file) for file in files],
            commit_message=message,
        )
    return f"{name}@{made.oid}"


def _parts(name: str) -> tuple[str, str | None]:
    found = re.fullmatch(rf"{PREFIX}([\w.-]+/[\w.-]+)(?:@(.+))?", name)
    if not found:
        raise UserError(f"{name!r} is no repository; write {PREFIX}user/name, or …@revision")
    return found[1], found[2]


@contextlib.contextmanager
def _asking(name: str) -> Generator[None]:
    """The boundary around the hub: whatever it and its client raise becomes a UserError."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # of this machine: a full disk
            raise
        answer = error if isinstance(error, HfHubHTTPError) else error.__cause__ or error
        whole = " ".join(str(answer).split())
        status = answer.response.status_code if isinstance(answer, HfHubHTTPError) else None
        if status:
            why = f"answers {status}: {_ANSWERS.get(status, f'{whole[:300]}; try again later')}"
        else:
            why = f"is not reached ({type(answer).__name__}: {whole[:200]}); connect to the network"
        raise UserError(f"{name}: the hub {why}") from error
