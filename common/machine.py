"""What the machine has: cores, GPUs, memory."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def free_memory() -> int:
    """Return the bytes of main memory that can be used without swapping."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        # other systems than Linux do not say how much is free, so half of all
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 if hasattr(os, "sysconf") else 2**30
    try:
        # a container's limit, which the machine's numbers do not show
        group = Path("/sys/fs/cgroup")
        return min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        return free


def peak_memory(device: "torch.device") -> int:
    """Return the most bytes that tensors took on a GPU, or this process in main memory; 0 where that is unknown."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        # not on Windows
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # kilobytes, but on macOS bytes
    return peak if sys.platform == "darwin" else peak * 1024


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


def device_name(device: "torch.device") -> str:
    """Name a device as its maker does."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.get_num_threads()} threads)"
