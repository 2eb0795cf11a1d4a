"""``python -m tfrecon.evaluate``: a run's scores beside the baselines, and its pictures."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence

from tfrecon.cli import Parser, model_options, run, start_tensorflow


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "evaluate",
        "Scores a run on images with known truth: MSE, NRMSE, MAE, PSNR, two variants of SSIM\n"
        "and, with its weights at hand, LPIPS; over the whole image and, where there are masks,\n"
        "over the holes only; beside the damaged input and classical fills, or, for inversions,\n"
        "the mean colour and a thumbnail. Writes tables and pictures into checkpoints/NAME/report.",
    )
    options.add_argument("run", metavar="checkpoints/NAME", help="the folder of a run")
    options.add_argument("--data", help="another recipe than the run's own")
    options.add_argument("--root", metavar="DIR", help="another folder than the run's own")
    options.add_argument("--split", default="test", help="split of the recipe (test)")
    options.add_argument("--batch-size", type=_positive, default=8, help="images at once (8)")
    options.add_argument(
        "--no-biharmonic",
        action="store_true",
        help="leave out the slow baseline (about ten images a second and core)",
    )
    options.add_argument(
        "--set", action="append", default=[], metavar="model.KEY=VALUE",
        help="an option of the model that matters at inference, e.g. model.refine_steps=50",
    )  # fmt: skip
    options.add_argument("--limit", type=_positive, metavar="N", help="the first N images only")
    options.add_argument(
        "--pairs", type=_positive, default=0, metavar="N",
        help="write original_ID.png and reconstruction_ID.png of the first N images",
    )  # fmt: skip
    options.add_argument(
        "--skip-unreadable", action="store_true", help="leave out images that cannot be read"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return run(parser(), _evaluate, argv)


def _evaluate(arguments: argparse.Namespace) -> None:
    from tfrecon.run import open_run

    options = model_options(arguments.set)
    trained = open_run(arguments.run)
    start_tensorflow()
    from tfrecon.evaluation.report import evaluate_run

    report = evaluate_run(
        trained,
        split=arguments.split,
        data=arguments.data,
        root=arguments.root,
        batch_size=arguments.batch_size,
        biharmonic=not arguments.no_biharmonic,
        skip_unreadable=arguments.skip_unreadable,
        options=options,
        limit=arguments.limit,
        pairs=arguments.pairs,
    )
    print(report.text)
    print(f"\nwritten to {report.path} (per_image.csv has a row for each image and method):")
    print(textwrap.indent(textwrap.fill(", ".join(report.files), 78), "  "))


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {value}")
    return value


if __name__ == "__main__":
    sys.exit(main())
