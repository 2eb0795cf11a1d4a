"""What is watched while a model trains: steps after which a value is not finite, and trainings that
learn nothing."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.training.optimizers import loss_scale

SMALLEST_SCALE = 2.0**-10
"""A loss scale that even this was too large for is halved for ever: no gradient is finite."""
MOST_HALVINGS = 3
"""How often a training goes back before it is given up."""
DISCRIMINATOR_FLOOR = 0.01
"""A discriminator's mean loss over an epoch, from a smallest value of 0, at which it is sure."""
ONE_COLOUR = 1e-3
"""Below this standard deviation, in [0,1], an answer is of one colour."""


class Diverged(UserError):
    """A value is not finite after step `step`: `at_once` where that step has made it so, else since
    the state was last looked at as a whole."""

    def __init__(self, what: str, step: int, at_once: bool) -> None:
        super().__init__(f"{what} is not finite at step {step}")
        self.step, self.at_once = step, at_once


class Sentinel(keras.callbacks.Callback):
    """Raises `Diverged` right after the step whose losses, or the variables that it has updated,
    are not finite: a gradient that is not finite leaves a variable so. With a loss scale such steps
    are left out, which is no harm unless no scale helps.

    It stands first in the list of callbacks, so that no other takes such a step for one.
    """

    def __init__(self, steps_done: Callable[[], int]) -> None:
        super().__init__()
        self.steps_done = steps_done

    def set_model(self, model: Any) -> None:
        """Traces the one pass over the variables; a norm beyond float32 is as bad as none."""
        super().set_model(model)
        variables = [variable.value for variable in model.optimized_variables]
        norm = tf.function(lambda: tf.add_n([tf.nn.l2_loss(variable) for variable in variables]))
        self._norm = norm.get_concrete_function()  # half the overhead of a call

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Looks at the losses, then at the variables."""
        bad = [f"{name!r}" for name, value in (logs or {}).items() if not np.isfinite(value)]
        if not bad and not np.isfinite(self._norm()):
            bad = ["a weight"]
        elif not bad and (loss_scale(self.model.optimizer) or 1) < SMALLEST_SCALE:
            bad = ["a gradient, whatever the loss scale,"]
        if bad:
            raise Diverged(bad[0], self.steps_done() + 1, True)


def learns_nothing(logs: dict[str, Any]) -> str | None:
    """A sentence where the values of an epoch have a discriminator at its floor."""
    if logs.get("discriminator", np.inf) > DISCRIMINATOR_FLOOR:
        return None
    return (
        f"the discriminator is at its floor (loss {logs['discriminator']:.2g}): it tells every "
        "restored image from a true one, so the generator learns nothing from it; lower "
        "fit.learning_rate, or raise model.reconstruction_weight"
    )


def of_one_colour(x: Any, restored: Any, target: Any) -> str | None:
    """A sentence where the answers (B,H,W,3) to x (B,H,W,3 or 4), inside the holes where there are
    masks, are of one colour, and the true images are not."""
    inside = np.asarray(x)[..., 3] > 0 if x.shape[-1] == 4 else np.ones(x.shape[:3], bool)
    answer, truth = (np.asarray(images)[inside].std(axis=0) for images in (restored, target))
    if not answer.max() < ONE_COLOUR < truth.max():
        return None
    return (
        "the model gives every pixel of all validation photos one colour; lower "
        "fit.learning_rate, or look at fit.loss and the pairs (fit --probe)"
    )
