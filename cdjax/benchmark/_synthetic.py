"""A short video with exact boxes, rendered from a seed: no files, no network.

Frame t depends on the seed and t only, so a longer video starts with the shorter one.
All motion has a period of 120 frames:

  everywhere  the camera pans, sensor noise; the target moves along a figure of eight
              and changes its size between 0.8 and 1.3 of that in the first frame
  13 .. 26    a distractor of the same colours and shape crosses behind the target
  38 .. 51    the other distractor does
  64 .. 79    the target passes behind a post that hides up to 0.43 of its width
              (and again at 102 .. 115)
  80 .. 102   the light goes down to about a half and turns yellow, with a gradient
              across
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

PERIOD = 120
"""Frames after which motion, occlusion and light repeat."""


class _Scene(NamedTuple):
    """The seed's draws; everything else follows from the frame index."""

    hw: tuple[int, int]
    unit: float  # px of the frame for each px of the 240x320 design
    mirror: float  # 1 or -1: direction of the horizontal motion
    background: np.ndarray
    target: np.ndarray
    distractors: tuple[np.ndarray, np.ndarray]
    post: np.ndarray
    seed: int


def synthetic_frames(
    num_frames: int = 120, hw: tuple[int, int] = (240, 320), seed: int = 0
) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], Float[np.ndarray, "4"]]]:
    """Yields the frames of the synthetic video one by one.

    Args:
      num_frames: length; frame t is the same for every length.
      hw: size of a frame, px; the scene scales with the smaller side.
      seed: decides the textures, the colours and the direction of motion.

    Yields:
      The frame, RGB, and the target's box (x, y, w, h), corner index from 0. The box is
      exact (sub-pixel) and covers the whole target where it is partly hidden.
    """
    scene = _make_scene(hw, seed)
    for t in range(num_frames):
        yield _render(scene, t), _target_box(scene, t)


def synthetic_video(
    num_frames: int = 120, hw: tuple[int, int] = (240, 320), seed: int = 0
) -> tuple[UInt8[np.ndarray, "t H W 3"], Float[np.ndarray, "t 4"]]:
    """Renders the synthetic video whole; `synthetic_frames` yields the same one by one.

    Args:
      num_frames: length; frame t is the same for every length.
      hw: size of a frame, px; the scene scales with the smaller side.
      seed: decides the textures, the colours and the direction of motion.

    Returns:
      Frames, RGB, and boxes (x, y, w, h), corner index from 0.
    """
    frames = np.zeros((num_frames, *hw, 3), np.uint8)
    boxes = np.zeros((num_frames, 4), np.float32)
    for t, (frame, box) in enumerate(synthetic_frames(num_frames, hw, seed)):
        frames[t], boxes[t] = frame, box
    return frames, boxes


def _angle(t: int) -> float:
    return 2 * np.pi * t / PERIOD


def _target_box(scene: _Scene, t: int) -> np.ndarray:
    """Box of the target at frame t."""
    a = _angle(t)
    low, high = np.log(0.8), np.log(1.3)
    middle, swing = (low + high) / 2, (high - low) / 2
    scale = np.exp(middle + swing * np.sin(a + np.arcsin(-middle / swing)))
    centre = _place(scene, 0.26 * np.sin(a), 0.16 * np.sin(2 * a + 0.6))
    size = np.array([42.0, 52.0]) * scene.unit * scale
    return np.concatenate([centre - (size - 1) / 2, size]).astype(np.float32)


def _distractor_box(scene: _Scene, t: int, index: int) -> np.ndarray:
    """Box of a distractor; each crosses behind the target once in a period."""
    a = _angle(t)
    if index == 0:
        x, y = 0.36 * np.cos(a + 6.05), -0.05 + 0.26 * np.cos(a + 4.6)
        size = np.array([44.0, 50.0]) * scene.unit
    else:
        x, y = 0.3 * np.cos(a + 2.96), 0.01 + 0.26 * np.cos(a + 1.21)
        size = np.array([40.0, 54.0]) * scene.unit
    centre = _place(scene, x, y)
    return np.concatenate([centre - (size - 1) / 2, size]).astype(np.float32)


