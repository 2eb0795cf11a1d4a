"""Trains one step of every model as one of the workers of $TF_CONFIG.

python tests/workers.py FOLDER     writes FOLDER/MODEL.npz, the weights after the step
"""

from __future__ import annotations

import sys
from pathlib import Path

from tfrecon.base.cli import start_tensorflow

start_tensorflow()

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from tfrecon.training import workers  # noqa: E402

strategy = workers.strategy()

from kit import ROWS, draw_alike, stepped_row  # noqa: E402

folder = Path(sys.argv[1])
folder.mkdir(parents=True)
draw_alike(pytest.MonkeyPatch())
for name in ROWS:
    np.savez(folder / f"{name}.npz", *stepped_row(name, strategy))
