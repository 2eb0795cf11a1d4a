"""Models: image in, restored image out. A registry of builders, and the defaults of each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import keras

from tfrecon.base.registry import Spec, build, check
from tfrecon.models.autoencoder import autoencoder
from tfrecon.models.diffusion import check_diffusion, diffusion
from tfrecon.models.feature_gan import feature_gan
from tfrecon.models.feature_inversion import check_feature_inversion, feature_inversion
from tfrecon.models.inpainting_unet import inpainting_unet
from tfrecon.models.pix2pix import pix2pix
from tfrecon.models.restoration import nafnet, residual_unet
from tfrecon.models.restoration_gan import restoration_gan
from tfrecon.models.skip_vae import skip_vae

MODELS: dict[str, Callable[..., keras.Model]] = {
    "pix2pix": pix2pix,
    "feature_inversion": feature_inversion,
    "feature_gan": feature_gan,
    "autoencoder": autoencoder,
    "diffusion": diffusion,
    "residual_unet": residual_unet,
    "nafnet": nafnet,
    "inpainting_unet": inpainting_unet,
    "skip_vae": skip_vae,
    "restoration_gan": restoration_gan,
}

INFERENCE_OPTIONS: dict[str, tuple[str, ...]] = {
    "pix2pix": ("inference", "dropout_at_inference", "composite"),
    "feature_inversion": ("refine_steps", "refine_rate"),
    "feature_gan": ("draw",),
    "autoencoder": (),
    "diffusion": ("sampler", "steps", "guidance", "draw"),
    "residual_unet": ("composite",),
    "nafnet": ("composite",),
    "inpainting_unet": (),
    "skip_vae": ("draw", "composite"),
    "restoration_gan": ("composite",),
}
"""The options of each model that a trained run may be evaluated or exported with anew."""

CHECKS: dict[str, Callable[..., object]] = {
    "feature_inversion": check_feature_inversion,
    "diffusion": check_diffusion,
}
"""What can be wrong with a model's options and seen without building it, where types do not say."""

CONTEXT = ("image_size", "mask", "seed")
"""What models are told by the other sections of a configuration, not by the user."""

RESTORATION: dict[str, Any] = {
    # Photos at their own size, in crops: a resize would blur away what is to be restored.
    "data": {"image_size": 256, "crop_size": 128, "load_size": 256},
    "fit": {
        "batch_size": 8,
        "steps_per_epoch": 500,
        "loss": "log_mse",
        "learning_rate": 1e-3,
        "optimizer": {"name": "adamw", "beta_2": 0.99, "weight_decay": 1e-4, "clipnorm": 1.0},
        "schedule": "cosine",
        "warmup_steps": 100,
        "ema_decay": 0.999,
        "precision": "auto",
    },
}

DEFAULTS: dict[str, dict[str, Any]] = {
    # Section 3.3 of the paper.
    "pix2pix": {"fit": {"learning_rate": 2e-4, "optimizer": {"name": "adam", "beta_1": 0.5}}},
    # Our own: measured on BSDS500, see benchmarks/RESULTS.md.
    "feature_inversion": {
        "data": {
            "damage": "identity",
            "image_size": 224,
            "crop_size": 96,
            "load_size": 256,
            "val_size": 256,
            "resize": "bicubic",
        },
        "fit": {
            "batch_size": 8,
            "steps_per_epoch": 500,
            "loss": "log_mse",
            "learning_rate": 1e-3,
            "optimizer": {"name": "adam", "clipnorm": 1.0},
            "schedule": "cosine",
            "warmup_steps": 100,
            "ema_decay": 0.999,
            "precision": "auto",
        },
    },
    # The published optimizer and batch; L1 beside the adversarial term is ours.
    "feature_gan": {
        "data": {"damage": "identity", "image_size": 128},
        "fit": {
            "batch_size": 32,
            "loss": "l1",
            "learning_rate": 2e-4,
            "optimizer": {"name": "adam", "beta_1": 0.5},
            "ema_decay": 0.99,
            "precision": "auto",
        },
    },
    "autoencoder": {
        "data": {"damage": "identity", "image_size": 128},
        "fit": {
            "batch_size": 8,
            "steps_per_epoch": 200,
            "loss": "l1",
            "learning_rate": 5e-4,
            "optimizer": {"name": "adam", "beta_2": 0.99, "clipnorm": 1.0},
            "schedule": "cosine",
            "warmup_steps": 100,
            "ema_decay": 0.999,
            "precision": "auto",
        },
    },
    "diffusion": {
        "fit": {
            "batch_size": 16,
            "steps_per_epoch": 200,
            "loss": "l2",
            "learning_rate": 5e-4,
            "optimizer": {"name": "adamw", "beta_2": 0.99, "weight_decay": 1e-4, "clipnorm": 1.0},
            "schedule": "cosine",
            "warmup_steps": 200,
            "ema_decay": 0.999,
            "monitor": "val_loss",
            "precision": "auto",
        },
    },
    "residual_unet": RESTORATION,
    "inpainting_unet": {
        "data": {
            "damage": {"name": "boxes", "count": 3},
            "redraw_damage": True,
            "load_size": 256,
            "zoom": 0.7,
            "color_jitter": 0.1,
        },
        "fit": {
            "batch_size": 16,
            "steps_per_epoch": 500,
            "loss": "l2",
            "learning_rate": 1e-3,
            "optimizer": {"name": "adamw", "beta_2": 0.99, "clipnorm": 1.0},
            "schedule": "cosine",
            "warmup_steps": 200,
            "ema_decay": 0.999,
            "precision": "auto",
        },
    },
    "skip_vae": {
        "data": {"load_size": 256},
        "fit": {
            "batch_size": 8,
            "steps_per_epoch": 200,
            "loss": "l2",
            "learning_rate": 1e-3,
            "schedule": "cosine",
            "warmup_steps": 50,
            "ema_decay": 0.99,
            "precision": "auto",
        },
    },
    "restoration_gan": {
        "data": {"load_size": 256},
        "fit": {
            "batch_size": 4,
            "steps_per_epoch": 200,
            "learning_rate": 2e-4,
            "optimizer": {"name": "adam", "beta_1": 0.5},
            "schedule": "cosine",
            "ema_decay": 0.99,
            "precision": "auto",
        },
    },
    "nafnet": RESTORATION,
}
"""What a model's authors train it with, where that differs from `FitConfig`'s own defaults."""


def check_model(spec: Spec) -> None:
    """Raises UserError for an unknown model or option, without building anything."""
    options = check(spec, MODELS, "model", dict.fromkeys(CONTEXT))
    if spec.name in CHECKS:
        parameters = inspect.signature(MODELS[spec.name]).parameters.values()
        defaults = {one.name: one.default for one in parameters if one.name not in CONTEXT}
        CHECKS[spec.name](**{**defaults, **options})


def build_model(spec: Spec, *, image_size: int, mask: bool, seed: int | None = None) -> keras.Model:
    """The model that `spec` names, for images of `image_size` pixels with or without masks.

    Raises UserError for an unknown model or option.
    """
    context: Mapping[str, Any] = {"image_size": image_size, "mask": mask, "seed": seed}
    return build(spec, MODELS, "model", **context)
