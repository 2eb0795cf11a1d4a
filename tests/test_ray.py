"""Ray is joined in one place, and what stands in the way is said."""

import argparse
import os
import signal
import sys

import pytest

from tfrecon.base import extras, ray_cluster
from tfrecon.base.cli import Parser
from tfrecon.base.errors import UserError


def arguments(*words: str) -> argparse.Namespace:
    command = Parser("study", "x")
    ray_cluster.options(command, "trains cells")
    return command.parse_args(list(words))


def test_the_extra_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "missing", lambda extra: extras.EXTRAS[extra])
    assert not ray_cluster.asked(arguments())
    with pytest.raises(UserError, match="--on ray needs the package ray; add it with pip install"):
        ray_cluster.asked(arguments("--on", "ray"))
    with pytest.raises(UserError, match="--address names a Ray cluster; give --on ray, too"):
        ray_cluster.asked(arguments("--address", "a:1"))
    with pytest.raises(UserError, match="invalid choice: 'spark'"):
        arguments("--on", "spark")


def test_workers_are_given_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TF_CONFIG": "{}", "TFRECON_WEIGHTS": "w", "SECRET": "s", "PYTHONPATH": f"a{os.pathsep}a",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    given = ray_cluster._environment()
    assert given["TFRECON_WEIGHTS"] == "w" and not {"TF_CONFIG", "SECRET"} & set(given)
    here, *_, last = given["PYTHONPATH"].split(os.pathsep)
    assert here == os.getcwd() and last == "a"


def test_no_cluster_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ray:
        is_initialized = staticmethod(lambda: False)

    monkeypatch.setitem(sys.modules, "ray", Ray)
    monkeypatch.setattr(extras, "imported", lambda *_: Ray)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(UserError, match=r"Ray cannot be joined at '127\.0\.0\.1:1' \(.*refused"),
        ray_cluster.joined("127.0.0.1:1"),
    ):
        pass
    assert signal.getsignal(signal.SIGTERM) is before
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
