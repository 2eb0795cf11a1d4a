"""Models that learn from pairs alone, by Keras's own `train_step`."""

from __future__ import annotations

from typing import Any

import keras

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Positive, checked
from tfrecon.layers.ranges import Residual
from tfrecon.metrics.logged import results
from tfrecon.models.base import Fill, ReconstructionModel, composed, filled


class Supervised(ReconstructionModel):
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
    """One network from the damaged image to the restored one.

    `network` maps (B,H,W,3, or 4 with a mask) to (B,H,W,3) in [0,1]; the sizes are those of
    `ReconstructionModel`.
    """

    def __init__(
        self, network: keras.Model, *, size_multiple: int = 1, smallest_size: int = 1,
        fixed_size: int | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.network = network
        self.network.autocast = False
        self.size_multiple, self.smallest_size = size_multiple, smallest_size
        self.fixed_size = fixed_size

    def call(self, x: Any, training: bool = False) -> Any:
        """The restored images."""
        return self.network(x, training=training)

    @property
    def inference_variables(self) -> list[Any]:
        """All variables but the states of random numbers."""
        return [v for v in self.network.weights if v.dtype.startswith("float")]

    def get_config(self) -> dict[str, Any]:
        """The network and its sizes, for saving."""
        return {
            "name": self.name, "network": keras.saving.serialize_keras_object(self.network),
            "size_multiple": self.size_multiple, "smallest_size": self.smallest_size,
            "fixed_size": self.fixed_size,
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Restorer:
        """The model that `get_config` describes."""
        network = keras.saving.deserialize_keras_object(config["network"], custom_objects)
        return cls(**{**config, "network": network})


@checked
def wrapped(
    network: keras.Model, *, size_multiple: Positive = 1, smallest_size: Positive = 1,
    fixed_size: Positive | None = None,
) -> Restorer:  # fmt: skip
    """A plain Keras model of images as one that this library trains, applies and exports.

    `network` maps float32 (B,H,W,3), or (B,H,W,4) with a mask as the last channel, to (B,H,W,3) in
    [0,1]; images are padded to its sizes, or cut in tiles of `fixed_size` (see
    `ReconstructionModel`). Its layers, with the losses that they add, take part in training; a
    `train_step` of its own does not. Raises UserError for a network without variables yet.
    """
    if not network.built:
        raise UserError(
            f"network {network.name!r} is not built, so its variables do not exist yet; call it on "
            "one batch before it is wrapped"
        )
    return Restorer(
        network, size_multiple=size_multiple, smallest_size=smallest_size, fixed_size=fixed_size,
        name=network.name,
    )  # fmt: skip


def corrector(
    correction: keras.Model, *, mask: bool, composite: bool, size_multiple: int, name: str,
    fill: Fill = "none",
) -> Restorer:  # fmt: skip
    """A `Restorer` whose answer is the image, with its holes filled as `fill` says, plus
    `correction` of that, which starts at zero."""
    x: Any = keras.Input((None, None, 3 + mask), name="x", dtype="float32")
    photos, seen = filled(name, x, fill)
    restored = Residual(name="residual")(photos, correction(seen))
    return Restorer(composed(x, restored, composite), size_multiple=size_multiple, name=name)
