"""``python -m tfrecon.evaluate``: scores runs beside baselines, and draws pictures of them."""

import argparse
import functools
import sys
import textwrap

from tfrecon.base import spread
from tfrecon.base.cli import Parser, positive, run, section_options, start_tensorflow, white_value
from tfrecon.base.errors import UserError


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "evaluate",
        "Scores runs on images with known truth: MSE, NRMSE, MAE, PSNR, two variants of SSIM\n"
        "and, with its weights at hand, LPIPS; faults that these hardly see (a shift of colour,\n"
        "a grid, a seam); over the whole image and, where there are masks, over the holes only;\n"
        "beside the damaged input and classical fills or denoisers, or, for inversions, the mean\n"
        "colour and a thumbnail; with parameters, images a second and minutes of training.\n"
        "Writes tables and pictures into checkpoints/NAME/report or, of several runs, with paired\n"
        "tests and a page report.html, into checkpoints/compare-NAMES.",
    )
    options.add_argument(
        "runs", metavar="checkpoints/NAME", nargs="+", help="the folder of a run; several compare"
    )
    options.add_argument("--data", help="another recipe than the run's own")
    options.add_argument("--root", metavar="DIR", help="another folder than the run's own")
    options.add_argument(
        "--range", type=white_value, metavar="N",
        help="which value of images of more than 8 bits is white (the run's data.range)",
    )  # fmt: skip
    options.add_argument("--split", default="test", help="split of the recipe (test)")
    options.add_argument("--batch-size", type=positive, default=8, help="images at once (8)")
    options.flag(
        "--no-slow",
        "leave out the slow baselines: biharmonic fill, non-local means (ten images a second)",
    )
    options.flag(
        "--ensemble", "a further row: the mean over the eight flips and quarter turns of each image"
    )
    options.add_argument(
        "--tile", type=positive, metavar="N",
        help="a further row: images put together from blended tiles of N pixels",
    )  # fmt: skip
    options.flag(
        "--compare-ema", "a further row: the last step's weights without their moving average"
    )
    options.add_argument(
        "--draws", type=positive, default=0, metavar="N",
        help="further rows: N samples of a model that makes several, and their spread",
    )  # fmt: skip
    options.add_argument(
        "--set", action="append", default=[], metavar="model.KEY=VALUE",
        help="an option of the model that matters at inference, e.g. model.refine=gauss_newton",
    )  # fmt: skip
    options.add_argument(
        "--metric", action="append", default=[], metavar="PACKAGE.NAME",
        help="a further metric: the dotted path of your own function (repeatable)",
    )  # fmt: skip
    options.add_argument("--limit", type=positive, metavar="N", help="the first N images only")
    options.add_argument(
        "--pairs", type=positive, default=0, metavar="N",
        help="write original_ID.png and reconstruction_ID.png of the first N images",
    )  # fmt: skip
    options.flag(
        "--certify",
        "of an inversion, the share of pixels that are certain from the features, and their map",
    )
    options.flag("--skip-unreadable", "leave out images that cannot be read")
    spread.options(options)
    return options


def _evaluate(arguments: argparse.Namespace) -> None:
    from tfrecon.training.run import open_run

    place, options = spread.asked(arguments), section_options(arguments.set)
    runs = [open_run(path) for path in arguments.runs]
    if len(runs) > 1 and arguments.pairs:
        raise UserError("--pairs writes images of one run; give one run, or leave --pairs out")
    start_tensorflow()
    from tfrecon.reports.comparison import compare, read_report
    from tfrecon.reports.evaluation import data_config, evaluate_runs
    from tfrecon.reports.page import write

    with place as each:
        report = evaluate_runs(
            runs, split=arguments.split, data=arguments.data, root=arguments.root,
            batch_size=arguments.batch_size, slow=not arguments.no_slow,
            ensemble=arguments.ensemble, compare_ema=arguments.compare_ema, draws=arguments.draws,
            tile=arguments.tile, skip_unreadable=arguments.skip_unreadable, options=options,
            limit=arguments.limit, pairs=arguments.pairs, metrics=arguments.metric,
            range=arguments.range, certify=arguments.certify, each=each,
        )  # fmt: skip
    first: list[str] = []
    if len(runs) > 1:
        title = "Comparison of " + ", ".join(run.name for run in runs)
        scored = zip(report.names, read_report(report.path, runs), strict=True)
        comparison = compare(title, {name: [of_run] for name, of_run in scored})
        config = data_config(runs[0], arguments.data, arguments.root, arguments.range)
        first = write(comparison, report.path, config, arguments.split, options)[:1]
        report.files.insert(0, "report.html")
    shown = [name for name in report.files if name not in ("median.png", "worst.png")]
    where = [f"the full report: {report.path}", *textwrap.wrap(f"({', '.join(shown)}, …)", 100)]
    print(report.screen(where, first))


main = functools.partial(run, parser, _evaluate)

if __name__ == "__main__":
    sys.exit(main())
