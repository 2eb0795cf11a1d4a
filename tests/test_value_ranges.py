"""What the values of files of more than 8 bits mean: one decision for a folder, or a sentence."""

from pathlib import Path

import fakes
import numpy as np
import pytest
from PIL import Image

from tfrecon import evaluate, reconstruct, submit
from tfrecon.base import images
from tfrecon.base.config import from_tables
from tfrecon.base.errors import UserError
from tfrecon.data.check import readable
from tfrecon.data.photos import print_once
from tfrecon.data.sample import Sample
from tfrecon.data.store import content_fingerprint, fingerprint, parts_of
from tfrecon.training.datasets import load_data, training_batches

GREY = fakes.photo(40, 56, seed=0)[..., 0] / 255.0
"""From 0 to 1."""
GREY = (GREY - GREY.min()) / (GREY.max() - GREY.min())


def folder_of(folder: Path, *pictures: np.ndarray, ending: str = "tif") -> list[Sample]:
    folder.mkdir(parents=True, exist_ok=True)
    samples = [Sample(str(n), target=folder / f"{n}.{ending}") for n, _ in enumerate(pictures)]
    for sample, values in zip(samples, pictures, strict=True):
        Image.fromarray(values).save(sample.files[0])
    return samples


def read(sample: Sample) -> np.ndarray:
    return parts_of(sample, ["target"])["target"][..., 0] / 255


def hair(values: np.ndarray, largest: float) -> np.ndarray:
    """One pixel above all others."""
    values = values.copy()
    values[0, 0] = largest
    return values


FITS = {
    "one pixel of floats above 1": (hair(GREY.astype(np.float32), 1.004), 1),
    "ringing": ((GREY * 1.06 - 0.03).astype(np.float32), 1),
    "floats to 255": (hair((GREY * 255).astype(np.float32), 255.9), 255),
    "floats to 65,535": ((GREY * 65535).astype(np.float32), 65535),
    "16 bits": ((GREY * 65535).astype(np.uint16), 65535),
    "32 bits": ((GREY * 65535).astype(np.int32), 65535),
}
REFUSED = {
    "8 bits in 32": (hair((GREY * 255).astype(np.int32), 256), 255),
    "10 bits in 16": ((GREY * 1023).astype(np.uint16), 1023),
    "12 bits in 16": (hair((GREY * 4095).astype(np.uint16), 60000), 4095),
    "14 bits in 16": ((GREY * 16383).astype(np.uint16), 16383),
}


@pytest.mark.parametrize("name", FITS)
def test_what_can_mean_one_thing_is_read_and_said(tmp_path, capsys, name):
    values, largest = FITS[name]
    (sample,) = readable(folder_of(tmp_path, values))
    assert capsys.readouterr().out.endswith(f"of '{tmp_path}' read with range {largest:,}\n")
    assert np.abs(read(sample) - np.clip(values / largest, 0, 1)).max() <= 0.51 / 255
    precise = images.decoded(sample.target).to_float(sample.range)[..., 0]
    assert np.abs(precise - np.clip(values / largest, 0, 1)).max() < 1e-6


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_mean_more_is_refused_with_the_option_that_decides(tmp_path, name):
    values, largest = REFUSED[name]
    samples = folder_of(tmp_path, values)
    with pytest.raises(UserError, match=rf"data\.range={largest} or data\.range=65535 .*--range"):
        readable(samples)
    if name == "12 bits in 16":  # a hot pixel is no hair
        with pytest.raises(UserError, match=r"0\.tif' holds values from 0 to 60,000"):
            readable(samples, range=4095)
        return
    (sample,) = readable(samples, range=largest)
    assert np.abs(read(sample) - np.clip(values / largest, 0, 1)).max() <= 0.51 / 255
    (dark,) = readable(samples, range=65535)
    assert np.abs(read(dark) - values / 65535).max() <= 0.51 / 255


def test_floats_of_no_usual_range_are_refused(tmp_path):
    for number, values in enumerate((GREY * 3, GREY * 60, GREY * 900, GREY * 1e6)):
        samples = folder_of(tmp_path / str(number), values.astype(np.float32))
        with pytest.raises(UserError, match=r"neither 0 to 1 .*data\.range="):
            readable(samples)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (hair(GREY, np.nan), "no number"),
        (hair(GREY, np.inf), "no number"),
        (GREY * 2 - 1, "from -1 to 1, far outside the range of 0 to 1"),
        (hair(GREY, -9999), "from -9,999 to 1"),
        (hair(GREY, 30), "from 0.* to 30"),
    ],
)
def test_values_far_outside_are_a_sentence_that_names_the_file(tmp_path, capsys, values, words):
    good = [GREY.astype(np.float32)] * 2
    samples = folder_of(tmp_path, *good, values.astype(np.float32))
    with pytest.raises(UserError, match=rf"2\.tif' .*{words}.*--skip-unreadable"):
        readable(samples)
    assert readable(samples, skip_unreadable=True) == samples[:2]
    with pytest.raises(UserError, match=rf"2\.tif' .*{words}"):
        images.read(samples[2].target)


