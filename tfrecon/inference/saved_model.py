"""Exports a run for other programs: a SavedModel that needs TensorFlow alone, or another of
`tfrecon.inference.formats`.

Signatures, each for any batch, height and width (padding and cropping are inside):

- ``serve`` (and ``serving_default``): image (B,H,W,3) uint8, and for models with masks mask
  (B,H,W,1) uint8 where any nonzero value is damage; gives ``restored`` (B,H,W,3) uint8.
- ``restore``: the same in float32, values in [0,1], mask 1 = damaged.
- ``sample``, of `diffusion`: ``restore`` with a number that chooses the sample, ``seed``.
- ``encoded``, and then ``serving_default``, of exports for a server: ``image_bytes`` and
  ``mask_bytes`` (B,), files as JPEG or PNG; gives ``restored_bytes`` (B,), as PNG.
"""

import contextlib
import functools
import gc
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrecon.base import images
from tfrecon.base.errors import UserError, foreign
from tfrecon.base.files import RECORD, making, replacing_folder
from tfrecon.inference import constants as lowered
from tfrecon.inference.constants import Constants, Precision
from tfrecon.inference.formats import FORMATS, Exported
from tfrecon.inference.restorer import (
    Export,
    Restore,
    open_export,
    restore_any_size,
    restorer,
    self_ensemble,
)
from tfrecon.models.base import ReconstructionModel
from tfrecon.training.run import Run

SIZES = ((2, 40, 40), (1, 256, 256), (1, 300, 451))
"""Batch, height and width of the images on which an export is compared with its model."""

FLOAT_TOLERANCE = 1e-5
UINT8_TOLERANCE = 1


@dataclass(frozen=True)
class Difference:
    """The largest differences between what was written of a model and itself on images of one size.

    `restore`: of float values in [0,1]. `serve`: of uint8 values.
    """

    height: int
    width: int
    restore: float
    serve: int


def export_run(
    run: Run, out: str | os.PathLike[str] | None = None, options: Mapping[str, Any] | None = None,
    ensemble: bool = False, format: str = "savedmodel", precision: Precision | None = None,
    serving: bool = False,
) -> list[Difference]:  # fmt: skip
    """`export_model` with the best weights of `run`, to `out` or `default_path`.

    `options` take the place of the model's own; with a `precision` the weights are constants.
    """
    path = default_path(run, format) if out is None else out
    facts = {
        "run": run.name, "model": run.model_with(options or {}).to_dict(),
        "image_size": run.config.data.image_size,
    }  # fmt: skip
    constants = lowered.of_run(run, precision, options) if precision else None
    return export_model(
        run.load_model(options), path, run.has_mask, facts, ensemble, format, constants, serving
    )


def default_path(run: Run, format: str = "savedmodel") -> Path:
    """Where `export_run` writes unless told otherwise: ``exports/RUN``, ``exports/RUN-litert``."""
    return Path("exports", run.name if format == "savedmodel" else f"{run.name}-{format}")


def next_version(folder: str | os.PathLike[str]) -> Path:
    """Where TensorFlow Serving, which serves `folder`, looks for a newer model than those there."""
    numbers = [int(path.name) for path in Path(folder).glob("*") if path.name.isdecimal()]
    return Path(folder, str(max(numbers, default=0) + 1))


def usage(path: str, has_mask: bool, format: str = "savedmodel") -> list[str]:
    """The lines of Python that use an export without tfrecon; `path` is Python, too."""
    names = ("image", "mask") if has_mask else ("image",)
    about = ", (B,H,W,1) nonzero = damaged" if has_mask else ""
    *before, last = FORMATS[format].usage(path, names)
    return [*before, f"{last}  # {FORMATS[format].pixels} (B,H,W,3){about}"]


