"""Damage generators against closed forms and independent programs."""

import io
import itertools
import math
import re

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from fakes import photo
from PIL import Image

from tfrecon.base.errors import UserError
from tfrecon.base.registry import Spec
from tfrecon.data.damage import DAMAGES, damage
from tfrecon.data.damage.lines import VISIBLE, _coverage, distances
from tfrecon.training.catalogue import catalogue

OPTIONS = {
    "boxes": {"size": 9},
    "strokes": {"width": [3, 8]},
    "blur": {"sigma": [0.5, 3]},
    "jpeg": {"quality": [5, 60]},
    "downsample": {"factor": [1.5, 4]},
    "chain": {"steps": ["scratches", {"name": "boxes", "size": 9}, "gaussian_noise", "jpeg"]},
    "sometimes": {"step": {"name": "gaussian_noise", "sigma": 0.1}, "chance": 1.0},
}
EVERY = sorted(DAMAGES.keys() - {"identity"})
MASKED = {"boxes", "strokes", "chain"}


def grey(value: float, size: int = 200) -> np.ndarray:
    return np.full((size, size, 3), value, np.float32)


def picture(height: int = 40, width: int = 56) -> np.ndarray:
    """A photo with texture, float32 in [0,1], whose values are whole 255ths."""
    noise = np.random.default_rng(3).integers(-60, 60, (height, width, 3))
    return (np.clip(photo(height, width, seed=1) + noise, 0, 255) / 255).astype(np.float32)


def drawn(name: str, target, seed=(0, 0), **options):
    """Input and mask, eagerly, as arrays."""
    image, mask = damage(Spec(name, options))(target, list(seed))
    return np.asarray(image), None if mask is None else np.asarray(mask)


# --- what holds of all -------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_a_draw_is_a_function_of_the_seed_alone(name):
    draw, target = damage(Spec(name, OPTIONS.get(name, {}))), picture()
    seeds = tf.constant([[n, 7] for n in range(4)], tf.int64)
    eager = [draw(target, seed) for seed in seeds]
    again = [draw(target, seed) for seed in reversed(seeds)][::-1]
    piped = tf.data.Dataset.from_tensor_slices(seeds).map(
        lambda seed: tuple(part for part in draw(tf.constant(target), seed) if part is not None),
        num_parallel_calls=2,
    )
    for one, other, graph in zip(eager, again, piped.as_numpy_iterator(), strict=True):
        assert one[0].shape == target.shape and one[0].dtype == tf.float32
        assert np.min(one[0]) >= 0 and np.max(one[0]) <= 1
        assert (one[1] is not None) == (name in MASKED) == (len(graph) == 2)
        for mine, same, traced in zip(one, other, graph, strict=False):
            np.testing.assert_array_equal(mine, same)
            np.testing.assert_allclose(mine, traced, atol=1e-5)
        if one[1] is not None:
            assert one[1].shape == (40, 56, 1) and set(np.unique(one[1])) == {0, 1}
            assert not np.any(one[0] * one[1]), "the input is black inside the mask"
    for one, other in itertools.pairwise(eager):
        assert np.abs(one[0] - other[0]).max() > 1e-3, "seeds share a draw"
    for element, shape in zip(piped.element_spec, ((40, 56, 3), (40, 56, 1)), strict=False):
        assert element.shape == shape, "batching needs static shapes"


