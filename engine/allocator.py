"""How the C library hands out memory for batches and activations on a CPU."""

import ctypes
import platform

# names of settings in glibc's malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
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
    # older ones take no threshold above 32 MB, but can be kept from mapping at all
    from_heap = library.mallopt(MMAP_THRESHOLD, LARGE) == 1 or library.mallopt(MMAP_MAX, 0) == 1
    return from_heap and library.mallopt(TRIM_THRESHOLD, LARGE) == 1
