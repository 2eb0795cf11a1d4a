"""Configuration: frozen dataclasses filled from defaults, a TOML file and ``--set key=value``.

Every key is checked where it enters: ``unknown key in [fit] 'epoch'; did you mean 'epochs'?``.
"""

import dataclasses
import itertools
import json
import math
import os
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from tfrecon.base import facts
from tfrecon.base.errors import UserError, did_you_mean, foreign
from tfrecon.base.registry import Above, AtLeast, Between, Spec, check_type, or_absent

Table = dict[str, Any]

DEEPEST = 20
"""Levels of a configuration: what is deeper exhausts those who walk through it."""

Count = Annotated[int, AtLeast(1)]

SECTIONS = ("model", "data", "fit")

LENGTHS = ("steps", "epochs", "minutes")
"""Settings of [fit] of which one at most says how long a training is."""


@dataclass(frozen=True)
class DataConfig:
    """Which images, and what happens to them before the model sees them."""

    recipe: Spec = field(default_factory=lambda: Spec("demo"))
    """Which files there are, and in which split: a name, or a table with the recipe's options."""
    root: str | None = None
    """The data set's folder."""
    extra: list[Spec] = field(default_factory=list[Spec])
    """More recipes to train on, beside the main one, which alone validates and tests:
    ``{name = "bsds500", root = "…", weight = 0.5}`` and the recipe's own options; weight photos,
    1 if not given, for each one of the main recipe."""
    range: Annotated[float, Above(0)] | Literal["auto"] = "auto"
    """The value of files of more than 8 bits that is white, e.g. 4095; auto finds it for each
    folder where it can be only one."""
    damage: Spec | None = None
    """Damage drawn onto targets; None takes the recipe's own."""
    redraw_damage: bool | Literal["auto"] = False
    """Training forgets the damaged files and draws fresh damage on the targets at every step. auto:
    it does so where the files are damaged in boxes of one size, and draws as many of these."""
    check_pairs: bool = True
    """Training stops before its first step where damaged photos do not look like their targets."""
    image_size: Count = 256
    """Side of the square images that the model is validated and tested on, in pixels."""
    crop_size: Count | None = None
    """Side of the square training images; None means image_size."""
    load_size: Count | None = None
    """Training photos are resized to this short side, then cropped at random to crop_size.
    None means 286/256 of image_size, as pix2pix has it; crop_size itself means no crop."""
    val_size: Count | None = None
    """Validation and test photos are resized to this short side, then cropped in the centre to
    image_size. None means image_size."""
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    """How photos are resized; a reduction is antialiased."""
    zoom: Annotated[float, Between(0, 1, "(]")] = 1.0
    """Training crops show a part of their window whose side is a random share from this to 1."""
    color_jitter: Annotated[float, Between(0, 1, "[)")] = 0.0
    """Each colour of a training photo is multiplied by a random factor within 1 ± this."""
    crops: Count = 1
    """Training crops of each photo that is loaded: the same place of so many batches in turn. An
    epoch has as many steps, thus loads fewer photos."""
    flip: bool = True
    """Training photos are mirrored left to right with probability one half."""
    turn: bool = False
    """Training crops are turned by a random multiple of 90 degrees."""
    cache: Literal["memory", "disk", "none"] = "memory"
    """Where decoded uint8 images are kept."""
    cache_dir: str = "checkpoints/.cache"
    """The folder of the disk cache."""
    feature_cache_gib: Annotated[float, AtLeast(0.0)] = 0.0
    """Largest size of the cache of frozen features on disk; 0 computes them at every step. Needs
    training without random crops: load_size = crop_size, and photos are cut in the centre. Flips
    are enumerated: both are stored."""


