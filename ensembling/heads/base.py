"""What every meta-model offers: options that build and fit a module from members' logits to pooled logits."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor, nn

# the option that names the head of a StackingModule; a stack has several heads
HEAD_OPTION = "--model.meta_model"


class Head(ABC):
    """Options of a meta-model; `build` makes the module."""

    # solved at once on all samples, rather than trained in epochs
    solved: ClassVar[bool] = False
    # what tables call it
    name: ClassVar[str]

    @abstractmethod
    def build(self, num_bases: int, num_classes: int) -> "nn.Module":
        """Build the module from logits `(batch, member, class)` to pooled logits `(batch, class)`.

        Its state dict holds all that is fitted.
        """

    def solve(
        self, module: "nn.Module", logits: "Tensor", labels: "Tensor", seed: int = 0, groups: "Tensor | None" = None
    ) -> None:
        """Fit a solved head's module on all samples at once.

        Args:
            module: what `build` returned
            logits: shape `(sample, member, class)`
            labels: int64, shape `(sample,)`
            seed: names the folds of a cross-validation
            groups: int64, shape `(sample,)`; a group is never divided between folds
        """
        raise TypeError(f"{type(self).__name__} is trained in epochs")

    def fit(
        self, module: "nn.Module", logits: "Tensor", labels: "Tensor", seed: int = 0, groups: "Tensor | None" = None
    ) -> None:
        """Fit the module on all samples, by `solve` or by a short training; see `solve` for the arguments."""
        self.solve(module, logits, labels, seed, groups)


def check_meta_samples(logits: "Tensor", labels: "Tensor", num_classes: int, finite: bool = False) -> None:
    """Refuse what no head can be fitted on.

    A logit of minus infinity stands for a class that a member does not know.

    Args:
        logits: shape `(sample, member, class)`
        labels: int64, shape `(sample,)`
        num_classes: number of classes
        finite: refuse minus infinity too

    Raises:
        ValueError: no samples, shapes that do not fit, labels out of range, or logits that are not numbers
    """
    if logits.ndim != 3 or logits.shape[2] != num_classes or not logits.shape[1]:
        raise ValueError(f"logits must have shape (sample, member, {num_classes}), not {tuple(logits.shape)}")
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"{len(logits)} samples have labels of shape {tuple(labels.shape)}")
    if not len(labels):
        raise ValueError("a head cannot be fitted on no samples")
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise ValueError(
            f"labels must be from 0 to {num_classes - 1}, but are from {int(labels.min())} to {int(labels.max())}"
        )
    # one pass in the common case
    if logits.isfinite().all():
        return
    # NaN, plus infinity, or no class at all
    broken = (logits.isnan() | logits.isposinf()).any(2) | logits.isneginf().all(2)
    if broken.any():
        raise ValueError(f"member number {_first(broken)} gives logits that are not finite")
    if finite:
        raise ValueError(
            f"member number {_first(logits.isneginf().any(2))} gives logits of minus infinity (a class that it does "
            f"not know?), which the features 'logits' cannot hold: give the head the features log_probabilities or "
            f"probabilities"
        )


def _first(rows: "Tensor") -> int:
    return int(rows.any(0).nonzero()[0]) + 1
