"""``python -m tfrecon.push``: publishes a run on the Hugging Face hub, with a card."""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tfrecon.base.cli import Parser, run, section_options, start_tensorflow
from tfrecon.base.errors import UserError

if TYPE_CHECKING:
    from tfrecon.base.cards import Preset


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "push",
        "Writes the best weights of a run (safetensors), what builds its model (config.json), a\n"
        "SavedModel for TensorFlow alone, and a card made of its report (README.md) into a\n"
        "repository of the hub, or into a FOLDER, to look at it first. Then either is a preset:\n"
        "fit --from PLACE, reconstruct --preset PLACE.\n\n"
        "Words of the card, which stay when it is written again:\n"
        "  --set card.licence=apache-2.0        of the weights; without one nobody may use them\n"
        "  --set 'card.title=Removes dust'      and purpose, not_for (limits), provenance (data)",
    )
    options.add_argument("run", metavar="checkpoints/NAME", help="the folder of a run")
    options.add_argument("place", metavar="hf://USER/NAME|FOLDER", help="where it is written to")
    options.add_argument(
        "--set", action="append", default=[], metavar="card.KEY=VALUE", help="a word of the card"
    )
    options.flag("--private", "make the repository a private one, where it is not there yet")
    options.flag("--no-pictures", "show no photos of the data, in which others may have rights")
    return options


def _push(arguments: argparse.Namespace) -> None:
    from tfrecon.base import hub
    from tfrecon.training.run import open_run

    place, trained = arguments.place, open_run(arguments.run)
    if arguments.private and not hub.is_named(place):
        raise UserError("--private has no effect on a folder; leave it out")
    words = section_options(arguments.set, "card", "what is pushed") if arguments.set else {}
    known = _known(place)
    start_tensorflow()
    from tfrecon.inference.presets import write_repository
    from tfrecon.reports import model_card

    model_card.check(trained)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary if hub.is_named(place) else place)
        preset = write_repository(trained, folder, words, known)
        model_card.write(folder, preset, trained, place, pictures=not arguments.no_pictures)
        if hub.is_named(place):
            place = hub.push(folder, place, f"{trained.name}, by tfrecon", arguments.private)
    print(f"pushed {trained.name} to {place}; to begin with it, and to restore with it:\n")
    print(f"    python -m tfrecon.fit --from {place}")
    print(f"    python -m tfrecon.reconstruct --preset {place} photo.jpg -o restored.png")
    if not preset.licence:
        print(
            "\nits card names no licence, and without one nobody may use the weights; push it "
            "again with --set card.licence=apache-2.0, or another that the hub knows"
        )


def _known(place: str) -> Preset | None:
    """What was pushed to a place before. Raises UserError for a place that is of another kind."""
    from tfrecon.base import cards, hub

    if hub.is_named(place):
        hub.check_token(place)
        return cards.read(hub.fetched(place) / hub.WEIGHTS, place) if hub.has_card(place) else None
    folder = Path(place)
    if (folder / hub.WEIGHTS).is_file():
        return cards.read(folder / hub.WEIGHTS, place)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{place!r} exists and is no repository; choose another place")
    return None


main = functools.partial(run, parser, _push)

if __name__ == "__main__":
    sys.exit(main())
