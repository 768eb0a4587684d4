"""How processes that ran together part."""

import torch


def end_process_group() -> None:
    """Close the connections between processes where Lightning leaves them open, as it does with gloo.

    torch now and then aborts a process that ends while gloo's threads live: "terminate called without an active
    exception" and status 134, after a run in which all went well.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()
