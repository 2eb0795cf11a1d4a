"""What Linux, macOS and Windows do differently, each simulated here."""

import unicodedata

import numpy as np
import restored_folders
from PIL import Image

from tfrecon.base.registry import Spec
from tfrecon.data.boxes import read_boxes
from tfrecon.data.recipes import samples
from tfrecon.data.sample import Sample, split_by_hash
from tfrecon.data.store import content_fingerprint
from tfrecon.inference.folder import restore_files

WRITTEN = "Käfer-é"
COMPOSED, APART = (unicodedata.normalize(form, WRITTEN) for form in ("NFC", "NFD"))


def test_names_pair_however_their_accents_are_written(tmp_path, folders):
    """Archives made on macOS take accents apart; a mask, a partner or a row may come from there."""
    rows = [("0", f"{COMPOSED}.png", 1, 2, 3, 4)]
    assert f"{APART}.png" in read_boxes(restored_folders.table(folders.table, rows))
    photo, hole = folders.photos / f"{APART}.png", np.uint8(255) * restored_folders.HOLE
    restored_folders.save(photo, restored_folders.photo(20, 30))
    restored_folders.save(folders.masks / f"{COMPOSED}.png", hole)
    assert restore_files(restored_folders.Fake(), folders.photos, folders.out, masks=folders.masks)
    for number, form in enumerate((COMPOSED, APART, COMPOSED)):
        pixels = restored_folders.photo(20, 30)
        restored_folders.save(tmp_path / "pairs" / "input" / f"{form}{number}.png", pixels)
        other = unicodedata.normalize("NFD" if form == COMPOSED else "NFC", form)
        restored_folders.save(tmp_path / "pairs" / "target" / f"{other}{number}.png", pixels)
    assert len(samples(Spec("folder"), tmp_path / "pairs", "train")) == 1


def test_a_data_set_is_the_same_on_macos(tmp_path):
    assert {
        split_by_hash(COMPOSED + str(n)) == split_by_hash(APART + str(n)) for n in range(50)
    } == {True}
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    prints = {content_fingerprint([Sample(name, tmp_path / "x.png")]) for name in (COMPOSED, APART)}
    assert len(prints) == 1
