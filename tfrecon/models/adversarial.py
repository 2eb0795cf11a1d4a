"""The one model class for a generator trained against a discriminator, and its one `train_step`."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrecon.base.errors import UserError
from tfrecon.losses.adversarial_losses import ADVERSARIAL_LOSSES
from tfrecon.metrics.logged import results
from tfrecon.models.base import ReconstructionModel


@keras.saving.register_keras_serializable("tfrecon")
class AdversarialModel(ReconstructionModel):
    """A conditional GAN (Isola et al. 2017): the generator minimises ``λ·reconstruction +
    w·adversarial`` plus the losses that its layers add.

    `call` is the generator alone: (B,H,W,3 or 4) to (B,H,W,3), around [0,1]. `compile(loss=…)`
    gives the reconstruction loss. One optimizer serves both networks: a variable's update depends
    on that variable's gradient only, so it equals two optimizers of the same settings, and its
    state is saved whole. With `adversarial_weight` 0 the discriminator is neither run nor trained.
    """

    def __init__(
        self, generator: keras.Model, discriminator: keras.Model, *,
        reconstruction_weight: float = 100.0, adversarial_weight: float = 1.0,
        adversarial_loss: str = "bce", r1_weight: float = 0.0, size_multiple: int = 1,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.generator = generator
        self.discriminator = discriminator
        self.reconstruction_weight = reconstruction_weight
        self.adversarial_weight = adversarial_weight
        self.adversarial_loss, self.r1_weight = adversarial_loss, r1_weight
        self.size_multiple = size_multiple
        names = ["reconstruction"]
        if adversarial_weight:
            names += ["generator_adversarial", "discriminator"]
        if adversarial_weight and r1_weight:
            names += ["r1"]
        self.trackers = [keras.metrics.Mean(name=name) for name in names]
        others = (v for v in generator.non_trainable_variables if v.dtype.startswith("float"))
        made = [*generator.trainable_variables, *others]
        # In the order of a model of which nothing is frozen. Keras would track a list.
        self.generator_variables = lambda: made

    def call(self, x: Any, training: bool = False) -> Any:
        """The restored images."""
        return self.generator(self.condition(x), training=training)

    def condition(self, x: Any) -> Any:
        """The generator's input, for the model's."""
        return x

    def judged(self, x: Any, image: Any) -> Any:
        """The discriminator's input, for the model's input and a restored or true image: the image
        alone where it takes nothing else."""
        return [x, image] if len(self.discriminator.inputs) == 2 else image

    def build(self, input_shape: Any) -> None:
        """Nothing is left to build: both networks are Functional."""
        self.built = True

    @property
    def inference_variables(self) -> list[Any]:
        """The generator's, without the integer states of random numbers."""
        return list(self.generator_variables())

    def train_step(self, data: Any) -> dict[str, Any]:
        """One simultaneous step of both networks (Isola et al. 2017, eqs. 1–4)."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        adversarial = bool(self.adversarial_weight)
        loss = ADVERSARIAL_LOSSES[self.adversarial_loss]
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        condition = self.condition(x)  # outside the tape: nothing of it is trained
        with tf.GradientTape(persistent=True) as tape:
            restored = self.generator(condition, training=True)
            reconstruction, added = self._reconstruction(x, y, restored, weights, training=True)
            generator_loss = self.reconstruction_weight * reconstruction + added
            values = [reconstruction]
            if adversarial:
                real, penalty = self._real(x, y)
                fake = self.discriminator(self.judged(x, restored), training=True)
                # Gradients are summed over replicas; Keras has scaled the reconstruction's already.
                fooling, judging = loss.generator(fake) / replicas, loss.discriminator(real, fake)
                judging, penalty = judging / replicas, penalty / replicas
                generator_loss += self.adversarial_weight * fooling
                discriminator_loss = judging + self.r1_weight * penalty
                discriminator_loss = self.optimizer.scale_loss(discriminator_loss)
                values += [fooling, judging, penalty] if self.r1_weight else [fooling, judging]
            generator_loss = self.optimizer.scale_loss(generator_loss)
        variables = list(self.generator.trainable_variables)
        gradients = list(tape.gradient(generator_loss, variables))
        if adversarial:
            theirs = self.discriminator.trainable_variables
            gradients += tape.gradient(discriminator_loss, theirs)
            variables += theirs
        self.optimizer.apply(gradients, variables)
        for tracker, value in zip(self.trackers, values, strict=True):
            tracker.update_state(value * replicas)
        return {tracker.name: tracker.result() for tracker in self.trackers}

    def _reconstruction(
        self, x: Any, y: Any, restored: Any, weights: Any, training: bool
    ) -> tuple[Any, Any]:
        """The compiled loss, and what the generator's layers add to it."""
        added: Any = sum(self.losses, 0.0) / tf.distribute.get_strategy().num_replicas_in_sync
        whole = self.compute_loss(
            x=x, y=y, y_pred=restored, sample_weight=weights, training=training
        )
        return whole - added, added

    def _real(self, x: Any, y: Any) -> tuple[Any, Any]:
        """The logits of the true images, and R1: half the mean squared norm of their sum's gradient
        by the image (Mescheder et al. 2018, eq. 9)."""
        if not self.r1_weight:
            return self.discriminator(self.judged(x, y), training=True), 0.0
        with tf.GradientTape() as tape:
            tape.watch(y)
            real = self.discriminator(self.judged(x, y), training=True)
            total = tf.reduce_sum(real)
        gradient = tape.gradient(total, y)
        return real, 0.5 * tf.reduce_mean(tf.reduce_sum(tf.square(gradient), axis=(1, 2, 3)))

    def test_step(self, data: Any) -> dict[str, Any]:
        """The reconstruction loss and the compiled metrics."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        restored = self(x, training=False)
        loss, _ = self._reconstruction(x, y, restored, weights, training=False)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self.trackers[0].update_state(loss * replicas, sample_weight=tf.shape(y)[0])
        return self.compute_metrics(x, y, restored, weights)

    def get_metrics_result(self) -> dict[str, Any]:
        """What validation reports: the reconstruction loss and the compiled metrics.

        Training reports what `train_step` returns; the adversarial losses have no validation value.
        """
        # Keras's own "loss" stays 0: the losses are the trackers'.
        left_out = {metric.name for metric in self.trackers} | {"loss"}
        others = [metric for metric in self.metrics if metric.name not in left_out]
        return results([self.trackers[0], *others])

    @property
    def monitored(self) -> list[str]:
        """The adversarial losses have no validation value."""
        return ["reconstruction"]

    @property
    def optimized_variables(self) -> list[Any]:
        """The generator's, then the discriminator's where it is trained."""
        variables = list(self.generator.trainable_variables)
        if self.adversarial_weight:
            variables += self.discriminator.trainable_variables
        return variables

    def get_config(self) -> dict[str, Any]:
        """The networks and options, for saving."""
        return {
            **super().get_config(),
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "reconstruction_weight": self.reconstruction_weight,
            "adversarial_weight": self.adversarial_weight,
            "adversarial_loss": self.adversarial_loss, "r1_weight": self.r1_weight,
            "size_multiple": self.size_multiple,
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> AdversarialModel:
        """The model that `get_config` describes."""
        networks = {
            name: keras.saving.deserialize_keras_object(config.pop(name))
            for name in ("generator", "discriminator")
        }
        return cls(**networks, **config)


def check_adversarial(adversarial_weight: float, reconstruction_weight: float) -> None:
    """Raises UserError for weights with which nothing is learned."""
    if not adversarial_weight and not reconstruction_weight:
        raise UserError(
            "model.adversarial_weight and model.reconstruction_weight are both 0: nothing would be "
            "learned; set one of them"
        )
