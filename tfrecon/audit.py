"""``python -m tfrecon.audit``: what an attacker recovers of the features that leave a device."""

import argparse
import functools
import sys
from pathlib import Path

from tfrecon.base.cli import Parser, positive, run, start_tensorflow


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "audit",
        "Split inference: a device sends the features of a tap instead of the photo. Shows what\n"
        "an attacker who knows network and defence makes of them, for each tap and each strength\n"
        "of noise, quantisation, dropped channels and top-k: PSNR, SSIM, LPIPS, the share of\n"
        "pixels and photos that come back exactly; report.html says from which strength on\n"
        "they fall below 20 dB and SSIM 0.5, and shows them. Decoders are fitted once and kept.",
    )
    options.add_argument("--backbone", metavar="NAME", help="of the taps without one")
    options.add_argument(
        "--taps", nargs="+", required=True, metavar="TAP", help="e.g. block1, or alexnet/conv1"
    )
    options.add_argument(
        "--weights", default="default", metavar="NAME|FILE", help="as for tfrecon.features"
    )
    options.add_argument("--photos", metavar="FOLDER", help="to attack (the demo's)")
    options.add_argument("--limit", type=positive, default=8, help="photos of the folder (8)")
    options.add_argument(
        "--defences", nargs="+", default=[], metavar="KIND=STRENGTHS",
        help="noise=0.1,1 (deviations of a channel) bits=8,4 dropped=0.5,0.9 (share of channels) "
        "top=0.1 (share of values kept); a kind alone has strengths of its own (all kinds)",
    )  # fmt: skip
    options.add_argument("-o", "--output", required=True, metavar="FOLDER", help="of the page")
    return options


def _audit(arguments: argparse.Namespace) -> None:
    start_tensorflow()
    from tfrecon.reports.leaks import audit

    for sentence in audit(
        arguments.taps, Path(arguments.output), backbone=arguments.backbone,
        weights=arguments.weights, defences=arguments.defences, limit=arguments.limit,
        photos=Path(arguments.photos) if arguments.photos else None,
    ):  # fmt: skip
        print(sentence)
    print(f"the page: {Path(arguments.output) / 'report.html'}")


main = functools.partial(run, parser, _audit)

if __name__ == "__main__":
    sys.exit(main())
