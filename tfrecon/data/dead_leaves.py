"""Clean training images without a photo: shapes that hide each other, as dead leaves on the ground.

Lee, Mumford & Huang 2001, Occlusion models for natural images: where sizes follow a power law, such
images have the statistics of photos. Restorers trained on them come near those trained on photos
(Achddou, Gousseau & Ladjal 2021; Madhusudana et al. 2021). Nothing here needs TensorFlow.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tfrecon.base import files
from tfrecon.base.bars import tqdm

Array = np.ndarray[Any, Any]

VERSION = 1
"""Raised by every change after which a seed gives another image: kept files are then drawn anew."""

TEXTURE = 512
"""Side of a texture in pixels: the largest side of an image."""

EXPONENTS = (0.6, 1.0, 1.4, 1.8, 2.2, 2.6, 3.0, 3.4)
"""Of the power spectra of the textures, from nearly white noise to clouds."""

STRETCHES = (1.0, 4.0, 15.0)
"""How much longer than wide the grains of a texture are: sand, fur, wood."""

LARGEST = 300.0
"""Radius of the largest leaf in pixels."""


def image(seed: Sequence[int], size: int, colours: Array | None = None) -> Image.Image:
    """A `size` × `size` RGB image, which depends on `seed` alone.

    Radii follow a power law with an exponent from 2.2 to 3.0. Leaves are painted from the back, the
    large ones first on the whole: discs, polygons and blobs, squeezed and turned, with linear
    shading and a texture; some have soft edges. At last the image is blurred slightly, as a lens
    does. `colours`, (N,3) in [0,1], are pixels of photos of which most leaves take theirs.
    """
    random = np.random.default_rng(seed)
    canvas = _ground(random, size)
    count = int(random.uniform(150, 900) * (size / 320) ** 2)
    radii = _radii(random, count)
    hues = _hues(random, 2 * count, colours)
    for radius, first, second in zip(radii, hues[:count], hues[count:], strict=True):
        _paint(random, canvas, radius, first, second)
    painted = Image.fromarray((np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8))
    return painted.filter(ImageFilter.GaussianBlur(float(random.choice((0.4, 0.6, 0.9, 1.4)))))


def draw_missing(
    folder: Path, count: int, size: int, seed: Sequence[int], colours: Array | None = None
) -> list[Path]:
    """The first `count` images of a seed, as PNG files in `folder`; those that are not there are
    drawn. Raises UserError where it cannot be written to."""
    paths = [folder / f"leaves_{number:06}.png" for number in range(count)]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    for number in tqdm(missing, "drawing leaves", unit="image", delay=2, leave=False):
        with files.replacing(paths[number]) as temporary:
            image((*seed, number), size, colours).save(temporary, "PNG", compress_level=1)
    return paths


def _radii(random: np.random.Generator, count: int) -> Array:
    """(count,) in pixels, in the order of painting: large ones first, with exceptions."""
    power = 1 - random.uniform(2.2, 3.0)
    least = random.choice((2.0, 4.0, 8.0))
    share = random.random(count)
    radii = (LARGEST**power + (least**power - LARGEST**power) * share) ** (1 / power)
    large = min(count, max(6, count // 40))  # which cover the ground
    radii[:large] = np.exp(random.uniform(np.log(60), np.log(LARGEST), large))
    return radii[np.argsort(-radii * np.exp(random.normal(0, 0.8, count)))]


def _hues(random: np.random.Generator, count: int, colours: Array | None) -> Array:
    """(count,3): pixels of a photo, or colours around a random one; channels at times swapped."""
    if colours is not None and random.random() < 0.6:
        # A stretch of the pixels: those of one photo or two.
        start = random.integers(len(colours))
        places = start + random.integers(0, max(1, len(colours) // 8), count)
        hues = colours[places % len(colours)]
    else:
        spread = random.normal(0, 0.25, (count, 3)) * random.uniform(0.2, 1, 3)
        grey = random.normal(0, 0.2, (count, 1))
        hues = np.clip(random.uniform(0, 1, 3) + spread + grey, 0, 1)
    return hues[:, random.permutation(3)] if random.random() < 0.3 else hues


def _ground(random: np.random.Generator, size: int) -> Array:
    """(size,size,3): a shaded, cloudy ground."""
    first, second = random.uniform(0, 1, (2, 3))
    shade = _shade(random.uniform(0, 2 * np.pi), np.arange(size) / size, np.arange(size) / size)
    ground = first + (second - first) * shade + 0.03 * _textures()[-1][:size, :size, None]
    return ground.astype(np.float32)


def _shade(angle: float, down: Any, right: Any) -> Any:
    """(len(down),len(right),1) in [0,1]: a linear slope."""
    slope = 0.5 + np.cos(angle) * (right[None] - 0.5) + np.sin(angle) * (down[:, None] - 0.5)
    return np.clip(slope, 0, 1).astype(np.float32)[..., None]


def _outline(random: np.random.Generator, radius: float) -> Array:
    """(corners,2): x and y around the middle of a disc, a polygon or a blob."""
    kind = random.integers(4)
    if kind == 1:
        angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 7)))
    else:
        angles = np.linspace(0, 2 * np.pi, 24 if radius < 12 else 72, endpoint=False)
    reach = np.ones_like(angles)
    if kind > 1:
        for height, lowest, highest in ((0.3 * random.uniform(), 2, 5), (0.15, 4, 11)):
            waves, phase = random.integers(lowest, highest), random.uniform(0, 2 * np.pi)
            reach = reach + height * np.sin(waves * angles + phase)
    x, y = reach * np.cos(angles), reach * np.sin(angles) * random.uniform(0.2, 1)
    turn = random.uniform(0, 2 * np.pi)
    turned = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    return radius * np.stack(turned, axis=1)


def _paint(
    random: np.random.Generator, canvas: Array, radius: float, first: Array, second: Array
) -> None:
    """Paints a leaf of two colours somewhere onto `canvas`."""
    size = len(canvas)
    middle = random.uniform(-0.3 * radius, size + 0.3 * radius, 2)
    corners = _outline(random, radius) + middle
    left, top = np.maximum(corners.min(axis=0), 0).astype(int)
    right, bottom = np.minimum(corners.max(axis=0) + 2, size).astype(int)
    if right <= left or bottom <= top:
        return
    place = np.s_[top:bottom, left:right]
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).polygon([tuple(corner) for corner in corners - (left, top)], fill=255)
    if radius > 6 and random.random() < 0.3:
        mask = mask.filter(ImageFilter.GaussianBlur(float(random.uniform(0.5, min(6, radius / 4)))))
    cover = np.asarray(mask, np.float32)[..., None] / 255
    if random.random() < 0.7:
        second = first * random.uniform(0.6, 1.2)
    down = (np.arange(top, bottom) - middle[1]) / (2 * radius) + 0.5
    across = (np.arange(left, right) - middle[0]) / (2 * radius) + 0.5
    colour = first + (second - first) * _shade(random.uniform(0, 2 * np.pi), down, across)
    row, column = random.integers(0, TEXTURE - size + 1, 2)
    texture = _textures()[random.integers(len(_textures()))]
    texture = texture[row + top : row + bottom, column + left : column + right, None]
    colour = colour + min(random.exponential(0.05), 0.2) * texture
    canvas[place] += cover * (colour - canvas[place])


@functools.cache
def _textures() -> Array:
    """(textures,TEXTURE,TEXTURE) of mean 0 and deviation 1, with power spectra of EXPONENTS in each
    of STRETCHES, the grains in any direction; the last one is clouds."""
    random = np.random.default_rng(0)
    rows, columns = np.meshgrid(*2 * [np.fft.fftfreq(TEXTURE)], indexing="ij")
    textures = []
    for stretch in reversed(STRETCHES):
        for exponent in EXPONENTS:
            angle = random.uniform(0, np.pi)
            along = rows * np.sin(angle) + columns * np.cos(angle)
            across = rows * np.cos(angle) - columns * np.sin(angle)
            distance = np.hypot(along * stretch, across)
            distance[0, 0] = 1
            real, imaginary = random.standard_normal((2, TEXTURE, TEXTURE))
            spectrum = (real + 1j * imaginary) * distance ** (-exponent / 2)
            texture = np.fft.ifft2(spectrum).real
            textures.append((texture - texture.mean()) / texture.std())
    return np.asarray(textures, np.float32)
