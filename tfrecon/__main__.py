"""``tfrecon VERB …``, which is the same as ``python -m tfrecon.VERB …``."""

import argparse
import importlib
import sys

from tfrecon.base import extras, facts
from tfrecon.base.cli import fail
from tfrecon.base.errors import UserError, did_you_mean, unknown

VERBS = {
    "fit": "train a model",
    "evaluate": "score a run against the baselines",
    "export": "write a run as a SavedModel",
    "push": "publish a run on the Hugging Face hub, with a card",
    "reconstruct": "restore photos with a preset or a trained model",
    "study": "train a matrix of runs and report on them",
    "submit": "write or check a competition's CSV",
    "features": "write what a tap of a frozen network says of photos",
    "invert": "make images of features that were computed elsewhere",
    "audit": "show what features give away, by tap and defence",
    "demo": "open a web page that restores photos and inverts features",
    "doctor": "say what is installed and found here, and what mends what is broken",
}

USAGE = "usage: tfrecon VERB [--help] … | --version | --print-completion SHELL"


def main() -> int:
    """Runs the verb named by the first argument; returns its exit code."""
    verb, *rest = sys.argv[1:] or ["--help"]
    if verb in VERBS:
        return importlib.import_module(f"tfrecon.{verb}").main(rest)
    if verb in ("-h", "--help"):
        print(f"{USAGE}\n")
        for name, purpose in VERBS.items():
            print(f"  {name:12} {purpose}")
    elif verb == "--version":
        print(f"tfrecon {facts.version()}")
    elif verb == "--print-completion":
        try:
            print(completion("".join(rest)))
        except UserError as error:
            return fail(str(error))
    else:
        near = "; options stand behind it" if verb[0] == "-" else did_you_mean(verb, VERBS)
        return fail(f"unknown verb {verb!r}{near}")
    return 0


def completion(shell: str) -> str:
    """The script that completes verbs, options and names in a `shell`. Raises UserError for an
    unknown one and without the extra."""
    shtab = extras.imported("completion", "--print-completion")
    if shell not in shtab.SUPPORTED_SHELLS:
        raise unknown("shell", shell, shtab.SUPPORTED_SHELLS)
    whole = argparse.ArgumentParser("tfrecon", usage=USAGE)
    whole.add_argument("--version", action="store_true", help="print the version")
    verbs, known = whole.add_subparsers(metavar="VERB"), _names()
    for verb, purpose in VERBS.items():
        own = importlib.import_module(f"tfrecon.{verb}").parser()
        for action in own._actions:
            if action.dest in known and action.nargs != 0:
                action.choices = known[action.dest]
            elif action.nargs != 0 and not action.choices:
                action.complete = shtab.FILE
        verbs.add_parser(verb, parents=[own], add_help=False, help=purpose)
    return shtab.complete(whole, shell)


def _names() -> dict[str, list[str]]:
    """What options take by name."""
    from tfrecon.base.cards import presets
    from tfrecon.data import recipes
    from tfrecon.models import MODELS
    from tfrecon.training.catalogue import KINDS

    return {
        "model": [*MODELS], "data": [*recipes.names()], "list": [*KINDS],
        "preset": [preset.name for preset in presets()],
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
