"""A run's folder: the resolved config, the facts of its machine, its weights and its report."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base import checkpoint, files
from tfrecon.base.config import LENGTHS, Config, from_tables, names_model, read_json, with_settings
from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec

CONFIG, FACTS, STATE, BEST = "config.json", "run.json", "state.npz", "best.npz"
TIME = "time.json"
"""What training has taken: ``train_seconds`` and ``peak_memory_gib``. Not in the run's state, which
is the same however often it was stopped."""


@dataclass(frozen=True)
class Run:
    """One training run. `facts` are what the config does not say: masks, versions, threads."""

    path: Path
    config: Config
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def has_mask(self) -> bool:
        """Whether the model's input carries a mask as its last channel."""
        return bool(self.facts["mask"])

    @property
    def train_minutes(self) -> float | None:
        """Wall time of its training up to the last checkpoint, validations included, pauses not;
        None where the run has no record of it."""
        seconds = resources_used(self.path)["train_seconds"]
        return seconds / 60 if seconds else None

    @property
    def train_memory_gib(self) -> float | None:
        """The most memory that its training's process held at once; None where not recorded."""
        return resources_used(self.path)["peak_memory_gib"] or None

    def save(self) -> None:
        """Writes config and facts."""
        # The configuration last: a folder that has it is a run.
        for name, content in ((FACTS, self.facts), (CONFIG, self.config.to_dict())):
            with files.replacing(self.path / name) as temporary:
                temporary.write_text(json.dumps(content, indent=2) + "\n")

    def load_model(self, options: Mapping[str, Any] | None = None) -> Any:
        """The trained model in float32, with the best weights (their moving average where the run
        keeps one); `options` are put on top of those that it was trained with.

        Raises UserError when the run has no weights yet, for options that change what the weights
        belong to, and when the weights of a frozen part are not those of the training."""
        import keras

        from tfrecon.models import build_model

        if not (self.path / BEST).is_file():
            raise UserError(
                f"run {str(self.path)!r} has no weights yet; finish it with "
                f"python -m tfrecon.fit --run {self.name} --resume"
            )
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("float32")
        try:
            spec = self._with(options or {})
            model = build_model(
                spec, image_size=self.config.data.image_size, mask=self.has_mask,
                seed=self.config.fit.seed,
            )  # fmt: skip
        finally:
            keras.config.set_dtype_policy(policy)
        check_frozen(self, model.fingerprint)
        arrays, _ = checkpoint.load(self.path / BEST)
        checkpoint.assign(self.path / BEST, arrays, {"model": model.inference_variables})
        return model

    def _with(self, options: Mapping[str, Any]) -> Spec:
        """The model's Spec with options that matter at inference only put on top."""
        from tfrecon.models import entry

        trained = self.config.model
        known = entry(trained.name).inference_options
        for key in options:
            if key not in known:
                raise UserError(
                    f"model.{key} cannot be set on a trained run; of {trained.name!r} these can: "
                    + (", ".join(known) or "none")
                )
        return Spec(trained.name, {**trained.options, **options})


def check_frozen(run: Run, fingerprint: str | None) -> None:
    """Raises UserError unless a model's frozen weights are those that `run` was trained on."""
    if fingerprint != run.facts.get("frozen"):
        raise UserError(
            "the frozen weights of backbone or autoencoder are not those that run "
            f"{str(run.path)!r} was trained on; restore them, or train anew"
        )


def open_run(path: str | os.PathLike[str]) -> Run:
    """The run in a folder. Raises UserError for a missing folder or one that holds no run."""
    path = Path(path)
    if not path.is_dir():
        raise UserError(
            f"run folder {str(path)!r} does not exist; train one with python -m tfrecon.fit"
        )
    for name in (CONFIG, FACTS):
        if not (path / name).is_file():
            raise UserError(f"folder {str(path)!r} is no run: it has no {name}")
    try:
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        config = read_json(path / CONFIG)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"folder {str(path)!r} holds a damaged run: {error}; restore it, or delete the folder "
            "and train anew"
        ) from None
    if not isinstance(facts, dict) or "mask" not in facts:
        raise UserError(
            f"folder {str(path)!r} holds a damaged run: {FACTS} does not tell its mask; restore "
            "it, or delete the folder and train anew"
        )
    return Run(path, config, facts)