@dataclass(frozen=True)
class FitConfig:
    """How a model is trained. Exactly one of steps, epochs and minutes says how long."""

    batch_size: Count = 1
    """Images a step, over all replicas."""
    steps: Count | None = None
    """Batches that training takes."""
    epochs: Count | None = None
    """Rounds of steps_per_epoch; without it, of the training images."""
    minutes: Annotated[float, Above(0)] | None = None
    """Turned into a number of steps after a short calibration; ``run.json`` records the steps."""
    steps_per_epoch: Count | None = None
    """Steps between two validations; None means once over the training images."""
    start: str = ""
    """A preset, run or export whose weights training begins with, unless --from names others."""
    freeze: list[str] = field(default_factory=list[str])
    """Layers and networks that keep the weights that they begin with, by name or pattern."""
    seed: Annotated[int, Between(0, 2**32 - 1)] = 0
    """Of the first weights and of all that is drawn at random."""
    precision: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """bfloat16 and float16, which scales losses, keep float32 weights, outputs and losses; auto
    asks GPU or processor, and ``run.json`` records the answer."""
    deterministic: bool = False
    """Operations whose sums GPUs take in any order take them in one, which costs speed; a resumed
    run ends bit for bit the same on a GPU, too."""
    strategy: Literal["auto", "none", "mirrored", "multiworker"] = "auto"
    """mirrored divides each batch among all GPUs of the machine; auto does so where there are
    several; multiworker among the machines that the variable TF_CONFIG names."""
    loss: list[Spec] = field(default_factory=lambda: [Spec("l1")])
    """Reconstruction losses; each may carry a weight, ``{name = "l1", weight = 0.5}``."""
    hole_weight: Annotated[float, Above(0)] = 1.0
    """How many known pixels one damaged pixel counts for in the reconstruction loss."""
    optimizer: Spec = field(default_factory=lambda: Spec("adam"))
    """Makes steps of gradients; may have options, ``{name = "adamw", weight_decay = 1e-4}``."""
    learning_rate: Annotated[float, Above(0)] = 2e-4
    """The largest; the schedule lowers it."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """The learning rate over the whole run: constant, constant then linearly to zero over the
    second half (as pix2pix has it), or a cosine to zero."""
    warmup_steps: Annotated[int, AtLeast(0)] = 0
    """Steps over which the learning rate rises from zero."""
    ema_decay: Annotated[float, Between(0, 1, "[)")] = 0.0
    """Moving average of the inference weights, for evaluation and export; 0 switches it off."""
    monitor: str = "val_psnr"
    """The validation value that picks the best checkpoint; the callbacks below watch it too."""
    early_stopping_patience: Annotated[int, AtLeast(0)] = 0
    """Epochs without improvement before stopping; 0 switches it off."""
    reduce_on_plateau_patience: Annotated[int, AtLeast(0)] = 0
    """Epochs without improvement before the learning rate is reduced; 0 switches it off."""
    reduce_on_plateau_factor: Annotated[float, Between(0, 1, "()")] = 0.5
    """What the learning rate is multiplied by then."""
    sentinel: bool = True
    """A step after which a loss or weight is not finite is undone: training goes back to the last
    good state with half the learning rate, three times at most. False: it stops there."""
    checkpoint_seconds: Annotated[float, Between(0, math.inf)] = 120.0
    """Time between two checkpoints; 0 writes one after every step."""
    log: list[Literal["wandb", "mlflow"]] = field(default_factory=list[Literal["wandb", "mlflow"]])
    """Trackers that follow the training beside TensorBoard, each an extra of its name."""


@dataclass(frozen=True)
class Config:
    """Everything that determines a run."""

    model: Spec
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def to_dict(self) -> Table:
        """JSON-ready tables that `from_tables` reads back."""
        return dataclasses.asdict(self, dict_factory=_table)


def from_tables(tables: Mapping[str, Any], source: str = "configuration") -> Config:
    """A checked Config from nested tables. Raises UserError naming the key and the nearest one."""
    check_sections(tables, source)
    if "model" not in tables:
        raise UserError(f"{source}: no model; give one with --model NAME or in [model]")
    config = Config(
        model=Spec.parse(tables["model"], "model"),
        data=section(DataConfig, tables.get("data", {}), "data", source),
        fit=section(FitConfig, tables.get("fit", {}), "fit", source),
    )
    _check(config)
    return config


def check_sections(tables: Mapping[str, Any], source: str) -> None:
    """Raises UserError unless `tables` holds known sections, each a table (a model: or a name), and
    is nested at most DEEPEST times."""
    level: list[Any] = [tables]
    for _ in range(DEEPEST):
        tables_in = [cast(Table, item).values() for item in level if isinstance(item, dict)]
        lists_in = [cast("list[Any]", item) for item in level if isinstance(item, list)]
        level = [*itertools.chain(*tables_in, *lists_in)]
    if level:
        raise UserError(f"{source}: tables and lists are nested at most {DEEPEST} times; take less")
    for key, value in tables.items():
        if key not in SECTIONS:
            raise UserError(f"{source}: unknown section [{key}]{did_you_mean(key, SECTIONS)}")
        if key != "model" and not isinstance(value, Mapping):
            raise UserError(f"{source}: [{key}] must be a table, not {value!r}")


def read_toml(path: str | os.PathLike[str]) -> Table:
    """The tables of a configuration file. Raises UserError for a missing file, a syntax error and a
    section that no configuration has."""
    tables = load_toml(path, "configuration")
    check_sections(tables, str(path))
    return tables


def load_toml(path: str | os.PathLike[str], what: str) -> Table:
    """The tables of a TOML file that is a `what`, unchecked. Raises UserError for a missing file
    and a syntax error."""
    with foreign(f"{what} file", path, "correct it", "is not valid TOML"):
        text = Path(path).read_text(encoding="utf-8-sig")  # editors of Windows write a mark first
        facts.trust(text)  # received runs are JSON; a TOML file is given by the user
        return tomllib.loads(text)


def read_json(path: str | os.PathLike[str]) -> Config:
    """The Config that a run's ``config.json`` holds."""
    with foreign("configuration", path, "restore it, or train anew", "holds a damaged run"):
        tables: object = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(tables, dict):
        raise UserError(f"{str(path)!r} must hold the sections {', '.join(SECTIONS)}")
    return from_tables(cast(Table, tables), str(path))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """`base` with the keys of `over` put on top, tables merged key by key.

    A table whose ``name`` changes is replaced whole: options of one part mean nothing to another.
    """
    result: Table = dict(base)
    for key, value in over.items():
        old: object = result.get(key)
        if isinstance(old, str) and isinstance(value, Mapping):
            old = {"name": old}
        if isinstance(old, Mapping) and isinstance(value, str):
            value = {"name": value}
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            table, new = cast(Mapping[str, Any], old), cast(Mapping[str, Any], value)
            same = table.get("name", new.get("name")) == new.get("name", table.get("name"))
            value = merged(table, new) if same else new
        result[key] = value
    return result


