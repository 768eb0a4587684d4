"""Names of metrics, and which of them are better when lower."""

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


# higher is better for all others
LOWER_IS_BETTER = frozenset({"loss", "nll", "brier", "ece", "brier_binary", "mean_absolute_error"})


# what can choose an epoch
VALIDATION_METRICS = tuple(f"val/{name}" for name in ("loss", *METRICS, *PROBLEM_METRICS))


def mode_of(monitor: str, option: str = "monitor") -> Literal["min", "max"]:
    """Say whether less or more of a validation metric is better.

    Args:
        monitor: such as val/accuracy
        option: its name on the command line

    Raises:
        ValueError: there is no such metric
    """
    if monitor not in VALIDATION_METRICS:
        raise ValueError(
            f"{option} must be a validation metric, not {monitor!r} (known: {', '.join(VALIDATION_METRICS)})"
        )
    return "min" if monitor.removeprefix("val/") in LOWER_IS_BETTER else "max"