SAME_SETTINGS_REMEDY = "go on with --run and --resume alone, or start another --run"


def check_same_settings(
    given: Mapping[str, Any], recorded: Run, remedy: str = SAME_SETTINGS_REMEDY
) -> None:
    """Raises UserError for the first setting on which given tables and a run that is to go on
    differ; tables without a model are those of the run but for what they say.

    What the run resolved when it began (minutes, automatic precision) may be given again. `remedy`
    ends the sentence.
    """
    theirs = recorded.config.to_dict()
    lengths = {name for name in LENGTHS if name in given.get("fit", {})}
    base = {} if names_model(given) else theirs
    mine = from_tables(with_settings(base, given)).to_dict()
    solved = recorded.facts.get("steps") == 0  # and not trained: no length means anything
    resolved = set(LENGTHS) if "minutes" in lengths or not lengths or solved else set[str]()
    if mine["fit"]["precision"] == "auto":
        resolved.add("precision")
    if "minutes" in lengths and "minutes" in recorded.facts and not solved:
        theirs["fit"]["minutes"] = recorded.facts["minutes"]
        resolved -= {"minutes"}
    for section, own in mine.items():
        for key in sorted((own.keys() | theirs[section].keys()) - resolved):
            if own.get(key) != theirs[section].get(key):
                raise UserError(
                    f"run {str(recorded.path)!r} has {section}.{key} = "
                    f"{theirs[section].get(key)!r}, not {own.get(key)!r}; {remedy}"
                )


def resources_used(path: Path) -> dict[str, float]:
    """What the run in a folder has recorded in `TIME`, 0 where there is nothing."""
    try:
        recorded = json.loads((path / TIME).read_text(encoding="utf-8"))
        return {name: float(recorded.get(name, 0)) for name in ("train_seconds", "peak_memory_gib")}
    except (OSError, ValueError, TypeError, AttributeError):
        return {"train_seconds": 0.0, "peak_memory_gib": 0.0}


def peak_memory_gib() -> float:
    """The most memory that this process has held at once; 0 where the system does not tell.

    Not by getrusage, whose figure begins at that of the process that started this one."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return peaks[0] / 2**20 if peaks else 0.0


def revision() -> dict[str, Any]:
    """The git revision of tfrecon's own code and whether its tree was clean; Nones where it is no
    checkout."""
    folder = Path(__file__).parents[2]

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    if not (folder / ".git").exists():
        return {"revision": None, "clean": None}
    changed = git("status", "--porcelain")
    return {"revision": git("rev-parse", "HEAD"), "clean": None if changed is None else not changed}


def machine() -> dict[str, Any]:
    """What a bit-identical continuation depends on: versions, processor and thread counts."""
    import keras
    import tensorflow as tf

    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "devices": [device.device_type for device in tf.config.list_logical_devices()],
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
    }


def set_threads(facts: Mapping[str, Any] | None = None) -> None:
    """Fixes the thread counts, before TensorFlow starts: those of a recorded run, else all cores.

    Sums depend on them, so a run that goes on must have the counts that it began with.
    """
    import tensorflow as tf

    recorded = (facts or {}).get("machine", {})
    cores = len(os.sched_getaffinity(0))
    intra = int(os.environ.get("TF_NUM_INTRAOP_THREADS", cores))
    inter = int(os.environ.get("TF_NUM_INTEROP_THREADS", 2))
    # TensorFlow refuses once it has started: `machine` records the counts that it then has.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(
            recorded.get("intra_op_threads", intra)
        )
        tf.config.threading.set_inter_op_parallelism_threads(
            recorded.get("inter_op_threads", inter)
        )


def changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two answers of `machine` differ in, ``"keras 3.14 then, 3.15 now"`` for each."""
    return [
        f"{name} {recorded.get(name, 'unknown')} then, {value} now"
        for name, value in now.items()
        if recorded.get(name) != value
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
