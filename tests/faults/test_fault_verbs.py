"""Verbs that work through many files, and studies, end after any fault as if there was none."""

import shutil

import fakes
import pytest
from harness import RANDOM, Fault, assert_same, chain, command

from tfrecon.base.config import from_tables
from tfrecon.inference.saved_model import export_run
from tfrecon.training import loop

POINTS = [
    Fault("SIGTERM", "write"),
    Fault("SIGINT", "write"),
    Fault("torn write", "write"),
    Fault("full disk", "write", nth=2),
    Fault("SIGKILL", "rename"),
    *[Fault("SIGKILL", "any", nth=RANDOM)] * 2,
]
VERBS = {
    "evaluate": ["evaluate", "run", "--no-slow", "--split", "train", "--batch-size", "4"],
    "submit": ["submit", "run", "--batch-size", "2"],
    "export": ["export", "run", "--out", "exported"],
    "reconstruct": ["reconstruct", "export", "contest/Testing_Data", "restored", "--masks",
                    "contest/Testing_Data/masked_info.csv"],
    "harmonic_fill": ["reconstruct", "--method", "harmonic_fill", "contest/Testing_Data",
                      "restored", "--masks", "contest/Testing_Data/masked_info.csv"],
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the contest's photos, a run and its export."""
    here = tmp_path_factory.mktemp("trained")
    fakes.animals_contest(here / "contest")
    config = from_tables({
        "model": {"name": "pix2pix", "base_filters": 4, "discriminator_filters": 4},
        "data": {"recipe": "animals_inpainting", "root": str(here / "contest"), "image_size": 64},
        "fit": {"steps": 2, "batch_size": 2},
    })  # fmt: skip
    export_run(loop.train(config, here / "run"), here / "export")
    return here


@pytest.mark.fault
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_ends_as_if_nothing_had_happened(tmp_path, trained, verb, table, fault_seed):
    begin = [f"tfrecon.{VERBS[verb][0]}", *VERBS[verb][1:]]
    whole, struck = (shutil.copytree(trained, tmp_path / name) for name in ("whole", "struck"))
    plain = command(begin, whole)
    assert plain.code == 0, plain
    chain(
        begin, struck, POINTS, table(verb), seed=f"{fault_seed} {verb}", most=len(plain.events) // 3
    )
    assert_same(struck, whole)


STUDY = """
title = "Two networks"
[data]
recipe = "folder"
root = "photos"
damage = "gaussian_noise"
image_size = 32
crop_size = 32
load_size = 32
[fit]
steps = 6
steps_per_epoch = 3
batch_size = 2
loss = "l1"
checkpoint_seconds = 0
precision = "float32"
[[axes]]
name = "model"
key = "model"
values = [{ name = "residual_unet", width = 4 }, { name = "nafnet", width = 4 }]
"""
CELL = "tfrecon.studies.worker"
STUDY_POINTS = [
    Fault("SIGKILL", "mkdir", "own"),
    Fault("SIGKILL of parent", "rename", "state.npz", 2, CELL),
    (Fault("SIGKILL", "open", "state.npz", 5, CELL),
     Fault("SIGINT of parent", "fsync", "state.npz", 3, CELL)),
    Fault("SIGTERM of parent", "rename", "best.npz", 1, CELL),
    Fault("full disk", "write", "nafnet/.state.npz", 1, CELL),
    (Fault("torn write", "write", "nafnet/.state.npz", 1, CELL),
     Fault("SIGKILL of parent", "rename", "nafnet/report/per_image.csv", 1, CELL)),
    Fault("SIGKILL", "rename", "report.html"),
    Fault("full disk", "write", "report.html"),
    Fault("SIGKILL", "any", nth=RANDOM),
]  # fmt: skip
"""A cell that dies is tried again by its study; one whose disk is full fails, and then the study
does; in any other case the study is what goes on."""


@pytest.mark.fault
def test_a_study_ends_as_if_nothing_had_happened(tmp_path, table, fault_seed):
    begin, folders = ["tfrecon.study", "own.toml"], (tmp_path / "whole", tmp_path / "struck")
    for here in folders:
        fakes.photo_folder(here / "photos", 20)
        (here / "own.toml").write_text(STUDY)
    plain = command(begin, folders[0])
    assert plain.code == 0, plain
    chain(
        begin, folders[1], STUDY_POINTS, table("study"), seed=fault_seed,
        most=len(plain.events) // 2,
    )  # fmt: skip
    assert_same(folders[1], folders[0])
