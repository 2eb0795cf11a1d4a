"""What the web page does: restores photos as ``reconstruct`` does it, and inverts them."""

import contextlib
import io
import re
import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tfrecon.base import cards, images
from tfrecon.base.errors import UserError
from tfrecon.base.files import RECORD
from tfrecon.data.check import readable
from tfrecon.data.sample import Sample
from tfrecon.inference.feature_files import cut, read_features, write_features
from tfrecon.inference.folder import LargeReader, restore_files
from tfrecon.inference.inversion import fitted, invert, weights_of
from tfrecon.inference.places import photos_of
from tfrecon.inference.restorer import Loaded, PhotoRestorer, open_export, restorer
from tfrecon.inference.restoring import Settings
from tfrecon.training.start import Source, find_source, open_source

PHOTOS, PIXELS, MINUTES = 24, 100_000_000, 20
"""The most photos at once, pixels of a photo, and minutes for all of them."""

SHOWN_PX, SHOWN = 1600, 6
"""The longer side of a picture on the page, and how many photos are shown before and after."""

INVERTED_PX, PRODUCTS = 224, 400
"""The side of the square that is inverted, and the products of Gauss–Newton that refine it."""

SUFFIX = "_restored"

Pixels = np.ndarray[Any, Any]
Progress = Callable[[float], Any]
"""Is told which share of the work is done, 0 to 1."""


@dataclass(frozen=True)
class Choice:
    """What can restore photos: its name, whether it must be told what is damaged, what opens it,
    and the title of its card."""

    name: str
    has_mask: bool
    open: Callable[[], PhotoRestorer]
    title: str = ""


@dataclass(frozen=True)
class Restored:
    """What becomes of photos: the PNG, or a zip of several; the first SHOWN, each (name, before,
    after), as pictures of the page; and what is to be said."""

    file: Path
    pairs: list[tuple[str, bytes, bytes]]
    said: list[str]


def choices(place: str | None = None, trusted: bool = False) -> list[Choice]:
    """What `place` names, a run, export or preset, then the presets that ship and the exports of
    the working folder; those that take no mask first where no place is given.

    Raises UserError for a place that is none of them, and for damaged ones.
    """
    found, presets = [find_source(place)] if place else [], cards.presets()
    for preset in sorted(presets, key=lambda preset: preset.has_mask):
        found.append(open_source(preset.path, name=preset.name))
    found += [open_source(path.parent) for path in sorted(Path("exports").glob(f"*/{RECORD}"))]
    named: dict[str, Source] = {}
    for source in found:
        named.setdefault(source.name, source)
    titles = {preset.path: preset.title for preset in presets}
    return [_choice(source, trusted, titles.get(source.path, "")) for source in named.values()]


def _choice(source: Source, trusted: bool, title: str) -> Choice:
    name = source.name
    if (source.path / RECORD).is_file():
        return Choice(name, source.has_mask, lambda: open_export(source.path, trusted))

    def opened() -> PhotoRestorer:
        model, _ = source.weights()
        return Loaded(repr(name), name, source.has_mask, restorer(model))

    return Choice(name, source.has_mask, opened, title)


