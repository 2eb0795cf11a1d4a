"""A stand-in for the Hugging Face hub on loopback, which speaks the calls of its client.

Files ending with ``.safetensors`` go by Git LFS, all others inside the commit, as on the hub.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_of_the_tests"
LICENCES = "apache-2.0", "mit", "cc-by-4.0"


class StandIn:
    """Repositories, each a dictionary of commits: hash → path → bytes, the newest last."""

    def __init__(self):
        self.repositories, self.lfs, self.asked, self.answer = {}, {}, [], None
        self._serve(0)
        self.port = self.server.server_port

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def _serve(self, port):
        self.server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self.server.stand_in = self
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    @contextlib.contextmanager
    def unplugged(self):
        """In the block nobody listens."""
        self.close()
        try:
            yield
        finally:
            self._serve(self.port)

    @contextlib.contextmanager
    def answering(self, status):
        """In the block everything is answered with this status."""
        self.answer = status
        try:
            yield
        finally:
            self.answer = None

    def commit(self, name, files):
        """Adds files to a repository, which is made where it is missing; returns the hash."""
        commits = self.repositories.setdefault(name, {})
        before = next(reversed(commits.values()), {})
        made = {**before, **files}
        sha = hashlib.sha1(repr((len(commits), name, sorted(made.items()))).encode()).hexdigest()
        commits[sha] = made
        return sha

    def newest(self, name):
        return next(reversed(self.repositories[name].items()))


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answered()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answered(self):
        here, path = self.server.stand_in, unquote(urlsplit(self.path).path)
        here.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if here.answer:
            return self._say(here.answer, {"error": "as the test wants it"})
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not known and (self.command == "POST" or path == "/api/whoami-v2"):
            return self._say(401, {"error": "Invalid username or password."})
        for pattern, answer in _CALLS:
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                return answer(self, here, body, *found.groups())
        return self._say(404, {"error": f"{self.command} {path} is not spoken here"})

    def _say(self, status, content=b"", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _whoami(self, here, body):
        self._say(200, {"type": "user", "name": "ann", "orgs": []})

    def _create(self, here, body):
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'ann'}/{asked['name']}"
        if not name.startswith("ann/"):
            return self._say(403, {"error": "You don't have the rights to create a model there"})
        there = name in here.repositories
        here.repositories.setdefault(name, {})
        self._say(409 if there else 200, {"url": f"{here.url}/{name}"})

    def _validate(self, here, body):
        found = re.search(r'^license: "?([^"\n]*)', json.loads(body)["content"], re.M)
        if found and found[1] not in LICENCES:
            error = {"message": f'"license" must be one of [{", ".join(LICENCES)}]'}
            return self._say(400, {"errors": [error], "warnings": []})
        self._say(200, {"errors": [], "warnings": []})

    def _preupload(self, here, body, name):
        modes = [
            {
                "path": file["path"], "shouldIgnore": False, "oid": None,
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
            }
            for file in json.loads(body)["files"]
        ]  # fmt: skip
        self._say(200, {"files": modes})

    def _batch(self, here, body, name):
        def action(oid):
            return {"upload": {"href": f"{here.url}/lfs/{oid}", "header": {}}}

        objects = [{**each, "actions": action(each["oid"])} for each in json.loads(body)["objects"]]
        self._say(200, {"transfer": "basic", "objects": objects})

    def _put(self, here, body, oid):
        here.lfs[oid] = body
        self._say(200 if hashlib.sha256(body).hexdigest() == oid else 400)

    def _commit(self, here, body, name):
        files = {}
        for line in map(json.loads, body.splitlines()):
            told = line["value"]
            if line["key"] == "file":
                files[told["path"]] = base64.b64decode(told["content"])
            elif line["key"] == "lfsFile":
                files[told["path"]] = here.lfs[told["oid"]]
        sha = here.commit(name, files)
        url = f"{here.url}/{name}/commit/{sha}"
        self._say(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def _found(self, here, name, revision):
        """The commit of a branch or hash, or None once it is said what is missing."""
        commits = here.repositories.get(name)
        if not commits:  # so the hub says it, as the repository might be a private one
            self._say(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        sha = [*commits][-1] if revision in (None, "main") else revision
        if sha not in commits:
            self._say(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
            return None
        return sha, commits[sha]

    def _info(self, here, body, name, revision=None):
        if found := self._found(here, name, revision):
            sha, files = found
            siblings = [{"rfilename": path} for path in files]
            self._say(200, {"id": name, "modelId": name, "sha": sha, "siblings": siblings})

    def _tree(self, here, body, name, revision):
        if found := self._found(here, name, revision):
            listed = [
                {"type": "file", "path": path, "size": len(content),
                 "oid": hashlib.sha1(content).hexdigest()}
                for path, content in found[1].items()
            ]  # fmt: skip
            self._say(200, listed)

    def _resolve(self, here, body, name, revision, path):
        if found := self._found(here, name, revision):
            sha, files = found
            if path not in files:
                headers = {"X_Error_Code": "EntryNotFound", "X_Repo_Commit": sha}
                return self._say(404, {"error": "Entry not found"}, **headers)
            etag = f'"{hashlib.sha256(files[path]).hexdigest()}"'
            self._say(200, files[path], ETag=etag, X_Repo_Commit=sha)


_NAME = r"([\w.-]+/[\w.-]+)"
_CALLS = (
    ("GET /api/whoami-v2", _Handler._whoami),
    ("POST /api/repos/create", _Handler._create),
    ("POST /api/validate-yaml", _Handler._validate),
    (f"POST /api/models/{_NAME}/preupload/main", _Handler._preupload),
    (f"POST /{_NAME}.git/info/lfs/objects/batch", _Handler._batch),
    ("PUT /lfs/([0-9a-f]{64})", _Handler._put),
    (f"POST /api/models/{_NAME}/commit/main", _Handler._commit),
    (f"GET /api/models/{_NAME}", _Handler._info),
    (f"GET /api/models/{_NAME}/revision/([^/]+)", _Handler._info),
    (f"GET /api/models/{_NAME}/tree/([^/]+)", _Handler._tree),
    (f"(?:GET|HEAD) /{_NAME}/resolve/([^/]+)/(.+)", _Handler._resolve),
)


@contextlib.contextmanager
def at(folder):
    """In the block the hub is a stand-in, its client is read anew, and its cache in `folder`."""
    stand_in = StandIn()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
            patch.delenv(name)
        settings = {
            "HF_ENDPOINT": stand_in.url, "HF_HOME": str(folder), "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip
        for name, value in settings.items():
            patch.setenv(name, value)
        forget()
        yield stand_in
    forget()
    stand_in.close()


def forget():
    """The client has read its settings from the environment when it was imported."""
    for name in [name for name in sys.modules if name.split(".")[0] == "huggingface_hub"]:
        del sys.modules[name]


if __name__ == "__main__":
    running = StandIn()
    print(f"HF_ENDPOINT={running.url} HF_TOKEN={TOKEN} HF_HUB_DISABLE_XET=1", flush=True)
    threading.Event().wait()