@pytest.mark.parametrize(
    ("name", "option", "value", "said"),
    [
        ("strokes", "count", 0, "must be 1 or more, not 0"),
        ("strokes", "vertices", [0, 3], "must be 1 or more, not [0, 3]"),
        ("strokes", "width", 0, "must be greater than 0 and finite, not 0"),
        ("scratches", "count", -1, "must be 0 or more, not -1"),
        ("scratches", "dust", [5, 2], "must be a number or [lowest, highest], not [5, 2]"),
        ("scratches", "strength", 1.5, "must lie in [0, 1], not 1.5"),
        ("scratches", "mask", 1, "must be true or false, not 1"),
        ("gaussian_noise", "sigma", -0.1, "must be 0 or more and finite, not -0.1"),
        ("gaussian_noise", "sigma", [0.1], "must be a number or [lowest, highest], not [0.1]"),
        ("gaussian_noise", "sigma", math.inf, "finite, not inf"),
        ("gaussian_noise", "sigma", math.nan, "must be a number or [lowest, highest], not nan"),
        ("poisson_noise", "peak", [0, 9], "must be greater than 0 and finite, not [0, 9]"),
        ("salt_and_pepper", "share", [0, 2], "must lie in [0, 1], not [0, 2]"),
        ("blur", "sigma", 0, "must be greater than 0"),
        ("jpeg", "quality", [0, 50], "must lie in [1, 100], not [0, 50]"),
        ("jpeg", "quality", 50.5, "not 50.5"),
        ("downsample", "factor", 0.5, "must be 1 or more and finite"),
        ("scratches", "shade", [0.5, 1.5], "must lie in [0, 1], not [0.5, 1.5]"),
        ("spots", "radius", 0, "must be greater than 0"),
        ("stains", "share", [0, 0.1], "must lie in (0, 1), not [0, 0.1]"),
        ("fading", "strength", 1, "must lie in [0, 1), not 1"),
        ("grain", "size", 0.5, "must be 1 or more and finite"),
    ],
)
def test_bad_options_are_refused_before_anything_is_drawn(name, option, value, said):
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        damage(Spec(name, {option: value}))
    assert f"option {option!r} of damage {name!r}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_all_are_listed_with_their_options():
    listed = catalogue("damages")
    assert re.findall(r"^(\w+): ", listed, re.MULTILINE) == list(DAMAGES)
    assert "sigma = 0.1" in listed and "dust = (10, 40), shade = 1.0, tint" in listed


def test_a_range_gives_each_image_its_own_strength():
    stds = [
        drawn("gaussian_noise", grey(0.5), (n, 0), sigma=[0.02, 0.1])[0].std() for n in range(60)
    ]
    assert 0.0195 < min(stds) < 0.03 and 0.09 < max(stds) < 0.1025
    # Uniform: mean 0.06, and of 60 draws a standard deviation of 0.08 / √12 / √60 = 0.003.
    assert abs(np.mean(stds) - 0.06) < 0.012


# --- noise -------------------------------------------------------------------------------------


def test_gaussian_noise_has_its_deviation_and_no_correlation():
    noise = drawn("gaussian_noise", grey(0.5), sigma=0.08)[0] - 0.5
    assert abs(noise.mean()) < 5 * 0.08 / math.sqrt(noise.size)
    assert abs(noise.std() / 0.08 - 1) < 0.015  # 1 / √(2 · 120000) is 0.2%
    assert abs(np.mean(noise[1:] * noise[:-1])) / 0.08**2 < 0.02
    assert abs(np.mean(noise[..., 0] * noise[..., 1])) / 0.08**2 < 0.03
    assert abs(np.mean((noise / 0.08) ** 4) - 3) < 0.1, "not normal"


@pytest.mark.parametrize("value", [0.0, 0.1, 0.5])
def test_poisson_noise_has_variance_mean_over_peak(value):
    found = drawn("poisson_noise", grey(value), peak=40)[0].astype(np.float64)
    assert abs(found.mean() - value) < 5 * math.sqrt(value / 40 / found.size) + 1e-12
    assert abs(found.var() - value / 40) < 0.02 * value / 40 + 1e-12
    np.testing.assert_allclose(found * 40, np.rint(found * 40), atol=1e-4)  # whole photons


def test_salt_and_pepper_hits_its_share_in_all_channels_at_once():
    found, mask = drawn("salt_and_pepper", grey(0.5), share=0.2)
    assert mask is None and set(np.unique(found)) == {0, 0.5, 1}
    assert (found == found[..., :1]).all()
    for value in (0, 1):  # 4000 expected, deviation 60
        assert abs((found[..., 0] == value).sum() - 4000) < 300
    assert drawn("salt_and_pepper", grey(0.5), share=1)[0].min() == 0
    assert (drawn("salt_and_pepper", grey(0.5), share=0)[0] == 0.5).all()


# --- blur, files, resolution -------------------------------------------------------------------


def test_the_blur_of_a_point_is_a_gaussian():
    target = np.zeros((41, 41, 3), np.float32)
    target[20, 18, 1] = 1
    found = drawn("blur", target, sigma=2.0)[0]
    rows, columns = np.mgrid[:41, :41]
    expected = np.exp(-((rows - 20) ** 2 + (columns - 18) ** 2) / 8) / (8 * math.pi)
    np.testing.assert_allclose(found[..., 1], expected, atol=1e-6)
    assert not found[..., [0, 2]].any()


