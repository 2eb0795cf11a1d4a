"""A stand-in for Kaggle on loopback, which speaks the calls that its packages make.

``python tests/kaggle_stand_in.py TROUBLE -- submit RUN --upload …`` runs a verb against it, TROUBLE
being a name of `TROUBLES`. The packages are the real ones; all that is changed in them is the
address of the service, which they hold in a table.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN, NAME = "KGAT_the_token", "animals-of-a-class"

Answer = tuple[int, dict[str, Any]]


def refusal(status: int, words: str) -> Answer:
    return status, {"code": status, "message": words}


@dataclass
class StandIn:
    """What it holds, how it is to fail, and what it has been asked."""

    troubles: dict[str, Any] = field(default_factory=dict)
    """Call → answer in the place of the usual one; ``"upload"``: a status, or ``"silent"``."""
    archive: bytes = b""
    pending: int = 1
    """How often a submission is asked for before it is scored."""
    score: dict[str, Any] = field(default_factory=lambda: {"publicScore": "0.0123"})
    calls: list[str] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    message: str = ""
    address: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def answer(self, call: str, asked: dict[str, Any]) -> Answer:
        """That of Kaggle to a call with a valid token, or the trouble that is set for it."""
        if call in self.troubles:
            return self.troubles[call]
        if asked.get("competitionName", NAME) != NAME:
            return refusal(404, "Competition not found")
        if call == "CreateSubmission":
            self.message = asked["submissionDescription"]
            words = "Successfully submitted to Animals of a class"
            return 200, {"message": words, "ref": 4711}
        if call == "GetSubmission":
            if self.calls.count(call) == 1:
                return refusal(404, "Submission not found")
            waits = self.calls.count(call) <= 1 + self.pending
            return 200, {"ref": 4711, **({"status": "PENDING"} if waits else self.scored())}
        answers: dict[str, dict[str, Any]] = {
            "IntrospectToken": {"active": asked.get("token") == TOKEN, "username": "somebody"},
            "GetCompetition": {"ref": NAME, "userRank": 7, "teamCount": 90},
            "StartSubmissionUpload": {"token": "blob", "createUrl": f"{self.address}/upload"},
        }
        return 200, answers[call]

    def scored(self) -> dict[str, Any]:
        return {"status": "ERROR" if "errorDescription" in self.score else "COMPLETE", **self.score}


def handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

        def reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            call = self.path.rpartition("/")[2]
            stand_in.calls.append(call)
            allowed = self.headers["Authorization"] in (f"Bearer {TOKEN}", BASIC)
            if not allowed and call != "IntrospectToken":
                status, answer = refusal(401, "Unauthenticated")
            elif call == "DownloadDataFiles" and call not in stand_in.troubles:
                if asked["competitionName"] == NAME:
                    return self.reply(200, stand_in.archive, "application/zip")
                status, answer = refusal(404, "Competition not found")
            else:
                status, answer = stand_in.answer(call, asked)
            self.reply(status, json.dumps(answer).encode())

        def do_PUT(self) -> None:
            stand_in.calls.append("upload")
            trouble = stand_in.troubles.get("upload")
            if trouble == "silent":  # in the middle: the connection stays, and nothing comes
                self.rfile.read(100)
                stand_in.ended.wait(60)
                self.close_connection = True
                return
            stand_in.received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(trouble or 200, b"")

    return Handler


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that the other side has ended."""


BASIC = "Basic c29tZWJvZHk6YV9rZXk="  # somebody:a_key


@contextlib.contextmanager
def served(stand_in: StandIn) -> Iterator[StandIn]:
    """In the block the stand-in answers in the place of Kaggle."""
    from kagglesdk import kaggle_env

    server = Quiet(("127.0.0.1", 0), handler(stand_in))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    addresses: Any = kaggle_env._env_to_endpoint
    real = addresses[kaggle_env.KaggleEnv.PROD]
    stand_in.address = f"http://127.0.0.1:{server.server_port}"
    addresses[kaggle_env.KaggleEnv.PROD] = stand_in.address
    try:
        yield stand_in
    finally:
        addresses[kaggle_env.KaggleEnv.PROD] = real
        stand_in.ended.set()
        server.shutdown()
        server.server_close()


def zipped(folder: Path) -> bytes:
    """The files below a folder as a zip archive."""
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())
    return kept.getvalue()


RULES = "You must accept this competition's rules before you can continue"
TROUBLES: dict[str, Callable[[], StandIn]] = {
    "none": StandIn,
    "unauthorised": lambda: StandIn({"GetCompetition": refusal(401, "Unauthenticated")}),
    "rules": lambda: StandIn({"StartSubmissionUpload": refusal(403, RULES)}),
    "unknown": lambda: StandIn({"GetCompetition": refusal(404, "Competition not found")}),
    "too_many": lambda: StandIn({"StartSubmissionUpload": refusal(429, "Too many requests")}),
    "daily": lambda: StandIn(
        {"CreateSubmission": refusal(400, "Submission limit of 5 a day reached; try tomorrow")}
    ),
    "silent": lambda: StandIn({"upload": "silent"}),
    "storage": lambda: StandIn({"upload": 500}),
    "data_unauthorised": lambda: StandIn({"DownloadDataFiles": refusal(401, "Unauthenticated")}),
    "data_rules": lambda: StandIn({"DownloadDataFiles": refusal(403, RULES)}),
    "data_unknown": lambda: StandIn({"DownloadDataFiles": refusal(404, "Competition not found")}),
    "error": lambda: StandIn(score={"errorDescription": "ERROR: Row 2\nhas no value"}),
}
"""How Kaggle fails, by names."""


def main() -> int:
    from tfrecon.__main__ import main as tfrecon
    from tfrecon.base import kaggle

    trouble, _, *words = sys.argv[1:]
    kaggle.SILENCE_SECONDS, kaggle.PAUSES_SECONDS = 2, (0.1, 0.1, 0.1)
    os.environ.setdefault("KAGGLE_API_TOKEN", TOKEN)
    stand_in = TROUBLES[trouble]()
    if "STAND_IN_DATA" in os.environ:
        stand_in.archive = zipped(Path(os.environ["STAND_IN_DATA"]))
    with served(stand_in):
        sys.argv = ["tfrecon", *words]
        done = tfrecon()
    print(f"[exit {done}; the stand-in was asked {', '.join(stand_in.calls)}]")
    return done


if __name__ == "__main__":
    sys.exit(main())
