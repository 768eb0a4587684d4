"""What of this machine a process may use."""

import os


def core_count() -> int:
    """Return how many cores this process may use: by its affinity, and by what SLURM has given to the job here."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_ON_NODE", "")
    return min(cores, int(given)) if given.isdigit() and int(given) else cores


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that processes may use, as CUDA_VISIBLE_DEVICES takes them.

    This process starts nothing on them: it asks the driver's library for their number alone.
    """
    import torch

    count = torch.cuda.device_count()
    given = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return given[:count] if given else [str(number) for number in range(count)]
