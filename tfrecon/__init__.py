"""tfrecon: learned image reconstruction in Keras.

The names of `__all__` are imported when they are first used, so that ``import tfrecon`` takes
milliseconds, and only what needs TensorFlow waits for it.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrecon.base.cards import presets
    from tfrecon.base.config import Config, DataConfig, FitConfig
    from tfrecon.base.errors import UserError
    from tfrecon.base.registry import Spec
    from tfrecon.data.pipeline import dataset, keras_dataset
    from tfrecon.data.recipes import samples
    from tfrecon.data.sample import Sample
    from tfrecon.inference.in_memory import restore
    from tfrecon.inference.restorer import restorer
    from tfrecon.layers.harmonic_fill import harmonic_fill
    from tfrecon.models.feature_inversion import feature_inversion
    from tfrecon.models.pix2pix import pix2pix
    from tfrecon.reports.evaluation import evaluate_runs
    from tfrecon.reports.side_by_side import compare
    from tfrecon.training.run import open_run

    __version__: str

__all__ = [
    "Config", "DataConfig", "FitConfig", "Sample", "Spec", "UserError", "__version__", "compare",
    "dataset", "evaluate_runs", "feature_inversion", "harmonic_fill", "keras_dataset", "open_run",
    "pix2pix", "presets", "restore", "restorer", "samples",
]  # fmt: skip

# No name of a verb: importing the module tfrecon.fit would put itself in the place of a `fit`.
_HOMES = {
    "Config": "tfrecon.base.config",
    "DataConfig": "tfrecon.base.config",
    "FitConfig": "tfrecon.base.config",
    "Sample": "tfrecon.data.sample",
    "Spec": "tfrecon.base.registry",
    "UserError": "tfrecon.base.errors",
    "compare": "tfrecon.reports.side_by_side",
    "dataset": "tfrecon.data.pipeline",
    "evaluate_runs": "tfrecon.reports.evaluation",
    "feature_inversion": "tfrecon.models.feature_inversion",
    "harmonic_fill": "tfrecon.layers.harmonic_fill",
    "keras_dataset": "tfrecon.data.pipeline",
    "open_run": "tfrecon.training.run",
    "pix2pix": "tfrecon.models.pix2pix",
    "presets": "tfrecon.base.cards",
    "restore": "tfrecon.inference.in_memory",
    "restorer": "tfrecon.inference.restorer",
    "samples": "tfrecon.data.recipes",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = importlib.import_module("tfrecon.base.facts").version()
    elif name in _HOMES:
        if "ipykernel" in sys.modules:  # what TensorFlow says at its start would fill the notebook
            importlib.import_module("tfrecon.base.cli").start_tensorflow()
        importlib.import_module("tfrecon.base.extras").check_tensorflow()
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'tfrecon' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
