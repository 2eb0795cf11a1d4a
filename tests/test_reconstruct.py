"""A folder of photos through an export: what is written, and what is refused before anything is."""

import os
import shlex
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from exported_models import tiny
from PIL import Image
from restored_folders import HOLE, Fake, photo, profile_of, refused, save, table

from tfrecon import export, reconstruct
from tfrecon.base import carried, files, images
from tfrecon.base.errors import UserError
from tfrecon.base.journal import Journal
from tfrecon.inference import restoring
from tfrecon.inference.folder import restore_files
from tfrecon.inference.restorer import restorer
from tfrecon.inference.restoring import Settings
from tfrecon.inference.saved_model import export_model
from tfrecon.models.supervised import wrapped


def test_every_photo_becomes_a_png_of_its_stem_and_size(folders):
    sizes = {"a.png": (20, 30), "b.c.bmp": (1, 1), "Tiger (3).TIFF": (40, 17)}
    for name, size in sizes.items():
        save(folders.photos / name, photo(*size))
    (folders.photos / "masked_info.csv").write_text("")
    (folders.photos / ".hidden.png").write_text("")
    save(folders.photos / "below" / "d.png", photo(4, 4))
    assert restore_files(Fake(False), folders.photos, folders.out) == 3
    assert sorted(p.name for p in folders.out.iterdir()) == ["Tiger (3).png", "a.png", "b.c.png"]
    for name, size in sizes.items():
        restored = images.read(folders.out / f"{Path(name).stem}.png")
        np.testing.assert_array_equal(restored, photo(*size))


def test_boxes_of_a_table_are_the_holes(folders):
    pixels = save(folders.photos / "a.png", photo(160, 170))
    table(folders.table, [(0, "other.png", 0, 0, 1, 1), (1, "a.png", 3, 90, 80, 10)])
    restore_files(Fake(), folders.photos, folders.out, masks=folders.table)
    expected = pixels.copy()
    expected[3:78, 90:165] = expected[80:155, 10:85] = (255, 0, 0)
    np.testing.assert_array_equal(images.read(folders.out / "a.png"), expected)


def test_white_of_a_mask_image_is_the_hole(folders):
    pixels = save(folders.photos / "a.png", photo(40, 50))
    grey = np.full((40, 50), 20, np.uint8)  # what JPEG leaves of black
    grey[5:20, 8:30] = 240
    save(folders.masks / "a.bmp", grey)
    restore_files(Fake(), folders.photos, folders.out, masks=folders.masks)
    expected = pixels.copy()
    expected[5:20, 8:30] = (255, 0, 0)
    np.testing.assert_array_equal(images.read(folders.out / "a.png"), expected)


def test_large_photos_go_through_tiles_and_a_hole_may_cross_their_borders(folders):
    pixels = save(folders.photos / "large.png", photo(150, 230))
    save(folders.photos / "small.png", photo(64, 64))
    save(folders.masks / "small.png", np.zeros((64, 64), np.uint8))
    mask = np.zeros((150, 230), np.uint8)
    mask[30:120, 20:200] = 255
    save(folders.masks / "large.png", mask)
    fake = Fake()
    restore_files(fake, folders.photos, folders.out, masks=folders.masks, settings=Settings(64, 16))
    assert {x.shape[:3] for x in fake.seen} == {(1, 64, 64)}
    expected = np.where(mask[..., None] == 255, np.array([255, 0, 0], np.uint8), pixels)
    np.testing.assert_array_equal(images.read(folders.out / "large.png"), expected)
    np.testing.assert_array_equal(images.read(folders.out / "small.png"), photo(64, 64))


def test_a_rotated_photo_comes_out_upright(folders):
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:5] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    picture = Image.fromarray(np.rot90(upright).copy())
    picture.save(folders.photos / "a.png", exif=exif)
    restore_files(Fake(False), folders.photos, folders.out)
    np.testing.assert_array_equal(images.read(folders.out / "a.png"), upright)
    with Image.open(folders.out / "a.png") as written:
        assert written.getexif()[0x0112] == 1


def test_missing_and_empty_folders_are_refused(folders):
    refused(folders, "no image in")
    save(folders.photos / "below" / "a.png", photo(8, 8))
    refused(folders, "no image in .* itself; add --recursive")
    shutil.rmtree(folders.photos / "below")
    folders.photos.rmdir()
    refused(folders, "does not exist")


def test_two_photos_of_one_stem_are_refused(folders):
    save(folders.photos / "a.png", photo(8, 8))
    save(folders.photos / "a.bmp", photo(8, 8))
    refused(folders, "share the stem 'a'")


