"""Models: image in, restored image out. `MODELS` has one `Entry` for each, read without TensorFlow.

A dotted path such as ``my_package.my_model`` is the name of a user's own builder.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tfrecon.base import facts, registry
from tfrecon.base.errors import UserError, unknown
from tfrecon.base.registry import Spec

if TYPE_CHECKING:
    from tfrecon.models.base import ReconstructionModel

CONTEXT = ("image_size", "mask", "seed")
"""What models are told by the other sections of a configuration, not by the user."""


@dataclass(frozen=True)
class Entry:
    """One model of the registry. Dotted paths are imported when they are first needed."""

    builder: str
    """Path of a function of keyword arguments: the options, and what it needs of `CONTEXT`."""
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Tables of a configuration that differ from `Config`'s own defaults: how it is trained."""
    inference_options: tuple[str, ...] = ()
    """The options that a trained run may be evaluated or exported with anew."""
    check: str | None = None
    """Path of a function of all options (a mapping), which raises UserError for whatever types do
    not say and can be seen without building the model."""


ADAM = {"name": "adam", "beta_1": 0.5}
"""Of GANs (Radford et al. 2016)."""
ADAMW = {"name": "adamw", "beta_2": 0.99, "weight_decay": 1e-4, "clipnorm": 1.0}
MUON = {"name": "muon", "beta_2": 0.99, "clipnorm": 1.0}
"""Where it gave more than Adam in the same time."""
COSINE = {"schedule": "cosine", "ema_decay": 0.999, "precision": "auto"}

RESTORATION = {
    # Photos at their own size, in crops: a resize would blur away what is to be restored.
    "data": {"image_size": 256, "crop_size": 128, "load_size": 256},
    "fit": {
        **COSINE, "batch_size": 8, "steps_per_epoch": 500, "loss": "log_mse",
        "learning_rate": 1e-3, "optimizer": ADAMW, "warmup_steps": 100,
    },
}  # fmt: skip

MODELS: dict[str, Entry] = {
    "pix2pix": Entry(
        "tfrecon.models.pix2pix.pix2pix",
        {  # our own, for minutes of a CPU; configs/pix2pix/animals_inpainting.toml is the paper's
            "model": {
                "base_filters": 16, "discriminator_filters": 16, "dropout": 0.0, "fill": "auto",
                "residual": True, "adversarial_weight": 0.01,
            },
            "data": {"redraw_damage": "auto", "color_jitter": 0.1},
            "fit": {
                **COSINE, "batch_size": 4, "loss": "l2", "hole_weight": 5.0,
                "learning_rate": 2e-4, "optimizer": ADAM,
            },
        },
        ("inference", "dropout_at_inference", "composite"),
    ),
    "feature_inversion": Entry(
        "tfrecon.models.feature_inversion.feature_inversion",
        {  # our own: measured on BSDS500, see benchmarks/HISTORY.md
            "data": {
                "damage": "identity", "image_size": 224, "crop_size": 96, "load_size": 256,
                "val_size": 256, "resize": "bicubic",
            },
            "fit": {
                **COSINE, "batch_size": 8, "steps_per_epoch": 500, "loss": "log_mse",
                "learning_rate": 1e-3, "warmup_steps": 100,
                "optimizer": {"name": "muon", "clipnorm": 1.0},
            },
        },
        ("refine",),
        check="tfrecon.models.feature_inversion.check_feature_inversion",
    ),
    "feature_gan": Entry(
        "tfrecon.models.feature_gan.feature_gan",
        {  # the published optimizer and batch; L1 beside the adversarial term is ours
            "data": {"damage": "identity", "image_size": 128},
            "fit": {
                "batch_size": 32, "loss": "l1", "learning_rate": 2e-4, "optimizer": ADAM,
                "ema_decay": 0.99, "precision": "auto",
            },
        },
        ("draw",),
    ),
    "autoencoder": Entry(
        "tfrecon.models.autoencoder.autoencoder",
        {
            "data": {"damage": "identity", "image_size": 128},
            "fit": {
                **COSINE, "batch_size": 8, "steps_per_epoch": 200, "loss": "l1",
                "learning_rate": 5e-4, "warmup_steps": 100,
                "optimizer": {"name": "adam", "beta_2": 0.99, "clipnorm": 1.0},
            },
        },
    ),
    "diffusion": Entry(
        "tfrecon.models.diffusion.diffusion",
        {
            "fit": {
                **COSINE, "batch_size": 16, "steps_per_epoch": 200, "loss": "l2",
                "learning_rate": 5e-4, "optimizer": ADAMW, "warmup_steps": 200,
                "monitor": "val_loss",
            },
        },
        ("sampler", "steps", "guidance", "refine_steps", "draw"),
        check="tfrecon.models.diffusion.check_diffusion",
    ),
    "residual_unet": Entry(
        "tfrecon.models.residual_unet.residual_unet",
        {
            "model": {"grids": "auto", "top_hats": [3, 7]}, **RESTORATION,
            "fit": {
                **RESTORATION["fit"], "optimizer": {**MUON, "weight_decay": 1e-4},
                "learning_rate": 5e-4,
            },
        },
        ("composite",),
    ),
    "nafnet": Entry("tfrecon.models.nafnet.nafnet", RESTORATION, ("composite",)),
    "inpainting_unet": Entry(
        "tfrecon.models.inpainting_unet.inpainting_unet",
        {
            "data": {
                "damage": {"name": "boxes", "count": 3}, "redraw_damage": True, "load_size": 256,
                "zoom": 0.7, "color_jitter": 0.1,
            },
            "fit": {
                **COSINE, "batch_size": 16, "steps_per_epoch": 500, "loss": "l2",
                "learning_rate": 1e-3, "warmup_steps": 200,
                "optimizer": MUON,
            },
        },
    ),
    "skip_vae": Entry(
        "tfrecon.models.skip_vae.skip_vae",
        {
            "data": {"load_size": 256},
            "fit": {
                **COSINE, "batch_size": 8, "steps_per_epoch": 200, "loss": "l2",
                "learning_rate": 1e-3, "warmup_steps": 50, "ema_decay": 0.99,
            },
        },
        ("draw", "composite"),
    ),
    "restoration_gan": Entry(
        "tfrecon.models.restoration_gan.restoration_gan",
        {
            "data": {"load_size": 256},
            "fit": {
                **COSINE, "batch_size": 4, "steps_per_epoch": 200, "learning_rate": 2e-4,
                "optimizer": ADAM, "ema_decay": 0.99,
            },
        },
        ("composite",),
    ),
}  # fmt: skip


