"""Deterministic samplers: from noise at t = `T_MAX` to data at t = 0 in a few steps.

Both solve the probability-flow ODE. With y = x/σ and r = α/σ it is dy/dr = x̂_0(x, t). Song, Meng
and Ermon 2021, eq. 14, divide by α instead, which is almost 0 at the start. DDIM is Euler's method
on either form. Heun's method (Karras et al. 2022, algorithm 1) averages the slopes at both ends of
a step, so it calls the denoiser twice a step, and once in the last. The last step returns x̂_0
itself, the result for α = 1 and σ = 0, even where a schedule has some noise at t = 0.
"""

from collections.abc import Callable
from typing import Any, Literal

import tensorflow as tf

from tfrecon.diffusion.schedules import T_MAX, Schedule

Denoise = Callable[[Any, Any], tuple[Any, Any]]
"""From x_t (B,…) and the number t to the estimates of x_0 and ε."""

Sampler = Callable[[Denoise, Schedule, Any, int], Any]
"""From denoiser, schedule, noise of variance 1 (B,…) and number of steps to the sample (B,…)."""


def ddim(denoise: Denoise, schedule: Schedule, noise: Any, steps: int) -> Any:
    """Song, Meng and Ermon 2021, eq. 12 with η = 0, at `steps` equally spaced times."""

    def step(noisy: Any, t: Any, after: Any, last: Any) -> Any:
        clean, direction = denoise(noisy, t)
        noisier = schedule.alpha(after) * clean + schedule.sigma(after) * direction
        return tf.where(last, clean, noisier)

    return _walk(step, schedule, noise, steps)


def heun(denoise: Denoise, schedule: Schedule, noise: Any, steps: int) -> Any:
    """Karras et al. 2022, algorithm 1, at equally spaced times; 2·`steps` - 1 calls."""

    def step(noisy: Any, t: Any, after: Any, last: Any) -> Any:
        first, direction = denoise(noisy, t)
        euler = schedule.alpha(after) * first + schedule.sigma(after) * direction

        def corrected() -> Any:
            second, _ = denoise(euler, after)
            kept = schedule.sigma(after) / schedule.sigma(t)
            gained = schedule.alpha(after) - kept * schedule.alpha(t)
            return kept * noisy + gained * 0.5 * (first + second)

        # The last step ends in data without noise, where a denoiser finds no direction.
        return tf.cond(last, lambda: first, corrected)

    return _walk(step, schedule, noise, steps)


SamplerName = Literal["ddim", "heun"]
SAMPLERS: dict[SamplerName, Sampler] = {"ddim": ddim, "heun": heun}


def _walk(step: Callable[..., Any], schedule: Schedule, noise: Any, steps: int) -> Any:
    """Applies `step` from `T_MAX` to 0 in a graph loop, so the graph does not grow with `steps`."""
    times = tf.linspace(T_MAX, 0.0, steps + 1)

    def body(index: Any, noisy: Any) -> tuple[Any, Any]:
        after = step(noisy, times[index], times[index + 1], tf.equal(index, steps - 1))
        return index + 1, tf.ensure_shape(after, noisy.shape)

    start = schedule.sigma(times[0]) * noise
    return tf.while_loop(
        lambda index, _: index < steps, body, (tf.constant(0), start), maximum_iterations=steps
    )[1]
