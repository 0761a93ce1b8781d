import errno
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_tracker import make_tracker
from killed import SETTINGS, entries

from cdjax._errors import InputError
from cdjax.benchmark import Entry, Unit, Watch, list_otb, load_workdir, run_experiment
from cdjax.benchmark import _claims as claims
from cdjax.benchmark import _units as units
from cdjax.benchmark._claims import claim
from cdjax.benchmark._results import BoxWriter, WriteError
from cdjax.benchmark._units import plan_units
from cdjax.benchmark._workdir import files_of

A1 = Unit("gain1", "A")


def run(dataset, workdir="w", **options):
    targets = list_otb(dataset / "data")
    settings = {**SETTINGS, **options.pop("settings", {})}
    chosen = options.pop("entries", entries())
    return run_experiment(dataset / workdir, chosen, targets, settings=settings, **options)


def finished(workdir):
    """What must be the same however the work was done: boxes, records and descriptions."""
    return {
        str(path.relative_to(workdir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(workdir.rglob("*"))
        if path.suffix in (".txt", ".json") and path.parent.name != "times"
    }


def test_layout_and_contents(dataset):
    tally = run(dataset)
    assert [unit.stem for unit in tally.done] == ["A", "B", "A", "B"]
    assert str(tally) == "units: 4 run"
    files = files_of(dataset / "w", A1)
    assert files.boxes.read_text().startswith("5.0000,6.0000,10.0000,12.0000\n6.0000,")
    record, times = (json.loads(path.read_text()) for path in (files.record, files.times))
    assert record["unit"] == {"label": "gain1", "sequence": "A", "start": None, "seed": 0}
    assert (record["frames"], record["num_channels"]) == (6, 4)
    assert record["channels_by_layer"] is None
    assert record["scores"]["success_auc"] == pytest.approx(20 / 21)
    assert set(record["versions"]) == {"cdjax", "python", "jax", "numpy", "opencv"}
    assert set(times) >= {"fps", "compile_seconds", "decode_seconds", "step_ms_p95", "host"}
    assert times["decode_seconds"] > 0
    experiment = load_workdir(dataset / "w")
    assert [(r.label, r.sequence) for r in experiment.runs] == [
        (label, sequence) for label in ("gain1", "gain2") for sequence in "AB"
    ]
    assert experiment.settings["protocol"] == "ope"
    assert experiment.runs[0].record["config_hash"] == experiment.trackers["gain1"]["config_hash"]
    np.testing.assert_array_equal(experiment.runs[0].boxes[:, 0], 4.0 + np.arange(6))
    assert (experiment.failures, experiment.pending) == ([], [])


def test_finished_units_are_kept_and_damaged_ones_run_again(dataset):
    run(dataset)
    before = finished(dataset / "w")
    stamps = {p: p.stat().st_mtime_ns for p in (dataset / "w").rglob("times/*.json")}
    assert [len(part) for part in run(dataset)] == [0, 4, 0, 0]
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    boxes = files_of(dataset / "w", A1).boxes
    boxes.write_text(boxes.read_text()[:-3])
    experiment = load_workdir(dataset / "w")
    assert len(experiment.runs) == 3
    assert "A.txt: not the boxes of its record" in experiment.failures[0]["error"]
    assert run(dataset).done == [A1]
    assert finished(dataset / "w") == before
    assert len(run(dataset, anew=True).done) == 4


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_unit_of_another_process_is_left_to_it(dataset, batch_size):
    with claim(files_of(dataset / "w", A1).claim) as held:
        assert held
        tally = run(dataset, batch_size=batch_size)
        assert tally.busy == [A1]
        assert len(tally.done) == 3
        assert load_workdir(dataset / "w").pending == [A1]
    assert run(dataset, batch_size=batch_size).done == [A1]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_unit_whose_owner_dies_meanwhile_is_taken_over(dataset, batch_size):
    context = claim(files_of(dataset / "w", A1).claim)
    context.__enter__()

    class Dies(Watch):
        def unit(self, unit, how):
            if unit == Unit("gain2", "B"):
                context.__exit__(None, None, None)

    tally = run(dataset, watch=Dies(), batch_size=batch_size)
    assert tally.done[-1] == A1
    assert tally.busy == []


def test_shards_are_disjoint_and_complete(dataset):
    first, second = run(dataset, shard=(0, 2)), run(dataset, shard=(1, 2))
    assert len(first.done) == len(second.done) == 2
    run(dataset, "whole")
    assert finished(dataset / "w") == finished(dataset / "whole")


def test_take_over_does_the_own_shard_first_then_the_next_ones(dataset, write_otb):
    write_otb(dataset / "data", "CDEF", 2)
    tally = run(dataset, entries=entries()[:1], shard=(1, 3), take_over=True)
    assert "".join(unit.sequence for unit in tally.done) == "BECFAD"


def test_take_over_waits_for_units_of_others_and_does_those_of_the_dead(dataset, monkeypatch):
    context = claim(files_of(dataset / "w", A1).claim)
    context.__enter__()
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            context.__exit__(None, None, None)

    monkeypatch.setattr(units.time, "sleep", pause)
    tally = run(dataset, shard=(1, 2), take_over=True)
    assert len(pauses) == 3
    assert (tally.done[-1], tally.busy) == (A1, [])
    assert len(tally.done) == 4


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_failure_is_told_and_tried_again(dataset, batch_size):
    bad = dataset / "data" / "A" / "img" / "0004.png"
    good = bad.read_bytes()
    bad.unlink()
    tally = run(dataset, entries=entries()[:1], batch_size=batch_size)
    assert [unit.sequence for unit in tally.done] == ["B"]
    assert "1 run, 1 failed\nfailed: gain1 on A: " in str(tally)
    (failure,) = load_workdir(dataset / "w").failures
    assert (failure["sequence"], failure["kind"]) == ("A", "")
    assert "0004.png: frame is missing" in failure["error"]
    assert "Traceback" in failure["traceback"]
    bad.write_bytes(good)
    assert run(dataset, entries=entries()[:1]).done == [A1]
    assert load_workdir(dataset / "w").failures == []
    run(dataset, "whole", entries=entries()[:1])
    assert finished(dataset / "w") == finished(dataset / "whole")


def test_what_another_process_has_just_failed_at_is_not_tried_again(dataset):
    files = files_of(dataset / "w", Unit("gain1", "B"))

    class Fails(Watch):
        def unit(self, unit, how):
            if unit == A1:
                failure = {**Unit("gain1", "B")._asdict(), "kind": "", "error": "theirs"}
                files.failure.write_text(json.dumps(failure))

    tally = run(dataset, entries=entries()[:1], watch=Fails())
    assert (tally.done, [f["error"] for f in tally.failures]) == ([A1], ["theirs"])


def test_side_by_side_gives_the_same_files(dataset, write_otb):
    write_otb(dataset / "data", ["Long"], 30)
    write_otb(dataset / "data", ["Cut"], 9)
    (dataset / "data" / "Cut" / "img" / "0001.png").write_bytes(b"")  # its size cannot be told
    seeds = (0, 1)
    for protocol in ("ope", "sre", "vot_supervised"):
        options = {"settings": {"protocol": protocol}, "seeds": seeds}
        one = run(dataset, f"{protocol}1", **options)
        many = run(dataset, f"{protocol}3", batch_size=3, **options)
        assert sorted(one.done) == sorted(many.done)
        assert len(one.failures) == len(many.failures) > 0
        told = [{key: f[key] for key in f if key != "traceback"} for f in many.failures]
        assert told == [{key: f[key] for key in f if key != "traceback"} for f in one.failures]
        ours, theirs = finished(dataset / f"{protocol}3"), finished(dataset / f"{protocol}1")
        whole = {name: hash_ for name, hash_ in theirs.items() if "failure" not in name}
        assert whole.items() <= ours.items()
        assert ours.keys() == theirs.keys()


def test_targets_have_trackers_that_fit_them(dataset, write_otb):
    write_otb(dataset / "data", ["C"], 9)
    truth = dataset / "data" / "B" / "groundtruth_rect.txt"
    truth.write_text(truth.read_text().replace("10 12", "20 12"))
    narrow, wide = make_tracker(8, 4), make_tracker(6)
    asked = []

    def fit(box):
        asked.append(box.tolist())
        return wide if box[2] > 15 else narrow

    serves_all = make_tracker(9)._replace(fit=fit)
    chosen = [Entry("fits", serves_all, {"gain": np.float32(1)})]
    for size in (1, 3):
        assert len(run(dataset, f"w{size}", entries=chosen, batch_size=size).done) == 3
        assert sorted(asked)[-1] == [4, 5, 20, 12]
        asked.clear()
    kept = {r.sequence: r.record["num_channels"] for r in load_workdir(dataset / "w3").runs}
    assert kept == {"A": 4, "B": 6, "C": 4}
    assert finished(dataset / "w1") == finished(dataset / "w3")


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_target_that_no_tracker_fits_fails_alone(dataset, batch_size, write_otb):
    write_otb(dataset / "data", ["C"], 9)
    truth = dataset / "data" / "B" / "groundtruth_rect.txt"
    truth.write_text(truth.read_text().replace("10 12", "20 12"))

    def fit(box):
        if box[2] > 15:
            raise ValueError("too wide")
        return make_tracker(8, 4)

    chosen = [Entry("fits", make_tracker(9)._replace(fit=fit), {"gain": np.float32(1)})]
    tally = run(dataset, entries=chosen, batch_size=batch_size)
    assert sorted(unit.sequence for unit in tally.done) == ["A", "C"]
    assert "failed: fits on B: ValueError: too wide" in str(tally)


def test_a_full_disk_stops_a_batch_and_nothing_is_lost(dataset, monkeypatch):
    write = BoxWriter.write_text

    def full(self, text):
        if self.path.stem == "B":
            raise WriteError("B.txt: cannot be written (No space left)")
        write(self, text)

    with monkeypatch.context() as patch:
        patch.setattr(BoxWriter, "write_text", full)
        with pytest.raises(WriteError, match=r"No space left"):
            run(dataset, batch_size=2)
    experiment = load_workdir(dataset / "w")
    assert (experiment.runs, experiment.failures) == ([], [])
    assert not list((dataset / "w").rglob("[AB].txt"))
    with claim(files_of(dataset / "w", A1).claim) as held:
        assert held
    assert len(run(dataset, batch_size=2).done) == 4
    run(dataset, "whole")
    assert finished(dataset / "w") == finished(dataset / "whole")


def test_finished_units_are_free_while_a_batch_goes_on(dataset):
    run(dataset)
    files_of(dataset / "w", Unit("gain1", "B")).record.unlink()
    free = []

    class Looks(Watch):
        def frame(self, unit, done, of):
            with claim(files_of(dataset / "w", A1).claim) as held:
                free.append(held)

    assert len(run(dataset, batch_size=2, watch=Looks()).done) == 1
    assert len(free) == 6
    assert all(free)


def test_an_interrupted_batch_goes_on(dataset):
    class Interrupts(Watch):
        def frame(self, unit, done, of):
            if (unit.label, done) == ("gain2", 4):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(dataset, batch_size=2, watch=Interrupts())
    assert {r.label for r in load_workdir(dataset / "w").runs} == {"gain1"}
    assert len(run(dataset, batch_size=2).done) == 2
    run(dataset, "whole")
    assert finished(dataset / "w") == finished(dataset / "whole")


def test_seeds_and_starts(dataset):
    base = make_tracker(8, 4)

    def init(params, frame, box, *, frame_hw=None, key=None):
        import jax

        state = base.init(params, frame, box, frame_hw=frame_hw)
        if key is None:
            return state
        return state._replace(box=state.box + jax.random.uniform(key, (4,)))

    drawing = Entry("draws", base._replace(init=init), {"gain": np.float32(1)})
    run(dataset, entries=[drawing], seeds=(0, 1, 2))
    runs = load_workdir(dataset / "w").runs
    assert [r.seed for r in runs] == [0, 1, 2] * 2
    own, one, two = (r.boxes for r in runs[:3])
    assert not np.allclose(own, one)
    assert not np.allclose(one, two)
    np.testing.assert_array_equal(one, runs[4].boxes)
    assert (dataset / "w" / "draws" / "A.seed2.txt").exists()


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize(("protocol", "count"), [("sre", 12), ("tre", 1), ("vot_unsupervised", 1)])
def test_robustness_starts(dataset, write_otb, batch_size, protocol, count):
    write_otb(dataset / "data", ["Long"], 20)
    targets = [t for t in list_otb(dataset / "data") if t.name == "Long"]
    settings = {**SETTINGS, "protocol": protocol}
    tally = run_experiment(
        dataset / "w", entries()[:1], targets, settings=settings, batch_size=batch_size
    )
    assert len(tally.done) == count
    runs = load_workdir(dataset / "w").runs
    if protocol == "sre":
        assert [r.start for r in runs] == list(range(12))
        assert len({tuple(r.boxes[0]) for r in runs}) >= 10  # small boxes round alike
        assert (dataset / "w" / "gain1" / "Long.start11.txt").exists()
    np.testing.assert_array_equal(np.diff(runs[0].boxes[:, 0]), np.ones(19))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_later_starts_have_fewer_frames(dataset, write_otb, batch_size):
    write_otb(dataset / "data", ["Long"], 24)
    targets = [t for t in list_otb(dataset / "data") if t.name == "Long"]
    settings = {**SETTINGS, "protocol": "tre"}
    run_experiment(dataset / "w", entries()[:1], targets, settings=settings, batch_size=batch_size)
    runs = load_workdir(dataset / "w").runs
    assert [r.start for r in runs] == [0, 1, 2, 3, 4]
    assert [len(r.boxes) for r in runs] == [24, 23, 22, 21, 20]
    assert [r.boxes[0, 0] for r in runs] == [4, 5, 6, 7, 8]
    assert all(r.record["scores"]["precision_20"] == 1 for r in runs)
    assert [r.record["first_frame"] for r in runs] == [0, 1, 2, 3, 4]
    assert {r.record["sequence_frames"] for r in runs} == {24}
    settings["max_frames"] = 6
    tally = run_experiment(
        dataset / "s", entries()[:1], targets, settings=settings, batch_size=batch_size
    )
    assert "too short" in tally.failures[0]["error"]


def test_supervised_rows(dataset):
    # gain2 runs away from the target and fails; gain1 stays on it.
    tally = run(dataset, settings={"protocol": "vot_supervised"}, entries=entries()[:1])
    assert tally.failures == [], tally
    (run_a, _) = load_workdir(dataset / "w").runs
    assert run_a.boxes[0] == 1
    np.testing.assert_allclose(run_a.boxes[5], [9, 5, 10, 12])
    assert run_a.record["scores"] == {"failures": 0}
    assert run_a.times["decode_seconds"] > 0
    lost = Entry("lost", make_tracker(8, 4), {"gain": np.float32(30)})
    run(dataset, "l", settings={"protocol": "vot_supervised"}, entries=[lost])
    (run_a, _) = load_workdir(dataset / "l").runs
    assert [int(row) for row in run_a.boxes] == [1, 2, 0, 0, 0, 0]
    assert run_a.record["scores"] == {"failures": 1}


# Death


class Killed(BaseException):
    """Stands for SIGKILL at a chosen system call."""


def test_killed_at_every_publication(dataset, monkeypatch):
    targets = list_otb(dataset / "data")
    run(dataset, "whole")
    expected = finished(dataset / "whole")
    replace, calls = os.replace, 0
    for fatal in range(100):
        calls = 0

        def dying(source, target, fatal=fatal):
            nonlocal calls
            calls += 1
            if calls == fatal + 1:
                raise Killed
            replace(source, target)

        workdir = f"killed{fatal}"
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying)
            try:
                run(dataset, workdir)
            except Killed:
                pass
            else:
                break
        if (dataset / workdir / "experiment.json").exists() and calls > 4:
            load_workdir(dataset / workdir)
        run(dataset, workdir)
        assert finished(dataset / workdir) == expected, fatal
    assert fatal == 3 + 3 * 2 * len(targets)  # experiment, two trackers, three files a unit


def start(data, workdir, shard, of):
    script = Path(__file__).with_name("killed.py")
    words = [sys.executable, str(script), str(data), str(workdir), str(shard), str(of)]
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"},
    )


