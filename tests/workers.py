"""Trains one step of every model as one of the workers of $TF_CONFIG, or alone without it.

python tests/workers.py FOLDER     writes FOLDER/MODEL.npz, the weights after the step
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from tfrecon.base.cli import start_tensorflow

start_tensorflow()

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402

from tfrecon.training import workers  # noqa: E402

strategy = workers.strategy() if workers.VARIABLE in os.environ else tf.distribute.get_strategy()

from kit import ROWS, draw_alike, stepped  # noqa: E402

folder = Path(sys.argv[1])
folder.mkdir(parents=True)
draw_alike(pytest.MonkeyPatch())
for name, row in ROWS.items():
    mask = row.masks[-1]
    weights = stepped(functools.partial(row.build, name, mask=mask), 3 + mask, 32, strategy)
    np.savez(folder / f"{name}.npz", *weights)
