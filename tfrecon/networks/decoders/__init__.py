"""Decoders: networks, or a closed-form map, from frozen features to pixels."""

from collections.abc import Callable

from tfrecon.networks.decoders.decoder import Decoder
from tfrecon.networks.decoders.frequency_aware import frequency_aware
from tfrecon.networks.decoders.residual import boosted, linear, residual
from tfrecon.networks.decoders.transposed_conv import transposed_conv
from tfrecon.networks.decoders.wavelet import wavelet
from tfrecon.networks.decoders.window_attention_decoder import attention

DECODERS: dict[str, Callable[..., Decoder]] = {
    "residual": residual,
    "linear": linear,
    "boosted": boosted,
    "transposed_conv": transposed_conv,
    "frequency_aware": frequency_aware,
    "wavelet": wavelet,
    "attention": attention,
}
"""``decoder(*, channels, doublings, seed, **options) -> Decoder``; the first is the default."""
