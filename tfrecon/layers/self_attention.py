"""Attention between packed projections, which the transformers share."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("tfrecon")
class Attention(keras.layers.Layer):
    """Scaled dot-product attention of `heads` heads (Vaswani et al. 2017, eq. 1), no weights.

    Queries (B,…,C) and packed keys and values (B,…,2C), keys first, over any grids: (B,…,C) in the
    queries' shape.
    """

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, queries: Any, keys_values: Any) -> Any:
        """The mixture of values at each query."""
        width = queries.shape[-1]
        channels = width // self.heads
        keys, values = keys_values[..., :width], keys_values[..., width:]
        q, k, v = (self._heads(x, channels) for x in (queries, keys, values))  # (B,N,heads,c)
        scores = ops.einsum("bqhc,bkhc->bhqk", q * channels**-0.5, k)
        mixed = ops.einsum("bhqk,bkhc->bqhc", ops.softmax(scores), v)
        return ops.reshape(mixed, ops.shape(queries))

    def _heads(self, x: Any, channels: int) -> Any:
        return ops.reshape(x, (ops.shape(x)[0], -1, self.heads, channels))

    def compute_output_shape(self, queries_shape: Any, keys_values_shape: Any) -> Any:
        """That of the queries."""
        return queries_shape

    def get_config(self) -> dict[str, Any]:
        """The options, for saving."""
        return {**super().get_config(), "heads": self.heads}
