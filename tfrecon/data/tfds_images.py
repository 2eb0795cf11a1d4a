"""Writes images that TensorFlow Datasets downloads into the folders that a recipe reads.

TensorFlow Datasets is an optional extra: it is imported here only, inside the function.
"""

from pathlib import Path
from typing import Any

from tfrecon.base import extras
from tfrecon.base.errors import UserError
from tfrecon.base.files import replacing_folder


def write_split(
    dataset: str, split: str, folder: Path, *, image: str, ending: str = "",
    label: str | None = None,
) -> None:  # fmt: skip
    """Downloads `dataset` where needed and writes its `split` to `folder`; a folder that holds
    anything is left as it is.

    The bytes of the feature `image` are written undecoded to ``tfds_<split>_00001<ending>`` and so
    on (TensorFlow Datasets keeps neither the published names nor their order), in a folder for each
    class where `label` names the feature of the class; without an `ending`, with that of their
    format. The folder appears whole or not at all. Raises UserError when the package is missing or
    cannot download.
    """
    if folder.is_dir() and any(folder.iterdir()):
        print(f"{folder} is there already and kept")
        return
    tfds, builder = _prepared(dataset)
    features = {name: True for name in (image, label) if name}
    examples = builder.as_dataset(
        split=split,
        shuffle_files=False,
        decoders=tfds.decode.PartialDecoding(
            features, decoders={image: tfds.decode.SkipDecoding()}
        ),
        read_config=tfds.ReadConfig(interleave_cycle_length=1),  # one shard after the other
    )
    number = 0
    with replacing_folder(folder) as place:
        for number, example in enumerate(tfds.as_numpy(examples), start=1):
            name = builder.info.features[label].int2str(int(example[label])) if label else ""
            (place / name).mkdir(parents=True, exist_ok=True)
            by_format = ".png" if example[image].startswith(b"\x89PNG") else ".jpg"
            file = place / name / f"tfds_{split}_{number:05}{ending or by_format}"
            file.write_bytes(example[image])
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(
                f"{str(folder)!r} was filled while {dataset!r} was read, and is kept; move it away "
                "and prepare again, or use it as it is"
            )
    print(f"wrote {number} images to {folder}")


def image_features(dataset: str) -> list[str]:
    """The features of `dataset` that are images; nothing is downloaded for them. Raises UserError
    as `write_split`."""
    tfds, builder = _prepared(dataset, download=False)
    features = builder.info.features.items()
    return [name for name, kind in features if isinstance(kind, tfds.features.Image)]


def split_names(dataset: str) -> list[str]:
    """The splits of `dataset`, which is downloaded where needed. Raises UserError as
    `write_split`."""
    return list(_prepared(dataset)[1].info.splits)


def _prepared(dataset: str, download: bool = True) -> tuple[Any, Any]:
    """The package, and its builder of `dataset`, with the data downloaded."""
    tfds: Any = extras.imported("tfds", f"preparing {dataset!r}")
    try:
        builder = tfds.builder(dataset)
        if download:
            builder.download_and_prepare()
    except Exception as error:  # its own classes, those of requests and of TensorFlow
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"TensorFlow Datasets could not download {dataset!r} ({reason}); try again with a "
            "network, or unpack the published archive by hand and leave --prepare out"
        ) from error
    return tfds, builder
