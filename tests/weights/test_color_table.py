import numpy as np
import pytest

from cdjax import weights
from cdjax._errors import InputError
from cdjax.weights._convert import convert_file

scipy_io = pytest.importorskip("scipy.io")


def table(shape=(32768, 10)):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_a_table_is_stored_under_its_name(tmp_path):
    scipy_io.savemat(tmp_path / "names.mat", {"CNnorm": table(), "inputType": "uint8"})
    store = tmp_path / "store"
    folder = weights.convert(tmp_path / "names.mat", directory=store)
    assert folder == store / "colornames"
    params = weights.load_params("colornames", directory=store)
    assert params.keys() == {"table"}
    np.testing.assert_array_equal(params["table"], table())
    (manifest,) = weights.list_weights(store)
    assert (manifest.network, manifest.deepest_layer) == ("colornames", "table")
    # A name of one's own is found by the network's too.
    weights.convert(tmp_path / "names.mat", name="mine", directory=store)
    (store / "colornames").rename(tmp_path / "elsewhere")
    assert weights.load_params("colornames", directory=store)["table"].shape == (32768, 10)
    np.testing.assert_array_equal(weights.load_params(tmp_path / "names.mat")["table"], table())


def test_bad_tables(tmp_path):
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, {"w2c": table((32768, 11))})
    with pytest.raises(InputError, match="found w2c; use .* 32768 x 10 colour names"):
        convert_file(path)
    scipy_io.savemat(path, {"CNnorm": np.full((32768, 10), np.nan, np.float32)})
    with pytest.raises(InputError, match="not finite"):
        convert_file(path)
    scipy_io.savemat(path, {"CNnorm": table()})
    assert convert_file(path, network="colornames").table.name == "colornames"
    with pytest.raises(InputError, match="no vgg_m is known in a color_table file"):
        convert_file(path, network="vgg_m")


@pytest.mark.data
def test_the_published_table(data_dir, parity_dir):
    converted = convert_file(data_dir / "weights/CNnorm.mat")
    found = converted.params["table"]
    with np.load(parity_dir / "colornames.npz") as oracle:
        rows = oracle["cn_table_rows_index"]
        np.testing.assert_array_equal(found[rows], oracle["cn_table_rows"])
        sums = oracle["cn_table_column_sums"]
    np.testing.assert_allclose(found.sum(0, dtype=np.float64), sums, rtol=1e-4, atol=0.1)
    assert converted.sha256 == weights.known_sources()["colornames"].sha256
