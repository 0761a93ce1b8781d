"""experiments/sweep.py: values as lanes, and a table that can be resumed."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import cdjax
from cdjax import InputError
from cdjax.benchmark._synthetic import synthetic_video

SCRIPT = Path(__file__).parents[2] / "experiments" / "sweep.py"
VALUES = [round(0.01 * i, 2) for i in range(1, 41)]
VARY = f"--vary=learning_rate={','.join(map(str, VALUES))}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for tables and compiled programs, with two small videos in data."""
    root = tmp_path_factory.mktemp("sweep")
    for name, seed in (("A", 1), ("B", 2)):
        frames, boxes = synthetic_video(6, (48, 64), seed)
        (root / "data" / name / "img").mkdir(parents=True)
        for i, frame in enumerate(frames, start=1):
            cv2.imwrite(str(root / "data" / name / "img" / f"{i:04d}.png"), frame[..., ::-1])
        np.savetxt(root / "data" / name / "groundtruth_rect.txt", boxes + [1, 1, 0, 0], fmt="%.2f")
    return root


@pytest.fixture(scope="module")
def script(load_script):
    """The script as a module."""
    return load_script(SCRIPT)


def start(folder, *more):
    command = [sys.executable, str(SCRIPT), f"--root={folder / 'data'}", *more]
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, env={**os.environ, **cache})


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def rows_of(path):
    return json.loads(path.read_text())["trackers"]


def test_killed_and_resumed_it_ends_with_the_whole_table(folder):
    # A row a program, so that there is a moment to kill at.
    flags = ["--tracker=CACF:grid_hw=12x12", VARY, "--starts=1", "--shifts=1", "--max_lanes=4"]
    whole, killed = folder / "whole.json", folder / "killed.json"
    finish(start(folder, *flags, f"--json={whole}"))
    process = start(folder, *flags, f"--json={killed}")
    while process.poll() is None and not killed.exists():
        time.sleep(0.001)
    process.kill()
    process.communicate()
    before = rows_of(killed)
    assert 0 < len(before) < len(VALUES)
    told = finish(start(folder, *flags, f"--json={killed}"))
    assert told.count("(from the table)") == len(before)
    assert killed.read_text() == whole.read_text()
    rows = rows_of(whole)
    assert [row["values"]["learning_rate"] for row in rows] == VALUES
    assert len({str(row["success_auc"]) for row in rows}) > 1

    # Rows of another run stay, and do not count.
    told = finish(start(folder, *flags, f"--json={killed}", "--max_frames=4"))
    assert "(from the table)" not in told
    assert rows_of(killed)[: len(VALUES)] == rows
    assert [row["identity"]["max_frames"] for row in rows_of(killed)] == [200] * 40 + [4] * 40


@pytest.mark.parametrize(
    ("name", "vary", "told"),
    [
        ("CACF", ["learning_rate"], "--vary=learning_rate: use FIELD=NUMBER,NUMBER"),
        ("CACF", ["reg=0.1,x"], "--vary=reg=0.1,x: use FIELD=NUMBER,NUMBER"),
        ("CACF", ["sigma=nan"], "--vary=sigma=nan: use FIELD=NUMBER,NUMBER"),
        ("CACF", ["reg=1", "reg=2"], "--vary=reg=2: reg is there twice; list all its values once"),
        ("CACF", ["learning_rate=0.1,2"], "learning_rate=2.0: use a number from 0 to 1"),
        ("CACF", ["num_channels=4"], "CACF cannot vary 'num_channels': use context_reg,"),
        ("CACF:reg=1", ["reg=2"], "CACF:reg=1: reg is in --vary too; leave one out"),
        ("X", [], "unknown tracker 'X'"),
    ],
)
def test_bad_values(script, name, vary, told):
    with pytest.raises(InputError, match=re.escape(told)):
        script.make_rows(name, script.parse_vary(vary), weights=None)


def test_the_grid_is_the_product(script):
    rows = script.make_rows("CACF", script.parse_vary(["reg=1e-3,1", "sigma=.1,.2"]), weights=None)
    assert [row.values for row in rows] == [
        {"reg": reg, "sigma": sigma} for reg in (0.001, 1.0) for sigma in (0.1, 0.2)
    ]
    assert rows[1].entry.name == "CACF:reg=0.001,sigma=0.2"
    assert rows[1].entry.tracker is cdjax.make("CACF", reg=0.001, sigma=0.2)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--vary=reg=x"], "--vary=reg=x: use FIELD=NUMBER,NUMBER"),
        (["--max_lanes=0"], "--max_lanes=0: 0 is not a positive integer"),
        (["--json={folder}/bad"], "bad: lacks trackers; remove it and run again"),
    ],
)
def test_the_script_tells_bad_input_in_one_line(folder, flags, told):
    (folder / "bad").write_text("{}")
    process = start(folder, "--tracker=CACF", *(flag.format(folder=folder) for flag in flags))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert err.startswith("sweep: error: ")
    assert told in err
    assert err.count("\n") == 1