def _post_box(scene: _Scene, t: int) -> np.ndarray:
    """Box of the post that hides part of the target; it stands still in the frame."""
    centre = _place(scene, -0.14, 0.0)
    size = np.array([16.0 * scene.unit, 2.0 * scene.hw[0]])
    return np.concatenate([centre - (size - 1) / 2, size]).astype(np.float32)


def _place(scene: _Scene, x: float, y: float) -> np.ndarray:
    """Pixel position of an offset from the frame's centre, in widths and heights."""
    h, w = scene.hw
    x = scene.mirror * x
    return np.array([(w - 1) / 2 + x * 320 * scene.unit, (h - 1) / 2 + y * 240 * scene.unit])


def _render(scene: _Scene, t: int, *, with_target: bool = True) -> np.ndarray:
    """Draws frame t; the noise is the same with and without the target."""
    import cv2

    h, w = scene.hw
    a = _angle(t)
    pan = np.array([18 * np.sin(a + 1), 12 * np.cos(a)]) * scene.unit
    margin = 20 * scene.unit
    shift = np.eye(2, 3, dtype=np.float32)
    shift[:, 2] = pan + margin
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpAffine(
        scene.background, shift, (w, h), flags=flags, borderMode=cv2.BORDER_REFLECT
    )
    for index, texture in enumerate(scene.distractors):
        _paste(image, texture, _distractor_box(scene, t, index), corner=0.35)
    if with_target:
        _paste(image, scene.target, _target_box(scene, t), corner=0.35)
    _paste(image, scene.post, _post_box(scene, t), corner=0.0)
    image = image * _light(scene, t)
    rng = np.random.default_rng([scene.seed, t])
    image += rng.standard_normal(image.shape, dtype=np.float32) * 2.5
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _light(scene: _Scene, t: int) -> np.ndarray:
    """Gain of every pixel and colour: 1, or a yellow dusk with a gradient across."""
    h, w = scene.hw
    depth = _smooth_bump(t % PERIOD, 79, 103)
    tint = np.array([0.58, 0.5, 0.38], np.float32)
    slope = np.linspace(-0.12, 0.12, w, dtype=np.float32)[None, :, None]
    dusk = tint[None, None, :] + slope
    return np.broadcast_to(1 - depth * (1 - dusk), (h, w, 3)).astype(np.float32)


def _smooth_bump(t: int, start: int, stop: int, *, ramp: int = 7) -> float:
    """0 outside (start, stop), 1 inside, half-cosine ramps."""
    rise = np.clip(min(t - start, stop - t) / ramp, 0, 1)
    return float(0.5 - 0.5 * np.cos(np.pi * rise))