def export_model(
    model: ReconstructionModel, path: str | os.PathLike[str], has_mask: bool,
    facts: Mapping[str, Any] | None = None, ensemble: bool = False, format: str = "savedmodel",
    constants: Constants | None = None, serving: bool = False,
) -> list[Difference]:  # fmt: skip
    """Writes `model` in one of `FORMATS` to the folder `path`; returns how far it is from the
    model.

    `facts` go into its record (`RECORD`); `ensemble` puts `self_ensemble` inside the export;
    `constants` takes the place of variables, and `serving` adds the signature ``encoded``, both in
    a SavedModel. The export is loaded and compared with the model before it takes its name; an
    export of the same name is replaced only then.

    Raises UserError, and leaves nothing behind, for a difference above the tolerances or what
    `Constants.compared` allows, for a format whose package is missing or that lacks an operation of
    the model, for a `path` that is no export or to which another process exports, and
    when it cannot be written.
    """
    FORMATS[format].check()
    if format != "savedmodel" and (constants or serving):
        raise UserError(
            f"--precision and --serving are of SavedModels; leave out --format {format}"
        )
    path = Path(path)
    if path.exists() and not (path / RECORD).is_file():
        raise UserError(f"{str(path)!r} exists and is no export; choose another place with --out")
    sizes = {"fixed_size": model.fixed_size} if model.fixed_size else {
        "size_multiple": model.size_multiple
    }  # fmt: skip
    record = {
        **(facts or {}),
        "format": format,
        "has_mask": has_mask,
        "range": {"serve": [0, 255], "restore": [0, 1]},
        **({"ensemble": 8} if ensemble else {}),
        **({"precision": constants.precision} if constants else {}),
        **sizes,
        "versions": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }
    with making(path), replacing_folder(path) as temporary:
        record |= _written(temporary, model, has_mask, ensemble, format, constants, serving, record)
        _write_record(temporary, record)
        gc.collect()  # graphs are circles, and hold all constants
        whole = self_ensemble(restorer(model)) if ensemble else restorer(model)
        with contextlib.nullcontext() if format == "savedmodel" else foreign(
            f"{FORMATS[format].title} export", path, "export it with --format savedmodel",
            "does not run",
        ):  # fmt: skip
            export = open_export(temporary, trusted=True)
            differences = compare(model, export, whole, has_mask)
        for difference in differences:
            _check(difference, constants)
        record["differences"] = [asdict(item) for item in differences]
        if constants:
            record["photos"] = constants.compared(whole, export.restore)
        _write_record(temporary, record)
    return differences