def entry(name: str) -> Entry:
    """That of the model `name`; a dotted path is a builder without defaults.

    Raises UserError for a name that is neither.
    """
    if name in MODELS:
        return MODELS[name]
    if "." not in name:
        raise unknown("model", name, MODELS)
    return Entry(name)


def builder(name: str) -> Callable[..., ReconstructionModel]:
    """The function that builds the model `name`. Raises UserError where there is none."""
    return registry.entry(entry(name).builder, {}, "model")


def defaults(name: str) -> Mapping[str, Any]:
    """The tables that the model `name` is trained with unless a configuration says otherwise; none
    for an unknown name, which `check_model` refuses."""
    return MODELS[name].defaults if name in MODELS else {}


def as_built(spec: Spec) -> Spec:
    """The model that its builder makes of `spec` alone, whatever the model's defaults become."""
    options = defaults(spec.name).get("model", {})
    parameters = inspect.signature(builder(spec.name)).parameters
    built = {key: parameters[key].default for key in options}
    return Spec(spec.name, {**built, **spec.options})


def check_model(spec: Spec) -> None:
    """Raises UserError for an unknown model or option, without building anything."""
    build, check = builder(spec.name), entry(spec.name).check
    options = registry.check_options(build, spec, "model", dict.fromkeys(CONTEXT))
    if check:
        parameters = inspect.signature(build).parameters.items()
        whole = {key: parameter.default for key, parameter in parameters if key not in CONTEXT}
        facts.imported(check, "check")({**whole, **options})


def build_model(
    spec: Spec, *, image_size: int, mask: bool, seed: int | None = None
) -> ReconstructionModel:
    """The model that `spec` names, for images of `image_size` pixels with or without masks.

    Raises UserError for an unknown model or option, and for a user's own builder that returns
    something else than a `ReconstructionModel`.
    """
    from tfrecon.models.base import ReconstructionModel

    table = {spec.name: builder(spec.name)}
    model = registry.build(spec, table, "model", image_size=image_size, mask=mask, seed=seed)
    if not isinstance(model, ReconstructionModel):
        raise UserError(
            f"model {spec.name!r} gives a {type(model).__name__}, which does not say what images "
            "it takes; return tfrecon.models.supervised.wrapped(model) from its builder"
        )
    return model
