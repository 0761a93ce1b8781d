"""Exchanges numbers between the processes of `jax.distributed`, over gloo between their CPUs.

`exchange` starts this file as a process of its own: when a host dies, `jax.distributed` aborts
every process that is connected at that moment. So none is connected while it works, and an abort
is no more than a failed exchange. Accelerators have no part in it.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple


class Exchanged(NamedTuple):
    """What processes learn of each other.

    Attributes:
      process_id: number of this process, from 0.
      num_processes: how many there are.
      rows: what each of them told, by number.
    """

    process_id: int
    num_processes: int
    rows: list[list[float]]


class GroupError(Exception):
    """Not all processes of the group met."""


def exchange(row: Sequence[float], *, patience: int, **group: Any) -> Exchanged:
    """Tells numbers to the other processes of the group and hears theirs.

    Args:
      row: as many numbers as the others tell.
      patience: how many seconds the processes wait for each other.
      **group: "coordinator_address", "num_processes" and "process_id"; None where
        `jax.distributed` finds them itself (Slurm, Open MPI, TPU).

    Returns:
      The same rows in all processes.

    Raises:
      GroupError: if a process did not come, or the group is not known.
    """
    asked = json.dumps({"row": list(row), "patience": patience, "group": group})
    try:
        run = subprocess.run(
            [sys.executable, __file__],
            input=asked,
            capture_output=True,
            text=True,
            timeout=4 * patience + 60,  # to come, to connect, to leave
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise GroupError("the processes hang") from error
    answers = [line for line in run.stdout.splitlines() if line.startswith("{")]  # gloo talks too
    if answers:
        return Exchanged(**json.loads(answers[-1]))
    if run.returncode == 1:  # a Python exception
        raise GroupError((run.stderr.strip().splitlines() or ["it ended without a word"])[-1])
    raise GroupError(f"not all processes came within {patience} seconds")


def _main() -> None:
    """Does the exchange that stdin asks for."""
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    asked = json.load(sys.stdin)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_x64", True)
    jax.distributed.initialize(
        **asked["group"],
        initialization_timeout=asked["patience"],
        shutdown_timeout_seconds=asked["patience"],
    )
    rows = multihost_utils.process_allgather(np.float64(asked["row"]))
    answer = Exchanged(jax.process_index(), jax.process_count(), rows.tolist())
    print(json.dumps(answer._asdict()), flush=True)
    jax.distributed.shutdown()


if __name__ == "__main__":
    _main()
