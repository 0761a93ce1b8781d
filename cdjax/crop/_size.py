"""Sizes of samples, chosen on the host from the first box; no arrays, no pixels."""

import math
from collections.abc import Sequence

import numpy as np

DEEP_SAMPLE_PX = {
    "vgg_m": (217, 249, 281),
    "vgg19": (208, 240, 272),
    "squeezenet": (211, 243, 275),
    "squeezenet1_1": (207, 239, 271),
}
"""Sides of the static samples of each network, px, all layers' supports within 4% of each other
between networks. VGG-M's are ECO's: relu5 has 13, 15 and 17 cells."""

SCALE_MODEL_CELLS = ((3, 9), (4, 7), (5, 5), (7, 4), (9, 3))
"""Rows and columns of the static models of the scale filter, cells: at most 512 px in cells of
4 px."""


def base_scale(
    wh: Sequence[float | int] | np.ndarray,
    *,
    area_scale: float = 4.0,
    min_px: float | int = 150.0,
    max_px: float | int = 200.0,
) -> tuple[float, float]:
    """Finds how far a first frame is reduced so that its square search region has a fair size.

    Args:
      wh: width and height of the first box, px.
      area_scale: side of the search region against the square root of the box's area.
      min_px: least side of the reduced region, px.
      max_px: largest side of the reduced region, px.

    Returns:
      The side of the region in the frame against the side of the reduced one, and the latter, px.

    References:
      [1] Danelljan et al., ECO, 2017, its `tracker.m`.
    """
    side = area_scale * math.sqrt(wh[0] * wh[1])
    reduced = 1.0 * min(max(side, min_px), max_px)
    return side / reduced, reduced


def choose_input_size(side_px: float | int, *, sizes: Sequence[int]) -> int:
    """Chooses a network's input: the least above the region's side, or the largest.

    Args:
      side_px: side of the reduced search region, as `base_scale` returns it.
      sizes: ascending static sizes, such as `DEEP_SAMPLE_PX["vgg_m"]`.

    Returns:
      The size, px.
    """
    return next((size for size in sizes if size > math.floor(side_px + 0.5)), sizes[-1])


def choose_cell_size(side_px: float | int, *, cells: Sequence[int] = (6, 4)) -> int:
    """Chooses the sample of hand-crafted blocks, which have an odd number of cells where possible.

    Args:
      side_px: side of the reduced search region, as `base_scale` returns it.
      cells: side of a cell of each block, px.

    Returns:
      The sample's side, px; one of 164, 174, 188, 198 and 212 for sides from 150 to 200 and the
      default cells.

    References:
      [1] Danelljan et al., ECO, 2017, its `init_features.m` ("odd_cells").
    """
    cell = max(cells)
    least = (1 + 2 * math.floor(side_px / (2 * cell) + 0.5)) * cell
    num_odd = lambda size: sum(size // cell % 2 for cell in cells)
    return max(range(least, least + cell), key=num_odd)


def choose_scale_cells(
    wh: Sequence[float | int] | np.ndarray, *, cells: Sequence[tuple[int, int]] = SCALE_MODEL_CELLS
) -> tuple[int, int]:
    """Chooses the scale filter's model: the one of nearest aspect.

    Args:
      wh: width and height of the first box, px.
      cells: rows and columns of the static models.

    Returns:
      Rows and columns of the model, cells.
    """
    aspect = math.log(wh[1] / wh[0])
    return min(cells, key=lambda hw: abs(math.log(hw[0] / hw[1]) - aspect))
