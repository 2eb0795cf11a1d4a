"""How noise grows with time: x_t = α_t·x_0 + σ_t·ε for t in [0,1], and what a denoiser predicts.

The symbols are those of Kingma et al. 2021 (variational diffusion models). α falls from 1 to about
0; t = 0 is the data.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Above, AtLeast, checked

T_MAX = 0.999
"""The time at which samplers begin. At t = 1 some schedules have α = 0, and the estimate of x_0
from predicted noise divides by α."""

MOST_SIGNAL = 0.1
"""A schedule counts as ending in noise if α/σ at t = 1 is at most this."""

Prediction = Literal["velocity", "noise"]
"""What a denoiser says of a noisy image."""

PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)


@dataclass(frozen=True)
class Schedule:
    """α and σ as functions of t, and the coefficients (a, b) of the velocity v = a·ε - b·x_0.

    All three take a float32 tensor of any shape and return tensors of that shape.
    """

    alpha: Callable[[Any], Any]
    sigma: Callable[[Any], Any]
    velocity: Callable[[Any], tuple[Any, Any]]

    def noised(self, clean: Any, noise: Any, t: Any) -> Any:
        """x_t. In all methods t is (B,) or a number, and images are (B,…)."""
        return wide(self.alpha(t), clean) * clean + wide(self.sigma(t), clean) * noise

    def target(self, prediction: str, clean: Any, noise: Any, t: Any) -> Any:
        """What the denoiser learns to predict: ε, or v (Salimans and Ho 2022, appendix D)."""
        if prediction == "noise":
            return noise
        a, b = self.velocity(t)
        return wide(a, clean) * noise - wide(b, clean) * clean

    def estimates(self, prediction: str, answer: Any, noisy: Any, t: Any) -> tuple[Any, Any]:
        """x_0 and ε that follow from a denoiser's `answer` for x_t, `noisy`."""
        alpha, sigma = wide(self.alpha(t), noisy), wide(self.sigma(t), noisy)
        if prediction == "noise":
            return (noisy - sigma * answer) / alpha, answer
        a, b = (wide(part, noisy) for part in self.velocity(t))
        # From x = α·x_0 + σ·ε and v = a·ε - b·x_0.
        scale = a * alpha + b * sigma
        return (a * noisy - sigma * answer) / scale, (b * noisy + alpha * answer) / scale


Rate = Annotated[float, Above(0)]


@checked
def linear(*, beta_min: Rate = 0.1, beta_max: Rate = 20.0) -> Schedule:
    """α² = exp(-∫β), β(t) from `beta_min` to `beta_max` linearly, σ² = 1 - α²: Ho et al. 2020 in
    continuous time (Song et al. 2021, eq. 33). Raises UserError where it does not end in noise."""

    def log_alpha(t: Any) -> Any:
        return -0.5 * (beta_min * t + 0.5 * (beta_max - beta_min) * t * t)

    if beta_min > beta_max:
        raise UserError(f"schedule 'linear' needs beta_min ≤ beta_max, not {beta_min}, {beta_max}")
    return _ending_in_noise("linear", log_alpha, "raise beta_max, e.g. to 20")


@checked
def scaled_linear(*, beta_min: Rate = 0.85, beta_max: Rate = 12.0) -> Schedule:
    """As `linear` with √β(t) from √`beta_min` to √`beta_max`: that of Stable Diffusion (Rombach et
    al. 2022, appendix), where 1000 steps go from 0.00085 to 0.012. Raises UserError as `linear`."""
    if beta_min >= beta_max:
        raise UserError(
            f"schedule 'scaled_linear' needs beta_min < beta_max, not {beta_min}, {beta_max}"
        )
    start, rise = math.sqrt(beta_min), math.sqrt(beta_max) - math.sqrt(beta_min)

    def log_alpha(t: Any) -> Any:
        return -0.5 * ((start + rise * t) ** 3 - start**3) / (3 * rise)

    return _ending_in_noise("scaled_linear", log_alpha, "raise beta_max, e.g. to 12")


@checked
def cosine(*, offset: Annotated[float, AtLeast(0.0)] = 0.0) -> Schedule:
    """α = cos(π/2·u), σ = sin(π/2·u), u = (t + s)/(1 + s) with s the `offset`, 0.008 in Nichol and
    Dhariwal 2021 (eq. 17)."""

    def angle(t: Any) -> Any:
        return 0.5 * math.pi * (t + offset) / (1 + offset)

    return _preserving(lambda t: tf.cos(angle(t)), lambda t: tf.sin(angle(t)))


def flow() -> Schedule:
    """α = 1 - t, σ = t: flow matching along straight lines, whose velocity is v = dx/dt = ε - x_0
    (Lipman et al. 2023, Liu et al. 2023)."""
    return Schedule(
        lambda t: 1 - t, lambda t: tf.identity(t), lambda t: (tf.ones_like(t), tf.ones_like(t))
    )


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "cosine": cosine,
    "flow": flow,
}


def _preserving(alpha: Callable[[Any], Any], sigma: Callable[[Any], Any]) -> Schedule:
    """A schedule with α² + σ² = 1, whose velocity is v = α·ε - σ·x_0."""
    return Schedule(alpha, sigma, lambda t: (alpha(t), sigma(t)))


def _ending_in_noise(name: str, log_alpha: Callable[[Any], Any], remedy: str) -> Schedule:
    """The schedule with α² + σ² = 1 and this log α. Raises UserError unless it ends in noise."""
    schedule = _preserving(
        lambda t: tf.exp(log_alpha(t)), lambda t: tf.sqrt(-tf.math.expm1(2 * log_alpha(t)))
    )
    end = tf.constant(1.0)
    signal = float(schedule.alpha(end) / schedule.sigma(end))
    if signal > MOST_SIGNAL:
        raise UserError(
            f"schedule {name!r} does not end in noise: α/σ is {signal:.2g} at its end, more than "
            f"{MOST_SIGNAL}; {remedy}"
        )
    return schedule


def wide(values: Any, like: Any) -> Any:
    """(B,) as (B,1,1,1), float32, to multiply `like` (B,H,W,C); a scalar stays a scalar."""
    values = tf.convert_to_tensor(values, tf.float32)
    if values.shape.rank == 0:
        return values
    return tf.reshape(values, [-1] + [1] * (len(like.shape) - 1))
