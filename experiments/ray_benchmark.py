"""Runs an experiment on Ray: the command line of run_benchmark.py, and --num_workers.

    pip install "cdjax[experiments,ray]"
    python experiments/ray_benchmark.py --config=experiments/configs/deepcd_v_11_12_21.py \
      --dataset_root=DIR --workdir=runs/deepcd --num_workers=8

Each task is one call of `benchmark.run_config` in the shared workdir. A task takes over the units
of those that have died, and Ray starts these again. Ray's own flags are in its environment:
RAY_ADDRESS joins a cluster, whose hosts need the same paths. Exit codes as run_benchmark.py.
"""

import sys
from pathlib import Path
from typing import Any

from absl import app, flags

import cdjax
from cdjax import benchmark

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments import run_benchmark

try:
    import ray  # pyright: ignore[reportMissingImports]
except ImportError:
    sys.exit('ray_benchmark: error: needs ray: pip install "cdjax[ray]"')

_WORKERS = flags.DEFINE_integer("num_workers", 2, "How many tasks.", lower_bound=1)
_CPUS = flags.DEFINE_float("cpus", 1, "CPUs of a task.", lower_bound=0)
_GPUS = flags.DEFINE_float("gpus", 0, "GPUs of a task.", lower_bound=0)


def main(_: Any) -> None:
    """Runs the experiment of the flags."""
    ray.init(log_to_driver=False)
    options = run_benchmark.options()
    # A worker that has ended gives back its devices and its compiled programs.
    work = ray.remote(num_cpus=_CPUS.value, num_gpus=_GPUS.value, max_calls=1)(benchmark.run_config)
    count = _WORKERS.value
    tasks = [work.remote(**options, shard=(i, count), take_over=True) for i in range(count)]
    try:
        tallies = ray.get(tasks)
    except cdjax.InputError as error:  # Ray raises what is both its own error and the task's
        run_benchmark.refuse(str(error.args[0]))
    for index, tally in enumerate(tallies):
        print(f"task {index} of {count}: {tally}")
    sys.exit(1 if any(tally.failures for tally in tallies) else 0)


if __name__ == "__main__":
    app.run(main, flags_parser=run_benchmark.parse)
