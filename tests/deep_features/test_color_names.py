import jax.numpy as jnp
import numpy as np
import pytest

from cdjax import weights
from cdjax._errors import InputError
from cdjax.deep_features import (
    cell_means,
    color_names,
    fhog,
    intensity_channels,
    normalise_energy,
)


@pytest.fixture(scope="module")
def published(data_dir):
    pytest.importorskip("scipy.io")
    return weights.load_params(data_dir / "weights/CNnorm.mat")


def images_of(array):
    """Float images [n, H, W, channels] of one image or several."""
    array = jnp.asarray(array, jnp.float32)
    return array[None, ..., None] if array.ndim == 2 else array[None]


@pytest.mark.data
@pytest.mark.parametrize("name", ["crossing", "diving"])
def test_colour_names_match_the_oracle(parity_dir, published, name):
    with np.load(parity_dir / "colornames.npz") as oracle:
        image = images_of(oracle[f"{name}_image"])
        pixels = color_names(published, image, cell=1)[0]
        np.testing.assert_array_equal(pixels, oracle[f"{name}_cn"])
        cells = color_names(published, image)[0]
        np.testing.assert_allclose(cells, oracle[f"{name}_cn_cell4_exact"], atol=1e-6)
        np.testing.assert_allclose(cells, oracle[f"{name}_cn_cell4"], atol=2e-5)


@pytest.mark.data
def test_the_formula_gives_the_intensity_table(parity_dir):
    with np.load(parity_dir / "colornames.npz") as oracle:
        levels = jnp.arange(256.0).reshape(1, 1, 256, 1)
        table = intensity_channels(levels, cell=1)[0, 0]
        np.testing.assert_allclose(table, oracle["ic_table"], atol=4e-7)
        cells = intensity_channels(images_of(oracle["jumping_gray_image"]))[0]
        np.testing.assert_allclose(cells, oracle["jumping_gray_ic_cell4_exact"], atol=5e-7)


@pytest.mark.data
@pytest.mark.parametrize("name", ["Crossing", "Jumping"])
def test_blocks_of_eco_match_the_oracle(parity_dir, published, name):
    with np.load(parity_dir / f"eco_hc_{name}.npz") as oracle:
        patches = jnp.asarray(oracle["patch"][:2], jnp.float32)
        expected = [
            np.stack([oracle[f"feat_first_{i}"], oracle[f"feat_second_{i}"]]) for i in (0, 1)
        ]
    fine = color_names(published, patches) if name == "Crossing" else intensity_channels(patches)
    found = [normalise_energy(maps) for maps in (fine, fhog(patches, cell=6))]
    # The oracle averages cells by a float32 integral image.
    np.testing.assert_allclose(found[0], expected[0], atol=2e-4 * np.abs(expected[0]).max())
    # The oracle's FHOG approximates roots: pixels that change their bin move single cells.
    difference = np.abs(found[1] - expected[1])
    assert np.sqrt((difference**2).mean()) < 0.02
    assert (difference > 1e-2).mean() < 0.015


def test_colour_index():
    table = jnp.arange(32768.0)[:, None] * jnp.ones((1, 10))
    pixels = jnp.array([[0, 0, 0], [8, 0, 0], [0, 16, 0], [7.4, 255, 24], [7.6, -3, 300]])
    expected = [0, 1, 64, 31 * 32 + 3 * 1024, 1 + 31 * 1024]
    found = color_names({"table": table}, pixels.reshape(1, 1, 5, 3), cell=1)
    np.testing.assert_array_equal(found[0, 0, :, 0], expected)


@pytest.mark.parametrize("params", [{}, {"table": jnp.zeros((32768, 11))}, {"conv1": {}}, None])
def test_a_missing_table_says_how_to_get_it(params):
    with pytest.raises(InputError, match="cdjax weights convert CNnorm.mat") as caught:
        color_names(params, jnp.zeros((1, 8, 8, 3)))
    assert "\n" not in str(caught.value)


def test_cells_are_means_and_leave_out_what_does_not_fit():
    maps = np.random.default_rng(0).normal(size=(2, 11, 14, 3)).astype(np.float32)
    found = cell_means(jnp.asarray(maps), cell=4)
    assert found.shape == (2, 2, 3, 3)
    expected = [
        [maps[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean((1, 2)) for j in range(3)]
        for i in range(2)
    ]
    np.testing.assert_allclose(found, np.moveaxis(expected, 2, 0), atol=1e-6)


def test_normalised_blocks_have_mean_square_one():
    maps = np.random.default_rng(0).normal(size=(3, 5, 6, 4)).astype(np.float32)
    maps *= np.array([1e-3, 1, 1e3], np.float32)[:, None, None, None]
    found = normalise_energy(jnp.asarray(maps))
    np.testing.assert_allclose((found**2).mean((1, 2, 3)), 1, rtol=1e-5)
    flat = normalise_energy(jnp.zeros((1, 4, 4, 2)))
    np.testing.assert_array_equal(flat, jnp.zeros((1, 4, 4, 2)))
