import hashlib
import json
import shutil
import urllib.error

import jax
import numpy as np
import pytest
from weight_files import zip_pth

from cdjax import weights
from cdjax._errors import InputError
from cdjax.weights import _fetch as fetching


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    state = {
        "features.0.weight": rng.normal(size=(64, 3, 3, 3)).astype(np.float32),
        "features.0.bias": rng.normal(size=64).astype(np.float32),
    }
    return zip_pth(tmp_path / "small.pth", state)


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_round_trip(tmp_path, source):
    store = tmp_path / "store"
    folder = weights.convert(source, directory=store)
    params = weights.load_params("vgg19", directory=store)
    equal(params, weights.load_params(source))
    equal(params, weights.load_params(folder))
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(params))
    (manifest,) = weights.list_weights(store)
    assert manifest.source_file == "small.pth"
    np.testing.assert_allclose(manifest.mean, [123.675, 116.28, 103.53], rtol=1e-6)
    weights.convert(source, directory=store)  # replaces
    weights.convert(source, directory=store, name="other")
    assert [m.name for m in weights.list_weights(store)] == ["other", "vgg19"]
    assert {path.name for path in store.iterdir()} == {"other", "vgg19"}


def test_weights_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("CDJAX_WEIGHTS", str(tmp_path / "here"))
    assert weights.weights_dir() == tmp_path / "here"
    monkeypatch.delenv("CDJAX_WEIGHTS")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.weights_dir() == tmp_path / "cdjax" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.weights_dir().parts[-3:] == (".cache", "cdjax", "weights")
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert weights.weights_dir() == tmp_path / "local" / "cdjax" / "weights"


def test_unknown_names(tmp_path, source):
    weights.convert(source, directory=tmp_path / "store")
    with pytest.raises(InputError, match="no weights 'vgg_m'.* holds vgg19; convert"):
        weights.load_params("vgg_m", directory=tmp_path / "store")
    with pytest.raises(InputError, match="holds nothing"):
        weights.load_params("vgg19", directory=tmp_path / "empty")
    for name in ("", "a/b", "..", ".hidden"):
        with pytest.raises(InputError, match="cannot name"):
            weights.convert(source, name=name, directory=tmp_path / "store")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:40], "unreadable manifest"),
        (lambda raw: "[]", "expected the fields"),
        (lambda raw: json.dumps(json.loads(raw) | {"mean": "x"}), "mean is 'x'"),
        (lambda raw: json.dumps(json.loads(raw) | {"version": 9}), "version 9"),
        (
            lambda raw: json.dumps(json.loads(raw) | {"arrays_sha256": "0" * 64}),
            "differ from the manifest",
        ),
    ],
)
def test_damaged_manifest(tmp_path, source, change, message):
    folder = weights.convert(source, directory=tmp_path)
    path = folder / "manifest.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message):
        weights.load_params("vgg19", directory=tmp_path)


def test_damaged_checkpoint(tmp_path, source):
    folder = weights.convert(source, directory=tmp_path)
    files = [p for p in (folder / "params").rglob("*") if p.is_file()]
    assert files
    for path in files:
        raw = path.read_bytes()
        for damaged in (b"", raw[:-1], bytes([raw[0] ^ 1]) + raw[1:]):
            path.write_bytes(damaged)
            with pytest.raises(InputError, match="damaged checkpoint.*convert the"):
                weights.load_params(folder)
        path.write_bytes(raw)
    weights.load_params(folder)
    shutil.rmtree(folder / "params")
    with pytest.raises(InputError, match="damaged checkpoint"):
        weights.load_params(folder)


def test_a_checkpoint_that_orbax_refuses(tmp_path, source):
    folder = weights.convert(source, directory=tmp_path)
    shutil.rmtree(folder / "params")
    path = folder / "manifest.json"
    nothing = hashlib.sha256().hexdigest()
    raw = json.loads(path.read_text()) | {"files_sha256": nothing}
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match="damaged checkpoint"):
        weights.load_params(folder)


def test_sources_are_complete():
    known = weights.known_sources()
    assert {s.network for s in known.values()} == {
        "vgg19",
        "vgg_m",
        "squeezenet",
        "squeezenet1_1",
        "colornames",
    }
    for source in known.values():
        assert source.url.endswith(source.file)
        assert source.licence
        if "pytorch.org" in source.url:
            assert source.file.endswith(f"-{source.sha256}.pth")


def test_fetch(tmp_path, source, monkeypatch):
    with pytest.raises(InputError, match="choose from vgg19"):
        weights.fetch("resnet", directory=tmp_path)

    def offline(url, timeout):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(fetching.urllib.request, "urlopen", offline)
    with pytest.raises(InputError) as caught:
        weights.fetch("vgg19", directory=tmp_path / "store")
    for part in (
        "vgg19-dcbb9e9d.pth",
        "https://download.pytorch.org/",
        "cdjax weights convert",
        "store",
    ):
        assert part in str(caught.value)
    monkeypatch.setattr(fetching.urllib.request, "urlopen", lambda url, timeout: source.open("rb"))
    with pytest.raises(InputError, match="expected sha256 dcbb9e9d"):
        weights.fetch("vgg19", directory=tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []
    known = weights.known_sources()
    fake = {"vgg19": known["vgg19"]._replace(sha256="")}
    monkeypatch.setattr(fetching, "known_sources", lambda: fake)
    assert weights.fetch("vgg19", directory=tmp_path / "store").name == "vgg19"
    equal(
        weights.load_params("vgg19", directory=tmp_path / "store"),
        weights.load_params(source),
    )