def test_the_folder_decides_not_the_file(tmp_path, capsys):
    """Dark photos among bright ones are dark, and one file of another range is named."""
    dark, bright = (GREY * 3000).astype(np.uint16), (GREY * 60000).astype(np.uint16)
    samples = folder_of(tmp_path / "ints", dark, bright, (GREY * 200).astype(np.uint16))
    first = readable(samples)[0]
    assert read(first).max() == pytest.approx(3000 / 65535, abs=1 / 255)
    assert "warning: 2 of them are black or nearly so in that range" in capsys.readouterr().out
    (black,) = readable(folder_of(tmp_path / "black", np.zeros((9, 9), np.uint16)))
    assert read(black).max() == 0, "black in any range"
    floats = [GREY.astype(np.float32)] * 3 + [(GREY * 255).astype(np.float32)]
    with pytest.raises(UserError, match=r"3\.tif' holds values from 0 to 255, far outside"):
        readable(folder_of(tmp_path / "floats", *floats))


def test_files_that_tell_their_range_need_no_decision(tmp_path, capsys):
    values = (GREY * 1000).astype(">u2")
    path = tmp_path / "camera.pgm"
    path.write_bytes(b"P5 56 40 4095\n" + values.tobytes())
    (sample,) = readable([Sample("camera", target=path)])
    assert not capsys.readouterr().out and sample.range is None
    assert np.abs(read(sample) - np.floor(GREY * 1000) / 4095).max() <= 0.51 / 255


def test_colour_of_16_bits_is_read_to_8_or_refused(tmp_path, capsys):
    full = fakes.deep_colour_png(tmp_path / "full" / "a.png", scale=65535)
    (sample,) = readable([Sample("a", target=full)])
    assert images.read(full).max() > 250 and sample.range is None
    assert "16-bit colour files" in capsys.readouterr().out
    camera = Sample("b", target=fakes.deep_colour_png(tmp_path / "camera" / "b.png", scale=4095))
    with pytest.raises(UserError, match=r"data\.range=4095 or data\.range=65535"):
        readable([camera])
    with pytest.raises(UserError, match="only the upper 8 are read"):
        readable([camera], range=4095)


@pytest.mark.parametrize("verb", [evaluate, submit, reconstruct])
def test_verbs_take_a_range(verb):
    def taken(text):
        places = ["a", "b", "c"] if verb is reconstruct else ["a"]
        return verb.parser().parse_args([*places, "--range", text]).range

    assert taken("4095") == 4095 and taken("auto") == "auto"
    for text in ("0", "-1", "nan", "inf", "white"):
        with pytest.raises(UserError, match="--range"):
            taken(text)


def test_pairs_of_two_ranges(tmp_path):
    floats, deep = (GREY * 255).astype(np.float32), (GREY * 65535).astype(np.uint16)
    inputs, targets = folder_of(tmp_path / "a", floats), folder_of(tmp_path / "b", deep)
    with pytest.raises(UserError, match="values of different ranges; save both with the same"):
        readable([Sample("pair", inputs[0].target, targets[0].target)])
    plain = folder_of(tmp_path / "c", np.uint8(GREY * 255))
    (pair,) = readable([Sample("pair", inputs[0].target, plain[0].target)])
    planes = parts_of(pair, pair.parts)
    assert np.abs(planes["input"].astype(int) - planes["target"]).max() <= 1


def test_caches_and_records_know_the_range(tmp_path):
    samples = folder_of(tmp_path, (GREY * 4095).astype(np.uint16))
    cut, full = (readable(samples, range=largest) for largest in (4095, 65535))
    assert cut == full, "a sample is the same sample"
    for digest in (content_fingerprint, lambda samples: fingerprint("", samples)):
        assert digest(cut) != digest(full) == digest(samples), "those of older runs hold"


@pytest.mark.parametrize("cache", ["memory", "disk", "none"])
def test_training_reads_with_the_range_that_is_set(tmp_path, cache, capsys):
    print_once.cache_clear()
    pictures = [(np.roll(GREY, n, axis=1) * 4095).astype(np.uint16) for n in range(12)]
    folder_of(tmp_path / "photos", *pictures, ending="png")
    data = {
        "recipe": "folder", "root": str(tmp_path / "photos"), "image_size": 32, "cache": cache,
        "cache_dir": str(tmp_path / "cache"), "damage": {"name": "boxes", "count": 1, "size": 8},
    }  # fmt: skip
    tables = {"model": {"name": "pix2pix"}, "fit": {"steps": 1}, "data": data}
    with pytest.raises(UserError, match=r"data\.range=4095"):
        load_data(from_tables(tables))
    config = from_tables({**tables, "data": {**data, "range": 4095}})
    loaded = load_data(config)
    assert capsys.readouterr().out.count("16-bit files") == 1, "not once for each split"
    _, y = next(iter(training_batches(config, loaded).as_numpy_iterator()))
    assert y.max() > 0.8 and "values up to 255" in loaded.findings[0]
