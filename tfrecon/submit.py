"""``python -m tfrecon.submit``: writes or checks the CSV that a competition takes, and sends it."""

import argparse
import functools
import hashlib
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from tfrecon.base.cli import Parser, positive, run, start_tensorflow, white_value
from tfrecon.base.errors import UserError, fewer_at_once, fitting
from tfrecon.data.sample import Sample


def parser() -> Parser:
    """The command's options."""
    options = Parser(
        "submit",
        "Restores the photos of a competition with a run and writes its submission,\n"
        "or, with --check, compares a submission with what the data asks for; with --upload, it\n"
        "sends to Kaggle what has passed. Stopped or killed and started again, it goes on after\n"
        "the last batch of photos that it has written.\n\n"
        "  python -m tfrecon.submit checkpoints/NAME --data animals_inpainting --root DIR\n"
        "  python -m tfrecon.submit --check FILE.csv --data animals_inpainting --root DIR\n"
        '  python -m tfrecon.submit checkpoints/NAME --upload --competition NAME -m "first" --wait',
    )
    options.add_argument(
        "run", metavar="checkpoints/NAME", nargs="?", help="the folder of a run; --check needs none"
    )
    options.add_argument("--data", metavar="RECIPE", help="the competition's data (the run's)")
    options.add_argument("--root", metavar="DIR", help="the folder of the data (the run's)")
    options.add_argument(
        "--range", type=white_value, metavar="N",
        help="which value of photos of more than 8 bits is white (the run's data.range)",
    )  # fmt: skip
    options.add_argument("--split", default="submit", help="which photos (submit)")
    options.add_argument(
        "--competition", metavar="NAME",
        help="the competition as in its address on Kaggle (that from which fit --prepare has "
        "downloaded the data), or its key format (that named like the recipe)",
    )  # fmt: skip
    options.add_argument(
        "--out", metavar="CSV", help="the file to write (kaggle_submission/NAME.csv)"
    )
    options.add_argument(
        "--batch-size", type=positive, default=8, metavar="N", help="photos restored at once (8)"
    )
    options.flag(
        "--ensemble", "restore the mean over eight flips and turns: better, eight times slower"
    )
    options.add_argument("--check", metavar="CSV", help="check this file instead of writing one")
    options.add_argument(
        "--sample", metavar="CSV", help="with --check: the published sample_submission.csv"
    )
    options.flag("--upload", "send the file to Kaggle once it has passed the check")
    options.add_argument(
        "-m", "--message", metavar="TEXT", help="with --upload: what it is (the run's name)"
    )
    options.flag("--wait", "with --upload: wait for the score, and print it and the rank")
    return options


def _submit(arguments: argparse.Namespace) -> None:
    _refuse_contradictions(arguments)
    from tfrecon.base.registry import Spec
    from tfrecon.data import recipes
    from tfrecon.training.run import open_run

    trained, spec, root = None, Spec(arguments.data or ""), arguments.root
    if arguments.run:
        trained = open_run(arguments.run)
    start_tensorflow()
    from tfrecon.base.kaggle import Contest
    from tfrecon.inference.submission import check_submission, find

    if trained:
        data = trained.config.data
        if arguments.data in (None, data.recipe.name):
            spec, root = data.recipe, root or trained.placed.data.root
            if arguments.root:
                _tell_of_other_data(trained, Path(root))
    key_format, address = _named(arguments, spec.name, root)
    competition = find(key_format)
    contest = Contest(address) if arguments.upload else None
    samples = recipes.samples(spec, Path(root) if root else None, arguments.split)
    if arguments.check:
        path = Path(arguments.check)
        lines = check_submission(path, samples, competition, arguments.sample)
        done = f"{path} passed the check"
    else:
        path = Path(arguments.out or f"kaggle_submission/{Path(arguments.run).name}.csv")
        lines = _write(path, trained, samples, competition, arguments)
        done = f"submission written to {path}; it passed the check"
    print(f"{done}: {len(samples)} images, {lines:,} lines with the header")
    if contest:
        number = contest.send(path, arguments.message or path.stem)
        if arguments.wait:
            contest.wait(number)


def _named(
    arguments: argparse.Namespace, recipe: str, root: Path | str | None
) -> tuple[str, str | None]:
    """The name of the key format, and that in Kaggle's address, which has neither _ nor . in it:
    --competition is either or both; the recipe's is the other format, the data's the other name."""
    from tfrecon.base.facts import COMPETITIONS, of_user, shipped
    from tfrecon.base.kaggle import recorded

    given = arguments.competition
    if given is None or set("._") & set(given):
        return given or recipe, recorded(root)
    known = {*shipped(COMPETITIONS), *of_user(COMPETITIONS)}
    has_format = given.replace("-", "_") in known or not arguments.upload
    return given if has_format else recipe, given