def test_an_output_that_would_replace_an_input_is_refused(folders):
    save(folders.photos / "a.bmp", photo(8, 8))
    before = save(folders.photos / "b.png", photo(8, 8))
    refused(folders, "is the input folder itself", out=folders.photos)  # nor a.png beside a.bmp:
    # started again, it would find two photos of one stem
    refused(folders, "is the input folder itself", out=folders.photos / ".." / "in")
    np.testing.assert_array_equal(images.read(folders.photos / "b.png"), before)
    assert len(list(folders.photos.iterdir())) == 2


def test_an_output_that_would_replace_a_mask_is_refused(folders):
    save(folders.photos / "a.bmp", photo(8, 8))
    save(folders.masks / "a.png", photo(8, 8))
    refused(folders, "would be replaced", export=Fake(), masks=folders.masks, out=folders.masks)


def test_an_output_folder_that_is_a_file_is_refused(folders):
    save(folders.photos / "a.png", photo(8, 8))
    folders.table.touch()
    refused(folders, "is a file", out=folders.table)


def test_masks_are_demanded_or_refused_as_the_model_takes_them(folders):
    save(folders.photos / "a.png", photo(8, 8))
    refused(folders, "give --mask IMAGE .white = damaged., --masks FOLDER", export=Fake())
    refused(folders, "takes no masks; leave out --masks", masks=folders.table)


def test_photos_without_mask_are_named(folders):
    for name in ("a.png", "b.png", "c.png"):
        save(folders.photos / name, photo(80, 80))
    table(folders.table, [(0, "b.png", 0, 0, 1, 1)])
    refused(folders, "a.png' has no row in .*one of 2 such", export=Fake(), masks=folders.table)
    save(folders.masks / "a.png", np.zeros((80, 80), np.uint8))
    save(folders.masks / "b.png", np.zeros((80, 80), np.uint8))
    refused(folders, "c.png' has no mask image", export=Fake(), masks=folders.masks)
    refused(folders, "the input itself", export=Fake(), masks=folders.photos)


def test_masks_that_do_not_fit_are_named(folders):
    save(folders.photos / "a.png", photo(80, 90))
    table(folders.table, [(0, "a.png", 0, 16, 0, 0)])
    refused(folders, "75×75 box at row 0, column 16", export=Fake(), masks=folders.table)
    save(folders.masks / "a.png", np.zeros((90, 80), np.uint8))
    refused(folders, "90×80 and its photo 80×90", export=Fake(), masks=folders.masks)
    save(folders.masks / "a.png", np.ones((80, 90), np.uint8))
    refused(folders, "paint damaged pixels white", export=Fake(), masks=folders.masks)


@pytest.mark.parametrize("overlap", [-1, 512, 600])
def test_an_impossible_overlap_is_refused(folders, overlap):
    save(folders.photos / "a.png", photo(8, 8))
    refused(folders, "--overlap", settings=Settings(overlap=overlap))


