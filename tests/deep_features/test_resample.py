import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import deep_features
from cdjax.deep_features import LARGEST_REGION

resize = jax.jit(deep_features.resize, static_argnums=1)
cut_region = jax.jit(deep_features.cut_region, static_argnames="out_hw")


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
    assert deep_features.resize(maps, (9, 5)) is maps


def test_one_cell_spreads():
    np.testing.assert_array_equal(resize(jnp.ones((1, 1, 1, 2)), (3, 4)), 1.0)


@pytest.mark.parametrize("out_hw", [(3, 4), (7, 5), (12, 9), (31, 20)])
def test_the_whole_region_is_the_resized_map(out_hw):
    maps = jnp.asarray(np.random.default_rng(2).normal(size=(12, 9, 3)), jnp.float32)
    whole = cut_region([maps], jnp.zeros(2), jnp.ones(2), out_hw=out_hw)
    np.testing.assert_allclose(whole, resize(maps[None], out_hw)[0], atol=5e-6)


def region(line, size, shift, share):
    """One axis by the definition in float64: means of the line, its ends drawn out."""
    old = len(line)
    cell = share * old / size
    half = max(cell, 1) / 2
    middles = old / 2 + shift * old + (np.arange(size) - (size - 1) / 2) * cell
    fine = 1 + 2 * np.arange(2000)[None] / 2000 - 1  # midpoints of slices, from 0 to 2
    places = middles[:, None] + (fine + 1 / 2000 - 1) * half
    return line[np.floor(places).astype(int).clip(0, old - 1)].mean(1)


@pytest.mark.parametrize("size", [3, 8, 17])
def test_regions_are_means_of_what_their_cells_cover(size):
    line = np.random.default_rng(3).normal(size=16)
    maps = jnp.asarray(np.outer(line, np.ones(2))[:, :, None], jnp.float32)
    for shift, share in itertools.product((0.0, 0.13, -0.4), (0.9, 1.45)):
        where = jnp.array([shift, 0.0]), jnp.array([share, 1.0])
        found = cut_region([maps], *where, out_hw=(size, 2))
        np.testing.assert_allclose(found[:, 0, 0], region(line, size, shift, share), atol=5e-3)
        turned = [x[::-1] for x in where]
        turned = cut_region([maps.transpose(1, 0, 2)], *turned, out_hw=(2, size))
        np.testing.assert_allclose(turned, found.transpose(1, 0, 2), atol=1e-6)


def test_a_region_may_lie_outside():
    maps = jnp.arange(16, dtype=jnp.float32).reshape(4, 4, 1)
    for far in (9.0, 1e8):
        outside = cut_region([maps], jnp.array([-2.0, far]), jnp.ones(2), out_hw=(4, 4))
        np.testing.assert_array_equal(outside, 3.0)


def test_a_region_is_cut_to_the_largest():
    maps = jnp.asarray(np.random.default_rng(4).normal(size=(12, 9, 2)), jnp.float32)
    cut = lambda size: cut_region([maps], jnp.zeros(2), jnp.array(size), out_hw=(6, 5))
    largest = cut([LARGEST_REGION] * 2)
    np.testing.assert_array_equal(cut([7.0, LARGEST_REGION]), largest)
    assert float(jnp.ptp(largest[0])) > 0


def test_regions_of_lanes_under_jit_are_those_of_each():
    # On a CPU they are then cut strip by strip.
    rng = np.random.default_rng(5)
    maps = jnp.asarray(rng.normal(size=(2, 12, 9, 3)), jnp.float32)
    shift, size = jnp.asarray(rng.normal(size=(2, 2)) / 8), jnp.ones((2, 2)).at[0].set(0.7)
    # Of two layers, side by side.
    plain = functools.partial(deep_features.cut_region, out_hw=(6, 5))
    cut = lambda maps, *where: plain([maps[..., :1], maps[..., 1:]], *where)
    lanes = jax.jit(jax.vmap(cut))(maps, shift, size)
    for lane, *arguments in zip(lanes, maps, shift, size, strict=True):
        whole, *where = arguments
        np.testing.assert_allclose(lane, plain([whole], *where), atol=1e-5)
    slope = jax.jit(jax.grad(lambda maps: cut(maps, shift[0], size[0]).sum()))(maps[0])
    np.testing.assert_allclose(slope.sum(), 3 * 6 * 5, rtol=1e-5)
