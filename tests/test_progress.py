"""What a person sees of a training: samples.png, and the animation of them over the run."""

import dataclasses
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import plugin_data_pb2

from tfrecon.models import base
from tfrecon.models.supervised import wrapped
from tfrecon.reports import page
from tfrecon.training.progress import (
    BAR,
    FRAMES,
    MOST_FRAMES,
    History,
    Progress,
    SampleGrid,
    log_table,
)


def frames_in(path):
    """The middle column of each frame of an animation, (H,W,3)."""
    with Image.open(path / "progress.webp") as animation:
        for number in range(animation.n_frames):
            animation.seek(number)
            pixels = np.asarray(animation.convert("RGB"))
            yield pixels[:, pixels.shape[1] // 3 : 2 * pixels.shape[1] // 3]


def drawn_steps(path):
    return [int(frame.stem) for frame in sorted((path / FRAMES).glob("*.png"))]


def grid_of(path, answer, steps=100):
    """A SampleGrid of two images whose answer after step n is `answer` of n, an epoch a step."""
    path.mkdir(exist_ok=True)
    history, said = History(path), []
    run = SimpleNamespace(path=path, facts={"steps": steps, "steps_per_epoch": 1})
    x = np.random.default_rng(0).random((2, 16, 16, 4), np.float32)
    grid = SampleGrid(x, x[..., :3] / 2, run, history, lambda kind, text: said.append(kind))
    grid.set_model(lambda x, training: answer(history.step) * x[..., :3])

    def validated(step):
        history.step = step
        grid.on_test_end()

    return validated, said


def test_a_run_is_animated_to_its_end(plain):
    frames = [*frames_in(plain.path)]
    assert drawn_steps(plain.path) == [3, 6, 8] and len(frames) == 3
    samples = np.asarray(Image.open(plain.path / "samples.png").convert("RGB"))[:, 32:64]
    assert all(frame.shape == (len(samples) + BAR, 32, 3) for frame in frames)
    bars = [float((frame[-BAR:] > 128).mean()) for frame in frames]
    assert bars == sorted(bars) and bars[-1] == 1.0, "the bar grows to the whole width"
    last = frames[-1][:-BAR].astype(int)
    assert np.abs(last - samples).mean() < 12, "the last frame is samples.png"


def test_frames_are_few_and_the_same_however_often_it_was_stopped(tmp_path):
    validated, _ = grid_of(tmp_path / "whole", lambda step: step / 100)
    counts = set()
    for step in range(1, 101):
        validated(step)
        counts.add(len(drawn_steps(tmp_path / "whole")))
    assert max(counts) == MOST_FRAMES and drawn_steps(tmp_path / "whole") == [*range(4, 101, 4)]
    for begin, end in (
        (1, 57),
        (50, 100),
        (93, 101),
    ):  # each time killed some steps after its state
        validated, _ = grid_of(tmp_path / "killed", lambda step: step / 100)
        for step in range(begin, end):
            validated(step)
    assert drawn_steps(tmp_path / "killed") == drawn_steps(tmp_path / "whole")
    whole, killed = (tmp_path / name / "progress.webp" for name in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()


def test_a_run_that_is_lengthened_loses_the_frame_of_its_old_end(tmp_path):
    for steps in (35, 70):
        validated, _ = grid_of(tmp_path / "longer", lambda step: step / 100, steps)
        for step in range(steps - 34, steps + 1):
            validated(step)
    assert drawn_steps(tmp_path / "longer") == [*range(4, 69, 4), 70]


def test_an_answer_that_is_not_finite_is_not_black(tmp_path):
    validated, _ = grid_of(tmp_path, lambda step: np.float32(np.nan))
    validated(1)
    frame = next(frames_in(tmp_path))
    samples = np.asarray(Image.open(tmp_path / "samples.png"))[:, 16:32]
    for shown in (frame[:-BAR], samples):
        assert (shown < 30).all(-1).mean() < 0.5


def test_a_kill_while_it_is_written_leaves_the_file_before(tmp_path, monkeypatch):
    validated, _ = grid_of(tmp_path, lambda step: step / 100)
    validated(1)
    before = (tmp_path / "progress.webp").read_bytes()
    save = Image.Image.save

    def killed(self, file, *arguments, **options):
        if options.get("format") == "WEBP":
            file.write_bytes(b"RIFF")
            raise KeyboardInterrupt
        save(self, file, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        validated(2)
    assert (tmp_path / "progress.webp").read_bytes() == before


def test_a_page_shows_the_animations_of_the_leading_results(plain, tmp_path):
    runs = [plain, plain, SimpleNamespace(path=tmp_path), plain]
    results = [SimpleNamespace(name=f"r{n}", runs=[run]) for n, run in enumerate(runs)]
    shown = page._progress(SimpleNamespace(results=results))
    assert [*shown] == ["r0", "r1"] and shown["r0"].startswith("data:image/webp;base64,UklGR")


def shown(path):
    """What TensorBoard finds below `path`, and the tags of each run."""
    board = EventMultiplexer().AddRunsFromDirectory(str(path)).Reload()
    return board, {name: {*found["tensors"]} for name, found in board.Runs().items()}


def test_tensorboard_lays_training_and_validation_over_each_other(plain):
    board, tags = shown(plain.path)
    assert tags["logs/train"] >= {"reconstruction", "discriminator", "learning_rate"}
    assert tags["logs/validation"] >= {"reconstruction", "psnr", "input, output, target"}
    steps = [event.step for event in board.Tensors("logs/validation", "psnr")]
    assert steps == [3, 6, 8]
    assert tags["logs"] == {"configuration", "_hparams_/session_start_info"}
    (text,) = board.Tensors("logs", "configuration")
    settings = json.loads(text.tensor_proto.string_val[0].decode().strip("`json\n"))
    assert settings == plain.settings and "root" not in settings["data"]
    told = board.SummaryMetadata("logs", "_hparams_/session_start_info").plugin_data.content
    named = plugin_data_pb2.HParamsPluginData.FromString(told).session_start_info.hparams
    assert named["model.base_filters"].number_value == 4
    assert named["fit.loss"].string_value == '[{"name": "l1"}]'


def test_tensorboard_shows_the_last_scores_as_text(plain, tmp_path):
    run = dataclasses.replace(plain, path=tmp_path)
    for table in ("first", "| | PSNR |"):
        log_table(run, table)
    board, tags = shown(tmp_path)
    assert tags == {"logs/test": {"scores"}}
    (text,) = board.Tensors("logs/test", "scores")
    assert (text.step, text.tensor_proto.string_val) == (8, [b"| | PSNR |"])


def test_what_tensorboard_shows_of_a_run_that_begins_again_is_there_once(tmp_path):
    for epochs in (2, 1):  # killed before its first state
        history = History(tmp_path)
        history.begin({"model": {"name": "pix2pix"}})
        history.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=0.1)))
        for epoch in range(epochs):
            history.on_train_batch_end(0)
            history.on_epoch_end(epoch, {"loss": 1.0, "val_loss": 2.0})
    board, _ = shown(tmp_path)
    assert [event.step for event in board.Tensors("logs/train", "loss")] == [1]
    assert [event.step for event in board.Tensors("logs/validation", "loss")] == [1]
    assert len(board.Tensors("logs", "configuration")) == 1


@pytest.mark.parametrize(
    ("waits", "said"), [(3.0, "60% of the time of its steps, 12 of 20 s"), (0.2, "")]
)
def test_a_training_that_waits_for_its_data_says_so(monkeypatch, capsys, waits, said):
    """A step takes two seconds by this clock, and the wait."""
    clock = [0.0]
    monkeypatch.setattr(base.time, "perf_counter", lambda: clock[0])

    def batches():
        while True:
            yield np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 8, 8, 3), np.float32)

    class Fetched:
        def __init__(self, batches):
            self.batches = batches

        def __next__(self):
            clock[0] += waits
            return next(self.batches)

    inputs = keras.Input((8, 8, 3))
    model = wrapped(keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs)))
    model.compile("sgd", "mse")
    bar = Progress(5, 0)
    bar.set_model(model)
    train, iterator = model._make_function(model.train_step), Fetched(batches())
    bar.on_train_begin()
    for number in range(5):
        bar.on_train_batch_begin(number)
        train(iterator)
        clock[0] += 2.0
        bar.on_train_batch_end(number)
        clock[0] += 100.0  # validation
    bar.close()
    told = capsys.readouterr()
    assert (said in told.out + told.err) and ("waited" in told.out + told.err) == bool(said)
