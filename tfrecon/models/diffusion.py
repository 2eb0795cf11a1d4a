"""Diffusion in pixels (Ho et al. 2020) or in latents (Rombach et al. 2022).

Conditioned on frozen features or on the damaged photo:

    image → frozen backbone → taps ┐
    damaged photo and mask ────────┴→ condition ─→ denoiser × steps → image
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from tfrecon.backbones import DEFAULT
from tfrecon.base.errors import UserError
from tfrecon.base.registry import AtLeast, Between, Natural, Positive, Spec, build, checked
from tfrecon.diffusion.samplers import SamplerName
from tfrecon.diffusion.schedules import SCHEDULES, Prediction
from tfrecon.models.base import refuse_masks
from tfrecon.models.denoising import Diffusion, FeatureDiffusion
from tfrecon.models.frozen_features import parse_sources


@checked
def diffusion(
    *, image_size: Positive = 256, mask: bool = False, backbone: str | None = None,
    taps: list[str] | None = None, weights: str | None = DEFAULT,
    sources: list[dict[str, Any]] | None = None, autoencoder: str | None = None,
    denoiser: Literal["unet", "sd1"] = "unet", sd1_weights: str | None = None,
    patch: Positive | None = None, width: Annotated[int, AtLeast(2)] = 64, depth: Positive = 1,
    schedule: str | dict[str, Any] | None = None,
    prediction: Prediction | None = None,
    condition_dropout: Annotated[float, Between(0, 1, "[)")] = 0.1,
    sampler: SamplerName = "ddim", steps: Positive = 20,
    guidance: Annotated[float, AtLeast(0.0)] = 1.0, refine_steps: Natural = 0, draw: Natural = 0,
    seed: int | None = None,
) -> Diffusion:  # fmt: skip
    """The image (B,H,W,3, or 4 with a mask) in [0,1] to a sample (B,H,W,3) in [0,1].

    With a backbone the sample is one of images with such features, without one a restoration of
    the given photo. Raises UserError for unknown names, sizes that do not fit, options out of range
    and a schedule that does not end in noise.

    Args:
        image_size, weights, sources, seed: as of
            `tfrecon.models.feature_inversion.feature_inversion`.
        backbone: name of the frozen network; None is vgg16 where `taps` are given, else none.
        mask: whether the input's last channel is a mask, 1 = damaged; known pixels stay.
        taps: where it is read. Maps are concatenated to the noisy image, ``avgpool`` modulates.
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
        refine_steps: steps that move the sampled latents towards the wanted features.
        draw: which of the possible samples: the seed of the noise that sampling starts from.
    """
    options = dict(locals())
    check_diffusion(options)
    sd1 = denoiser == "sd1"
    spec = Spec.parse(schedule or ("scaled_linear" if sd1 else "cosine"), "model.schedule")
    options |= {
        "patch": patch or (1 if autoencoder else 2), "schedule": spec.to_dict(),
        "prediction": prediction or ("noise" if sd1 else "velocity"), "seed": seed or 0,
    }  # fmt: skip
    if not _reads_features(options):
        return Diffusion(options, name="diffusion")
    refuse_masks("diffusion", mask)
    return FeatureDiffusion(options, name="diffusion")


def _reads_features(options: Mapping[str, Any]) -> bool:
    return any(options[key] is not None for key in ("backbone", "taps", "sources"))


def check_diffusion(options: Mapping[str, Any]) -> None:
    """Raises UserError for whatever is wrong with all options of `diffusion` and can be seen before
    anything is built or read."""
    if _reads_features(options):
        parse_sources(options)
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
    if options["refine_steps"] and not (_reads_features(options) and options["autoencoder"]):
        raise UserError(
            "model.refine_steps moves latents towards features; set model.backbone and "
            "model.autoencoder, or leave it out"
        )
    if patch is not None and patch & (patch - 1):
        raise UserError(f"model.patch must be 1, 2, 4, … and not {patch}")
    if guidance != 1 and not dropout:
        raise UserError(
            f"model.guidance = {guidance} needs a denoiser that has also seen images without their "
            "condition; train with model.condition_dropout=0.1, or set model.guidance=1"
        )
    if options["schedule"] is not None:
        build(Spec.parse(options["schedule"], "model.schedule"), SCHEDULES, "schedule")
