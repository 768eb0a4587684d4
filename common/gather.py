"""Per-sample results of all processes, put together by sample id."""

import torch
import torch.distributed as dist
from torch import Tensor


def gather_by_id(columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """Collect every process's rows and sort them by id.

    Every process must call this; each gets the whole. Processes may hold different numbers of rows.

    Args:
        columns: `id`, int64, shape `(row,)`, and others with the same first axis

    Returns:
        the same columns with the rows of all processes, each id exactly once

    Raises:
        ValueError: an id came more than once
    """
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        columns = {name: _all_gather_rows(column) for name, column in columns.items()}
    ids, order = columns["id"].sort()
    repeated = ids[1:] == ids[:-1]
    if repeated.any():
        raise ValueError(
            f"{int(repeated.sum())} sample id(s) came more than once, the first is {int(ids[1:][repeated][0])}"
        )
    return {name: column[order] for name, column in columns.items()}


def on_all_processes(mask: Tensor, device: torch.device) -> Tensor:
    """Tell where a mask is set on every process.

    Every process must call this.

    Args:
        mask: bool, of one shape on all processes
        device: that processes talk through
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return mask
    common = mask.to(device, torch.int32)
    dist.all_reduce(common, op=dist.ReduceOp.MIN)
    return common.bool().to(mask.device)


def _all_gather_rows(rows: Tensor) -> Tensor:
    sizes = [torch.zeros((), dtype=torch.int64, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor(len(rows), device=rows.device))
    counts = [int(size) for size in sizes]
    # all_gather wants equal shapes: pad, then cut the padding off again
    padded = rows.new_zeros((max(counts), *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
