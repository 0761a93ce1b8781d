"""Processes of `jax.distributed` on this machine, over gloo; tasks of Ray."""

import importlib
import math
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from cdjax.benchmark import load_workdir, run_config

ROOT = Path(__file__).parents[2]
NAMES = "ABCDEF"


def script(folder, name):
    """The command line of a script, for all of the folder's sequences."""
    words = [sys.executable, ROOT / "experiments" / name]
    words += [f"--config={ROOT / 'experiments' / 'configs' / 'cacf.py'}", "--dataset=otb"]
    words += ["--config.trackers=('CACF',)", f"--dataset_root={folder / 'data'}"]
    return [*words, f"--workdir={folder / 'w'}"]


def command(folder, port, index, *more):
    """The command line of process `index` of two."""
    words = [*script(folder, "run_benchmark.py"), "--distributed"]
    words += [f"--coordinator=localhost:{port}", "--num_processes=2", f"--process_id={index}"]
    return [*words, *more]


def start(folder, port, index, *more):
    """Starts a process; what it prints goes to a file."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "programs"), "JAX_PLATFORMS": "cpu"}
    with open(folder / f"out{index}", "w") as out, open(folder / f"err{index}", "w") as err:
        return subprocess.Popen(
            command(folder, port, index, *more),
            stdout=out,
            stderr=err,
            env={**os.environ, "PYTHONPATH": str(ROOT), **cache},
        )


def free_port():
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def ran(folder, index):
    """The sequences that a process says it has done."""
    return re.findall(r"^\d+/6  CACF  (\w)  done", (folder / f"out{index}").read_text(), re.M)


def means(folder, index):
    """Where the scores that a process printed come from, and their mean."""
    text = (folder / f"out{index}").read_text()
    return re.findall(r"mean success, (.*):\n  CACF  ([\d.]+)  \(6 of 6 units\)", text)


def mean_in(folder):
    """The mean score of the records, all of which must be there."""
    experiment = load_workdir(folder / "w")
    assert sorted(run.sequence for run in experiment.runs) == list(NAMES)
    assert (experiment.failures, experiment.pending) == ([], [])
    scores = [run.record["scores"]["success_auc"] for run in experiment.runs]
    assert len(set(scores)) == len(scores)
    return f"{np.mean(scores):.4f}"


@pytest.fixture
def folder(tmp_path, write_otb):
    """A folder with data/A ... data/F, whose scores differ as their lengths do."""
    for i, name in enumerate(NAMES):
        write_otb(tmp_path / "data", [name], 40 + 10 * i)
    return tmp_path


def test_two_processes_share_the_units_and_gather_the_scores(folder):
    config = {"trackers": ("CACF",), "dataset": "otb", "protocol": "ope", "max_frames": None}
    run_config(
        {**config, "seeds": (0,)},
        workdir=folder / "w",
        root=folder / "data",
        sequences=["F"],  # done before
    )
    port = free_port()
    pair = [start(folder, port, i) for i in range(2)]
    codes = [process.wait(timeout=300) for process in pair]
    assert codes == [0, 0], [(folder / f"err{i}").read_text() for i in range(2)]
    assert sorted(ran(folder, 0) + ran(folder, 1)) == list("ABCDE")
    assert ran(folder, 0)[0] == "A"
    assert ran(folder, 1)[0] == "B"
    assert means(folder, 0) == [("gathered over 2", mean_in(folder))]
    assert means(folder, 1) == []


def group(index, port):
    return {
        "coordinator_address": f"localhost:{port}",
        "num_processes": 2,
        "process_id": index,
        "patience": 20,
    }


def test_an_exchange_tells_all_rows_to_all(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    hosts = importlib.import_module("experiments.hosts")
    port, told = free_port(), [[0.1, math.nan], [1 / 3, 2.0]]
    with ThreadPoolExecutor() as pool:
        heard = list(pool.map(lambda i: hosts.exchange(told[i], **group(i, port)), range(2)))
    assert [(h.process_id, h.num_processes) for h in heard] == [(0, 2), (1, 2)]
    for exchanged in heard:
        np.testing.assert_array_equal(exchanged.rows, told)  # to the bit


@pytest.mark.slow
def test_the_units_of_a_killed_process_are_done_by_the_other(folder):
    # Process 0 is the coordinator, whose death aborts all that are connected to it.
    port = free_port()
    victim, other = pair = [start(folder, port, i, "--patience=20") for i in range(2)]
    while not ran(folder, 0):
        assert [process.poll() for process in pair] == [None, None]
        time.sleep(0.01)
    victim.kill()
    assert (victim.wait(), other.wait(timeout=300)) == (-9, 1)
    assert (folder / "err1").read_text() == (
        "run_benchmark: a process of the group was lost: not all processes came within 20 seconds\n"
    )
    before, after = ran(folder, 0), ran(folder, 1)
    assert set("BDF") < set(after)
    assert not set(before) & set(after)
    assert means(folder, 1) == [(f"from {folder / 'w'}", mean_in(folder))]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--coordinator=localhost"], "use HOST:PORT"),
        (["--num_shards=2"], "--distributed picks the shard itself; leave out --num_shards"),
        (["--num_processes=1"], "must be nonnegative, with process_id < num_processes"),
    ],
)
def test_bad_groups_are_told_in_one_line(folder, flags, told):
    words = command(folder, free_port(), 1, *flags)
    run = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 2, run.stderr
    assert told in run.stderr
    assert run.stderr.count("\n") == 1
    assert not (folder / "w").exists()


def test_a_lack_of_ray_is_told_in_one_line(folder):
    (folder / "ray.py").write_text("raise ImportError\n")
    run = subprocess.run(
        script(folder, "ray_benchmark.py"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"},
    )
    told = 'ray_benchmark: error: needs ray: pip install "cdjax[ray]"\n'
    assert (run.returncode, run.stderr) == (1, told)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason='needs Ray: pip install -e ".[ray]"')
def test_tasks_of_ray_share_the_units(folder):
    run = subprocess.run(
        script(folder, "ray_benchmark.py"),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
    )
    assert run.returncode == 0, run.stderr
    tasks = re.findall(r"^task (\d) of 2: units: (?:(\d) run)?", run.stdout, re.M)
    assert [index for index, _ in tasks] == ["0", "1"]
    assert sum(int(count or 0) for _, count in tasks) == len(NAMES)
    mean_in(folder)
