"""The decoder without gradient steps: ridge regression from a neighbourhood to the pixels."""

from __future__ import annotations

from tfrecon.networks.decoders.decoder import Decoder, RidgeOptions


def linear(
    *, channels: int, doublings: int, kernel_size: int | None = None, penalty: float | None = None,
    seed: int | None = None,
) -> Decoder:  # fmt: skip
    """Each k×k neighbourhood of features to its 2ⁿ×2ⁿ pixels by the closed-form solution.

    `kernel_size` k is odd; None takes the largest of 5, 3 and 1 that can be solved. `penalty` is
    the ridge's λ, relative to features of unit variance; None chooses it on images held out.
    Nothing is drawn, so `seed` means nothing.
    """
    return Decoder(None, RidgeOptions(kernel_size, penalty))
