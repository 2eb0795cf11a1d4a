"""What a person sees of a training: samples.png, and the animation of them over the run."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tfrecon.reports import page
from tfrecon.training.progress import BAR, FRAMES, MOST_FRAMES, History, SampleGrid


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
