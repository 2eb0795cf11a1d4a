"""``python -m tfrecon.reconstruct``: restores a folder of photos with an export or a method."""

import argparse
import functools
import sys

from tfrecon.base.cli import Parser, run, section_options, start_tensorflow, white_value
from tfrecon.base.errors import UserError


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "reconstruct",
        "Restores every photo of INPUT_DIR, of any size, and writes OUTPUT_DIR/<stem>.png,\n"
        "<stem>-page2.png for pages: with an export, or by a --method that needs no training.\n\n"
        "The PNG keeps transparency (a hole becomes opaque), colour profile, EXIF (the photo is\n"
        "turned upright) and resolution; a grey photo stays grey, by the mean of the channels.\n"
        "Stopped or killed and started again, it goes on where it was; once all is done the\n"
        "same command restores all again.",
    )
    options.add_argument(
        "export", metavar="EXPORT", nargs="?", help="a folder made by tfrecon.export"
    )
    options.add_argument("input_dir", metavar="INPUT_DIR", help="folder of photos")
    options.add_argument("output_dir", metavar="OUTPUT_DIR", help="folder for the restored PNGs")
    options.add_argument(
        "--masks", metavar="CSV|DIR|IMAGE",
        help="what is damaged: masked_info.csv, a folder of mask images of the photos' stems, or "
        "one mask image for all photos (white = damaged)",
    )  # fmt: skip
    options.add_argument(
        "--mask-from", choices=("alpha", "luminance"),
        help="the holes of masks with transparency: what is transparent, or what is white once "
        "transparency is put on black",
    )  # fmt: skip
    options.add_argument(
        "--range", type=white_value, default="auto", metavar="VALUE",
        help="which value of photos of more than 8 bits is white (auto: of each folder)",
    )  # fmt: skip
    options.add_argument(
        "--depth", choices=("8", "16", "auto"), default="auto",
        help="bits of the PNGs (auto: 16 for photos of more than 8)",
    )  # fmt: skip
    options.add_argument(
        "--method", metavar="NAME", help="deep_image_prior or harmonic_fill, instead of EXPORT"
    )
    options.add_argument(
        "--set", action="append", default=[], metavar="method.KEY=VALUE",
        help="an option of the method, e.g. method.steps=500",
    )  # fmt: skip
    options.add_argument(
        "--tile", type=int, default=512, help="photos of a longer side are restored in tiles (512)"
    )
    options.add_argument(
        "--overlap", type=int, default=64, help="pixels that tiles share and are blended in (64)"
    )
    options.flag(
        "--ensemble", "restore the mean over eight flips and turns: better, eight times slower"
    )
    options.flag("--skip-unreadable", "leave out photos that cannot be decoded")
    return options


def _reconstruct(arguments: argparse.Namespace) -> None:
    from tfrecon.base.registry import Spec

    if (arguments.export is None) == (arguments.method is None):
        raise UserError("give either an EXPORT or a --method, and INPUT_DIR and OUTPUT_DIR")
    if arguments.set and not arguments.method:
        raise UserError("--set has no effect on an export; set options when it is made")
    options = section_options(arguments.set, "method", "a method") if arguments.set else {}
    start_tensorflow()
    from tfrecon.inference.folder import Settings, restore_folder
    from tfrecon.inference.methods import method
    from tfrecon.inference.restorer import open_export

    if arguments.method:
        restorer = method(Spec(arguments.method, options), has_mask=arguments.masks is not None)
    else:
        restorer = open_export(arguments.export, arguments.trust_code)
    settings = Settings(arguments.tile, arguments.overlap, arguments.ensemble, arguments.depth)
    written = restore_folder(
        restorer, arguments.input_dir, arguments.output_dir, masks=arguments.masks,
        mask_from=arguments.mask_from, range=arguments.range, settings=settings,
        skip_unreadable=arguments.skip_unreadable,
    )  # fmt: skip
    print(f"{written} photo{'s' * (written != 1)} restored to {arguments.output_dir}")


main = functools.partial(run, parser, _reconstruct)

if __name__ == "__main__":
    sys.exit(main())
