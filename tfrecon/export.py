"""``python -m tfrecon.export``: writes a run for other programs, a SavedModel that needs TensorFlow
alone or another format, or as a preset."""

import argparse
import functools
import json
import sys
from pathlib import Path

from tfrecon.base import platforms
from tfrecon.base.cli import Parser, held_back, run, section_options, start_tensorflow
from tfrecon.base.errors import UserError
from tfrecon.base.files import RECORD
from tfrecon.inference.formats import FORMATS


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "export",
        "Writes a run as a TensorFlow SavedModel, in another format, or as a preset, and compares\n"
        "it with the model.\n"
        "An earlier export of the same name is replaced once the new one has passed.",
    )
    options.add_argument("run", metavar="checkpoints/NAME", help="the folder of a run")
    options.add_argument(
        "--set", action="append", default=[], metavar="model.KEY=VALUE",
        help="an option of the model that matters at inference, e.g. model.refine=gauss_newton",
    )  # fmt: skip
    options.flag(
        "--ensemble",
        "put the mean over eight flips and turns into the export: better, eight times slower",
    )
    options.add_argument(
        "--format", choices=FORMATS,
        help="what to write (savedmodel); litert and onnx need the extras of these names",
    )  # fmt: skip
    options.add_argument(
        "--precision", choices=("bfloat16", "float32"),
        help="freeze the weights into constants and compute in this: faster on processors, and "
        "nothing that a training can start from; refused where real photos show it",
    )  # fmt: skip
    options.flag(
        "--serving",
        "write a version for TensorFlow Serving, served/NAME/1, 2, …, which takes JPEG and PNG",
    )
    options.add_argument(
        "--out", metavar="DIR",
        help="where to write it (exports/NAME, exports/NAME-FORMAT, with --serving served/NAME)",
    )  # fmt: skip
    options.add_argument(
        "--preset", metavar="DIR/NAME",
        help="write a preset instead: DIR/NAME.npz, weights in half precision, and its card, "
        "DIR/NAME.json, whose words you fill in; restore with --preset DIR/NAME.npz",
    )  # fmt: skip
    return options


def _export(arguments: argparse.Namespace) -> None:
    from tfrecon.training.run import open_run

    options, preset, precision = (
        section_options(arguments.set),
        arguments.preset,
        arguments.precision,
    )
    of_exports = ("out", "ensemble", "format", "precision", "serving")
    if preset and any(getattr(arguments, name) for name in of_exports):
        names = ", ".join(f"--{name}" for name in of_exports)
        raise UserError(f"{names} have no effect on a preset; leave them out")
    trained, format = open_run(arguments.run), arguments.format or "savedmodel"
    FORMATS[format].check()
    start_tensorflow()
    from tfrecon.inference.presets import write_preset
    from tfrecon.inference.saved_model import default_path, export_run, next_version, usage

    path = arguments.out or default_path(trained, format)
    if arguments.serving:
        path = next_version(arguments.out or Path("served", trained.name))
    with held_back():  # converters say much
        differences = (
            write_preset(trained, preset, options)
            if preset
            else export_run(
                trained, path, options, arguments.ensemble, format, precision, arguments.serving
            )
        )
    for difference in differences:
        print(
            f"{difference.height}×{difference.width}: largest difference from the model "
            f"{difference.restore:.1e} (float), {difference.serve} (uint8)"
        )
    if preset:
        print(f"preset written to {preset}.npz; fill in the words of its card, {preset}.json")
        return
    if precision:
        from tfrecon.inference.constants import sentence

        print(sentence(json.loads(Path(path, RECORD).read_text(encoding="utf-8"))["photos"]))
    print(f"exported to {path}; to use it without tfrecon:\n")
    if arguments.serving:
        base = platforms.command_line([f"--model_base_path={Path(path).parent.resolve()}"])
        print(
            f"    tensorflow_model_server --rest_api_port=8501 --model_name={trained.name} {base}"
        )
        return
    for line in usage(repr(str(path)), trained.has_mask, format):
        print(f"    {line}")


main = functools.partial(run, parser, _export)

if __name__ == "__main__":
    sys.exit(main())
