"""``python -m tfrecon.invert``: images from features that were computed elsewhere."""

import argparse
import functools
import sys
from pathlib import Path

from tfrecon.base import spread
from tfrecon.base.cli import Parser, positive, run, start_tensorflow


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "invert",
        "Makes images of features that another program, or tfrecon.features, has computed: one\n"
        "PNG for each, a line that says how far the image's features are from them, and\n"
        "figures.json. Without --run a decoder of the tap is fitted once, in a minute or two, and\n"
        "kept. FEATURES: .npz, .npy, .safetensors or .pth with an array (h,w,C) or (C,h,w) for\n"
        "each image, or a batch of them; whole numbers with a scale: value = scale · (q - zero).",
    )
    options.add_argument("features", metavar="FEATURES", help="the file of features")
    options.add_argument("--backbone", metavar="NAME", help="e.g. vgg16 (as the file says)")
    options.add_argument("--tap", metavar="NAME", help="e.g. block1 (as the file says)")
    options.add_argument(
        "--weights", metavar="NAME|FILE",
        help="a weight set of the backbone, a file, or none for random ones (as the file says)",
    )  # fmt: skip
    options.add_argument("--run", metavar="checkpoints/NAME", help="a trained feature_inversion")
    options.add_argument(
        "--layout", choices=("NHWC", "NCHW"),
        help="where the channels are: last, or first as torch has them (told by their number)",
    )  # fmt: skip
    options.add_argument("--scale", type=float, help="of whole numbers, for a file without it")
    options.add_argument("--zero", type=float, help="the whole number that stands for 0.0 (0)")
    options.add_argument("-o", "--output", required=True, metavar="FOLDER", help="of the images")
    options.add_argument(
        "--tile", type=positive, default=512, help="longer images are put together of tiles (512)"
    )
    options.add_argument(
        "--refine", type=positive, metavar="PRODUCTS",
        help="move the pixels towards the features, by at most so many products of Gauss–Newton, "
        "two passes through the backbone each, e.g. 400 (none), and certify the answers: "
        "NAME_certificate.png is white where the pixels are certain",
    )  # fmt: skip
    options.flag("--floats", "write each image as .npy, too, (H,W,3) float32 in [0,1]")
    spread.options(options)
    return options


def _invert(arguments: argparse.Namespace) -> None:
    from tfrecon.training.run import open_run

    place = spread.asked(arguments)
    recorded = open_run(arguments.run) if arguments.run else None
    start_tensorflow()
    from tfrecon.inference.feature_files import read_features
    from tfrecon.inference.inversion import invert, model_of

    features = spread.Opened(functools.partial(
        read_features, Path(arguments.features), backbone=arguments.backbone, tap=arguments.tap,
        layout=arguments.layout, scale=arguments.scale, zero=arguments.zero,
    ))  # fmt: skip
    model = functools.partial(model_of, features, recorded, arguments.weights, arguments.refine)
    with place as each:
        written = invert(
            features, spread.Opened(model), Path(arguments.output), tile=arguments.tile,
            floats=arguments.floats, each=each,
        )  # fmt: skip
    print(f"{len(written)} image{'s' * (len(written) != 1)} written to {arguments.output}")


main = functools.partial(run, parser, _invert)

if __name__ == "__main__":
    sys.exit(main())