def _written(
    folder: Path, model: ReconstructionModel, has_mask: bool, ensemble: bool, format: str,
    constants: Constants | None, serving: bool, record: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Writes the files of an export; returns what its record has of its weights."""
    module, signatures = _exported(model, has_mask, ensemble, constants, serving)
    found = {}
    if format == "savedmodel" and not constants:
        found["weights"] = _places(model, module.weights)
    FORMATS[format].write(Exported(model, module, signatures, record), folder)
    return found


def compare(
    model: ReconstructionModel, export: Export, restore: Restore, has_mask: bool
) -> list[Difference]:
    """The largest differences between `export` and `model`, which `restore` calls, on random
    photos. Raises UserError when the model itself gives values that are not finite."""
    differences = []
    for pixels, mask, x, expected in answers(restore, has_mask):
        served = export.serve(pixels, mask).astype(int) - images.to_uint8(expected)
        apart = [export.restore(x) - expected]
        if "sample" in export.runtime.signatures:
            drawn = restore_any_size(model, x, lambda images: model.sample(images, 7))
            apart.append(export.sample(x, 7) - np.asarray(drawn))
        worst = float(np.abs(apart).max()), int(np.abs(served).max())
        differences.append(Difference(*pixels.shape[1:3], *worst))
    return differences


def answers(restore: Restore, has_mask: bool) -> Iterator[tuple[np.ndarray, ...]]:
    """Random photos of all `SIZES` with masks, both uint8, what a model is given of them, and what
    it makes of that. Raises UserError where that is not finite."""
    random = np.random.default_rng(0)
    for batch, height, width in SIZES:
        pixels = random.integers(0, 256, (batch, height, width, 3), np.uint8)
        mask = np.zeros((batch, height, width, 1), np.uint8)
        mask[:, height // 4 : height // 2, width // 3 : width // 2] = 255
        x = images.to_float(pixels)
        if has_mask:
            x = np.concatenate((x, images.to_float(mask)), axis=-1)
        expected = restore(x)
        if not np.isfinite(expected).all():
            raise UserError(
                "the model itself restores a photo to values that are not finite; its training has "
                "diverged: train it again with a lower fit.learning_rate; nothing was written"
            )
        yield pixels, mask, x, expected


def _check(difference: Difference, constants: Constants | None) -> None:
    # NaN is a difference too, and fails both comparisons.
    if difference.restore <= FLOAT_TOLERANCE and difference.serve <= UINT8_TOLERANCE:
        return
    # Of half precision real photos tell, and not noise.
    if constants and constants.precision != "float32" and np.isfinite(difference.restore):
        return
    raise UserError(
        f"the export differs from the model at {difference.height}×{difference.width}: float by "
        f"{difference.restore:.2g} (allowed {FLOAT_TOLERANCE:g}), uint8 by {difference.serve} "
        f"(allowed {UINT8_TOLERANCE}); nothing was written"
    )


def _exported(
    model: ReconstructionModel, has_mask: bool, ensemble: bool, constants: Constants | None,
    serving: bool,
) -> tuple[tf.Module, dict[str, Any]]:  # fmt: skip
    """The signatures, and a module of the variables that they use: one copy, no Keras model."""
    channels, sampled = 3 + has_mask, model.sample
    if constants:
        step: Any = functools.partial(restore_any_size, model, call=constants.network(channels))
        sampled = constants.sampled(channels) if model.makes_samples else sampled
    else:
        step = functools.partial(restore_any_size, model)
    step = self_ensemble(step) if ensemble else step
    floats, seeds = _inputs(tf.float32, has_mask), tf.TensorSpec((), tf.int32, "seed")

    @tf.function(input_signature=floats)
    def restore(image: tf.Tensor, mask: Any = None) -> dict[str, tf.Tensor]:
        return {"restored": step(_joined(image, mask))}

    @tf.function(input_signature=_inputs(tf.uint8, has_mask))
    def serve(image: tf.Tensor, mask: Any = None) -> dict[str, tf.Tensor]:
        # LiteRT compares no uint8.
        masks = () if mask is None else (tf.cast(tf.cast(mask, tf.int32) != 0, tf.float32),)
        restored = restore(images.to_float_tensor(image), *masks)["restored"]
        return {"restored": images.to_uint8_tensor(restored)}

    @tf.function(input_signature=[seeds, *floats])
    def sample(seed: tf.Tensor, image: tf.Tensor, mask: Any = None) -> dict[str, tf.Tensor]:
        x = _joined(image, mask)
        return {"restored": restore_any_size(model, x, lambda x: sampled(x, seed))}

    signatures = {"serve": serve, "restore": restore}
    if serving:
        signatures["encoded"] = _of_files(serve, has_mask)
    if model.makes_samples and not ensemble:
        signatures["sample"] = sample
    module = tf.Module()
    for name, signature in signatures.items():
        setattr(module, name, signature)
    # Only what the graph reads is saved: no discriminator, no optimizer. The graph has it in an
    # order of its own each time.
    read = {id(variable): variable for variable in restore.get_concrete_function().graph.variables}
    own = [read.pop(id(v.value)) for v in model.inference_variables if id(v.value) in read]
    module.weights = own + sorted(read.values(), key=lambda variable: variable.name)
    return module, signatures


def _of_files(serve: Any, has_mask: bool) -> Any:
    """`serve` of files (B,) as JPEG or PNG, each of its own size, to files as PNG."""
    channels = {"image_bytes": 3, "mask_bytes": 1} if has_mask else {"image_bytes": 3}
    specs = [tf.TensorSpec((None,), tf.string, name) for name in channels]

    def single(files: Any) -> Any:
        decoded = [
            tf.io.decode_image(file, count, expand_animations=False)
            for file, count in zip(files, channels.values(), strict=True)
        ]
        pixels = [tf.ensure_shape(image, (None, None, n))[None]
                  for image, n in zip(decoded, channels.values(), strict=True)]  # fmt: skip
        return tf.io.encode_png(serve(*pixels)["restored"][0])

    @tf.function(input_signature=specs)
    def encoded(image_bytes: tf.Tensor, mask_bytes: Any = None) -> dict[str, tf.Tensor]:
        files = (image_bytes,) if mask_bytes is None else (image_bytes, mask_bytes)
        return {"restored_bytes": tf.map_fn(single, files, fn_output_signature=tf.string)}

    return encoded


def _places(model: ReconstructionModel, variables: Sequence[tf.Variable]) -> list[int | None]:
    """The place of each in the model's inference variables, from which a training can start; None
    for one of a frozen network."""
    places = {id(own.value): place for place, own in enumerate(model.inference_variables)}
    return [places.get(id(variable)) for variable in variables]


def _inputs(dtype: tf.DType, has_mask: bool) -> list[tf.TensorSpec]:
    channels = {"image": 3, "mask": 1} if has_mask else {"image": 3}
    return [tf.TensorSpec((None, None, None, n), dtype, name) for name, n in channels.items()]


def _joined(image: tf.Tensor, mask: Any) -> tf.Tensor:
    return image if mask is None else tf.concat((image, mask), axis=-1)


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
