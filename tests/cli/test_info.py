"""`cdjax info` tells the truth about this machine."""

import json

import jax

import cdjax
from cdjax.cli import main


def facts_of(capsys):
    assert main(["info", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_names_versions_devices_and_trackers(capsys):
    facts = facts_of(capsys)
    assert facts["cdjax"] == cdjax.__version__
    assert facts["packages"]["jax"] == jax.__version__
    assert None not in facts["packages"].values()
    assert len(facts["devices"]) == jax.device_count()
    assert facts["trackers"] == list(cdjax.list_trackers())


def test_folders_follow_the_environment(tmp_path, monkeypatch, capsys):
    (tmp_path / "data" / "otb").mkdir(parents=True)
    monkeypatch.setenv("CDJAX_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("CDJAX_DATA", str(tmp_path / "data"))
    facts = facts_of(capsys)
    assert facts["weights"] == {"directory": str(tmp_path / "none"), "found": []}
    assert facts["data"] == {
        "directory": str(tmp_path / "data"),
        "found": True,
        "folders": ["otb"],
    }
    monkeypatch.setenv("CDJAX_DATA", str(tmp_path / "missing"))
    facts = facts_of(capsys)
    assert facts["data"]["found"] is False
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "weights fetch" in text
    assert "CDJAX_DATA" in text
    assert f"jax {jax.__version__}" in text


def test_weights_found_are_listed(tmp_path, monkeypatch, capsys):
    from cdjax import weights

    manifest = weights.Manifest(
        name="mine",
        network="vgg19",
        deepest_layer="conv2_1",
        source_file="a.pth",
        source_sha256="0",
        format="torch",
        licence="unknown",
        channel_order="RGB",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        padding="zero",
        arrays_sha256="0",
        files_sha256="0" * 64,
    )
    monkeypatch.setattr(weights, "list_weights", lambda: [manifest])
    assert facts_of(capsys)["weights"]["found"] == [
        {"name": "mine", "network": "vgg19", "deepest_layer": "conv2_1"}
    ]
    main(["info"])
    assert "mine: vgg19 to conv2_1" in capsys.readouterr().out
