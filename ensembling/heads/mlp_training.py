"""The short training of the MLP head."""

import copy
from typing import Protocol

import torch
from torch import Tensor, nn

from ensembling.choices import Features, MetaOptimizer, MetaSchedule
from ensembling.folds import meta_folds
from ensembling.heads.base import check_meta_samples
from ensembling.heads.networks import MLPNetwork
from ensembling.logits import to_features

# batches an epoch where no batch size is given
STEPS = 50
# of SGD
MOMENTUM = 0.9


class Options(Protocol):
    """The options of the training; see `MLPHead`."""

    features: Features
    standardize: bool
    epochs: int
    patience: int | None
    held_share: float
    batch_size: int | None
    optimizer: MetaOptimizer
    learning_rate: float
    weight_decay: float
    schedule: MetaSchedule
    clip: float | None


def fit_mlp(
    head: Options, module: nn.Module, logits: Tensor, labels: Tensor, seed: int = 0, groups: Tensor | None = None
) -> None:
    """Train; keep the weights with the lowest NLL of the held-out samples, or the last if none are held out.

    Args:
        head: has the options
        module: what it has built
        logits: shape `(sample, member, class)`
        labels: int64, shape `(sample,)`
        seed: of the order, of dropout and of what is held out
        groups: int64, shape `(sample,)`; a group is never divided
    """
    assert isinstance(module, MLPNetwork)
    check_meta_samples(logits, labels, logits.shape[2], finite=head.features == "logits")
    held = torch.zeros(len(labels), dtype=torch.bool)
    if head.patience is not None:
        held = meta_folds(labels, round(1 / head.held_share), seed, groups, lower=False) == 0
    x = to_features(logits.float(), head.features)
    if head.standardize:
        module.mean.copy_(x[~held].mean(0))
        scale = x[~held].std(0, unbiased=False)
        # a feature that is constant here may vary later, so it is not scaled up
        module.scale.copy_(torch.where(scale > 1e-6 * (1 + module.mean.abs()), scale, torch.ones_like(scale)))
    x = (x - module.mean) / module.scale
    with torch.random.fork_rng(devices=[]):
        # the seed of dropout
        torch.manual_seed(seed)
        _train(head, module.layers, (x[~held], labels[~held]), (x[held], labels[held]), seed)
    module.eval()


def _train(
    head: Options, layers: nn.Module, train: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], seed: int
) -> None:
    x, y = train
    size = head.batch_size or min(max(len(x) // STEPS, 32), 1024)
    optimizer = build_optimizer(head, layers)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, head.epochs)
    order = torch.Generator().manual_seed(seed)
    best, best_state, since = torch.inf, copy.deepcopy(layers.state_dict()), 0
    for _ in range(head.epochs):
        layers.train()
        for rows in torch.randperm(len(x), generator=order).split(size):
            loss = nn.functional.cross_entropy(layers(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            if head.clip is not None:
                nn.utils.clip_grad_norm_(layers.parameters(), head.clip)
            optimizer.step()
        if head.schedule == "cosine":
            schedule.step()
        if head.patience is None:
            continue
        layers.eval()
        with torch.no_grad():
            nll = float(nn.functional.cross_entropy(layers(held[0]), held[1]))
        since += 1
        if nll < best:
            best, best_state, since = nll, copy.deepcopy(layers.state_dict()), 0
        if since >= head.patience:
            break
    if head.patience is not None:
        layers.load_state_dict(best_state)


def build_optimizer(head: Options, layers: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer that a head names, over some layers."""
    parameters, rate, decay = layers.parameters(), head.learning_rate, head.weight_decay
    match head.optimizer:
        case "adamw":
            return torch.optim.AdamW(parameters, rate, weight_decay=decay)
        case "adam":
            return torch.optim.Adam(parameters, rate, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(parameters, rate, MOMENTUM, weight_decay=decay)