def test_all_unreadable_photos_are_listed_and_may_be_skipped(folders):
    save(folders.photos / "good.png", photo(30, 30))
    data = (folders.photos / "good.png").read_bytes()
    (folders.photos / "torn.png").write_bytes(data[: len(data) // 2])
    (folders.photos / "empty.jpg").touch()
    refused(folders, r"2 image files cannot be read: .*empty\.jpg.*torn\.png.*--skip-unreadable")
    written = restore_files(Fake(False), folders.photos, folders.out, skip_unreadable=True)
    assert written == 1
    assert [path.name for path in folders.out.iterdir()] == ["good.png"]


def test_photos_of_one_size_go_together_and_all_are_written_in_their_order(folders):
    """Of five sizes, by one graph."""
    sizes = [(16, 24), (8, 8), (16, 24), (40, 41), (8, 8), (16, 24), (64, 64), (1, 5)] * 2
    for number, size in enumerate(sizes):
        save(folders.photos / f"{number:02}.png", photo(*size, seed=number))
    traced = []

    class Counting(keras.layers.Layer):
        def call(self, inputs):
            traced.append(inputs.shape)
            return 1.0 - inputs

    inputs = keras.Input((None, None, 3))
    model = wrapped(keras.Model(inputs, Counting()(inputs)))
    traced.clear()
    fake, restore = Fake(False), restorer(model)
    order: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fake, "restore", lambda self, x: (self.seen.append(x.shape), restore(x))[1])
        add = Journal.add
        patch.setattr(Journal, "add", lambda *given: (order.append(given[1]), add(*given))[1])
        restore_files(fake, folders.photos, folders.out, settings=Settings(64, 16))
    together = [(6, 16, 24), (4, 8, 8), (2, 40, 41), (1, 64, 64), (2, 1, 5), (1, 64, 64)]
    assert [shape[:3] for shape in fake.seen] == together
    assert len(traced) == 1
    for number, size in enumerate(sizes):
        restored = images.read(folders.out / f"{number:02}.png")
        np.testing.assert_array_equal(restored, 255 - photo(*size, seed=number))
    names = [line.split()[-1] for line in order]
    assert names == [f"'{number:02}.png'" for number in range(16)]


def test_a_photo_that_vanishes_ends_the_work_at_its_turn(folders, monkeypatch):
    for number, name in enumerate("abcdef"):
        save(folders.photos / f"{name}.png", photo(9, 8 + number // 2))
    read = carried.read

    def fails(path, *others):
        if path.stem == "d":
            raise UserError("image file 'd.png' is gone")
        return read(path, *others)

    monkeypatch.setattr(carried, "read", fails)
    with pytest.raises(UserError, match="is gone"):
        restore_files(Fake(False), folders.photos, folders.out)
    left = sorted(path.name for path in folders.out.iterdir())
    assert left == [".tfrecon.journal", "a.png", "b.png", "c.png"]


def test_what_cannot_be_written_ends_the_work_and_is_done_again(folders, monkeypatch):
    for number, name in enumerate("abc"):
        save(folders.photos / f"{name}.png", photo(9, 8 + number))
    write = carried.Carried.write

    def fails(self, path, *others):
        if path.stem == "b":
            raise OSError(28, "No space left on device")
        write(self, path, *others)

    with monkeypatch.context() as patched:
        patched.setattr(carried.Carried, "write", fails)
        with pytest.raises(OSError, match="No space"):
            restore_files(Fake(False), folders.photos, folders.out)
    assert not (folders.out / "b.png").exists()
    fake = Fake(False)
    restore_files(fake, folders.photos, folders.out)
    assert 9 in [x.shape[2] for x in fake.seen] and 8 not in [x.shape[2] for x in fake.seen]
    assert len([*folders.out.iterdir()]) == 3


# Stops, and photos that fail


class Dying(Fake):
    """Dies as by SIGKILL, without putting anything in order, at its photo number `at`."""

    def __init__(self, at):
        super().__init__(has_mask=False)
        self.runtime.extend([None] * -at)

    def restore(self, x):
        if self.seen and self.seen.pop() is None and not self.seen:
            raise Killed
        return x


class Killed(BaseException):
    pass


def test_after_a_kill_only_the_unfinished_photos_are_restored(folders, capsys):
    for number, name in enumerate("abcd"):
        save(folders.photos / f"{name}.png", photo(9, 8 + number))

    def restored(fake=None, **options):
        """The widths of the photos that are restored."""
        fake = fake or Fake(False)
        restore_files(fake, folders.photos, folders.out, **options)
        return [x.shape[2] for x in fake.seen]

    def killed():
        with pytest.raises(Killed):
            restored(Dying(-4))

    killed()
    assert sorted(path.name for path in folders.out.iterdir()) == [
        ".tfrecon.journal", "a.png", "b.png", "c.png",
    ]  # fmt: skip
    (folders.out / ".d.png.12345678.part").touch()
    (folders.out / ".mine.12345678.part").touch()
    with (folders.out / ".tfrecon.journal").open("a") as file:
        file.write("torn")
    capsys.readouterr()
    assert restored() == [11]
    assert "3 of 4 photos were restored before; 1 to go" in capsys.readouterr().out
    left = [".mine.12345678.part", "a.png", "b.png", "c.png", "d.png"]
    assert sorted(path.name for path in folders.out.iterdir()) == left
    assert restored() == [8, 9, 10, 11], "a finished folder is restored again"
    killed()
    assert restored(settings=Settings(depth="16")) == [8, 9, 10, 11], "another option"
    killed()
    (folders.out / "a.png").write_bytes((folders.out / "b.png").read_bytes())
    (folders.out / "b.png").unlink()
    save(folders.photos / "c.png", photo(9, 20))
    assert restored() == [8, 9, 20, 11], "changed outputs and photos are restored again"
    killed()
    other = Fake(False)
    object.__setattr__(other, "path", folders.photos)  # another hash
    assert restored(other) == [8, 9, 20, 11]


def test_names_that_are_no_text_or_have_lines_are_known_after_a_kill(folders, capsys):
    for name in ("a\nb", "caf\udce9", "d"):
        save(folders.photos / f"{name}.png", photo(9, 8))
    alone = Settings(9, 2)
    with pytest.raises(Killed):
        restore_files(Dying(-3), folders.photos, folders.out, settings=alone)
    assert restore_files(Fake(False), folders.photos, folders.out, settings=alone) == 3
    assert "2 of 3 photos were restored before; 1 to go" in capsys.readouterr().out


def test_a_changed_mask_is_restored_again(folders):
    for name in "ab":
        save(folders.photos / f"{name}.png", photo(20, 30))
        save(folders.masks / f"{name}.png", HOLE * np.uint8(255))
    fake, alone = Fake(), Settings(30, 8)
    fake.seen.append(None)

    def dies(x):
        if len(fake.seen) == 2:
            raise Killed
        return Fake.restore(fake, x)

    with pytest.raises(Killed):
        object.__setattr__(fake, "restore", dies)
        restore_files(fake, folders.photos, folders.out, masks=folders.masks, settings=alone)
    save(folders.masks / "a.png", ~HOLE * np.uint8(255))
    fake = Fake()
    restore_files(fake, folders.photos, folders.out, masks=folders.masks, settings=alone)
    assert len(fake.seen) == 2


def test_one_process_at_a_time_restores_into_a_folder(folders):
    save(folders.photos / "a.png", photo(9, 8))
    with files.claimed(folders.out), pytest.raises(files.Taken, match="another process works in"):
        restore_files(Fake(False), folders.photos, folders.out)


def test_photos_restored_to_nan_are_listed_and_the_others_written(folders):
    for number, name in enumerate("abc"):
        save(folders.photos / f"{name}.png", photo(9, 8 + number))

    class Diverged(Fake):
        def restore(self, x):
            return x * np.nan if x.shape[2] == 9 else x

    with pytest.raises(UserError, match="1 of 3 photos were restored to values that are not fin"):
        restore_files(Diverged(False), folders.photos, folders.out)
    assert sorted(path.name for path in folders.out.iterdir()) == ["a.png", "c.png"]


# The commands


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = tiny(True)
    path = tmp_path_factory.mktemp("exports") / "tiny"
    export_model(model, path, True)
    return SimpleNamespace(model=model, path=path)


def test_the_command_restores_a_folder(exported, folders, capsys):
    pixels = save(folders.photos / "a.png", photo(90, 101))
    table(folders.table, [(0, "a.png", 3, 20, 5, 5)])
    arguments = [exported.path, folders.photos, folders.out, "--masks", folders.table]
    assert reconstruct.main([str(argument) for argument in arguments]) == 0
    assert "1 photo restored" in capsys.readouterr().out
    mask = np.zeros((90, 101, 1), np.float32)
    mask[3:78, 20:95] = mask[5:80, 5:80] = 1
    x = np.concatenate((images.to_float(pixels), mask), axis=-1)
    expected = images.to_uint8(restorer(exported.model)(x[None])[0])
    restored = images.read(folders.out / "a.png")
    np.testing.assert_allclose(restored.astype(int), expected, atol=1)
    np.testing.assert_array_equal(restored[mask[..., 0] == 0], pixels[mask[..., 0] == 0])


def test_a_signal_ends_the_command_after_the_photo_and_it_goes_on(
    folders, capsys, monkeypatch, usual_handlers
):
    for name, height in (("a.png", 90), ("b.png", 91)):
        picture = Image.fromarray(photo(height, 101))
        picture.save(folders.photos / name, icc_profile=profile_of(b"GRAY"))
    table(folders.table, [(0, "a.png", 3, 20, 5, 5), (1, "b.png", 3, 20, 5, 5)])
    given = ["--method", "harmonic_fill", folders.photos, folders.out, "--masks", folders.table]
    arguments = [str(argument) for argument in given]
    restored_photos = restoring.restored_photos

    def stopped(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        return restored_photos(*given)

    with monkeypatch.context() as patched:
        patched.setattr(restoring, "restored_photos", stopped)
        assert reconstruct.main(arguments) == 143
    out, said = capsys.readouterr()
    assert "stopped by SIGTERM after 1 of 2 photos; go on with python -m tfrecon.recon" in said
    assert shlex.join(arguments) in said
    assert "is not kept of a.png\n" in out
    assert reconstruct.main(arguments) == 0
    assert "1 of 2 photos were restored before; 1 to go" in capsys.readouterr().out
    assert sorted(path.name for path in folders.out.iterdir()) == ["a.png", "b.png"]


def test_mistakes_are_one_sentence_and_exit_code_2(exported, folders, capsys):
    save(folders.photos / "a.png", photo(8, 8))
    for path in (exported.path, folders.photos, "nowhere"):
        assert reconstruct.main([str(path), str(folders.photos), str(folders.out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
    assert export.main(["nowhere"]) == 2
    assert "run folder 'nowhere' does not exist" in capsys.readouterr().err