def with_settings(base: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """`merged`, but a length of training takes the place of another."""
    if any(name in over.get("fit", {}) for name in LENGTHS):
        fit = {key: value for key, value in base.get("fit", {}).items() if key not in LENGTHS}
        base = {**base, "fit": fit}
    return merged(base, over)


def names_model(tables: Mapping[str, Any]) -> bool:
    """Whether nested tables say which model they are for, not only options of one."""
    return isinstance(tables.get("model"), str) or "name" in tables.get("model", ())


def parse_set(assignments: Sequence[str]) -> Table:
    """Nested tables from ``section.key=value`` texts; values are TOML, bare words are strings.

    The word ``none`` stands for an absent value wherever one is allowed, as TOML has no null.
    """
    tables: Table = {}
    for text in assignments:
        path, equals, raw = text.partition("=")
        keys = path.strip().split(".")
        if not equals or not 2 <= len(keys) <= DEEPEST or not all(keys):
            raise UserError(f"--set {text!r} must look like section.key=value, e.g. fit.epochs=3")
        with foreign("--set", text, "write another value", "cannot be read"):
            try:
                value = tomllib.loads(f"value = {raw}")["value"]
            except tomllib.TOMLDecodeError:
                value = raw.strip()
        nested: Table = {keys[-1]: value}
        for key in reversed(keys[:-1]):
            nested = {key: nested}
        tables = merged(tables, nested)
    return tables


def section(kind: type[Any], table: Mapping[str, Any], name: str, source: str) -> Any:
    """A dataclass of settings with defaults and bounds, from the table [name] of a file. Raises
    UserError naming the key."""
    hints = typing.get_type_hints(kind, include_extras=True)
    # Options without a name are those of the default.
    defaults = dataclasses.asdict(kind(), dict_factory=_table)
    values: Table = {}
    for key, value in table.items():
        if key not in hints:
            raise UserError(f"{source}: unknown key in [{name}] {key!r}{did_you_mean(key, hints)}")
        where = f"{name}.{key}"
        if hints[key] is Spec:
            value = Spec.parse(merged(defaults, {key: value})[key], where)
        elif hints[key] == Spec | None:
            spec = None if value is None else Spec.parse(value, where)
            value = None if spec == Spec("none") else spec
        elif hints[key] == list[Spec]:
            items = cast(list[Any], value if isinstance(value, list) else [value])
            value = [Spec.parse(item, where) for item in items]
        else:
            value = or_absent(value, hints[key])
            check_type(f"{source}: {where}", value, hints[key])
        values[key] = value
    return kind(**values)


def _table(fields: list[tuple[str, Any]]) -> Table:
    """The table of a dataclass; that of a Spec holds its options beside its name."""
    table = dict(fields)
    options = table.pop("options", {})
    return {**table, **options}


def _check(config: Config) -> None:
    """Raises UserError for settings that contradict each other."""
    data, fit = config.data, config.fit
    lengths = [key for key in LENGTHS if getattr(fit, key) is not None]
    crop = "image_size" if data.crop_size is None else "crop_size"
    side, cached = getattr(data, crop), data.feature_cache_gib
    twice = " and ".join(f"fit.{key}" for key in lengths[:2])
    mistakes: list[tuple[Any, str]] = [
        (len(lengths) > 1, f"{twice} exclude each other; keep one"),
        (data.load_size is not None and data.load_size < side,
         f"data.load_size ({data.load_size}) must be at least data.{crop} ({side}): training "
         "crops are cut from the larger one"),
        (data.val_size is not None and data.val_size < data.image_size,
         f"data.val_size ({data.val_size}) must be at least data.image_size ({data.image_size}): "
         "validation crops are cut from the larger one"),
        (cached and (data.zoom < 1 or data.color_jitter or data.crops > 1 or data.turn),
         "data.feature_cache_gib keeps features of photos as they are; leave data.zoom and "
         "data.crops at 1, data.color_jitter at 0 and data.turn=false"),
        (cached and data.load_size != side,
         "data.feature_cache_gib needs training without random crops; set data.load_size to "
         f"data.{crop} ({side}), not {data.load_size}"),
        (cached and data.extra,
         "data.feature_cache_gib keeps the features of one recipe; set data.extra=[], or "
         "data.feature_cache_gib=0"),
        (fit.schedule != "constant" and fit.reduce_on_plateau_patience,
         f"fit.schedule = {fit.schedule!r} and fit.reduce_on_plateau_patience exclude each other: "
         "both would set the learning rate; keep one"),
        (not fit.monitor.startswith("val_"),
         f"fit.monitor must be a validation value such as 'val_psnr', not {fit.monitor!r}"),
    ]  # fmt: skip
    for is_made, sentence in mistakes:
        if is_made:
            raise UserError(sentence)
