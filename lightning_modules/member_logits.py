"""Logits of checkpoints on samples: read from the cache, or computed and kept."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from datamodules.base import DataModule
from datamodules.samples import Samples
from ensembling.cache import LogitCache, LogitCounts
from ensembling.choices import TTA
from ensembling.frozen_outputs import FrozenNetwork, frozen_outputs
from lightning_modules.checkpoints import load_classifier, read_base
from lightning_modules.classifier import Classifier


def stack_logits(
    checkpoints: Sequence[Path],
    samples: Samples,
    data: DataModule,
    device: torch.device,
    precision: str = "32-true",
    tta: TTA = "none",
    cache: LogitCache | None = None,
    counts: LogitCounts | None = None,
    digests: Sequence[str] | None = None,
    reads: Sequence[str] | None = None,
) -> Tensor:
    """Return the logits of several members on samples.

    A member is loaded and run only for images whose logits the cache does not hold; see `frozen_outputs`.

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
        reads: what each member computes on, image or table, where that is known; None takes images

    Returns:
        float32 on the CPU in the samples' order, shape `(sample, member, class)`

    Raises:
        FileNotFoundError: there is no such checkpoint
        ValueError: a member's logits are not finite, a checkpoint does not hold a classifier, or was changed meanwhile
    """
    if not len(samples):
        raise ValueError("there is no sample to compute logits of")
    digests = [read_base(path).sha256 for path in checkpoints] if digests is None else digests
    members = [
        FrozenNetwork(f"member {path}", {"weights": digest}, partial(load_frozen, path, digest))
        for path, digest in zip(checkpoints, digests, strict=True)
    ]
    reads = ["image"] * len(members) if reads is None else reads
    columns: dict[int, Tensor] = {}
    # members on the same inputs share them
    for kind in dict.fromkeys(reads):
        places = [place for place, own in enumerate(reads) if own == kind]
        own, views = data.inputs(samples, kind), tta if kind == "image" else "none"
        found = frozen_outputs([members[p] for p in places], own, data, device, precision, views, cache, counts)
        columns |= dict(zip(places, found.unbind(1), strict=True))
    return torch.stack([columns[place] for place in range(len(members))], dim=1)


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
