"""What an interpreter does for threads at its end, for a process that ends without it."""

from concurrent.futures import thread

# a version of Python that has renamed it fails here, and not in a process that never ends
_END_POOLS = thread._python_exit


def end_thread_pools() -> None:
    """End the idle threads of all pools, which nobody may have shut down: they would wait for work for ever."""
    _END_POOLS()
