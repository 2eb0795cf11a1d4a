"""Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004) in its two common variants.

Both average over the windows that lie wholly inside the image, and over channels.
"""

from typing import Any

from tfrecon.layers.similarity import gaussian_taps, similarity_map
from tfrecon.metrics.pixel_errors import checked, mean_over


def ssim(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
    """SSIM of each image pair with the paper's Gaussian 11×11 window, σ = 1.5 (eq. 13), (B,).

    y_true, y_pred: (B,H,W,C) in [0,1], sides of 11 pixels at least. 1 means equal. With masks
    (B,H,W,1) the mean is over windows whose centre lies in a hole; NaN where there is none.
    Equals scikit-image's ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``.
    """
    return _ssim(y_true, y_pred, masks, gaussian_taps(), covariance_scale=1.0)


def ssim_uniform7(y_true: Any, y_pred: Any, masks: Any = None) -> Any:
    """SSIM of each image pair with scikit-image's defaults, (B,); by up to 0.06 off `ssim`.

    A uniform 7×7 window and unbiased covariances; otherwise as `ssim`.
    """
    return _ssim(y_true, y_pred, masks, [1 / 7] * 7, covariance_scale=49 / 48)


def _ssim(y_true: Any, y_pred: Any, masks: Any, taps: list[float], covariance_scale: float) -> Any:
    y_true, y_pred, masks = checked(y_true, y_pred, masks)
    similarities = similarity_map(y_true, y_pred, taps, covariance_scale)
    if masks is not None:
        edge = len(taps) // 2
        masks = masks[:, edge:-edge, edge:-edge]
    return mean_over(similarities, masks)
