"""``python -m tfrecon.features``: writes what a tap of a frozen network says of photos."""

import argparse
import functools
import sys
from pathlib import Path

from tfrecon.base import spread
from tfrecon.base.cli import Parser, positive, run, start_tensorflow


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "features",
        "Writes the values of one tap of a frozen network for a photo, or for the photos of a\n"
        "folder, into a file that tfrecon.invert, NumPy and safetensors read: an array (h,w,C)\n"
        "for each photo, called as the photo, and note.json (backbone, tap, weights, sizes); of 8\n"
        "bits also scale and zero: value = scale · (q - zero). fit --list backbones has the taps.",
    )
    options.add_argument("photos", metavar="PHOTO|FOLDER", help="what the network is shown")
    options.add_argument("--backbone", required=True, metavar="NAME", help="e.g. vgg16")
    options.add_argument("--tap", required=True, metavar="NAME", help="e.g. block1")
    options.add_argument(
        "--weights", default="default", metavar="NAME|FILE",
        help="a weight set of the backbone, a file, or none for random ones",
    )  # fmt: skip
    options.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="ends with .npz or .safetensors"
    )
    options.add_argument(
        "--dtype", choices=("float32", "float16", "uint8"), default="float32",
        help="of the values (float32)",
    )  # fmt: skip
    options.add_argument(
        "--size", type=positive, metavar="N",
        help="show the square in the middle of each photo, brought to N×N pixels; without it the "
        "photo as it is, cut to what the tap divides",
    )  # fmt: skip
    options.flag("--recursive", "take the photos of the folders in FOLDER, too")
    spread.options(options)
    return options


def _features(arguments: argparse.Namespace) -> None:
    place = spread.asked(arguments)
    start_tensorflow()
    from tfrecon.inference.feature_files import write_features

    with place as each:
        count = write_features(
            Path(arguments.photos), Path(arguments.output), backbone=arguments.backbone,
            tap=arguments.tap, weights=arguments.weights, dtype=arguments.dtype,
            size=arguments.size, recursive=arguments.recursive, each=each,
        )  # fmt: skip
    print(f"features of {count} photo{'s' * (count != 1)} written to {arguments.output}")


main = functools.partial(run, parser, _features)

if __name__ == "__main__":
    sys.exit(main())
