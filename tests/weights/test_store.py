import functools
import hashlib
import json
import shutil
import urllib.error

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weight_files import zip_pth

from cdjax import weights
from cdjax._errors import InputError
from cdjax.deep_features import Backbone, init_params
from cdjax.weights import _fetch as fetching
from cdjax.weights import _sources, _store


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
        (lambda raw: raw.replace('"conv1_1"', '"conv9_9"'), "no 'conv9_9' in a 'vgg19'"),
        (
            lambda raw: raw.replace('"vgg19",\n  "deep', '"hog",\n  "deep'),
            "no 'conv1_1' in a 'hog'",
        ),
        (lambda raw: raw.replace("123.67", "NaN, 0."), "mean is"),
        (lambda raw: raw.replace("123.67", "124.67"), "manifest.json: its .* mean is not"),
        (lambda raw: raw.replace('"conv1_1"', '"conv1_2"'), "json: its deepest layer"),
        (
            lambda raw: raw.replace('"vgg19",\n  "deep', '"squeezenet",\n  "deep').replace(
                '"conv1_1"', '"conv1"'
            ),
            "json: its deepest layer",
        ),
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
    for module in (fetching, _store):
        monkeypatch.setattr(module, "known_sources", lambda: fake)
    assert weights.fetch("vgg19", directory=tmp_path / "store").name == "vgg19"
    equal(
        weights.load_params("vgg19", directory=tmp_path / "store"),
        weights.load_params(source),
    )


def test_edits_of_a_manifest_are_found_by_network_name_too(tmp_path, source):
    folder = weights.convert(source, name="mine", directory=tmp_path)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"conv1_1"', '"conv9_9"'))
    with pytest.raises(InputError, match="holds nothing, and damaged mine .*; convert"):
        weights.load_params("vgg19", directory=tmp_path)


def test_a_renamed_folder_is_known_by_its_new_name(tmp_path, source):
    weights.convert(source, directory=tmp_path).rename(tmp_path / "renamed")
    assert [m.name for m in weights.list_weights(tmp_path)] == ["renamed"]
    equal(weights.load_params("vgg19", directory=tmp_path), weights.load_params(source))


def test_stored_names_come_before_what_lies_in_the_working_folder(tmp_path, source, monkeypatch):
    here = tmp_path / "here"
    (here / "vgg19").mkdir(parents=True)
    monkeypatch.chdir(here)
    with pytest.raises(InputError, match="no weights 'vgg19'.* holds nothing"):
        weights.load_params("vgg19", directory=tmp_path / "store")
    weights.convert(source, name="other", directory=tmp_path / "store")
    (here / "other").write_text("a file")
    expected = weights.load_params(source)
    for name in ("vgg19", "other"):
        equal(weights.load_params(name, directory=tmp_path / "store"), expected)
    shutil.copytree(tmp_path / "store" / "other", here / "mine")
    for name in ("mine", str(source)):
        equal(weights.load_params(name, directory=tmp_path / "store"), expected)


def test_a_known_file_must_have_its_hash(tmp_path, source, monkeypatch):
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    known = weights.known_sources()["vgg19"]._replace(name="known", file=source.name, sha256=sha256)
    for module in (_sources, _store):
        monkeypatch.setattr(module, "known_sources", lambda: {"known": known})
    store = tmp_path / "store"
    weights.convert(source, name="known", directory=store)
    good = weights.load_params("known", directory=store)
    ones = {"features.0.weight": np.ones((64, 3, 3, 3)), "features.0.bias": np.ones(64)}
    zip_pth(source, {key: array.astype(np.float32) for key, array in ones.items()})
    for name in (None, "known"):
        with pytest.raises(InputError, match="small.pth: sha256 .* expected .* fetch known"):
            weights.convert(source, name=name, directory=store)
    with pytest.raises(InputError, match="small.pth: sha256"):
        weights.load_params(source)
    weights.convert(source, name="mine", directory=store)
    source = source.rename(tmp_path / "renamed.pth")
    weights.load_params(source)
    with pytest.raises(InputError, match="known: holds small.pth, a known file, and .*renamed.pth"):
        weights.convert(source, name="known", directory=store)
    equal(weights.load_params("known", directory=store), good)


def test_the_name_of_another_network_is_refused(tmp_path, source):
    with pytest.raises(InputError, match="small.pth is of vgg19, not vgg_m"):
        weights.convert(source, name="vgg_m", directory=tmp_path)


def test_weights_trained_here_are_stored(tmp_path):
    backbone = Backbone(network="mdnet", layers=("conv3",))
    params = init_params(jax.random.key(0), backbone)
    params["mean"] = jnp.full(3, 128.0)
    store = functools.partial(
        weights.save_params, network="mdnet", source="here", directory=tmp_path
    )
    store(params, name="ours")
    (manifest,) = weights.list_weights(tmp_path)
    assert (manifest.network, manifest.deepest_layer) == ("mdnet", "conv3")
    assert (manifest.format, manifest.source_file) == ("trained", "here")
    found = weights.load_params("mdnet", directory=tmp_path)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, params))
    with pytest.raises(InputError, match="weights of mdnet cannot be called vgg19"):
        store(params, name="vgg19")
    with pytest.raises(InputError, match="conv3 needs weights to conv3"):
        store({"mean": params["mean"], "conv1": params["conv1"]} | {"conv3": {}}, name="cut")
    bad = params | {"conv2": jax.tree.map(lambda leaf: leaf * jnp.nan, params["conv2"])}
    with pytest.raises(InputError, match="conv2.*not finite"):
        store(bad, name="bad")
    assert [manifest.name for manifest in weights.list_weights(tmp_path)] == ["ours"]
