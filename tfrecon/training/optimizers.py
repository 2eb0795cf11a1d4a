"""Optimizers and learning-rate schedules of a configuration: an Adam in one kernel, and Muon."""

from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf

from tfrecon.base.config import FitConfig
from tfrecon.base.registry import Above, AtLeast, Between, build, checked

Share = Annotated[float, Between(0, 1, "[)")]
"""Of the past that a moving average keeps."""

AboveZero = Annotated[float, Above(0)]


@keras.saving.register_keras_serializable("tfrecon")
class FusedAdam(keras.optimizers.Adam):
    """Adam (Kingma & Ba 2015) by TensorFlow's fused kernel: one pass over memory.

    Keras spells it in a dozen operations, which cost a fifth of a small-batch step on a CPU.
    AMSGrad, which the kernel does not know, is not offered.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and its two moments in place."""
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        step = tf.cast(self.iterations.value + 1, dtype)
        beta_1, beta_2 = tf.constant(self.beta_1, dtype), tf.constant(self.beta_2, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=tf.cast(learning_rate, dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.constant(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


NARROWEST = 13
"""A kernel of fewer channels on a side, as first and last layers have, is Adam's."""

NEWTON_SCHULZ = 3.4445, -4.775, 2.0315
"""Coefficients of the polynomial that brings singular values to about 1 (Jordan 2024)."""


@keras.saving.register_keras_serializable("tfrecon")
class Muon(FusedAdam):
    """Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon) for kernels, Adam for the rest.

    A kernel (h,w,in,out) is a matrix (h·w·in, out) there. Its update is Nesterov's momentum, made
    orthogonal, times 0.2·√(larger side), so that its entries are of the size of Adam's (Liu et al.
    2025, eq. 4), times `ratio` of the learning rate. `keras.optimizers.Muon` leaves convolutions to
    Adam.
    """

    def __init__(
        self, *args: Any, momentum: float = 0.95, ratio: float = 3.0, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.momentum, self.ratio = momentum, ratio

    def build(self, variables: Any) -> None:
        """The momentum of each variable, and the second moment of those that are Adam's."""
        if self.built:
            return
        super(keras.optimizers.Adam, self).build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")
        rest = [variable for variable in variables if not is_wide(variable.shape)]
        velocities = iter(self.add_optimizer_variables(rest, "velocity"))
        self._velocities = [None if is_wide(v.shape) else next(velocities) for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and what is kept of its gradients in place."""
        if not is_wide(variable.shape):
            return super().update_step(gradient, variable, learning_rate)
        average = self._momentums[self._get_variable_index(variable)]
        gradient = tf.cast(gradient, variable.dtype)
        newest = self.momentum * average.value + gradient
        self.assign(average, newest)
        matrix = tf.reshape(gradient + self.momentum * newest, (-1, variable.shape[-1]))
        update = tf.reshape(orthogonal(matrix), variable.shape)
        size = 0.2 * float(max(matrix.shape)) ** 0.5 * self.ratio
        self.assign_sub(variable, tf.cast(learning_rate, variable.dtype) * size * update)

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {**super().get_config(), "momentum": self.momentum, "ratio": self.ratio}


def is_wide(shape: Any) -> bool:
    """Whether Muon updates a variable of this shape."""
    return len(shape) in (2, 4) and min(shape[-2:]) >= NARROWEST


def orthogonal(matrix: Any) -> Any:
    """About UVᵀ of a matrix USVᵀ (m,n): five steps of Newton and Schulz, which bring
    singular values to about 0.7 to 1.2, those near zero aside (Jordan 2024)."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix / (tf.norm(matrix) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        gram = tf.matmul(x, x, transpose_a=is_tall, transpose_b=not is_tall)
        polynomial = b * gram + c * gram @ gram
        x = a * x + (x @ polynomial if is_tall else polynomial @ x)
    return x


@keras.saving.register_keras_serializable("tfrecon")
class LossScale(keras.optimizers.LossScaleOptimizer):
    """Another optimizer behind Keras's dynamic loss scale, without which small gradients are zero
    in float16 (Micikevicius et al. 2018): a step with a gradient that is not finite is left out and
    the scale halved; 2,000 others in a row double it."""

    def check_finite(self, grads: Any) -> Any:
        """Whether they are finite on every replica; Keras asks the first one alone, and its
        gradients are not summed up yet."""
        finite, replica = super().check_finite(grads), tf.distribute.get_replica_context()
        bad = replica.all_reduce("SUM", tf.cast(~finite, tf.float32))
        return tf.equal(bad, 0)


def loss_scale(optimizer: keras.optimizers.Optimizer) -> float | None:
    """What losses are multiplied with before they are differentiated; None: they are not."""
    if not isinstance(optimizer, LossScale):
        return None
    return float(np.asarray(optimizer.dynamic_scale.value))


@keras.saving.register_keras_serializable("tfrecon")
class RunSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate over `total_steps`, after a linear warm-up over `warmup_steps`.

    `shape` is ``"constant"``, ``"linear"`` (constant for the first half, then linearly to zero, as
    pix2pix has it) or ``"cosine"`` (to zero; Loshchilov & Hutter 2017, without restarts). `scale`,
    a variable, multiplies it.
    """

    def __init__(self, peak: float, shape: str, warmup_steps: int, total_steps: int) -> None:
        super().__init__()
        self.peak, self.shape = peak, shape
        self.warmup_steps, self.total_steps = warmup_steps, total_steps
        self.scale = tf.Variable(1.0, trainable=False)

    def __call__(self, step: Any) -> Any:
        """The rate of the update after `step` updates."""
        step = tf.cast(step, tf.float32)
        span = max(1, self.total_steps - self.warmup_steps)
        done = tf.clip_by_value((step - self.warmup_steps) / span, 0.0, 1.0)
        factor = {
            "constant": lambda: tf.ones([]),
            "linear": lambda: tf.minimum(1.0, 2.0 * (1.0 - done)),
            "cosine": lambda: 0.5 * (1.0 + tf.cos(3.141592653589793 * done)),
        }[self.shape]()
        warm = tf.minimum(1.0, (step + 1.0) / max(1, self.warmup_steps))
        return self.peak * warm * factor * self.scale

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {
            "peak": self.peak, "shape": self.shape,
            "warmup_steps": self.warmup_steps, "total_steps": self.total_steps,
        }  # fmt: skip


@checked
def adam(
    *, learning_rate: Any, beta_1: Share = 0.9, beta_2: Share = 0.999, epsilon: AboveZero = 1e-7,
    clipnorm: AboveZero | None = None,
) -> keras.optimizers.Optimizer:  # fmt: skip
    """Adam; `clipnorm` bounds the gradient norm of each variable."""
    return FusedAdam(learning_rate, beta_1, beta_2, epsilon, clipnorm=clipnorm)


@checked
def adamw(
    *, learning_rate: Any, beta_1: Share = 0.9, beta_2: Share = 0.999, epsilon: AboveZero = 1e-7,
    weight_decay: Annotated[float, AtLeast(0)] = 0.004, clipnorm: AboveZero | None = None,
) -> keras.optimizers.Optimizer:  # fmt: skip
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    return FusedAdam(
        learning_rate, beta_1, beta_2, epsilon, weight_decay=weight_decay, clipnorm=clipnorm
    )


@checked
def muon(
    *, learning_rate: Any, beta_1: Share = 0.9, beta_2: Share = 0.999, epsilon: AboveZero = 1e-7,
    weight_decay: Annotated[float, AtLeast(0)] = 0.0, clipnorm: AboveZero | None = None,
    momentum: Share = 0.95, ratio: AboveZero = 3.0,
) -> keras.optimizers.Optimizer:  # fmt: skip
    """Muon for kernels at `ratio` times the learning rate, AdamW for biases and narrow kernels."""
    return Muon(
        learning_rate, beta_1, beta_2, epsilon, weight_decay=weight_decay or None,
        clipnorm=clipnorm, momentum=momentum, ratio=ratio,
    )  # fmt: skip


@checked
def sgd(
    *, learning_rate: Any, momentum: Share = 0.0, clipnorm: AboveZero | None = None
) -> keras.optimizers.Optimizer:
    """Stochastic gradient descent."""
    return keras.optimizers.SGD(learning_rate, momentum, clipnorm=clipnorm)


OPTIMIZERS = {"adam": adam, "adamw": adamw, "muon": muon, "sgd": sgd}


def build_optimizer(config: FitConfig, total_steps: int) -> keras.optimizers.Optimizer:
    """The optimizer of a configuration, its schedule spanning `total_steps`."""
    rate: Any = config.learning_rate
    if config.schedule != "constant" or config.warmup_steps:
        rate = RunSchedule(config.learning_rate, config.schedule, config.warmup_steps, total_steps)
    return build(config.optimizer, OPTIMIZERS, "optimizer", learning_rate=rate)


def halve_rate(optimizer: Any, halvings: int, counted: int) -> None:
    """Halves the learning rate `halvings` times in all. Where the optimizer's own variables hold a
    constant rate, they have `counted` of the times already."""
    if isinstance(optimizer, LossScale):
        optimizer = optimizer.inner_optimizer
    if isinstance(schedule := optimizer._learning_rate, RunSchedule):
        schedule.scale.assign(0.5**halvings)
    else:
        optimizer.learning_rate = optimizer.learning_rate * 0.5 ** (halvings - counted)
