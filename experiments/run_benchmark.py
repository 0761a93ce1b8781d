"""Runs an experiment: trackers over a dataset, in a folder that any number of processes share.

    python experiments/run_benchmark.py --config=experiments/configs/deepcd_v_11_12_21.py \
      --dataset_root=DIR --workdir=runs/deepcd

Killed at any moment and started again, it goes on where it was. Several processes with the same
command divide the work among them, as do those of a Slurm array with --shard_index and
--num_shards (experiments/slurm/array.sh). `cdjax report WORKDIR` shows what there is so far.
Exit code 0: all units of this process are done; 1: some failed and are named; 2: bad input.
"""

import sys
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging

import cdjax
from cdjax import benchmark

# Configs import experiments.configs, from wherever this is started.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

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

flags.mark_flag_as_required("config")


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags and loads the config."""
    try:
        rest = flags.FLAGS(argv)
        _CONFIG.value.to_dict()  # a file that cannot be loaded complains only here
    except Exception as error:  # a config is a program: anything may be wrong with it
        kind = "" if isinstance(error, flags.Error) else f"{type(error).__name__}: "
        _refuse(f"{kind}{error}")
    return rest


def _refuse(words: str) -> NoReturn:
    """Tells bad input in one line."""
    print(f"run_benchmark: error: {' '.join(words.split())}", file=sys.stderr)
    sys.exit(2)


def main(_: Any) -> None:
    """Runs the experiment of the flags."""
    logging.set_verbosity(logging.WARNING)  # JAX tells of each device that is not there
    config = _CONFIG.value.to_dict()
    given = {
        "dataset": _DATASET.value,
        "protocol": _PROTOCOL.value,
        "max_frames": _MAX_FRAMES.value,
        "seeds": _SEEDS.value,
    }
    config |= {key: value for key, value in given.items() if value is not None}
    try:
        with benchmark.Progress(sys.stdout) as watch:
            tally = benchmark.run_config(
                config,
                workdir=Path(_WORKDIR.value),
                root=Path(_ROOT.value),
                sequences=_SEQUENCES.value,
                weights=_WEIGHTS.value,
                shard=(_SHARD.value, _SHARDS.value),
                batch_size=_BATCH.value,
                watch=watch,
            )
    except cdjax.InputError as error:
        _refuse(str(error))
    except KeyboardInterrupt:
        print("run_benchmark: interrupted", file=sys.stderr)
        sys.exit(130)
    print(tally)
    if not _SEQUENCES.value:
        missing = benchmark.missing_targets(config["dataset"], Path(_ROOT.value))
        if missing:
            print(f"not there: {', '.join(missing)}")
    sys.exit(1 if tally.failures else 0)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