class Workshop:
    """Does one thing after the other, in `folder`, with one model in memory."""

    def __init__(self, found: Sequence[Choice], folder: Path) -> None:
        self.choices = {choice.name: choice for choice in found}
        self.folder = folder
        self._held: tuple[Any, Any] = None, None

    def _model(self, key: Any, opened: Callable[[], Any]) -> Any:
        if self._held[0] != key:
            self._held = None, None  # the one before goes first
            self._held = key, opened()
        return self._held[1]

    def _emptied(self, name: str) -> Path:
        """A folder of the workshop's, empty; what was there has been fetched by its user."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / name).mkdir(parents=True)
        return self.folder / name

    def restored(
        self, photos: Sequence[str], name: str, masks: Sequence[str], painted: bytes | None,
        progress: Progress,
    ) -> Restored:  # fmt: skip
        """Restores the files `photos` by the choice called `name`. Where that needs a mask it is
        the file or the files `masks`, called as the photos, or the PNG `painted`, which may be
        smaller than its photo.

        Raises UserError as `looked_at` and `restore_files`, without a mask, and after MINUTES.
        """
        began, samples = time.monotonic(), looked_at(photos)
        choice, folder = self.choices[name], self._emptied("restored")
        source = _together(photos, folder / "photos")
        damage = _masks(choice, masks, painted, photos[0], folder) if choice.has_mask else None
        output = folder / "out"
        opened = self._model(name, choice.open)
        watched = _watched(opened, samples, progress)
        single = len(photos) == 1
        with contextlib.redirect_stdout(io.StringIO()) as notes:
            restore_files(
                watched, source, output / f"{source.stem}{SUFFIX}.png" if single else output,
                suffix="" if single else SUFFIX, masks=damage,
                mask_from="luminance" if damage else None, settings=Settings(),
            )  # fmt: skip
        files = [output / _named(sample) for sample in samples]
        pairs = [*zip(samples, files, strict=True)][:SHOWN]
        shown = [
            (sample.id, shown_sample(sample), shown_sample(_of(file))) for sample, file in pairs
        ]
        seconds = time.monotonic() - began
        said = [
            f"{len(files)} photo{'s' * (len(files) > 1)} restored by {name} in {seconds:.1f} "
            "seconds", *notes.getvalue().splitlines(),
        ]  # fmt: skip
        return Restored(_one_file(files, folder), shown, said)

    def inverted(
        self, photos: Sequence[str], place: str, refined: bool
    ) -> tuple[list[tuple[str, bytes]], str]:
        """Shows a network the square in the middle of a photo, and makes an image of what its tap
        says, `place` being ``"vgg16 block1"``; gives pictures with their names, and a sentence.

        `refined` moves the image on to the features and certifies it. Raises UserError as
        `write_features` and `invert`.
        """
        sample = looked_at(photos)[0]
        folder, (backbone, tap) = self._emptied("inverted"), place.split()
        path, products = folder / "features.npz", PRODUCTS if refined else None
        write_features(sample.files[0], path, backbone=backbone, tap=tap, size=INVERTED_PX)
        found = read_features(path)
        model = self._model(
            (place, products), lambda: fitted(backbone, tap, weights_of(found), products)
        )
        row = invert(found, model, folder / "out")[0]
        original, image = cut(sample, model.extractor, INVERTED_PX), folder / "out" / row.file
        error = images.error_map(images.to_float(original), images.to_float(images.read(image)))
        pictures = [
            ("photo", picture(original)), (f"from {place}", shown_sample(_of(image))),
            (f"error ×{images.ERROR_SCALE}", picture(images.to_uint8(error))),
        ]  # fmt: skip
        certificate = image.with_stem(f"{image.stem}_certificate")
        if certificate.is_file():
            pictures.append(("certain (white)", shown_sample(_of(certificate))))
        return pictures, str(row)


def looked_at(photos: Sequence[str]) -> list[Sample]:
    """The pages of the files `photos`, with their ranges. Raises UserError where there is none, or
    too many, for what is no photo, two of one name, and more than PIXELS."""
    if not 0 < len(photos) <= PHOTOS:
        raise UserError(
            f"choose at most {PHOTOS} photos at once, not {len(photos)}; tfrecon reconstruct "
            "restores whole folders" if photos else "choose a photo first"
        )  # fmt: skip
    samples: list[Sample] = []
    for photo in photos:
        samples += photos_of(Path(photo), [], False)
        about = images.facts(photo, large=True)
        if about.height * about.width > PIXELS:
            raise UserError(
                f"{Path(photo).name!r} has {about.height * about.width / 1e6:.0f} megapixels, more "
                f"than the {PIXELS / 1e6:.0f} that this page takes; use tfrecon reconstruct"
            )
        images.decoded(photo, large=True)
    return readable(samples, reader=LargeReader())


def about(sample: Sample) -> str:
    """A line that tells which photo it is."""
    found = images.facts(sample.files[0], sample.page, large=True)
    millions = found.height * found.width / 1e6
    return f"{sample.id}: {found.width}×{found.height}, {millions:.1f} megapixels"


def shown_sample(sample: Sample) -> bytes:
    """`picture` of a photo, with its colour profile."""
    path = sample.files[0]
    with images.opened(path, sample.page, True) as (opened, _):
        profile = opened.info.get("icc_profile") or b""
    return picture(images.read(path, sample.page, sample.range, large=True), profile)


def picture(pixels: Pixels, profile: bytes = b"") -> bytes:
    """WebP of (H,W,3) uint8, no longer than SHOWN_PX; a `profile` of other colours is left out."""
    small, file = Image.fromarray(pixels), io.BytesIO()
    small.thumbnail((SHOWN_PX, SHOWN_PX))
    known = {"icc_profile": profile} if profile[16:20] == b"RGB " else {}
    small.save(file, format="WEBP", quality=90, **known)
    return file.getvalue()


def plain(sentence: str, folder: Path) -> str:
    """A sentence that calls the files below `folder` by their names alone."""
    return re.sub(rf"{re.escape(str(folder))}[^'\"]*[/\\]", "", sentence)


def _of(path: Path) -> Sample:
    return Sample(path.name, path)


def _named(sample: Sample) -> str:
    """The file that `restore_files` writes of a page."""
    path = sample.files[0]
    page = "" if sample.id == path.name else f"-page{sample.page + 1}"
    return f"{path.stem}{SUFFIX}{page}.png"


def _masks(
    choice: Choice, masks: Sequence[str], painted: bytes | None, photo: str, folder: Path
) -> Path:
    """The file or folder of the masks: those chosen, or the one that was painted on `photo`."""
    if masks and painted:
        raise UserError("paint a mask or choose its file, not both; clear one of them")
    if masks:
        return _together(masks, folder / "masks")
    if not painted:
        raise UserError(
            f"{choice.name} fills what a mask hides; paint over what is damaged, or choose a mask "
            "image, white where it is damaged"
        )
    mask = Image.open(io.BytesIO(painted)).convert("L")
    mask = mask.resize(images.size(photo, large=True)[::-1], Image.Resampling.BILINEAR)
    mask.point(lambda value: 255 * (value >= 128)).save(folder / "mask.png")
    return folder / "mask.png"


def _together(paths: Sequence[str], folder: Path) -> Path:
    """The file, or a folder with all of them."""
    folder.mkdir()
    for path in map(Path, paths):
        if (folder / path.name).exists():
            raise UserError(f"two files are called {path.name!r}; rename one of them")
        shutil.copyfile(path, folder / path.name)
    return folder if len(paths) > 1 else folder / Path(paths[0]).name


def _one_file(files: Sequence[Path], folder: Path) -> Path:
    if len(files) == 1:
        return files[0]
    with zipfile.ZipFile(folder / "restored.zip", "w") as archive:  # a PNG is packed already
        for path in files:
            archive.write(path, path.name)
    return folder / "restored.zip"


def _watched(opened: PhotoRestorer, samples: Sequence[Sample], progress: Progress) -> Loaded:
    """`opened`, which tells `progress` of each tile, and is not called any more after MINUTES."""
    step = Settings().tile - Settings().overlap
    sizes = [images.size(sample.files[0], sample.page, large=True) for sample in samples]
    tiles = sum(-(-height // step) * -(-width // step) for height, width in sizes)
    done, end = 0, time.monotonic() + 60 * MINUTES

    def restore(x: Any) -> Pixels:
        nonlocal done
        if time.monotonic() > end:
            raise UserError(
                f"stopped after {MINUTES} minutes; choose fewer or smaller photos, or use tfrecon "
                "reconstruct, which has no limit"
            )
        answer, done = opened.restore(x), done + len(x)
        progress(min(done / tiles, 1.0))
        return answer

    return Loaded(
        opened.title, opened.identity, opened.has_mask, restore, opened.is_ensemble
    )  # fmt: skip
