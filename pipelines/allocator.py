"""How the C library hands out memory for batches and activations on a CPU."""

import ctypes
import platform

# names of settings in glibc's malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGE = 2**30


def keep_large_blocks() -> bool:
    """Let memory that is freed serve the next batch, instead of going back to the system and being zeroed again.

    By default glibc maps every block above 32 MB anew; the pages of a batch at 224 pixels are then faulted in at each
    step, which takes several times as long as the arithmetic on them. Memory that was needed once stays with the
    process until it ends.

    Returns:
        whether the C library has these settings
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return all(library.mallopt(setting, LARGE) == 1 for setting in (MMAP_THRESHOLD, TRIM_THRESHOLD))
