"""`cdjax plan`: the figures add up."""

import json

import jax
import pytest

from cdjax.cli import main


def plan(path, capsys, *arguments):
    """The command's figures, and what it prints."""
    assert main(["plan", *arguments, "--json", str(path)]) == 0
    return json.loads(path.read_text()), capsys.readouterr().out


def test_figures_add_up(tmp_path, capsys):
    arguments = ("--tracker", "CACF-CD", "--frame", "320x200")
    one, printed = plan(tmp_path / "one.json", capsys, *arguments, "--batch_size", "1")
    four, _ = plan(tmp_path / "four.json", capsys, *arguments, "--batch_size", "4")
    assert one["canvas_hw"] == [256, 384]
    assert one["host_to_device_bytes"] == 256 * 384 * 3
    assert one["num_channels"] == 16
    assert one["weights_bytes"] == 0
    for report, lanes in ((one, 1), (four, 4)):
        assert report["lanes_per_device"] == lanes
        # XLA leaves out what a step does not read, and passes on the shared index as it is.
        least = lanes * (report["state_bytes"] + report["host_to_device_bytes"])
        assert 0.8 * least < report["argument_bytes"] <= least
        held = report["argument_bytes"] + report["output_bytes"]
        assert report["peak_bytes"] == held + report["temporary_bytes"]
    assert four["frame_flops"] == one["frame_flops"] > 0
    assert four["state_bytes"] == one["state_bytes"] > 0
    assert four["temporary_bytes"] > one["temporary_bytes"]
    for machine in one["machines"]:
        allowed = machine["frames_s"]
        assert machine["first"] in allowed
        assert allowed[machine["first"]] == min(allowed.values()) > 0
        assert allowed["decode"] == pytest.approx(
            machine["host_cores"] * one["decode_fps_per_core"]
        )
        total = machine["devices"] * machine["flops"]
        assert allowed["operations"] * one["frame_flops"] == pytest.approx(total)
        total = machine["devices"] * machine["bandwidth"]
        assert allowed["memory"] * one["frame_bytes"] == pytest.approx(total)
        assert 0 < machine["lanes"] * one["peak_bytes"] <= machine["devices"] * machine["memory"]
        assert machine["name"] in printed
    names = [machine["name"] for machine in one["machines"]]
    assert names[-2:] == ["v5e-8", "H200"]
    assert ("1000 CPU cores" in names) == (jax.default_backend() == "cpu")
    assert "not\npredictions" in printed


def test_devices_share_the_batch(tmp_path, capsys):
    arguments = ("--tracker", "CF2-H", "--frame", "128x128", "--batch_size", "6")
    report, printed = plan(tmp_path / "plan.json", capsys, *arguments, "--devices", "3")
    assert report["lanes_per_device"] == 2
    assert "2 lanes on each of 3" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tracker", "CF2-H", "--batch_size", "0"], "at least 1"),
        (["--tracker", "CF2-H", "--batch_size", "3", "--devices", "2"], "multiple of --devices"),
        (["--tracker", "CF2-H", "--batch_size", "1", "--frame", "640"], "WIDTHxHEIGHT"),
        (["--tracker", "CF2-H", "--batch_size", "1", "--frame", "0x5"], "WIDTHxHEIGHT"),
        (["--tracker", "CF2-X", "--batch_size", "1"], "CF2-X"),
        (["--tracker", "DeepCD-V-11", "--batch_size", "1"], "weights"),
        (["--tracker", "CF2-H", "--batch_size", "1", "--json", "{folder}/no/out.json"], "no"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.setenv("CDJAX_WEIGHTS", str(tmp_path / "empty"))
    assert main(["plan", *(text.format(folder=tmp_path) for text in arguments)]) == 2
    message = capsys.readouterr().err.strip()
    assert words in message
    assert "\n" not in message
