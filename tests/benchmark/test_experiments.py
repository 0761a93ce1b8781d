"""The scripts under experiments/."""

import hashlib
import importlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cdjax._errors import InputError
from cdjax.benchmark import load_workdir, run_config
from cdjax.trackers._names import config_of

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(p.stem for p in (ROOT / "experiments" / "configs").glob("[!_]*.py"))
ROWS = (
    ("CF2-V-34+44+54", "CF2-V-11+12+21", "CF2-V-54", "CF2-S-Fire3")
    + ("DeepCD-V-11", "DeepCD-V-11+12+21", "DeepCD-V-11+12+21+54", "DeepCD-V-54")
    + ("DeepCD-S-All", "CACF", "CACF-CD", "ECO", "ECO-CD", "MDNet", "MDNet-CD")
)


def config_named(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module(f"experiments.configs.{name}")


def test_a_config_a_row(monkeypatch):
    modules = [config_named(name, monkeypatch) for name in CONFIGS]
    firsts = {m.get_config().trackers[0] for m in modules if m.__name__[-6:] != "public"}
    assert firsts == set(ROWS)
    for module in modules:
        config = module.get_config().to_dict()
        for name in config["trackers"]:
            config_of(name)
        for figures in config["paper"].values():
            for key in ("success", "precision"):
                if key in figures:
                    assert f"{key} {figures[key]:.3f}" in module.__doc__
    assert len(config_named("public", monkeypatch).get_config().trackers) >= 4


CONFIG = {
    "trackers": ("DeepCD-H",),
    "dataset": "otb",
    "protocol": "ope",
    "max_frames": 2,
    "seeds": ("0",),
    "paper": {},
}


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"dataset": "otp"}, {}, "no dataset 'otp'; did you mean vot, otb"),
        ({"protocol": "sra"}, {}, "no protocol 'sra'; did you mean sre"),
        ({"seeds": ("-1",)}, {}, "seed '-1': use whole numbers"),
        ({"seeds": ()}, {}, "at least one tracker, one sequence and one seed"),
        ({"trackers": ("DeepCD-X",)}, {}, "unknown tracker 'DeepCD-X'"),
        ({}, {"shard": (2, 2)}, "shard 2 of 2: shards are counted from 0"),
        ({}, {"sequences": ["C"]}, "no sequence 'C'; there are: A, B"),
        ({}, {"sequences": []}, "at least one tracker"),
    ],
)
def test_bad_configs_do_no_work(dataset, changes, options, words):
    with pytest.raises(InputError, match=words):
        run_config(CONFIG | changes, workdir=dataset / "w", root=dataset / "data", **options)
    assert not (dataset / "w").exists()


def command(name, workdir, root, *more):
    script = [sys.executable, str(ROOT / "experiments" / "run_benchmark.py")]
    config = ROOT / "experiments" / "configs" / f"{name}.py"
    flags = [f"--config={config}", f"--workdir={workdir}", f"--dataset_root={root}"]
    return [*script, *flags, *more]


def test_the_script_tells_bad_input_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    words = command("public", tmp_path / "w", tmp_path / "empty")
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("run_benchmark: error: ")
    assert "empty: no sequences found" in run.stderr
    assert run.stderr.count("\n") == 1
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--config={tmp}/none.py"], "none.py"),
        (["--config={tmp}/empty.py"], "has no attribute 'get_config'"),
        (["--config={tmp}/bare.py"], "the config lacks trackers, dataset, protocol"),
        (["--nope=1"], "Unknown command line flag 'nope'"),
        (["--max_frames=0"], "--max_frames=0: 0 is not a positive integer"),
        (["--config.nope=1"], "nope"),
        ([], "--config must have a value"),
    ],
)
def test_the_script_tells_bad_flags_and_configs_in_one_line(tmp_path, flags, told):
    (tmp_path / "empty.py").write_text("")
    text = "import ml_collections\n\ndef get_config():\n    return ml_collections.ConfigDict()\n"
    (tmp_path / "bare.py").write_text(text)
    words = command("public", tmp_path / "w", tmp_path)
    if not flags or flags[0].startswith("--config="):
        words = [word for word in words if not word.startswith("--config")]
    words += [flag.format(tmp=tmp_path) for flag in flags]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stderr
    assert run.stderr.startswith("run_benchmark: error: ")
    assert told in run.stderr
    assert run.stderr.count("\n") == 1


def finished(workdir):
    return {
        str(path.relative_to(workdir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(workdir.rglob("*"))
        if path.suffix in (".txt", ".json") and path.parent.name != "times"
    }


@pytest.mark.slow
@pytest.mark.data
def test_the_script_killed_and_resumed_by_two_processes(data_dir, tmp_path):
    draw = random.Random(1)
    options = ["--config.trackers=('DeepCD-H','CF2-H')", "--max_frames=40"]
    options += ["--sequences=Car1,Couple,David,Girl,Jogging,Jumping"]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs")}
    start = lambda folder, *more: subprocess.Popen(
        command("public", tmp_path / folder, data_dir / "otb", *options, *more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **cache},
    )
    for _ in range(3):
        process = start("w")
        while process.poll() is None and not list((tmp_path / "w").rglob("times/*.json")):
            time.sleep(0.1)
        time.sleep(draw.uniform(0, 4))
        process.kill()
        process.communicate()
    pair = [start("w", f"--shard_index={i}", "--num_shards=2") for i in range(2)]
    for process in [*pair, start("whole")]:
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert finished(tmp_path / "w") == finished(tmp_path / "whole")
    assert len(load_workdir(tmp_path / "w").runs) == 2 * 7
