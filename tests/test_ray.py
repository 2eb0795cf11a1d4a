"""Ray is joined in one place, and what stands in the way is said."""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tfrecon import fit
from tfrecon.base import extras, ray_cluster
from tfrecon.base.cli import Parser
from tfrecon.base.errors import UserError, WorkerLost
from tfrecon.studies import launchers
from tfrecon.training import ray_workers


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


class Cluster:
    """Of machines with so many cores and GPUs."""

    def __init__(self, *machines: tuple[float, float]) -> None:
        self.found = [
            {"Alive": True, "Resources": {"CPU": cores, "GPU": gpus} if gpus else {"CPU": cores}}
            for cores, gpus in machines
        ]
        self.found.append({"Alive": False, "Resources": {"CPU": 99}})

    def nodes(self) -> list[dict[str, Any]]:
        return self.found


@pytest.mark.parametrize(
    ("machines", "count", "cpus", "gpus"),
    [
        ([(4, 0)], 1, 4, 0), ([(4, 0)], 3, 1, 0), ([(1, 0)], 2, 0.5, 0),
        ([(8, 2), (4, 2)], 2, 4, 2), ([(3, 1), (3, 1)], 3, 1, 0.5), ([(0, 0), (4, 1)], 1, 4, 1),
    ],
)  # fmt: skip
def test_equal_shares_find_room_at_once(
    machines: list[tuple[float, float]], count: int, cpus: float, gpus: float
) -> None:
    cluster = Cluster(*machines)
    assert ray_cluster.share(cluster, count) == {"num_cpus": cpus, "num_gpus": gpus}
    with pytest.raises(UserError, match="no machine of the Ray cluster has a core to give"):
        ray_cluster.machines(Cluster((0, 0)))


def test_more_cells_at_a_time_than_cores_are_refused() -> None:
    assert launchers.Ray(Cluster((4, 0), (2, 0)), None).jobs == 2
    with pytest.raises(UserError, match=r"--jobs must lie between 1 and 4, the cores of the clus"):
        launchers.Ray(Cluster((4, 0), (2, 0)), 5)
    with pytest.raises(
        UserError, match=r"--jobs must lie between 1 and \d+, the cores here, not 0"
    ):
        launchers.Local(0)


def test_workers_are_given_the_words_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Any] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extras, "check", lambda *_: None)
    monkeypatch.setattr(ray_workers, "train", lambda *a: given.append((a[0](), *a[1:])))
    begin = ["--model", "pix2pix", "--set", "fit.steps=3", "--set", "fit.seed=2", "--probe"]
    assert fit.main([*begin, "--on", "ray", "--workers", "2", "--address", "a:1"]) == 0
    words, path, *rest = given.pop()
    assert path == Path("checkpoints/pix2pix_demo") and rest == [2, "a:1"]
    assert words == [
        "--model=pix2pix", "--set=fit.steps=3", "--set=fit.seed=2", "--probe",
        "--strategy=multiworker", "--run=checkpoints/pix2pix_demo",
    ]  # fmt: skip
    assert fit.parser().parse_args(words).set == ["fit.steps=3", "fit.seed=2"]
    assert fit.main([*begin, "--workers", "2"]) == 2
    assert fit.main([*begin, "--on", "ray", "--strategy", "none"]) == 2
    said = capsys.readouterr().err
    assert "--workers are those of a Ray cluster; give --on ray, too" in said
    assert "--strategy none and --on ray exclude each other" in said


def test_what_workers_say_is_shown_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "logs" / "1.txt"
    log.parent.mkdir()
    log.write_bytes(b"epoch 1\nerror: no photo\nhalf")
    assert ray_workers._show(log, 0) == len(b"epoch 1\nerror: no photo\n")
    assert capsys.readouterr().out == "epoch 1\n"
    with pytest.raises(UserError, match=r"^worker 1: no photo$"):
        ray_workers._fail(1, 2, log)
    assert not log.exists(), "the sentence says it all"
    log.parent.mkdir()
    log.write_text("error: one of the 2 workers is lost (AbortedError); start all")
    with pytest.raises(ray_workers.Lost, match=r"^one of the 2 workers is lost"):
        ray_workers._fail(1, WorkerLost.code, log)
    log.write_text("Segmentation fault")
    with pytest.raises(UserError, match=r"worker 0: ended with code 1; see .*1\.txt"):
        ray_workers._fail(0, 1, log)