def test_blur_agrees_with_scipy_and_keeps_flat_borders():
    target = picture()
    expected = scipy.ndimage.gaussian_filter(target, (1.5, 1.5, 0), truncate=8)
    inner = slice(9, -9)
    found = drawn("blur", target, sigma=1.5)[0]
    np.testing.assert_allclose(found[inner, inner], expected[inner, inner], atol=1e-5)
    np.testing.assert_allclose(drawn("blur", grey(0.7, 20), sigma=30)[0], 0.7, atol=1e-5)


@pytest.mark.parametrize("quality", [1, 20, 75, 100])
def test_jpeg_gives_the_pixels_of_pillow(quality):
    target = picture()
    file = io.BytesIO()
    Image.fromarray(np.rint(target * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    expected = np.asarray(Image.open(file)) / 255
    found = drawn("jpeg", target, quality=quality)[0]
    np.testing.assert_allclose(found, expected, atol=2.01 / 255)
    assert abs(found - expected).mean() < 0.1 / 255
    np.testing.assert_allclose(found * 255, np.rint(found * 255), atol=1e-4)


def test_jpeg_draws_all_qualities_of_its_range():
    target = picture(16, 16)
    fixed = [drawn("jpeg", target, quality=quality)[0] for quality in (20, 21, 22)]
    seen = set()
    for number in range(20):
        found = drawn("jpeg", target, (number, 0), quality=[20, 22])[0]
        seen |= {n for n, one in enumerate(fixed) if np.array_equal(found, one)}
    assert seen == {0, 1, 2}


def test_downsampling_keeps_the_mean_and_loses_the_details():
    target = 0.25 + picture(48, 48) / 2  # away from 0 and 1, so that nothing is clipped
    found = drawn("downsample", target, factor=4)[0]
    assert abs(found.mean() - target.mean()) < 3e-3
    blocks = target.reshape(12, 4, 12, 4, 3).mean((1, 3))
    expected = np.asarray(tf.image.resize(blocks, (48, 48), "bicubic"))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(drawn("downsample", target, factor=1)[0], target, atol=1e-6)
    stripes = np.tile(np.float32([0, 1])[:, None], (24, 48))[..., None].repeat(3, 2)
    np.testing.assert_allclose(drawn("downsample", stripes, factor=2)[0], 0.5, atol=1e-6)


# --- lines -------------------------------------------------------------------------------------


def test_a_line_covers_length_times_width():
    starts, ends = tf.constant([[20.3, 10.2]]), tf.constant([[40.9, 55.1]])
    distance = distances(starts, ends, 64, 64)
    length = math.hypot(40.9 - 20.3, 55.1 - 10.2)
    for width in (0.6, 1.0, 2.0, 5.0):
        covered = float(tf.reduce_sum(_coverage(distance, width / 2)))
        # The round ends add about a disc of the line's width and of half a pixel around.
        assert abs(covered - length * width) < 0.02 * length * width + (width + 1) ** 2
    row, column = np.mgrid[:64, :64]
    to_start = np.hypot(row - 20.3, column - 10.2)
    behind = (row - 20.3) * 20.6 + (column - 10.2) * 44.9 < 0
    np.testing.assert_allclose(distance[0].numpy()[behind], to_start[behind], rtol=1e-4)


def test_strokes_cover_the_part_that_their_docstring_states():
    draw = tf.function(lambda seed: damage(Spec("strokes"))(tf.zeros([256, 256, 3]), seed)[1])
    shares = np.array([np.mean(draw(tf.constant([n, 1]))) for n in range(100)])
    assert 0.12 < shares.mean() < 0.19  # a standard deviation of 0.08 / √100 either way, fourfold
    low, high = np.percentile(shares, [5, 95])
    assert 0.02 < low < 0.06 and 0.24 < high < 0.36


def test_strokes_reach_every_border_and_keep_their_width():
    masks = [drawn("strokes", grey(1, 48), (n, 2), width=5)[1][..., 0] for n in range(40)]
    for side in (lambda m: m[0], lambda m: m[-1], lambda m: m[:, 0], lambda m: m[:, -1]):
        assert any(side(mask).any() for mask in masks)
    single = {"count": 1, "vertices": 1, "width": 9}
    pieces = [drawn("strokes", grey(1, 48), (n, 1), **single)[1][..., 0] for n in range(40)]
    inner = [mask for mask in pieces if mask.sum() == mask[1:-1, 1:-1].sum()]  # off the borders
    assert len(inner) > 5
    for mask in inner:
        # One straight piece: its middle lies half a width inside, give or take the pixel grid.
        assert 4.5 - 0.75 < scipy.ndimage.distance_transform_edt(mask).max() <= 4.5 + 1
        assert mask.sum() < 9 * 17 + math.pi * 4.5**2 + 20, "longer than a quarter diagonal, 17"


def test_scratches_only_brighten_and_thin_lines_stay_few():
    found, mask = drawn("scratches", grey(0.3))
    assert mask is None and found.min() >= 0.3 - 1e-6 and found.max() > 0.6
    touched = (found[..., 0] > 0.31).mean()
    assert 0.005 < touched < 0.15
    white, none = (drawn("scratches", grey(0.3), dust=dust, count=0)[0] for dust in (30, 0))
    assert (none == np.float32(0.3)).all(), "no line and no speck"
    assert 10 <= scipy.ndimage.label(white[..., 0] > 0.35)[1] <= 30, "separate specks"


def test_the_strength_of_scratches_is_how_much_they_cover():
    options = {"count": 6, "dust": 0, "width": 4}
    for strength in (0.25, 1.0):
        found = drawn("scratches", grey(0.2), strength=strength, **options)[0]
        assert abs(found.max() - (0.2 + 0.8 * strength)) < 1e-6
    half = drawn("scratches", grey(0.2), strength=[0.25, 1.0], **options)[0]
    assert 0.4 < half.max() < 1


def test_scratches_show_where_they_are_on_request():
    target = np.full((64, 64, 3), 0.3, np.float32)
    hidden, mask = drawn("scratches", target, mask=True)
    seen, _ = drawn("scratches", target)
    assert mask is not None and 0 < mask.mean() < 0.5
    np.testing.assert_array_equal(hidden, target * (1 - mask))
    np.testing.assert_allclose(seen[mask[..., 0] == 0], 0.3, atol=VISIBLE)
    assert (seen[mask[..., 0] == 1] > 0.3 + 0.7 * VISIBLE * 0.99).all()


# --- chains ------------------------------------------------------------------------------------


def test_a_chain_applies_its_steps_in_order():
    half = np.zeros((32, 32, 3), np.float32)
    half[:, 16:] = 1
    blur, salt = {"name": "blur", "sigma": 1.0}, {"name": "salt_and_pepper", "share": 0.3}
    late = drawn("chain", half, steps=[blur, salt])[0]
    early = drawn("chain", half, steps=[salt, blur])[0]
    kept = np.isclose(late, drawn("blur", half, sigma=1.0)[0], atol=1e-6)
    assert 0.65 < kept.mean() < 0.95 and np.isin(late[~kept], (0, 1)).all()
    assert np.isin(early, (0, 1)).mean() < 0.2, "the noise was blurred too"


def test_a_chain_folds_the_seed_for_each_step():
    noise = {"name": "gaussian_noise", "sigma": 0.05}
    once = drawn("chain", grey(0.5, 100), steps=[noise])[0] - 0.5
    twice = drawn("chain", grey(0.5, 100), steps=[noise, noise])[0] - 0.5
    np.testing.assert_allclose(np.std(twice), 0.05 * math.sqrt(2), rtol=0.02)  # 2 if drawn alike
    np.testing.assert_allclose(np.std(once), 0.05, rtol=0.02)
    assert drawn("chain", grey(0.5, 9), steps=["identity"])[1] is None


def test_the_mask_of_a_chain_is_the_union():
    box = {"name": "boxes", "size": 8, "count": 1}
    target, masks = grey(0.5, 32), []
    for steps in ([box], [box, "gaussian_noise"], [box, box], [box, "blur", box, "jpeg"]):
        image, mask = drawn("chain", target, (3, 4), steps=steps)
        assert mask is not None and not (image * mask).any()
        masks.append(mask)
    np.testing.assert_array_equal(masks[0], masks[1])
    assert masks[0].sum() == 64 and 64 < masks[2].sum() <= 128 and 64 < masks[3].sum() <= 128
    assert (masks[2] >= masks[0]).all()


@pytest.mark.parametrize("step", ["gaussian_noise", {"name": "boxes", "size": 8}])
def test_sometimes_draws_a_share_of_the_time(step):
    target, often = grey(0.5, 32), 0
    for number in range(200):
        image, mask = drawn("sometimes", target, (1, number), step=step, chance=0.3)
        hit = (image != target).any()
        often += hit
        assert (mask is not None) == (step != "gaussian_noise")
        assert mask is None or mask.any() == hit
    assert 40 < often < 80
    with pytest.raises(UserError, match="unknown damage 'jpg'"):
        damage(Spec("sometimes", {"step": "jpg"}))
    with pytest.raises(UserError, match=re.escape("must lie in [0, 1], not 2")):
        damage(Spec("sometimes", {"step": "jpeg", "chance": 2}))


# --- age ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scratches", {"count": 3, "strength": 1.0}),
        ("spots", {"strength": 1.0, "softness": 0.0}),
        ("stains", {"strength": 1.0, "share": 0.3}),
    ],
)
@pytest.mark.parametrize("shade", [0.0, 1.0])
def test_covers_take_their_shade(name, options, shade):
    image, _ = drawn(name, grey(0.5, 96), (4, 1), **options, shade=shade, tint=0.0)
    covered = image[image != 0.5]
    assert covered.size and abs(np.abs(covered - 0.5).max() - 0.5) < 1e-3
    assert (covered < 0.5).all() if shade == 0 else (covered > 0.5).all()
    np.testing.assert_array_equal(image[..., 0], image[..., 1], "no tint is grey")
    tinted, _ = drawn(name, grey(0.5, 96), (4, 1), **options, shade=shade, tint=1.0)
    assert np.abs(tinted[..., 0] - tinted[..., 1]).max() > 0.05


