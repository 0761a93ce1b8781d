import numpy as np
import pytest

from cdjax.crop import (
    DEEP_SAMPLE_PX,
    SCALE_MODEL_CELLS,
    base_scale,
    choose_cell_size,
    choose_input_size,
    choose_scale_cells,
)


def test_base_scale_keeps_the_area_in_its_limits():
    for wh in ((3, 5), (20, 60), (40, 45), (300, 200)):
        scale, side = base_scale(wh, area_scale=4.0, min_px=150, max_px=200)
        assert 150 <= side <= 200
        np.testing.assert_allclose(scale * side, 4 * np.sqrt(wh[0] * wh[1]))
    assert base_scale((40, 45))[0] == 1


def test_base_scale_of_the_oracle():
    # Crossing and Jumping of the parity files.
    np.testing.assert_allclose(base_scale((17, 50))[0], 0.77746025, rtol=1e-7)
    np.testing.assert_allclose(base_scale((34, 33))[0], 0.89323383, rtol=1e-7)


@pytest.mark.parametrize(
    ("low", "high", "size", "odd"),
    [
        (150, 162, 164, (27, 41)),
        (162, 174, 174, (29, 43)),
        (174, 186, 188, (31, 47)),
        (186, 198, 198, (33, 49)),
        (198, 200.001, 212, (35, 53)),
    ],
)
def test_five_sizes_of_hand_crafted_samples(low, high, size, odd):
    for side in np.linspace(low, high, 9, endpoint=False):
        assert choose_cell_size(side) == size
    assert (size // 6, size // 4) == odd


def relu5_side(n):
    """eco.md 3.1, rows of the network one by one."""
    conv1 = (n - 7) // 2 + 1
    pool1 = -(-(conv1 - 3) // 2) + 1
    conv2 = (pool1 - 3) // 2 + 1
    return -(-(conv2 - 3) // 2) + 1


def test_three_sizes_of_deep_samples():
    """Against the rule: raise the sample until relu5 has the next odd side."""
    found = set()
    for side in np.arange(200, 250.01, 0.25):
        n = int(np.floor(side + 0.5))
        wanted = relu5_side(n) + 1 + relu5_side(n) % 2
        while relu5_side(n) < wanted:
            n += 1
        assert choose_input_size(side, sizes=DEEP_SAMPLE_PX["vgg_m"]) == n
        found.add(n)
    assert found == set(DEEP_SAMPLE_PX["vgg_m"])
    assert choose_input_size(999, sizes=(217, 249)) == 249


def test_scale_models_follow_the_aspect():
    assert choose_scale_cells((50, 50)) == (5, 5)
    assert choose_scale_cells((17, 50)) == (9, 3)
    assert choose_scale_cells((60, 35)) == (4, 7)
    assert choose_scale_cells((900, 2)) == (3, 9)
    assert all(rows * cols * 16 <= 512 for rows, cols in SCALE_MODEL_CELLS)