def test_sigkill_and_two_processes(tmp_path, write_otb):
    """Killed three times at random moments, then finished by two processes at once."""
    draw = random.Random(0)
    write_otb(tmp_path / "data", "ABCDEFGH", 12)
    for delay in (draw.uniform(0.0, 0.4) for _ in range(3)):
        process = start(tmp_path / "data", tmp_path / "w", 0, 1)
        assert process.stdout.readline() == "first frame\n"
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    done = len(load_workdir(tmp_path / "w").runs)
    pair = [start(tmp_path / "data", tmp_path / "w", 0, 1) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    ran = [line for out, _ in outputs for line in out.splitlines() if line.startswith("ran")]
    assert len(ran) == len(set(ran)) == 16 - done
    process = start(tmp_path / "data", tmp_path / "whole", 0, 1)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert finished(tmp_path / "w") == finished(tmp_path / "whole")
    assert load_workdir(tmp_path / "w").pending == []


# Bad input

NEW = entries()[0]._replace(name="new")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": {"max_frames": 3}}, "max_frames is None there, 3 here"),
        ({"settings": {"protocol": "sre"}}, "protocol is 'ope' there, 'sre' here"),
        (
            {"entries": [Entry("gain1", make_tracker(), {"gain": np.float32(5)})]},
            "weights_sha256 is '",
        ),
        (
            {"entries": [NEW, entries()[0]._replace(description={"config": {"reg": 0.1}})]},
            "config.reg is None there, 0.1 here",
        ),
    ],
)
def test_another_config_is_refused_and_nothing_changed(dataset, changes, words):
    run(dataset)
    before = finished(dataset / "w")
    with pytest.raises(InputError, match="made with another config") as caught:
        run(dataset, **changes)
    assert words in str(caught.value)
    assert finished(dataset / "w") == before


