"""``python -m tfrecon.export``: writes a run as a SavedModel that needs TensorFlow alone."""

import argparse
import functools
import sys

from tfrecon.base.cli import Parser, run, section_options, start_tensorflow

WITH_MASK = 'model.serve(image, mask)["restored"]  # uint8 (B,H,W,3), (B,H,W,1) nonzero = damaged'
WITHOUT_MASK = 'model.serve(image)["restored"]  # uint8 (B,H,W,3)'


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "export",
        "Writes a run as a TensorFlow SavedModel and compares it with the model.\n"
        "An earlier export of the same name is replaced once the new one has passed.",
    )
    options.add_argument("run", metavar="checkpoints/NAME", help="the folder of a run")
    options.add_argument(
        "--set", action="append", default=[], metavar="model.KEY=VALUE",
        help="an option of the model that matters at inference, e.g. model.refine_steps=50",
    )  # fmt: skip
    options.flag(
        "--ensemble",
        "put the mean over eight flips and turns into the export: better, eight times slower",
    )
    options.add_argument("--out", metavar="DIR", help="where to write it (exports/NAME)")
    return options


def _export(arguments: argparse.Namespace) -> None:
    from tfrecon.training.run import open_run

    options = section_options(arguments.set)
    trained = open_run(arguments.run)
    start_tensorflow()
    from tfrecon.inference.saved_model import default_path, export_run

    path = arguments.out or default_path(trained)
    for difference in export_run(trained, path, options, arguments.ensemble):
        print(
            f"{difference.height}×{difference.width}: largest difference from the model "
            f"{difference.restore:.1e} (float), {difference.serve} (uint8)"
        )
    print(f"exported to {path}; to use it with TensorFlow alone:\n")
    print("    import tensorflow as tf")
    print(f"    model = tf.saved_model.load({str(path)!r})")
    print(f"    restored = {WITH_MASK if trained.has_mask else WITHOUT_MASK}")


main = functools.partial(run, parser, _export)

if __name__ == "__main__":
    sys.exit(main())
