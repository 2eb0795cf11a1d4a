"""``tfrecon VERB …``, which is the same as ``python -m tfrecon.VERB …``."""

import importlib
import sys

from tfrecon.base.errors import did_you_mean

VERBS = {
    "fit": "train a model",
    "evaluate": "score a run against the baselines",
    "export": "write a run as a SavedModel",
    "reconstruct": "restore a folder of photos with an exported model",
    "study": "train a matrix of runs and report on them",
    "submit": "write or check a competition's CSV",
}


def main() -> int:
    """Runs the verb named by the first argument; returns its exit code."""
    verb, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if verb in ("-h", "--help"):
        print("usage: tfrecon VERB [--help] …\n")
        for name, purpose in VERBS.items():
            print(f"  {name:12} {purpose}")
        return 0
    if verb not in VERBS:
        print(f"error: unknown verb {verb!r}{did_you_mean(verb, VERBS)}", file=sys.stderr)
        return 2
    return importlib.import_module(f"tfrecon.{verb}").main(rest)


if __name__ == "__main__":
    sys.exit(main())
