"""Runs an experiment: trackers over a dataset, in a folder that any number of processes share.

    python experiments/run_benchmark.py --config=experiments/configs/deepcd_v_11_12_21.py \
      --dataset_root=DIR --workdir=runs/deepcd

Killed at any moment and started again, it goes on where it was. Several processes with the same
command divide the work among them, as do those of a Slurm array with --shard_index and
--num_shards (experiments/slurm/array.sh), and those of `jax.distributed` with --distributed, which
do the units of the dead as well. `cdjax report WORKDIR` shows what there is so far.
Exit code 0: all units of this process are done; 1: some failed and are named, or a process of
the group was lost; 2: bad input.
"""

import re
import sys
from math import nan
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from absl import app, flags, logging

import cdjax
from cdjax import benchmark
from cdjax.cli._devices import share_cores

# Configs import experiments.configs, from wherever this is started.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import hosts

try:
    from ml_collections import config_flags
except ImportError:
    sys.exit('run_benchmark: error: needs ml_collections: pip install "cdjax[experiments]"')

_CONFIG = config_flags.DEFINE_config_file("config", None, "Trackers and protocol.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of results.", required=True)
_DATASET = flags.DEFINE_string("dataset", None, "Layout of the dataset, instead of the config's.")
_ROOT = flags.DEFINE_string("dataset_root", None, "Folder of sequences.", required=True)
_PROTOCOL = flags.DEFINE_string("protocol", None, "Protocol, instead of the config's.")
_MAX_FRAMES = flags.DEFINE_integer("max_frames", None, "First frames only.", lower_bound=1)
_SEQUENCES = flags.DEFINE_list("sequences", None, "Only these sequences.")
_SEEDS = flags.DEFINE_list("seeds", None, "Seeds of trackers that draw; 0 is their own.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Weights instead of the trackers' own.")
_BATCH = flags.DEFINE_integer("batch_size", 1, "Units side by side in a program.", lower_bound=1)
_SHARD = flags.DEFINE_integer("shard_index", 0, "Which part of the units.", lower_bound=0)
_SHARDS = flags.DEFINE_integer("num_shards", 1, "How many parts.", lower_bound=1)
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Be one of jax.distributed's processes.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, if not found.")
_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many, if not found.", lower_bound=1)
_PROCESS = flags.DEFINE_integer("process_id", None, "Which of them, if not found.", lower_bound=0)
_PATIENCE = flags.DEFINE_integer("patience", 120, "Seconds to wait for others.", lower_bound=1)

flags.mark_flag_as_required("config")
flags.register_validator(
    "coordinator", lambda at: not at or re.fullmatch(r".+:\d+", at), message="use HOST:PORT"
)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags and loads the config."""
    try:
        rest = flags.FLAGS(argv)
        _CONFIG.value.to_dict()  # a file that cannot be loaded complains only here
    except Exception as error:  # a config is a program: anything may be wrong with it
        kind = "" if isinstance(error, flags.Error) else f"{type(error).__name__}: "
        refuse(f"{kind}{error}")
    return rest


def refuse(words: str) -> NoReturn:
    """Tells bad input in one line."""
    print(f"run_benchmark: error: {' '.join(words.split())}", file=sys.stderr)
    sys.exit(2)


def options() -> dict[str, Any]:
    """Returns what the flags say to `benchmark.run_config`, but for the shard."""
    given = {
        "dataset": _DATASET.value,
        "protocol": _PROTOCOL.value,
        "max_frames": _MAX_FRAMES.value,
        "seeds": _SEEDS.value,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    return {
        "config": _CONFIG.value.to_dict() | changes,
        "workdir": Path(_WORKDIR.value),
        "root": Path(_ROOT.value),
        "sequences": _SEQUENCES.value,
        "weights": _WEIGHTS.value,
        "batch_size": _BATCH.value,
    }


def _run(shard: tuple[int, int], *, take_over: bool = False) -> benchmark.Tally:
    """Runs the experiment of the flags and tells what was done."""
    chosen = options()
    with benchmark.Progress(sys.stdout) as watch:
        tally = benchmark.run_config(**chosen, shard=shard, take_over=take_over, watch=watch)
    print(tally)
    if not chosen["sequences"]:
        missing = benchmark.missing_targets(chosen["config"]["dataset"], chosen["root"])
        if missing:
            print(f"not there: {', '.join(missing)}")
    return tally


def _run_distributed() -> bool:
    """Runs the experiment as one process of a group; returns whether all went well."""
    group = {
        "coordinator_address": _COORDINATOR.value,
        "num_processes": _PROCESSES.value,
        "process_id": _PROCESS.value,
        "patience": _PATIENCE.value,
    }
    try:
        index, count, _ = hosts.exchange([nan], **group)
    except hosts.GroupError as error:
        needed = "--coordinator, --num_processes and --process_id"
        refuse(f"--distributed: {error}; outside Slurm, Open MPI and TPU give {needed}")
    print(f"process {index} of {count}", flush=True)
    tally = _run((index, count), take_over=True)
    failed = [benchmark.Unit(*(f[key] for key in benchmark.Unit._fields)) for f in tally.failures]
    units = sorted([*tally.done, *tally.found, *failed])  # the same in all processes
    scores = {
        benchmark.Unit(*run[:4]): run.record["scores"].get("success_auc", nan)
        for run in benchmark.load_workdir(Path(_WORKDIR.value)).runs
    }
    # Each tells what it ran; the first one also what there was before.
    told = {*tally.done, *(tally.found if index == 0 else ())}
    try:
        row = [scores.get(unit, nan) if unit in told else nan for unit in units]
        rows = hosts.exchange(row, **group).rows
    except hosts.GroupError as error:
        print(f"run_benchmark: a process of the group was lost: {error}", file=sys.stderr)
        _print_means(units, [scores.get(unit, nan) for unit in units], f"from {_WORKDIR.value}")
        return False
    if index == 0:
        _print_means(units, np.fmax.reduce(rows), f"gathered over {count}")
    return not tally.failures


def _print_means(units: list[benchmark.Unit], scores: Any, whence: str) -> None:
    """Prints a line a tracker."""
    by_label: dict[str, list[float]] = {}
    for unit, score in zip(units, scores, strict=True):
        by_label.setdefault(unit.label, []).append(score)
    print(f"mean success, {whence}:")
    for label, values in by_label.items():
        known = [value for value in values if value == value]
        mean = f"{np.mean(known):.4f}" if known else "-"
        print(f"  {label}  {mean}  ({len(known)} of {len(values)} units)")


def main(_: Any) -> None:
    """Runs the experiment of the flags."""
    logging.set_verbosity(logging.WARNING)  # JAX tells of each device that is not there
    share_cores(_BATCH.value)
    if _DISTRIBUTED.value and _SHARDS.value > 1:
        refuse("--distributed picks the shard itself; leave out --num_shards")
    try:
        if _DISTRIBUTED.value:
            well = _run_distributed()
        else:
            well = not _run((_SHARD.value, _SHARDS.value)).failures
    except cdjax.InputError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        print("run_benchmark: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
