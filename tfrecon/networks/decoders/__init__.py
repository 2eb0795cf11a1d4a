"""Decoders: networks, or a closed-form map, from frozen features to pixels."""

from __future__ import annotations

from collections.abc import Callable

from tfrecon.networks.decoders.base import Decoder
from tfrecon.networks.decoders.linear import linear
from tfrecon.networks.decoders.residual import residual

DECODERS: dict[str, Callable[..., Decoder]] = {
    "residual": residual,
    "linear": linear,
}
"""``decoder(*, channels, doublings, seed, **options) -> Decoder``; the first is the default."""
