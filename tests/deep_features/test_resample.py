import jax.numpy as jnp
import numpy as np
import pytest

from cdjax.deep_features import resize


def reference(line, size):
    """One axis by the definition, in float64."""
    old, scale = len(line), size / len(line)
    out = np.zeros(size)
    for j in range(size):
        if old > size:
            for i in range(old):
                share = min(i + 1, (j + 1) / scale) - max(i, j / scale)
                if share > 1e-3:
                    out[j] += scale * share * line[i]
        else:
            source = (j + 0.5) / scale - 0.5
            source = min(max(source, 0), old - 1)
            low = int(source)
            high = min(low + 1, old - 1)
            out[j] = line[low] + (source - low) * (line[high] - line[low])
    return out


@pytest.mark.parametrize("size", [1, 3, 4, 6, 7, 12, 13, 24, 31])
def test_each_axis_matches_the_definition(size):
    maps = np.random.default_rng(0).normal(size=(2, 12, 12, 3))
    rows = np.apply_along_axis(reference, 1, maps, size)
    both = np.apply_along_axis(reference, 2, rows, 5)
    maps = jnp.asarray(maps, jnp.float32)
    np.testing.assert_allclose(resize(maps, (size, 12)), rows, atol=2e-6)
    np.testing.assert_allclose(resize(maps, (size, 5)), both, atol=2e-6)
    np.testing.assert_allclose(
        resize(maps.transpose(0, 2, 1, 3), (5, size)).transpose(0, 2, 1, 3),
        both,
        atol=2e-6,
    )


def test_whole_ratios_are_block_means():
    maps = np.random.default_rng(1).normal(size=(1, 6, 8, 2)).astype(np.float32)
    expected = maps.reshape(1, 3, 2, 2, 4, 2).mean((2, 4))
    np.testing.assert_allclose(resize(jnp.asarray(maps), (3, 2)), expected, atol=1e-6)


def test_constants_stay():
    maps = jnp.full((1, 9, 5, 1), 3.0)
    np.testing.assert_allclose(resize(maps, (7, 11)), 3.0, rtol=1e-3)
    assert resize(maps, (9, 5)) is maps


def test_one_cell_spreads():
    np.testing.assert_array_equal(resize(jnp.ones((1, 1, 1, 2)), (3, 4)), 1.0)
