"""Errors that say that memory did not suffice, recognised without importing torch."""

import re

# shown when memory runs out while data is read, before anything is computed
OUT_OF_MEMORY = (
    "out of memory: keep image files on disk by --data.cache none, or take smaller images by --data.image_size or "
    "--model.input_size"
)
# messages of torch on a GPU, on a CPU and on Apple's devices, and of the libraries that it calls
MESSAGES = re.compile(r"can't allocate memory|out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory did not suffice, on the device or on the host.

    Args:
        error: torch's own is a RuntimeError, whose message says so
    """
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and MESSAGES.search(str(error)) is not None
    )
