"""``python -m tfrecon.reconstruct``: restores photos with a preset, an export or a method."""

import argparse
import functools
import os
import sys

from tfrecon.base import spread
from tfrecon.base.cli import Parser, run, section_options, start_tensorflow, white_value
from tfrecon.base.errors import UserError


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "reconstruct",
        "Restores a photo, or every photo of a folder, of any size: with a preset that comes with\n"
        "tfrecon, with an EXPORT of your own, or by a --method that needs no training.\n\n"
        "  photo.jpg -o out.png                 scratches, dust and noise of old photos\n"
        "  photo.jpg -o out.png --mask m.png    what is white in the mask is filled\n"
        "  PHOTOS -o RESTORED --recursive       RESTORED/<folder>/<stem>.png, for pages\n"
        "                                       <stem>-page2.png\n\n"
        "The PNG keeps transparency (a hole becomes opaque), colour profile, EXIF (the photo is\n"
        "turned upright) and resolution; a grey photo stays grey, by the mean of the channels.\n"
        "Stopped or killed and started again, it goes on where it was; once all is done the\n"
        "same command restores all again.",
    )
    options.usage = f"{options.prog} [EXPORT] INPUT -o OUTPUT [options]"
    options.add_argument(
        "places", nargs="+", metavar="PLACE",
        help="INPUT, a photo or a folder of photos; before it EXPORT, a folder made by "
        "tfrecon.export, where one is used; OUTPUT may stand last instead of -o, without --suffix",
    )  # fmt: skip
    options.add_argument(
        "-o", "--output", metavar="OUTPUT",
        help="the file for a photo, .png or .jpg, or the folder for a folder of photos",
    )  # fmt: skip
    options.add_argument(
        "--preset", metavar="NAME",
        help="one of fit --list presets, your own, NAME.npz, or a repository of the hub, "
        "hf://user/name (inpainting with masks, scratches without)",
    )  # fmt: skip
    options.add_argument(
        "--suffix", default="", metavar="_restored",
        help="write <stem>_restored.png, without -o beside the photo",
    )  # fmt: skip
    options.flag("--recursive", "restore the photos of the folders in INPUT, too")
    options.add_argument(
        "--mask", "--masks", dest="masks", metavar="IMAGE|DIR|NAME|CSV",
        help="what is damaged: one mask image for all photos (white = damaged), a folder of mask "
        "images of the photos' stems (or <stem>_mask), how they are called beside the photos "
        "('{stem}_mask') or in a folder ('DIR/hole_{stem}'), or masked_info.csv",
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
        "--method", metavar="NAME", help="deep_image_prior or harmonic_fill, instead of a preset"
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
    spread.options(options)
    return options


def _named(arguments: argparse.Namespace) -> tuple[str | None, str, str | None]:
    """EXPORT, INPUT and OUTPUT. Raises UserError for too many places and for two restorers."""
    *before, last = arguments.places
    output = arguments.output
    if output is None and before and not arguments.suffix:
        *before, last, output = *before, last
        if os.path.isfile(last):  # and the output may be another photo of the user's
            raise UserError(f"give -o OUTPUT, the file that {last!r} is restored to")
    if len(before) > 1 or any(map(os.path.isfile, before)):
        raise UserError(
            f"{len(arguments.places)} places are too many; give INPUT and -o OUTPUT, before them "
            "EXPORT where one is used, and for several photos their folder"
        )
    export = before[0] if before else None
    if [export, arguments.method, arguments.preset].count(None) < 2:
        raise UserError("give one of EXPORT, --method and --preset")
    return export, last, output


def _reconstruct(arguments: argparse.Namespace) -> None:
    from tfrecon.base import cards
    from tfrecon.base.registry import Spec

    export, source, output = _named(arguments)
    place = spread.asked(arguments)
    if arguments.set and not arguments.method:
        raise UserError("--set has no effect on an export or a preset; it is of --method")
    options = section_options(arguments.set, "method", "a method") if arguments.set else {}
    has_mask = arguments.masks is not None
    preset = None
    if not export and not arguments.method:
        preset = cards.find(arguments.preset or cards.default(has_mask))
        preset.check()
    start_tensorflow()
    from tfrecon.inference.folder import restore_files
    from tfrecon.inference.methods import method
    from tfrecon.inference.presets import open_preset
    from tfrecon.inference.restorer import open_export
    from tfrecon.inference.restoring import Settings

    if preset:
        opens = functools.partial(open_preset, preset)
    elif export:
        opens = functools.partial(open_export, export, arguments.trust_code)
    else:
        opens = functools.partial(method, Spec(arguments.method, options), has_mask=has_mask)
    settings = Settings(arguments.tile, arguments.overlap, arguments.ensemble, arguments.depth)
    with place as each:
        written = restore_files(
            spread.Opened(opens), source, output, suffix=arguments.suffix,
            recursive=arguments.recursive, masks=arguments.masks, mask_from=arguments.mask_from,
            range=arguments.range, settings=settings, skip_unreadable=arguments.skip_unreadable,
            each=each,
        )  # fmt: skip
    where = output or f"files with {arguments.suffix!r} beside them"
    print(f"{written} photo{'s' * (written != 1)} restored to {where}")


main = functools.partial(run, parser, _reconstruct)

if __name__ == "__main__":
    sys.exit(main())
