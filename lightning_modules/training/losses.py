"""Losses, injected by config.

Each is a pure function of logits and targets, and a class of options that a config names. All take class indices or
soft targets, and all are divided by the number of samples: class weights average to one over the training samples, so
that neither a weighting nor mixup changes the effective learning rate.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.ranges import check_range

Weighting = Literal["none", "inverse", "effective"]


# pure functions


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Compute the weighted cross-entropy, divided by the number of samples.

    torch divides by the sum of the weights for class indices, but by the number of samples for soft targets.

    Args:
        logits: shape `(batch, class)`
        targets: class of each sample, int64 `(batch,)`, or probabilities `(batch, class)`
        weights: of each class, shape `(class,)`
        smoothing: share of the target spread evenly over all classes (Szegedy et al. 2016, arXiv:1512.00567)
    """
    if weights is None:
        return functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    total = functional.cross_entropy(logits, targets, weights, reduction="sum", label_smoothing=smoothing)
    return total / len(logits)


def focal(
    logits: Tensor, targets: Tensor, gamma: float, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Compute the softmax focal loss (Lin et al. 2017, arXiv:1708.02002), divided by the number of samples.

    The log-probability of each class counts by its target and by `(1 - probability) ** gamma`.

    Args:
        logits: shape `(batch, class)`
        targets: class of each sample, int64 `(batch,)`, or probabilities `(batch, class)`
        gamma: 0 is cross-entropy; the higher, the less samples count that are right already
        weights: of each class, shape `(class,)`
        smoothing: share of the target spread evenly over all classes
    """
    log_probabilities = logits.log_softmax(1)
    hard = targets.ndim == 1
    if hard and not smoothing:
        picked = log_probabilities.gather(1, targets[:, None])[:, 0]
        losses = -picked * missed(picked) ** gamma
        return (losses if weights is None else losses * weights[targets]).mean()
    soft = functional.one_hot(targets, logits.shape[1]).to(logits.dtype) if hard else targets
    soft = soft * (1 - smoothing) + smoothing / logits.shape[1]
    losses = -soft * log_probabilities * missed(log_probabilities) ** gamma
    return (losses if weights is None else losses * weights).sum(1).mean()


def missed(log_probabilities: Tensor) -> Tensor:
    """Return one minus the probability, never quite 0, where a power below 1 would have no gradient."""
    return (-torch.expm1(log_probabilities)).clamp_min(torch.finfo(log_probabilities.dtype).tiny)


def logit_adjusted(logits: Tensor, targets: Tensor, counts: Tensor, tau: float = 1.0, smoothing: float = 0.0) -> Tensor:
    """Compute the logit-adjusted cross-entropy (Menon et al. 2021, arXiv:2007.07314).

    Args:
        logits: shape `(batch, class)`
        targets: class of each sample, int64 `(batch,)`, or probabilities `(batch, class)`
        counts: training samples of each class, shape `(class,)`
        tau: how much of the log of a class's share is added to its logit
        smoothing: share of the target spread evenly over all classes
    """
    # nothing is added at 0, also to a class without samples, whose share has no log
    raised = logits + tau * log_shares(counts) if tau else logits
    return cross_entropy(raised, targets, smoothing=smoothing)


def balanced_softmax(logits: Tensor, targets: Tensor, counts: Tensor, smoothing: float = 0.0) -> Tensor:
    """Compute the balanced softmax loss (Ren et al. 2020, arXiv:2007.10740): logit adjustment with a tau of 1.

    Args:
        logits: shape `(batch, class)`
        targets: class of each sample, int64 `(batch,)`, or probabilities `(batch, class)`
        counts: training samples of each class, shape `(class,)`
        smoothing: share of the target spread evenly over all classes
    """
    return logit_adjusted(logits, targets, counts, 1.0, smoothing)


def log_shares(counts: Tensor) -> Tensor:
    """Return the log of each class's share of the training samples, shape `(class,)`."""
    return (counts / counts.sum()).log()


def class_weights(counts: Tensor, weighting: Weighting, beta: float = 0.9999) -> Tensor | None:
    """Compute weights of classes that average to one over the training samples.

    Args:
        counts: training samples of each class, shape `(class,)`
        weighting: inverse (one over the count), effective (one over the effective number of samples, Cui et al. 2019,
            arXiv:1901.05555), or none
        beta: of the effective number, `(1 - beta ** count) / (1 - beta)`

    Returns:
        shape `(class,)`, or None for none

    Example:
        >>> class_weights(torch.tensor([30.0, 10.0]), "inverse").tolist()
        [0.6666666865348816, 2.0]
    """
    if weighting == "none":
        return None
    exact = counts.double()
    weights = 1 / exact if weighting == "inverse" else (1 - beta) / (1 - beta**exact)
    return (weights * exact.sum() / (weights * exact).sum()).to(counts.dtype)


# options


class Criterion(nn.Module):
    """A loss with what it knows of each class, which follows the model to its device but is no part of its weights.

    Args:
        loss: its options
        per_class: shape `(class,)`, or None
    """

    per_class: Tensor | None

    def __init__(self, loss: "Loss", per_class: Tensor | None) -> None:
        super().__init__()
        self.loss = loss
        self.register_buffer("per_class", per_class, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean loss of a batch, at least in single precision."""
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return self.loss(
            logits, targets, None if self.per_class is None else self.per_class.to(logits.device).to(logits.dtype)
        )


@dataclass(eq=False)
class Loss(ABC):
    """What a classifier minimises.

    Args:
        label_smoothing: share of the target spread evenly over all classes, in [0, 1)
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_range("--model.loss.label_smoothing", self.label_smoothing, "[0, 1)")

    @property
    def corrects_imbalance(self) -> bool:
        """Whether rare classes count for more than their samples do."""
        return False

    @property
    def description(self) -> str:
        """Name the loss in messages."""
        return type(self).__name__

    def per_class(self, counts: Tensor) -> Tensor | None:
        """Compute what the loss needs to know of each class, from its number of training samples `(class,)`."""
        return None

    @abstractmethod
    def __call__(self, logits: Tensor, targets: Tensor, per_class: Tensor | None) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            logits: shape `(batch, class)`
            targets: class of each sample, int64 `(batch,)`, or probabilities `(batch, class)`
            per_class: what `per_class` returned
        """

    def build(self, class_counts: list[int]) -> Criterion:
        """Build the loss for some data.

        Args:
            class_counts: training samples of each class
        """
        if self.corrects_imbalance and not all(class_counts):
            raise ValueError(
                f"--model.loss {type(self).__name__} needs training samples of every class, not {class_counts}"
            )
        return Criterion(self, self.per_class(torch.tensor(class_counts, dtype=torch.float32)))


@dataclass(eq=False)
class CrossEntropy(Loss):
    """Cross-entropy with label smoothing and class weights.

    Args:
        class_weights: none; inverse (one over a class's count); or effective (one over its effective number of
            samples: class-balanced cross-entropy, Cui et al. 2019, arXiv:1901.05555)
        beta: of the effective number of samples, in [0, 1)
    """

    class_weights: Weighting = "none"
    beta: float = 0.9999

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("--model.loss.beta", self.beta, "[0, 1)")
        if self.beta != CrossEntropy.beta and self.class_weights != "effective":
            raise ValueError(
                f"--model.loss.beta {self.beta} needs --model.loss.class_weights effective, not {self.class_weights}"
            )

    @property
    def corrects_imbalance(self) -> bool:
        """Whether rare classes count for more than their samples do."""
        return self.class_weights != "none"

    @property
    def description(self) -> str:
        """Name the loss in messages, with what makes it count rare classes for more."""
        return f"{super().description} with class_weights {self.class_weights}"

    def per_class(self, counts: Tensor) -> Tensor | None:
        """Compute the weight of each class."""
        return class_weights(counts, self.class_weights, self.beta)

    def __call__(self, logits: Tensor, targets: Tensor, per_class: Tensor | None) -> Tensor:
        """Return the mean loss of a batch."""
        return cross_entropy(logits, targets, per_class, self.label_smoothing)


@dataclass(eq=False)
class Focal(CrossEntropy):
    """Softmax focal loss (Lin et al. 2017, arXiv:1708.02002), with class weights as CrossEntropy has them.

    Args:
        gamma: 0 is cross-entropy; the higher, the less samples count that are right already
        alpha: a weight for each class, in label order, taken as it is, in place of `class_weights`; null weighs all
            alike
    """

    gamma: float = 2.0
    alpha: list[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("--model.loss.gamma", self.gamma, "[0, inf)")
        check_range("--model.loss.alpha", self.alpha, "[0, inf)")
        if self.alpha is not None and not any(self.alpha):
            raise ValueError("--model.loss.alpha weighs no class: give one of them more than 0")
        if self.alpha is not None and self.class_weights != "none":
            raise ValueError(
                f"--model.loss.alpha and --model.loss.class_weights {self.class_weights} both weigh the classes: use "
                f"one of them"
            )

    @property
    def corrects_imbalance(self) -> bool:
        """Whether rare classes count for more than their samples do."""
        return super().corrects_imbalance or (self.alpha is not None and len(set(self.alpha)) > 1)

    @property
    def description(self) -> str:
        """Name the loss in messages, with what makes it count rare classes for more."""
        return super().description if self.alpha is None else f"{type(self).__name__} with alpha {self.alpha}"

    def per_class(self, counts: Tensor) -> Tensor | None:
        """Return the weight of each class.

        Raises:
            ValueError: there are more or fewer weights than classes
        """
        if self.alpha is None:
            return super().per_class(counts)
        if len(self.alpha) != len(counts):
            raise ValueError(
                f"--model.loss.alpha has {len(self.alpha)} weights, and the data has {len(counts)} classes: give one a "
                f"class, in label order"
            )
        return torch.tensor(self.alpha, dtype=counts.dtype)

    def __call__(self, logits: Tensor, targets: Tensor, per_class: Tensor | None) -> Tensor:
        """Return the mean loss of a batch."""
        return focal(logits, targets, self.gamma, per_class, self.label_smoothing)


@dataclass(eq=False)
class LogitAdjusted(Loss):
    """Cross-entropy of logits raised by the log of each class's share of the training samples.

    Rare classes must win by a margin in training, and the plain logits of validation and test favour no class (Menon
    et al. 2021, arXiv:2007.07314).

    Args:
        tau: how much of the log is added; 1 is what a balanced test asks for
    """

    tau: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("--model.loss.tau", self.tau, "(-inf, inf)")

    @property
    def corrects_imbalance(self) -> bool:
        """Whether rare classes count for more than their samples do."""
        return self.tau != 0

    def per_class(self, counts: Tensor) -> Tensor | None:
        """Keep the number of samples of each class."""
        return counts

    def __call__(self, logits: Tensor, targets: Tensor, per_class: Tensor | None) -> Tensor:
        """Return the mean loss of a batch."""
        assert per_class is not None
        return logit_adjusted(logits, targets, per_class, self.tau, self.label_smoothing)


@dataclass(eq=False)
class BalancedSoftmax(Loss):
    """Balanced softmax (Ren et al. 2020, arXiv:2007.10740), the same as LogitAdjusted with a tau of 1."""

    @property
    def corrects_imbalance(self) -> bool:
        """Whether rare classes count for more than their samples do."""
        return True

    def per_class(self, counts: Tensor) -> Tensor | None:
        """Keep the number of samples of each class."""
        return counts

    def __call__(self, logits: Tensor, targets: Tensor, per_class: Tensor | None) -> Tensor:
        """Return the mean loss of a batch."""
        assert per_class is not None
        return balanced_softmax(logits, targets, per_class, self.label_smoothing)
