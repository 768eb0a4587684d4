"""Logits of frozen members, computed once for a split."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from common.gather import gather_by_id
from datamodules.loaders import BatchLoader
from ensembling.choices import TTA, Features
from ensembling.tta import tta_logits

# a probability below 1e-13 counts as 0, which a member gives to a class that it does not know
LOG_FLOOR = -30.0


@torch.inference_mode()
def base_logits(
    bases: Sequence[nn.Module],
    loader: BatchLoader,
    device: torch.device,
    tta: TTA = "none",
    names: Sequence[str] | None = None,
) -> Tensor:
    """Run every member once over a split.

    Every process runs its own share; all get the whole.

    Args:
        bases: classifiers from what the loader serves to logits, frozen and in evaluation mode
        loader: batches of the split in fixed order, without augmentation
        device: where the members run
        tta: the views of each image that a member's logits are averaged over
        names: what to call each member in an error, such as member a; None calls them by number

    Returns:
        float32 on the CPU in the split's order, shape `(sample, member, class)`

    Raises:
        ValueError: a member whose logits are not finite
    """
    ids, rows = [], []
    for batch in loader:
        images = batch[loader.samples.source.name].to(device)
        rows.append(torch.stack([tta_logits(base, images, tta) for base in bases], dim=1))
        ids.append(batch["id"].to(device))
    gathered = gather_by_id({"id": torch.cat(ids), "logits": torch.cat(rows)})
    logits = gathered["logits"].cpu()
    finite = logits.isfinite().all(2).all(0)
    if not finite.all():
        number = int((~finite).nonzero()[0])
        name = names[number] if names is not None else f"member number {number + 1}"
        raise ValueError(f"{name} gives logits that are not finite")
    # gathered rows are sorted by id: put them back into the split's order
    in_order = torch.empty_like(logits)
    in_order[loader.samples.ids.argsort()] = logits
    return in_order


def to_features(logits: Tensor, kind: Features) -> Tensor:
    """Turn the members' logits into the meta-model's inputs.

    Args:
        logits: shape `(sample, member, class)`
        kind: logits, log_probabilities (not below -30, so that minus infinity is a number too) or probabilities

    Returns:
        shape `(sample, member * class)`
    """
    if kind == "log_probabilities":
        logits = logits.log_softmax(2).clamp(min=LOG_FLOOR)
    elif kind == "probabilities":
        logits = logits.softmax(2)
    return logits.flatten(1)


def mean_logits(logits: Tensor) -> Tensor:
    """Log of the members' mean probabilities, the reference that a stack must beat.

    Args:
        logits: shape `(sample, member, class)`

    Returns:
        shape `(sample, class)`
    """
    return logits.double().log_softmax(2).logsumexp(1) - torch.tensor(float(logits.shape[1])).log()


def mean_of_folds(logits: Tensor) -> Tensor:
    """Log of the mean probabilities of the runs of all folds; a single run's logits as they are.

    Args:
        logits: shape `(sample, fold, class)`

    Returns:
        shape `(sample, class)`
    """
    return logits[:, 0] if logits.shape[1] == 1 else mean_logits(logits)