def test_anew_a_changed_tracker_replaces_the_old_one(dataset):
    run(dataset)
    changed = Entry("gain1", make_tracker(8, 4), {"gain": np.float32(3)})
    targets = list_otb(dataset / "data")[:1]
    run_experiment(dataset / "w", [changed], targets, settings=SETTINGS, anew=True)
    experiment = load_workdir(dataset / "w")
    assert [(r.label, r.sequence) for r in experiment.runs] == [
        ("gain1", "A"),
        ("gain2", "A"),
        ("gain2", "B"),
    ]
    assert experiment.pending == [Unit("gain1", "B")]


def test_a_full_disk_stops_everything_with_one_message(dataset, monkeypatch):
    write = BoxWriter.write_text
    expected = run(dataset, "whole")

    def full(self, text):
        if self.path.stem == "B":
            self._file.close()
            self._file = open("/dev/full", "w")
        write(self, text)

    with monkeypatch.context() as patch:
        patch.setattr(BoxWriter, "write_text", full)
        with pytest.raises(InputError, match=r"B.txt: cannot be written \(No space left"):
            run(dataset)
    experiment = load_workdir(dataset / "w")
    assert [r.sequence for r in experiment.runs] == ["A"]
    assert (len(experiment.pending), experiment.failures) == (3, [])
    assert len(run(dataset).done) == 3
    assert finished(dataset / "w") == finished(dataset / "whole")
    assert len(expected.done) == 4


