"""Work on many images in other processes: what dies is done again, and nothing twice."""

from __future__ import annotations

import functools
import itertools
import os
import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import elsewhere
import fakes
import numpy as np
import pytest
from exported_models import tiny
from restored_folders import Fake, photo, save

from tfrecon import evaluate, features, invert, reconstruct
from tfrecon.base import extras, ray_cluster, spread
from tfrecon.base.errors import UserError
from tfrecon.base.journal import Journal
from tfrecon.base.spread import Actors, Opened
from tfrecon.inference import restoring
from tfrecon.inference.feature_files import read_features, write_features
from tfrecon.inference.folder import restore_files
from tfrecon.inference.inversion import invert as inverted
from tfrecon.inference.restorer import open_export
from tfrecon.inference.saved_model import export_model
from tfrecon.reports.evaluation import evaluate_runs

VERBS = [
    (reconstruct, ["photos", "-o", "out"]),
    (features, ["photos", "--backbone", "vgg16", "--tap", "block1", "-o", "f.npz"]),
    (invert, ["f.npz", "-o", "out"]),
    (evaluate, ["checkpoints/run"]),
]


@pytest.mark.parametrize(("verb", "words"), VERBS)
def test_verbs_ask_for_ray_before_all_else(
    verb: Any, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "missing", lambda extra: extras.EXTRAS[extra])
    assert verb.main([*words, "--on", "ray"]) == 2
    assert (
        'needs the package ray; add it with pip install "tfrecon[ray]"' in capsys.readouterr().err
    )
    assert verb.main([*words, "--actors", "2"]) == 2
    assert "--actors is how many processes of Ray work; give --on ray" in capsys.readouterr().err


def test_what_is_opened_is_opened_again_in_another_process() -> None:
    opened = Opened(functools.partial(Fake, False))
    assert opened.value is opened.value
    first, second = pickle.loads(pickle.dumps((opened, opened)))
    assert first is second and first.value is not opened.value