def _tell_of_other_data(trained: Any, root: Path) -> None:
    """Says where the validation photos below `root` are not those that the run has recorded: a
    submission may be made of other data, and of a folder that has nothing but its photos."""
    from tfrecon.data import recipes
    from tfrecon.data.check import unreadable
    from tfrecon.data.store import content_fingerprint
    from tfrecon.reports.run_facts import unlike_recorded

    data = trained.config.data
    try:
        photos, _ = unreadable(recipes.samples(data.recipe, root, "val"), data.range)
    except UserError:
        return
    about = {"split": "val", "recipe": data.recipe.to_dict(), "images": len(photos),
             "data": content_fingerprint(photos)}  # fmt: skip
    if how := unlike_recorded(trained, about):
        print(
            f"warning: run {trained.name!r} was trained beside other images of split 'val' ({how}) "
            f"than those of {str(root)!r}",
            file=sys.stderr,
        )


def _refuse_contradictions(arguments: argparse.Namespace) -> None:
    if not arguments.run and not arguments.check:
        raise UserError("give a run (checkpoints/NAME) to write from, or --check CSV")
    if not arguments.run and not arguments.data:
        raise UserError("--check without a run needs --data RECIPE and its --root DIR")
    if arguments.sample and not arguments.check:
        raise UserError("--sample belongs to --check CSV; give that, too")
    if not arguments.upload and (arguments.message is not None or arguments.wait):
        raise UserError("--message and --wait belong to --upload; give that, too")
    if arguments.out and arguments.check:
        raise UserError("--out and --check exclude each other; --check writes nothing")


def _write(
    path: Path, trained: Any, samples: Sequence[Sample], competition: Any,
    arguments: argparse.Namespace,
) -> int:  # fmt: skip
    from tfrecon.data.check import unreadable
    from tfrecon.inference.submission import write_submission

    if path.is_dir():
        raise UserError(f"--out {str(path)!r} is a folder; name a CSV file")
    if trained.has_mask and not samples[0].has_mask:
        raise UserError(
            f"run {trained.name!r} takes masks, but {samples[0].id!r} has no boxes; "
            "name the data of its contest with --data"
        )
    model = trained.load_model()
    samples, broken = unreadable(samples, arguments.range or trained.config.data.range)
    if broken:
        raise UserError(
            f"{len(broken)} of {len(samples)} photos cannot be read, and a submission needs all: "
            f"{', '.join(sample.id for sample, _ in broken[:20])}; {broken[0][1]}"
        )
    size, ensemble = arguments.batch_size, arguments.ensemble
    restored = functools.partial(_restored, model, trained.has_mask, size, ensemble)
    identity = _identity(trained, samples, competition, size, ensemble)
    return write_submission(path, samples, restored, competition, identity)


def _identity(trained: Any, samples: Sequence[Sample], *others: Any) -> str:
    """A hash of what the file depends on: weights and model of the run, the photos, and others."""
    from tfrecon.base import files
    from tfrecon.data.store import content_fingerprint
    from tfrecon.training.run import BEST

    weights, photos = files.digest(trained.path / BEST).hex(), content_fingerprint(samples)
    facts = (weights, trained.config.model.to_dict(), trained.has_mask, photos, *others)
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


def _restored(
    model: Any, has_mask: bool, batch_size: int, ensemble: bool, samples: Sequence[Sample]
) -> Generator[tuple[Sequence[Sample], Any]]:
    """The batches of `samples` and their restored images (B,H,W,3), with a progress bar."""
    import numpy as np

    from tfrecon.base.bars import tqdm
    from tfrecon.data.pipeline import native_batches
    from tfrecon.inference.restorer import restorer, self_ensemble

    restore = restorer(model)
    if ensemble:
        restore = self_ensemble(restore)
    with tqdm(total=len(samples), desc="restoring", unit="image") as progress:
        for batch, inputs, masks in native_batches(samples, batch_size):
            parts: list[Any] = [inputs, masks] if has_mask else [inputs]
            with fitting(fewer_at_once(len(batch))):
                images = restore(np.concatenate(parts, axis=-1))
            yield batch, images
            progress.update(len(batch))


main = functools.partial(run, parser, _submit)

if __name__ == "__main__":
    sys.exit(main())
