"""The model classes that learn from pairs alone, by Keras's own `train_step`."""

from __future__ import annotations

from typing import Any

import keras

from tfrecon.metrics.logged import results


class Supervised(keras.Model):
    """A model whose compiled metrics are computed in validation only.

    SSIM of the training crops would cost some percent of a step. Input is not cast on entry:
    images in bfloat16 would have lost a bit of their eight.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.validating = False

    def build(self, input_shape: Any) -> None:
        """Nothing is left to build: the networks are Functional."""
        self.built = True

    def test_step(self, data: Any) -> dict[str, Any]:
        """Keras's own, with the compiled metrics."""
        self.validating = True
        try:
            return super().test_step(data)
        finally:
            self.validating = False

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """The loss and the model's own values, and in validation the compiled metrics."""
        if self.validating:
            return super().compute_metrics(x, y, y_pred, sample_weight)
        return results(metric for metric in self.metrics if metric.name != "compile_metrics")

    def get_metrics_result(self) -> dict[str, Any]:
        """The loss, and what validation computed."""
        return results(self.metrics)


@keras.saving.register_keras_serializable("tfrecon")
class Restorer(Supervised):
    """One Functional network from the damaged image to the restored one.

    `network` maps (B,H,W,3, or 4 with a mask) to (B,H,W,3) in [0,1], where H and W are multiples of
    `size_multiple` and at least `smallest_size`; at inference its output is clipped.
    """

    def __init__(
        self,
        network: keras.Model,
        *,
        size_multiple: int = 1,
        smallest_size: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.network = network
        self.network.autocast = False
        self.size_multiple, self.smallest_size = size_multiple, smallest_size

    def call(self, x: Any, training: bool = False) -> Any:
        """The restored images."""
        return self.network(x, training=training)

    @property
    def inference_variables(self) -> list[Any]:
        """What EMA averages and the best checkpoint keeps: all but the states of random numbers."""
        return [v for v in self.network.weights if v.dtype.startswith("float")]

    def get_config(self) -> dict[str, Any]:
        """The network and options, for saving."""
        return {
            "name": self.name,
            "network": keras.saving.serialize_keras_object(self.network),
            "size_multiple": self.size_multiple,
            "smallest_size": self.smallest_size,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Restorer:
        """The model that `get_config` describes."""
        network = keras.saving.deserialize_keras_object(config["network"], custom_objects)
        return cls(**{**config, "network": network})
