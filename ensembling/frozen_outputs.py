"""What frozen networks give for samples: read from the cache, or computed and kept."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from common.gather import on_all_processes
from datamodules.base import DataModule
from datamodules.samples import Samples
from ensembling.cache import LogitCache, LogitCounts
from ensembling.choices import TTA
from ensembling.logits import base_logits

# precisions of the Trainer in which a model that holds float32 weights is computed in another one
MIXED = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class FrozenNetwork:
    """A network whose outputs are kept.

    Args:
        name: what to call it in an error
        weights: names its content, such as a digest
        load: return it, frozen and in evaluation mode; it is called only if something has to be computed
    """

    name: str
    weights: Mapping[str, str]
    load: Callable[[], nn.Module]


def frozen_outputs(
    networks: Sequence[FrozenNetwork],
    samples: Samples,
    data: DataModule,
    device: torch.device,
    precision: str = "32-true",
    tta: TTA = "none",
    cache: LogitCache | None = None,
    counts: LogitCounts | None = None,
) -> Tensor:
    """Return what several networks give for samples.

    A network is loaded and run only for images whose outputs the cache does not hold. Networks that lack the same
    images share one pass over them. A copy of an image counts as the image. Where a run has several processes, all must
    call this: each runs its share and gets the whole.

    Args:
        networks: from uint8 images to `(batch, value)`, as many values from each of them
        samples: any subset of the data but an empty one, in any order
        data: what the samples are of; brings the size of batches and the share of this process
        device: where the networks run
        precision: as the Trainer names it; under one that is not mixed, a network runs in that of its weights
        tta: the views of each image that logits are averaged over
        cache: where outputs are kept; None computes all
        counts: is added to

    Returns:
        float32 on the CPU in the samples' order, shape `(sample, network, value)`

    Raises:
        ValueError: outputs are not finite
    """
    unique, first, inverse = np.unique(samples.keys.numpy(), return_index=True, return_inverse=True)
    keys, copies = torch.from_numpy(unique), torch.from_numpy(inverse)
    how = {
        "pixels": data.pixel_key(samples),
        "tta": tta,
        "precision": precision if precision in MIXED else "32-true",
    }
    hows = [{**network.weights, **how} for network in networks]
    nothing = torch.zeros(len(keys), dtype=torch.bool), torch.zeros(len(keys), 0)
    found = [cache.read(how, keys) if cache is not None else nothing for how in hows]
    known = [on_all_processes(mask, device) for mask, _ in found]
    outputs = [rows for _, rows in found]
    for missing, numbers in same_rows(~mask for mask in known):
        places = torch.nonzero(at_least(missing, processes(data)))[:, 0]
        loaded = [networks[n].load().to(device) for n in numbers]
        loader = data.loader(samples.subset(torch.from_numpy(first)[places]))
        with precision_context(precision, device):
            computed = base_logits(loaded, loader, device, tta, [networks[n].name for n in numbers])
        new = missing[places]
        for position, number in enumerate(numbers):
            rows = computed[:, position]
            if not outputs[number].shape[1]:
                outputs[number] = torch.zeros(len(keys), rows.shape[1])
            outputs[number][places[new]] = rows[new]
            if cache is not None:
                cache.write(hows[number], keys[places[new]], rows[new])
    if counts is not None:
        counted = [int(mask[copies].sum()) for mask in known]
        counts.reused += sum(counted)
        counts.computed += len(samples) * len(networks) - sum(counted)
    return torch.stack([rows[copies] for rows in outputs], dim=1)


def same_rows(missing: Iterable[Tensor]) -> list[tuple[Tensor, list[int]]]:
    """Put members together that lack the same rows: they need the same images, which are then decoded once.

    Args:
        missing: by member, bool, shape `(sample,)`

    Returns:
        what is missing, and the numbers of the members that lack it; none for what lacks nothing
    """
    together: dict[bytes, tuple[Tensor, list[int]]] = {}
    for number, mask in enumerate(missing):
        if mask.any():
            together.setdefault(mask.numpy().tobytes(), (mask, []))[1].append(number)
    return list(together.values())


def at_least(mask: Tensor, count: int) -> Tensor:
    """Set more of a mask, where fewer are set than there are processes: each must have a sample to run."""
    lacking = count - int(mask.sum())
    if lacking <= 0:
        return mask
    wider = mask.clone()
    wider[torch.nonzero(~mask)[:lacking, 0]] = True
    return wider


def processes(data: DataModule) -> int:
    """Return how many processes share the batches of a DataModule."""
    return data.trainer.world_size if data.trainer else 1


def precision_context(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a frozen member runs.

    Args:
        precision: as the Trainer names it
        device: where it runs
    """
    return torch.autocast(device.type, MIXED[precision]) if precision in MIXED else nullcontext()
