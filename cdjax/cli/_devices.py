"""How the commands lay out the CPU; the library never does."""

import os
from contextlib import suppress


def share_cores(batch_size: int) -> None:
    """Makes a CPU device of each core that a batch can use; not once JAX has looked for devices.

    Small programs keep one core busy; lanes that are spread over devices keep several.

    Args:
      batch_size: lanes of a batch.
    """
    import jax

    from cdjax.lanes._slots import MAX_DEVICES

    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    num_devices = min(batch_size, num_cores or 1, MAX_DEVICES)
    if num_devices > 1 and jax.config.values["jax_num_cpu_devices"] < 1:
        with suppress(RuntimeError):  # too late: the devices stay as they are
            jax.config.update("jax_num_cpu_devices", num_devices)
