"""`cdjax speed`: every figure is there and hangs together."""

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

import cdjax
from cdjax.cli import _speed, main
from cdjax.trackers._names import config_of


def test_two_trackers_side_by_side(tmp_path, capsys):
    names = ["CF2-H", "DeepCD-H:num_channels=8"]
    path = tmp_path / "speed.json"
    arguments = ["--tracker", names[0], "--tracker", names[1], "--frames", "3"]
    arguments += ["--frame", "200x160"]
    assert main(["speed", *arguments, "--roofline", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    report = json.loads(path.read_text())
    rows = report["trackers"]
    assert [row["tracker"] for row in rows] == names
    for row in rows:
        assert row["compile_init_s"] > 0
        assert row["compile_first_step_s"] > 0
        assert row["ratio"] == pytest.approx(row["step_ms"] / row["backbone_ms"])
        assert row["extraction_ratio"] == pytest.approx(row["step_ms"] / row["extraction_ms"])
        assert row["fps"] == pytest.approx(1e3 / row["step_ms"])
        assert row["state_bytes"] > row["model_bytes"]["filter_bytes"] > 0
        parts = row["model_bytes"]["filter_bytes"] + row["model_bytes"]["conv_bytes"]
        assert row["model_bytes"]["total"] == parts
        assert row["num_candidates"] == 31
        bounds = row["compute_bound_ms"], row["memory_bound_ms"]
        assert row["step_gflop"] / report["peaks"]["gflops"] * 1e3 == pytest.approx(bounds[0])
        assert row["step_gbytes"] / report["peaks"]["gbytes_s"] * 1e3 == pytest.approx(bounds[1])
        assert 0 < row["share_of_bound"] == pytest.approx(max(bounds) / row["frame_ms"])
        needed_ms = row["backbone_gflop"] / report["peaks"]["median_gflops"] * 1e3
        assert 0 < row["backbone_share"] == pytest.approx(needed_ms / row["backbone_ms"])
    assert [row["num_channels"] for row in rows] == [31, 8]
    assert rows[0]["dearest_ms"] is None  # it does the same in every frame
    assert rows[0]["distil_s"] is None
    assert rows[1]["distil_s"] > 0
    assert "8 of 31" in printed
    assert "bound by bytes" in printed
    assert report["formula"] in printed
    assert report["frame_hw"] == [160, 200]
    assert "200x160 px" in printed


def test_a_tracker_that_trains_now_and_then_is_timed_over_a_cycle():
    tracker = cdjax.make("CF2-H")._replace(cycle=(2, 3))
    case = _speed._Case({}, tracker, {}, None, None, len, None, int)
    case.step_index, case.step_s = [1, 2, 3, 4, 5, 6], [9.0, 1.0, 5.0, 1.0, 1.0, 7.0]
    case.bare_s, case.extract_s = [0.5], [1.5]
    row = _speed._finish(case)
    assert (row["dearest_ms"], row["step_ms"]) == (6000, 3000)
    assert (row["ratio"], row["extraction_ratio"]) == (6, 2)
    assert row["frame_ms"] == pytest.approx(8000 / 3)
    assert row["fps"] == pytest.approx(3 / 8)
    case.step_index[3] = 5  # a turn that was never seen
    assert _speed._finish(case)["fps"] is None


@pytest.mark.parametrize("period", [5, 6, 10])
def test_bursts_time_every_turn_of_a_cycle(period):
    class State(NamedTuple):
        frame_index: jax.Array

    seen = []

    def step(params, state, frame):
        seen.append((int(state.frame_index), frame))
        return State(state.frame_index + 1), None

    tracker = cdjax.make("CF2-H")._replace(cycle=(1, period))
    state = State(jnp.int32(1))
    case = _speed._Case({}, tracker, None, state, step, lambda *_: 0, None, int)
    for num_steps in (0, 4, 4, 4):
        _speed._time_burst(case, [None, None, *range(2, 40)], num_steps)
    assert case.step_index == list(range(1, 13))
    assert sorted(set(seen)) == [(index, index + 1) for index in range(1, 13)]
    assert len(case.step_s) == len(case.bare_s) == len(case.extract_s) == 12
    assert _speed._finish(case)["fps"] > 0


def test_shares_of_lanes_count_weights_once_and_each_device_by_itself():
    row = {"step_gflop": 2.0, "step_gbytes": 0.5, "weights_gbytes": 0.4}
    peaks = {"gflops": 1000.0, "gbytes_s": 100.0}
    found = _speed._batch_shares(row, {"batch_size": 8, "devices": 2, "fps": 100.0}, peaks)
    # 50 frames/s a device; of 0.5 GB a frame 0.1 are its own, and an eighth of the weights' 0.4.
    assert found["share_of_operations"] == pytest.approx(50 * 2 / 1000)
    assert found["share_of_bytes"] == pytest.approx(50 * 0.15 / 100)


@pytest.mark.as_shipped  # FFTs are among what takes longest
def test_lanes_beside_single_streams_and_a_profile(tmp_path, capsys):
    path, folder = tmp_path / "speed.json", tmp_path / "profile"
    arguments = ["--tracker", "CF2-H", "--frames", "2", "--batch_sizes", "2", "--json", str(path)]
    assert main(["speed", *arguments, "--roofline", "--profile", str(folder)]) == 0
    report = json.loads(path.read_text())
    (row,), peaks = report["trackers"], report["peaks"]
    single, pair = row["batches"]
    assert (single["batch_size"], pair["batch_size"], single["against_single"]) == (1, 2, 1)
    assert pair["against_single"] == pytest.approx(pair["fps"] / single["fps"])
    assert list(folder.glob("CF2-H/plugins/profile/*/*.trace.json.gz"))
    spent = [operation["ms"] for operation in row["profile"]]
    assert spent == sorted(spent, reverse=True)
    assert 0.3 < sum(operation["share"] for operation in row["profile"]) <= 1
    assert sum(spent) < 10 * row["step_ms"]
    assert any("fft" in operation["from"] for operation in row["profile"])
    used = pair["fps"] * row["step_gflop"] / peaks["gflops"]
    assert pair["share_of_operations"] == pytest.approx(used)
    used = pair["fps"] * row["step_gbytes"] / peaks["gbytes_s"]
    assert pair["share_of_bytes"] == pytest.approx(used)
    (told,) = (line for line in capsys.readouterr().out.splitlines() if " 2 lanes" in line)
    assert "x single" in told
    assert f"{pair['share_of_operations']:6.1%} of the matrix product's rate" in told
    assert main(["speed", "--tracker", "CF2-H", "--batch_sizes", "2,x"]) == 2
    assert "'x' is not a number" in capsys.readouterr().err


def test_a_video_of_ones_own(images, tmp_path):
    path = tmp_path / "speed.json"
    arguments = ["--video", str(images), "--box", "20,10,16,20", "--json", str(path)]
    assert main(["speed", *arguments, "--tracker", "CF2-H", "--frames", "9"]) == 0
    report = json.loads(path.read_text())
    assert report["frame_hw"] == [48, 64]
    assert report["video"] == str(images)
    assert report["trackers"][0]["step_ms"] > 0


def test_videos_that_cannot_be_timed(images, otb, capsys):
    def error(*arguments):
        assert main(["speed", "--tracker", "CF2-H", *arguments]) == 2
        message = capsys.readouterr().err.strip()
        assert "\n" not in message
        return message

    assert "--frame 64x48: --video" in error("--frame", "64x48", "--video", str(images))
    assert "--box 1,2,3,4: is for a --video" in error("--box", "1,2,3,4")
    assert "images: has no ground truth; give --box" in error("--video", str(images))
    assert "no such folder" in error("--video", str(images / "none"), "--box", "1,2,3,4")
    assert "box" in error("--video", str(otb / "A"), "--box", "1,2,3,x")
    for box, words in (("90,10,5,5", "90"), ("nan,1,2,3", "nan"), ("1,1,0,3", "0")):
        message = error("--video", str(images), "--box", box)
        assert "box" in message
        assert words in message
    for number in range(3, 7):
        (images / f"000{number}.png").unlink()
    assert "has 2 frames; 3 are needed" in error("--video", str(images), "--box", "1,2,3,4")


@pytest.mark.slow
def test_eco_hc_whose_response_is_finer_than_hog(tmp_path):
    path = tmp_path / "speed.json"
    assert main(["speed", "--tracker", "ECO-HC", "--frames", "1", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text())["trackers"]
    assert row["backbone_ms"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tracker", "CF2-H", "--frames", "0"], "at least 1"),
        (["--tracker", "CF2-H", "--frame", "10x10"], "as in 640x480"),
        (["--tracker", "CF2-X"], "CF2-X"),
        (["--tracker", "CF2-H", "--json", "{folder}/no/out.json"], "no"),
        (["--tracker", "DeepCD-V-11"], "weights"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.setenv("CDJAX_WEIGHTS", str(tmp_path / "empty"))
    arguments = [text.format(folder=tmp_path) for text in arguments]
    assert main(["speed", *arguments]) == 2
    message = capsys.readouterr().err.strip()
    assert words in message
    assert "\n" not in message


def test_weights_belong_to_the_tracker_before_them(tmp_path, capsys):
    missing = str(tmp_path / "here")
    pairs = ["--tracker", "CF2-H", "--tracker", "DeepCD-V-11", "--weights", missing]
    assert main(["speed", *pairs, "--frames", "1"]) == 2
    assert missing in capsys.readouterr().err
    assert main(["speed", "--weights", missing, "--tracker", "CF2-H"]) == 2
    assert "after the --tracker" in capsys.readouterr().err


def test_crops_and_network_compute_as_many_patches_as_the_network_alone():
    # Of equal patches a compiler computes one.
    frame, box = jnp.zeros((64, 64, 3), jnp.uint8), jnp.array([20.0, 20, 20, 20])
    for name in ("CF2-H", "DeepCD-H", "CACF:shared=false,num_scales=5"):
        config = config_of(name)
        patches = jnp.zeros((config.num_patches, config.patch_px, config.patch_px, 3))
        around, bare = (
            jax.jit(function).lower({}, *args).compile().cost_analysis()["flops"]
            for function, args in (
                (config.extract_around, (frame, box)),
                (config.extract, (patches,)),
            )
        )
        assert around > 0.95 * bare, name
