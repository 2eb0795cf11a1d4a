"""Diffusion in pixels (Ho et al. 2020) or in latents (Rombach et al. 2022).

Conditioned on frozen features or on the damaged photo:

    image → frozen backbone → taps ┐
    damaged photo and mask ────────┴→ condition ─→ denoiser × steps → image
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfrecon.backbones import DEFAULT
from tfrecon.base.errors import UserError, at_least, unknown
from tfrecon.base.registry import Spec, build
from tfrecon.diffusion.samplers import SAMPLERS
from tfrecon.diffusion.schedules import PREDICTIONS, SCHEDULES
from tfrecon.models.base import refuse_masks
from tfrecon.models.denoising import Diffusion
from tfrecon.models.extractor import parse_sources
from tfrecon.models.feature_diffusion import FeatureDiffusion

DENOISERS = ("unet", "sd1")


def diffusion(
    *, image_size: int = 256, mask: bool = False, backbone: str | None = None,
    taps: list[str] | None = None, weights: str | None = DEFAULT,
    sources: list[dict[str, Any]] | None = None, autoencoder: str | None = None,
    denoiser: str = "unet", sd1_weights: str | None = None, patch: int | None = None,
    width: int = 64, depth: int = 1, schedule: str | dict[str, Any] | None = None,
    prediction: str | None = None, condition_dropout: float = 0.1, sampler: str = "ddim",
    steps: int = 20, guidance: float = 1.0, draw: int = 0, seed: int | None = None,
) -> Diffusion:  # fmt: skip
    """The image (B,H,W,3, or 4 with a mask) in [0,1] to a sample (B,H,W,3) in [0,1].

    With a backbone the sample is one of images with such features, without one a restoration of
    the given photo.

    Args:
        image_size: side of the validation images in pixels, which the taps must divide.
        mask: whether the input's last channel is a mask, 1 = damaged; known pixels stay.
        backbone: name of the frozen network (`tfrecon.backbones.BACKBONES`).
        taps: where it is read. Maps are concatenated to the noisy image, ``avgpool`` modulates.
        weights: a weight set of the backbone, a file, or None for random weights.
        sources: several of the three above, for an ensemble, instead of them.
        autoencoder: folder of a run of the model `autoencoder`, in whose latents the diffusion
            takes place, or ``sd1`` for Stable Diffusion's; None: in the pixels.
        denoiser: ``unet``, or ``sd1`` for that of Stable Diffusion 1.x (859.5 million parameters,
            without a text), which works on latents of 4 channels and whose sizes are its own.
        sd1_weights: folder of Stable Diffusion 1.x as diffusers saves it; None: random weights.
        patch: pixels, or latents, a side of the squares that the denoiser works on; None is 2
            pixels or 1 latent.
        width: channels of its finest grid.
        depth: blocks on each way of a grid.
        schedule: name, or table with a name and options (`tfrecon.diffusion.schedules`); None is
            ``cosine``, and for ``sd1`` the ``scaled_linear`` that its weights were trained with.
        prediction: ``velocity`` or ``noise``; None is velocity, and for ``sd1`` noise.
        condition_dropout: share of training images whose condition is left out, for guidance.
        sampler: ``ddim`` or ``heun``.
        steps: of the sampler.
        guidance: weight w of classifier-free guidance (Ho and Salimans 2022); 1 is none.
        draw: which of the possible samples: the seed of the noise that sampling starts from.
        seed: of the initial weights, random backbones included.

    Raises:
        UserError: unknown names, sizes that do not fit, options out of range, a schedule that does
            not end in noise.
    """
    if patch is None:
        patch = 1 if autoencoder else 2
    if schedule is None:
        schedule = "scaled_linear" if denoiser == "sd1" else "cosine"
    if prediction is None:
        prediction = "noise" if denoiser == "sd1" else "velocity"
    options = {
        "autoencoder": autoencoder, "denoiser": denoiser, "sd1_weights": sd1_weights,
        "patch": patch, "width": width, "depth": depth, "prediction": prediction,
        "schedule": Spec.parse(schedule, "model.schedule").to_dict(),
        "condition_dropout": condition_dropout, "sampler": sampler, "steps": steps,
        "guidance": guidance, "draw": draw, "image_size": image_size, "seed": seed or 0,
    }  # fmt: skip
    check_diffusion({
        **options, "backbone": backbone, "taps": taps, "weights": weights, "sources": sources,
    })  # fmt: skip
    if backbone is None and taps is None and sources is None:
        return Diffusion({**options, "mask": mask}, name="diffusion")
    refuse_masks("diffusion", mask)
    read = [source.to_dict() for source in parse_sources(backbone, taps, weights, sources)]
    return FeatureDiffusion({**options, "sources": read}, name="diffusion")


def check_diffusion(options: Mapping[str, Any]) -> None:
    """Raises UserError for whatever is wrong with all options of `diffusion` and can be seen before
    anything is built or read."""
    backbone, taps, sources = (options[key] for key in ("backbone", "taps", "sources"))
    if not (backbone is None and taps is None and sources is None):
        parse_sources(backbone, taps, options["weights"], sources)
    for name, least in (("width", 2), ("depth", 1), ("steps", 1), ("guidance", 0), ("draw", 0)):
        at_least(f"model.{name}", options[name], least)
    for name, known in (
        ("denoiser", DENOISERS), ("prediction", PREDICTIONS), ("sampler", SAMPLERS)
    ):  # fmt: skip
        if options[name] is not None and options[name] not in known:
            raise unknown(f"model.{name}", options[name], known)
    patch, dropout, guidance = (options[k] for k in ("patch", "condition_dropout", "guidance"))
    sd1 = options["denoiser"] == "sd1"
    if sd1 and (options["autoencoder"] is None or patch not in (None, 1)):
        raise UserError(
            "model.denoiser = 'sd1' works on latents, position by position; set "
            "model.autoencoder=sd1 and leave model.patch out"
        )
    if options["sd1_weights"] is not None and not sd1 and options["autoencoder"] != "sd1":
        raise UserError(
            "model.sd1_weights are for model.autoencoder=sd1 and model.denoiser=sd1; set one"
        )
    if patch is not None and (patch < 1 or patch & (patch - 1)):
        raise UserError(f"model.patch must be 1, 2, 4, … and not {patch}")
    if not 0 <= dropout < 1:
        raise UserError(f"model.condition_dropout must lie in [0, 1), not {dropout}")
    if guidance != 1 and not dropout:
        raise UserError(
            f"model.guidance = {guidance} needs a denoiser that has also seen images without their "
            "condition; train with model.condition_dropout=0.1, or set model.guidance=1"
        )
    if options["schedule"] is not None:
        build(Spec.parse(options["schedule"], "model.schedule"), SCHEDULES, "schedule")
