"""This machine: its versions, processor and threads, and tfrecon's own revision."""

import contextlib
import os
import platform
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrecon.base import platforms
from tfrecon.base.errors import UserError


def revision() -> dict[str, Any]:
    """The git ``revision`` of tfrecon's code and whether its tree was ``clean``; both are None
    where the code is no checkout."""
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
        "processor": platforms.processor_name(),
        "devices": [device.device_type for device in tf.config.list_logical_devices()],
        "intra_op_threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "inter_op_threads": tf.config.threading.get_inter_op_parallelism_threads(),
    }


def set_threads(facts: Mapping[str, Any] | None = None) -> None:
    """Fixes the thread counts, before TensorFlow starts: those of a recorded run, else all cores.

    Sums depend on them, so a run that goes on must have the counts that it began with. Raises
    UserError where the environment asks for what is no number of threads.
    """
    import tensorflow as tf

    recorded = (facts or {}).get("machine", {})
    cores = len(platforms.cores())
    intra = _threads("TF_NUM_INTRAOP_THREADS", cores)
    inter = _threads("TF_NUM_INTEROP_THREADS", 2)
    # TensorFlow refuses once it has started: `machine` records the counts that it then has.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(
            recorded.get("intra_op_threads", intra)
        )
        tf.config.threading.set_inter_op_parallelism_threads(
            recorded.get("inter_op_threads", inter)
        )


def _threads(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise UserError(f"${variable} is {text!r}, no whole number of threads; correct or unset it")
    return int(text)


def changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two answers of `machine` differ in, ``"keras 3.14 then, 3.15 now"`` for each."""
    return [
        f"{name} {recorded.get(name, 'unknown')} then, {value} now"
        for name, value in now.items()
        if recorded.get(name) != value
    ]


@contextlib.contextmanager
def signals_noted() -> Iterator[list[int]]:
    """In the block the first Ctrl-C or SIGTERM is only noted, in the list, so that work can end in
    order; a second one does what it does outside. A signal that is ignored (shells start background
    jobs so) stays so. In other threads than the main one, which get no signals, the list stays
    empty."""
    noted: list[int] = []
    before: dict[int, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _: Any) -> None:
        noted.append(number)
        restore()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, note)
    try:
        yield noted
    finally:
        restore()


def float32_policy() -> contextlib.AbstractContextManager[None]:
    """Layers made in the block compute in float32, whatever Keras's dtype policy is."""
    return dtype_policy("float32")


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Layers made in the block have Keras's dtype policy `name`."""
    import keras

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)