def test_spots_have_their_radius():
    spot = {"count": 1, "radius": 10.0, "strength": 1.0, "softness": 0.0, "shade": 1.0, "tint": 0.0}
    areas = []
    for number in range(20):
        image, _ = drawn("spots", grey(0.0, 200), (0, number), **spot)
        areas.append(image[..., 0].sum())
    assert abs(max(areas) - math.pi * 100) < 4, "of a spot that lies inside"


def test_stains_cover_about_their_share():
    shares = []
    for number in range(60):
        image, _ = drawn("stains", grey(0.0, 64), (2, number), cells=8, share=0.2, strength=1.0,
                         shade=1.0, tint=0.0)  # fmt: skip
        shares.append((image[..., 0] > 0.5).mean())
    assert 0.12 < np.mean(shares) < 0.28


def test_fading_moves_all_tones_towards_one_colour():
    target = picture()
    faded, _ = drawn("fading", target, (3, 3), strength=0.25, unevenness=0.0, shade=1.0, tint=0.0)
    np.testing.assert_allclose(faded, 0.75 * target + 0.25, atol=1e-6)
    uneven, _ = drawn("fading", grey(0.0, 64), (3, 3), strength=0.25, unevenness=1.0, shade=1.0)
    assert uneven.std() > 0.03


