"""How processes that ran together end."""

import torch


def end_process_group() -> None:
    """Close the connections between processes where Lightning leaves them open, as it does with gloo.

    torch now and then aborts a process that ends while gloo's threads live: "terminate called without an active
    exception" and status 134, after a run in which all went well.
    """
    # builds of torch without it have no is_initialized
    group = torch.distributed
    if group.is_available() and group.is_initialized() and group.get_backend() == "gloo":
        group.destroy_process_group()
