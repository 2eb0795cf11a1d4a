"""Every model from its first step to a submission, by the verbs; `.ci/run` asks for these at the
lowest versions that `requirements.txt` allows. The other tests hold all of it at the highest."""

import fakes
import pytest
from kit import ROWS
from tiny_runs import interrupted

from tfrecon import evaluate, export, reconstruct, submit
from tfrecon.base import checkpoint
from tfrecon.base.config import from_tables
from tfrecon.models import defaults
from tfrecon.training import loop

pytestmark = pytest.mark.smoke


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return fakes.smoke_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(autouse=True)
def _in_project(project, monkeypatch):
    monkeypatch.chdir(project)


@pytest.mark.parametrize("model", ROWS)
def test_a_model_is_stopped_goes_on_and_restores(model, project, monkeypatch):
    row = ROWS[model]
    masked = True in row.masks
    config = from_tables({
        "model": {"name": model, **row.options, **row.drawing},
        "data": {"recipe": "smoke", "root": "photos", "image_size": 32,
                 "damage": {"name": "boxes", "size": 8} if masked else "identity"},
        "fit": {**defaults(model)["fit"], "minutes": None, "epochs": None, "steps": 2,
                "steps_per_epoch": 2, "batch_size": 2, "checkpoint_seconds": 0},
    })  # fmt: skip
    run, restored = project / "checkpoints" / model, project / "restored" / model
    interrupted(monkeypatch, config, run, 1)
    loop.train(config, run, resume=True)
    assert checkpoint.load_note(run / "state.npz")["step"] == 2
    assert submit.main([str(run), "--trust-code", "--out", f"{model}.csv"]) == 0
    assert len((project / f"{model}.csv").read_text().splitlines()) == 1 + 2 * 3
    assert evaluate.main([str(run), "--trust-code", "--limit", "1"]) == 0
    assert export.main([str(run), "--trust-code"]) == 0
    masks = ["--masks", "masks"] if masked else []
    assert reconstruct.main([f"exports/{model}", "photos", str(restored), *masks]) == 0
    assert len(list(restored.glob("*.png"))) == 6