def test_a_full_disk_leaves_no_half_record(dataset, monkeypatch):
    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run(dataset, entries=[])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(InputError, match=r"cannot be written \(No space left"):
            run(dataset)
    assert not [p for p in (dataset / "w").rglob("*.json*") if p.name != "experiment.json"]


def test_a_read_only_folder(dataset, monkeypatch):
    run(dataset)
    opened = Path.open

    def refusing(self, mode="r", *args, **options):
        if mode[0] in "wa" and "w" in self.relative_to(dataset).parts:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(self, mode, *args, **options)

    before = finished(dataset / "w")
    monkeypatch.setattr(Path, "open", refusing)
    with pytest.raises(InputError, match=r"w/.*: cannot be written \(Read-only file system"):
        run(dataset)
    assert finished(dataset / "w") == before
    assert len(load_workdir(dataset / "w").runs) == 4


def test_systems_without_locks(dataset, monkeypatch):
    monkeypatch.setattr(claims, "fcntl", None)
    with pytest.raises(InputError, match="this system has no flock"):
        run(dataset)
    assert not (dataset / "w" / "experiment.json").exists()


def test_folders_that_are_no_experiment(dataset):
    with pytest.raises(InputError, match=r"experiment.json: there is no such file; give a folder"):
        load_workdir(dataset)
    run(dataset, entries=[])
    (dataset / "w" / "experiment.json").write_text('{"dataset": ')
    with pytest.raises(InputError, match=r"experiment.json: cannot be read"):
        load_workdir(dataset / "w")


@pytest.mark.parametrize("label", ["", "a/b", "claims", ".x"])
def test_labels_that_are_no_folders(dataset, label):
    with pytest.raises(InputError, match="cannot name a tracker's folder"):
        run(dataset, entries=[entries()[0]._replace(name=label)])
    assert not (dataset / "w").exists()


def test_sequences_that_would_hide_other_files(dataset):
    target = list_otb(dataset / "data")[0]
    for name in ("tracker", "A.failure"):
        with pytest.raises(InputError, match="would hide other files"):
            run_experiment(
                dataset / "w", entries(), [target._replace(name=name)], settings=SETTINGS
            )
    with pytest.raises(InputError, match="two sequences are called A"):
        plan_units(["x"], [target, target], protocol="ope")
