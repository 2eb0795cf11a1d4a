"""Any image data set of TensorFlow Datasets by its name, ``dataset = "oxford_flowers102"``.

`prepare` downloads it and writes its images, undecoded, to ``root/<dataset>/<split>``, from where
they are read as clean photos; splits that it lacks take a tenth of its ``train`` by a hash.
"""

from __future__ import annotations

from pathlib import Path

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data import layouts
from tfrecon.data.recipes import required_root
from tfrecon.data.roles import meaning
from tfrecon.data.sample import Sample
from tfrecon.data.splits import in_splits
from tfrecon.data.tfds_images import image_features, split_names, write_split

SPLITS = ("train", "val", "test")
DAMAGE = Spec("boxes", {"count": 2, "size": 75})


def samples(
    root: Path | None, split: str, *, dataset: str = "", image_key: str | None = None
) -> list[Sample]:
    """The images of one split, sorted by id, ``<split>/<name>``.

    `image_key` is the feature that holds the images, where there are several. Raises UserError for
    no `dataset` and for one that is not in `root` yet.
    """
    folder = _folder(required_root(root, "tfds"), dataset, image_key)
    if not folder.is_dir():
        raise UserError(
            f"folder {str(folder)!r} does not exist; download {dataset!r} once, with the same "
            "command and --prepare"
        )
    by_split, _ = in_splits(folder, layouts.read(folder, layout="photos"))
    return sorted(by_split[split], key=lambda sample: sample.id)


def prepare(root: Path, *, dataset: str = "", image_key: str | None = None) -> None:
    """Downloads the data set and writes a folder for each of its splits; a filled one is kept.

    Raises UserError for a data set without images, or with several features of them and no
    `image_key`, and for one without a split that is called train.
    """
    folder = _folder(root, dataset, image_key)
    images = image_features(dataset)
    if not images or (image_key or images[0]) not in images:
        found = f" in {image_key!r}: those are in {', '.join(images)}" if images else ""
        raise UserError(
            f"data set {dataset!r} has no images{found}; choose another "
            f"{'image_key' if images else 'data set'}"
        )
    if len(images) > 1 and not image_key:
        raise UserError(
            f"data set {dataset!r} has images in {', '.join(images)}; choose one with --set "
            f"data.recipe.image_key={images[0]}"
        )
    splits = split_names(dataset)
    wanted = [split for split in splits if meaning(split)[0]]
    if "train" not in [meaning(split)[0] for split in wanted]:
        raise UserError(
            f"data set {dataset!r} has the splits {', '.join(splits)} and none to train on; choose "
            "another data set"
        )
    # Train last: what was stopped on the way has no images to train on, and is seen to be a part.
    for split in sorted(wanted, key=lambda split: meaning(split)[0] == "train"):
        write_split(dataset, split, folder / split, image=image_key or images[0])


def _folder(root: Path, dataset: str, image_key: str | None) -> Path:
    if not dataset:
        raise UserError(
            "recipe 'tfds' needs the name of a data set; give it with --set "
            "data.recipe.dataset=NAME, e.g. oxford_flowers102"
        )
    return root / "_".join((dataset.replace("/", "_"), *([image_key] if image_key else [])))