def test_journals_of_other_processes_are_gathered(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.add("a")
    others = [pickle.loads(pickle.dumps(journal)) for _ in range(2)]
    for other, line in zip(others, "bc", strict=True):
        other.add(line)
    with others[0].path.open("a") as file:
        file.write("torn by a kill")
    again = Journal(journal.path)
    again.gather()
    assert sorted(again.lines) == ["a", "b", "c"] == sorted(Journal(journal.path).lines)
    assert [*tmp_path.iterdir()] == [journal.path]
    pickle.loads(pickle.dumps(journal)).add("d")
    again.remove()
    assert not [*tmp_path.iterdir()]


def other_process(begin: Callable[[], Any], things: Sequence[Any]) -> Iterator[Any]:
    """As a process would that is handed the work."""
    return pickle.loads(pickle.dumps(begin))()(pickle.loads(pickle.dumps([*things])))


def two_photos(results: Iterator[Any]) -> None:
    """Goes on until two are written, and leaves it there."""
    named = (name for name, _ in results if name)
    assert len([*itertools.islice(named, 2)]) == 2


def dies_unheard(begin: Callable[[], Any], things: Sequence[Any]) -> Generator[Any]:
    """The process that restores dies after its second photo, and of what it did nobody hears."""
    if isinstance(things[0], restoring.Photo):
        two_photos(other_process(begin, things))
    yield from other_process(begin, things)


def states(folder: Path) -> dict[str, Any]:
    """What tells a file from one that takes its place."""
    return {path.name: restoring._state(path) for path in folder.glob("*.png")}


def test_what_a_dead_process_has_written_is_not_written_again(
    folders: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate("abcd"):
        save(folders.photos / f"{name}.png", photo(9, 8 + number))
    restore_files(Fake(False), folders.photos, folders.out)
    plain = {path.name: path.read_bytes() for path in folders.out.iterdir()}
    before, written = states(folders.out), []
    write = restoring.carried.Carried.write

    def noted(self: Any, path: Path, *others: Any) -> None:
        written.append(path.name)
        write(self, path, *others)

    monkeypatch.setattr(restoring.carried.Carried, "write", noted)
    restorer: Any = Opened(functools.partial(Fake, False))
    assert restore_files(restorer, folders.photos, folders.out, each=dies_unheard) == 4
    assert sorted(written) == [f"{name}.png" for name in "abcd"], "each anew, and once"
    assert not {*before.values()} & {*states(folders.out).values()}
    assert {path.name: path.read_bytes() for path in folders.out.iterdir()} == plain


def test_after_the_death_of_all_what_was_written_is_known(
    folders: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate("abcd"):
        save(folders.photos / f"{name}.png", photo(9, 8 + number))

    def all_die(begin: Callable[[], Any], things: Sequence[Any]) -> Generator[Any]:
        if isinstance(things[0], restoring.Photo):
            two_photos(other_process(begin, things))
            raise KeyboardInterrupt
        yield from other_process(begin, things)

    restorer: Any = Opened(functools.partial(Fake, False))
    with pytest.raises(KeyboardInterrupt):
        restore_files(restorer, folders.photos, folders.out, each=all_die)
    before = states(folders.out)
    restore_files(restorer, folders.photos, folders.out)
    said = capsys.readouterr().out
    assert f"{len(before)} of 4 photos were restored before" in said and len(before) >= 2
    after = states(folders.out)
    assert len(after) == 4 and after | before == after, "and none is written again"
    assert {path.suffix for path in folders.out.iterdir()} == {".png"}


# On Ray

without_ray = pytest.mark.skipif(
    bool(extras.missing("ray")), reason=f"no ray: {extras.install('ray')}"
)


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TF_NUM_INTRAOP_THREADS", "1")  # as the tests' own process has
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        with ray_cluster.joined("local") as joined:
            yield joined


@pytest.mark.slow
@without_ray
def test_one_of_two_actors_is_killed(
    ray: Any, folders: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = tmp_path / "export"
    export_model(tiny(False), export, False)
    for number in range(200):
        save(folders.photos / f"{number}.png", photo(16 + number % 7, 24, number))
    (folders.photos / "broken.png").write_bytes(b"no image")
    opens: Any = Opened(functools.partial(elsewhere.mortal, export, tmp_path / "killed"))
    kept: dict[str, set[Any]] = {}

    def watched(begin: Callable[[], Any], things: Sequence[Any]) -> Generator[Any]:
        for result in Actors(ray, 2)(begin, things):
            for name, state in states(folders.out).items():
                kept.setdefault(name, set()).add(state)
            yield result

    options = {"skip_unreadable": True}
    assert restore_files(opens, folders.photos, folders.out, each=watched, **options) == 200
    assert (tmp_path / "killed").exists()
    assert len(kept) == 200 and all(len(states) == 1 for states in kept.values())
    assert {path.suffix for path in folders.out.iterdir()} == {".png"}, "nothing is left over"
    restore_files(open_export(export), folders.photos, tmp_path / "plain", **options)
    for path in (tmp_path / "plain").iterdir():
        assert path.read_bytes() == (folders.out / path.name).read_bytes()
    assert "skipping 1 of 201 samples: 1 unreadable files" in capsys.readouterr().out


@pytest.mark.slow
@without_ray
def test_what_fails_on_an_actor_is_told(ray: Any) -> None:
    divide = functools.partial(elsewhere.dividing, 2)
    results = Actors(ray, 1)(divide, [*range(12), 13])
    assert [next(results) for _ in range(12)] == [number / 2 for number in range(12)]
    with pytest.raises(UserError, match=r"^13 is unlucky; take 12$"):
        next(results)
    assert [*Actors(ray)(divide, [])] == []
    with pytest.raises(UserError, match=r"4 processes died of the same images, part 1 of .* fewer"):
        list(Actors(ray)(divide, [14]))


@pytest.mark.slow
@without_ray
def test_features_and_images_of_them_are_the_same(ray: Any, tmp_path: Path) -> None:
    photos = fakes.laid_out(tmp_path / "photos", "{}.png", count=5, size=(40, 57))
    tap: Any = {"backbone": "vgg16", "tap": "block1"}
    answers = []
    for name, each in (("plain", spread.here), ("ray", Actors(ray, 2))):
        path, out = tmp_path / f"{name}.npz", tmp_path / name
        assert write_features(photos, path, **tap, weights="none", each=each) == 5
        given = Opened(functools.partial(read_features, path))
        model: Any = Opened(functools.partial(elsewhere.small_decoder, **tap))
        inverted(given, model, out, each=each)
        answers.append((np.load(path), {file.name: file.read_bytes() for file in out.iterdir()}))
    (plain, images), (arrays, others) = answers
    assert images == others and len(images) == 6
    for name in plain:
        np.testing.assert_array_equal(plain[name], arrays[name])


@pytest.mark.slow
@without_ray
def test_scores_are_the_same(ray: Any, plain: Any, tmp_path: Path) -> None:
    options: Any = {"split": "train", "batch_size": 2, "slow": False}
    evaluate_runs([plain], folder=tmp_path / "plain", **options)
    evaluate_runs([plain], folder=tmp_path / "ray", each=Actors(ray, 2), **options)
    here, there = ((tmp_path / name / "per_image.csv").read_text() for name in ("plain", "ray"))
    assert here == there and here.count("\n") > 6
