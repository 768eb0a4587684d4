"""Names of metrics, and which of them are better when lower."""

from collections.abc import Sequence
from typing import Literal

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "precision_macro",
    "precision_weighted",
    "recall_macro",
    "recall_weighted",
    "f1_macro",
    "f1_weighted",
    "auroc",
    "average_precision",
    "nll",
    "brier",
    "ece",
)
# those that a comparison gives intervals of
WITH_INTERVALS = ("accuracy", "balanced_accuracy", "f1_macro", "auroc", "nll", "brier", "ece")


# of two classes, of a positive one among them, and of ordered classes
BINARY_METRICS = ("brier_binary",)
POSITIVE_METRICS = (
    "sensitivity",
    "specificity",
    "precision_positive",
    "f1_positive",
    "average_precision_positive",
    "sensitivity_at_specificity",
)
ORDINAL_METRICS = ("quadratic_kappa", "mean_absolute_error")
PROBLEM_METRICS = (*BINARY_METRICS, *POSITIVE_METRICS, *ORDINAL_METRICS)


# of predicted numbers
REGRESSION_METRICS = ("mse", "rmse", "mae", "r2")


# higher is better for all others
LOWER_IS_BETTER = frozenset(
    {"loss", "nll", "brier", "ece", "brier_binary", "mean_absolute_error", "mse", "rmse", "mae"}
)


# what can choose an epoch
VALIDATION_METRICS = tuple(f"val/{name}" for name in ("loss", *METRICS, *PROBLEM_METRICS, *REGRESSION_METRICS))


# what is known of the training split at the end of an epoch
TRAINING_METRICS = ("train/loss", "train/accuracy")


def mode_of(monitor: str, option: str = "monitor", known: Sequence[str] = VALIDATION_METRICS) -> Literal["min", "max"]:
    """Say whether less or more of a metric is better.

    Args:
        monitor: such as val/accuracy
        option: its name on the command line
        known: the metrics that it may be

    Raises:
        ValueError: there is no such metric
    """
    if monitor not in known:
        kind = "a validation metric" if known is VALIDATION_METRICS else "a metric that is logged"
        raise ValueError(f"{option} must be {kind}, not {monitor!r} (known: {', '.join(known)})")
    return "min" if monitor.partition("/")[2] in LOWER_IS_BETTER else "max"