def _paste(image: np.ndarray, texture: np.ndarray, box: np.ndarray, *, corner: float) -> None:
    """Draws a texture into a box, in place: rounded corners, anti-aliased, sub-pixel.

    The box covers the continuous area [x - 0.5, x - 0.5 + w] (pixel i covers i -+ 0.5).
    """
    import cv2

    h, w = image.shape[:2]
    centre, half = box[:2] + (box[2:] - 1) / 2, box[2:] / 2
    low = np.clip(np.floor(centre - half - 1), 0, [w, h]).astype(int)
    high = np.clip(np.ceil(centre + half + 2), 0, [w, h]).astype(int)
    if (high <= low).any():
        return
    x = np.arange(low[0], high[0], dtype=np.float32)[None, :] - np.float32(centre[0])
    y = np.arange(low[1], high[1], dtype=np.float32)[:, None] - np.float32(centre[1])
    radius = np.float32(corner * 2 * half.min())
    dx, dy = np.abs(x) - (half[0] - radius), np.abs(y) - (half[1] - radius)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    distance = outside + np.minimum(np.maximum(dx, dy), 0) - radius
    alpha = np.clip(0.5 - distance, 0, 1)[..., None]
    size = np.array(texture.shape[1::-1], np.float32)
    grid = np.broadcast_arrays(
        (x / half[0] + 1) / 2 * size[0] - 0.5, (y / half[1] + 1) / 2 * size[1] - 0.5
    )
    look = cv2.remap(
        texture,
        np.ascontiguousarray(grid[0], np.float32),
        np.ascontiguousarray(grid[1], np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    area = image[low[1] : high[1], low[0] : high[0]]
    area[...] = alpha * look + (1 - alpha) * area


def _make_scene(hw: tuple[int, int], seed: int) -> _Scene:
    """Draws textures and colours from the seed."""
    rng = np.random.default_rng(seed)
    h, w = hw
    unit = min(h / 240, w / 320)
    margin = int(np.ceil(40 * unit)) + 1
    palette = _palette(rng)
    background = _blobs(rng, (h + margin, w + margin), palette[2:], sigma=7 * unit)
    fine = _noise(rng, background.shape[:2], sigma=1.2 * unit)[..., None]
    background = np.clip(background + 14 * fine, 0, 255)
    grain = _noise(rng, (max(2 * h, 2), 32), sigma=2.0)[..., None]
    return _Scene(
        hw=hw,
        unit=unit,
        mirror=float(rng.choice([-1.0, 1.0])),
        background=background.astype(np.float32),
        target=_toy(rng, palette),
        distractors=(_toy(rng, palette), _toy(rng, palette)),
        post=np.clip(palette[4] * 0.6 + 18 * grain, 0, 255).astype(np.float32),
        seed=seed,
    )


def _palette(rng: np.random.Generator) -> np.ndarray:
    """Six colours, RGB: two of the toys, four of the ground (one of them the toys')."""
    import colorsys

    hue = rng.uniform()
    rgb = [
        colorsys.hsv_to_rgb(hue, 0.75, 0.9),
        colorsys.hsv_to_rgb((hue + 0.12) % 1, 0.55, 0.45),
        colorsys.hsv_to_rgb((hue + 0.35) % 1, 0.35, 0.6),
        colorsys.hsv_to_rgb((hue + 0.5) % 1, 0.3, 0.4),
        colorsys.hsv_to_rgb((hue + 0.6) % 1, 0.25, 0.75),
        colorsys.hsv_to_rgb(hue, 0.45, 0.65),
    ]
    return 255 * np.array(rgb, np.float32)


def _toy(rng: np.random.Generator, palette: np.ndarray) -> np.ndarray:
    """Texture of a target or distractor: two-coloured blobs, a stripe and two eyes."""
    import cv2

    h, w = 104, 84
    image = _blobs(rng, (h, w), palette[:2], sigma=9.0)
    light, dark = (240.0, 240.0, 230.0), (25.0, 25.0, 30.0)
    for _ in range(2):
        centre = (int(rng.integers(14, w - 14)), int(rng.integers(14, h - 14)))
        cv2.circle(image, centre, 10, light, -1, cv2.LINE_AA)
        cv2.circle(image, centre, 5, dark, -1, cv2.LINE_AA)
    ends = rng.integers(0, h, 2)
    cv2.line(image, (0, int(ends[0])), (w, int(ends[1])), light, 6, cv2.LINE_AA)
    image = np.clip(image + 10 * _noise(rng, (h, w), sigma=1.5)[..., None], 0, 255)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def _blobs(
    rng: np.random.Generator, hw: tuple[int, int], colours: np.ndarray, *, sigma: float
) -> np.ndarray:
    """Patches of the colours, soft edges: at each pixel the strongest noise wins."""
    noise = np.stack([_noise(rng, hw, sigma=sigma) for _ in colours])
    weight = np.exp(6 * (noise - noise.max(0)))
    weight /= weight.sum(0)
    return np.tensordot(weight, colours, axes=(0, 0)).astype(np.float32)


def _noise(rng: np.random.Generator, hw: tuple[int, int], *, sigma: float) -> np.ndarray:
    """Smooth noise of mean 0 and standard deviation 1."""
    import cv2

    noise = rng.standard_normal(hw, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), max(sigma, 0.3))
    return (noise - noise.mean()) / (noise.std() + 1e-6)