def test_grain_has_its_deviation_and_size():
    def seen(size: float) -> np.ndarray:
        images = [drawn("grain", grey(0.5), (5, n), sigma=0.05, size=size)[0] for n in range(8)]
        np.testing.assert_array_equal(images[0][..., 0], images[0][..., 2], "it has no colour")
        return np.stack(images)[..., 0] - 0.5

    fine, coarse = seen(1.0), seen(4.0)
    for grains in (fine, coarse):
        assert abs(grains.mean()) < 0.005 and 0.035 < grains.std() < 0.07
    beside = [(g[:, 1:] * g[:, :-1]).mean() / g.var() for g in (fine, coarse)]
    assert beside[0] < 0.5 < 0.8 < beside[1], "neighbours inside a clump are alike"


def test_bad_chains_are_refused():
    for steps, said in (
        ([], "needs at least one step"),
        (["blurr"], "unknown damage 'blurr'; did you mean 'blur'?"),
        ([{"size": 3}], "[data.damage.steps] has no name"),
        ([{"name": "blur", "sigma": 0}], "option 'sigma' of damage 'blur' must be greater than 0"),
        ("blur", "option 'steps' of damage 'chain' must be a list"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            damage(Spec("chain", {"steps": steps}))
    with pytest.raises(UserError, match="a box of 75 pixels does not fit"):
        drawn("chain", grey(0.5, 32), steps=["boxes"])
