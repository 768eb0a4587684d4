"""Logits of checkpoints on samples: read from the cache, or computed and kept."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.gather import on_all_processes
from datamodules.base import ImageDataModule
from datamodules.samples import Samples
from ensembling.cache import LogitCache, LogitCounts
from ensembling.choices import TTA
from ensembling.logits import base_logits
from lightning_modules.checkpoints import load_classifier, read_base
from lightning_modules.classifier import Classifier

# precisions of the Trainer in which a model that holds float32 weights is computed in another one
MIXED = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


def stack_logits(
    checkpoints: Sequence[Path],
    samples: Samples,
    data: ImageDataModule,
    device: torch.device,
    precision: str = "32-true",
    tta: TTA = "none",
    cache: LogitCache | None = None,
    counts: LogitCounts | None = None,
    digests: Sequence[str] | None = None,
) -> Tensor:
    """Return the logits of several members on samples.

    A member is loaded and run only for images whose logits the cache does not hold. Members that lack the same images
    share one pass over them. A copy of an image counts as the image. Where a run has several processes, all must call
    this: each runs its share and gets the whole.

    Args:
        checkpoints: of the members
        samples: any subset of the data, in any order
        data: what the samples are of; brings the size of batches and the share of this process
        device: where the members run
        precision: as the Trainer names it; under one that is not mixed, a member runs in that of its weights
        tta: the views of each image that logits are averaged over
        cache: where logits are kept; None computes all
        counts: is added to
        digests: `file_sha256` of each checkpoint, where it was checked and hashed before

    Returns:
        float32 on the CPU in the samples' order, shape `(sample, member, class)`

    Raises:
        FileNotFoundError: there is no such checkpoint
        ValueError: a member's logits are not finite, a checkpoint does not hold a classifier, or was changed meanwhile
    """
    if not len(samples):
        raise ValueError("there is no sample to compute logits of")
    digests = [read_base(path).sha256 for path in checkpoints] if digests is None else digests
    unique, first, inverse = np.unique(samples.keys.numpy(), return_index=True, return_inverse=True)
    keys, copies = torch.from_numpy(unique), torch.from_numpy(inverse)
    pixels = data.pixel_key(samples)
    hows = [
        {"weights": digest, "pixels": pixels, "tta": tta, "precision": precision if precision in MIXED else "32-true"}
        for digest in digests
    ]
    nothing = torch.zeros(len(keys), dtype=torch.bool), torch.zeros(len(keys), 0)
    found = [cache.read(how, keys) if cache is not None else nothing for how in hows]
    known = [on_all_processes(mask, device) for mask, _ in found]
    logits = [rows for _, rows in found]
    for missing, numbers in same_rows(~mask for mask in known):
        places = torch.nonzero(at_least(missing, processes(data)))[:, 0]
        bases = [load_frozen(checkpoints[n], digests[n]).to(device) for n in numbers]
        names = [str(checkpoints[n]) for n in numbers]
        loader = data.loader(samples.subset(torch.from_numpy(first)[places]))
        with precision_context(precision, device):
            computed = base_logits(bases, loader, device, tta, names)
        new = missing[places]
        for position, number in enumerate(numbers):
            rows = computed[:, position]
            if not logits[number].shape[1]:
                logits[number] = torch.zeros(len(keys), rows.shape[1])
            logits[number][places[new]] = rows[new]
            if cache is not None:
                cache.write(hows[number], keys[places[new]], rows[new])
    if counts is not None:
        counted = [int(mask[copies].sum()) for mask in known]
        counts.reused += sum(counted)
        counts.computed += len(samples) * len(checkpoints) - sum(counted)
    return torch.stack([rows[copies] for rows in logits], dim=1)


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


def processes(data: ImageDataModule) -> int:
    """Return how many processes share the batches of a DataModule."""
    return data.trainer.world_size if data.trainer else 1


def precision_context(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a frozen member runs.

    Args:
        precision: as the Trainer names it
        device: where it runs
    """
    return torch.autocast(device.type, MIXED[precision]) if precision in MIXED else nullcontext()


def load_frozen(path: Path, digest: str) -> Classifier:
    """Load a member in the precision of its weights, whatever the context; the state of random numbers does not change.

    Args:
        path: its checkpoint
        digest: `file_sha256` of it, by which its logits are known

    Raises:
        ValueError: the file is not the one that it was
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        # tensors of inference mode could not be used outside; a run whose logits are all known draws no weights
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            return load_classifier(path, digest).requires_grad_(False)
    finally:
        torch.set_default_dtype(default)
