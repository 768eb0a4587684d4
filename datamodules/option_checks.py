"""Checks of an ImageDataModule's options, before anything is read."""

from typing import TYPE_CHECKING

from datamodules.transforms import check_steps

if TYPE_CHECKING:
    from datamodules.base import ImageDataModule


def check_ranges(data: "ImageDataModule") -> None:
    """Refuse options that are out of their ranges.

    Raises:
        ValueError: the message names the option
    """
    for name in ("batch_size", "image_size"):
        value = getattr(data, name)
        if value is not None and value < 1:
            raise ValueError(f"--data.{name} must be at least 1, not {value}")
    for name in ("val_fraction", "stack_fraction"):
        if not 0 <= getattr(data, name) < 1:
            raise ValueError(f"--data.{name} must be in [0, 1), not {getattr(data, name)}")
    if not 0 < data.subsample <= 1:
        raise ValueError(f"--data.subsample must be in (0, 1], not {data.subsample}")
    if data.imbalance_ratio < 1:
        raise ValueError(f"--data.imbalance_ratio must be at least 1, not {data.imbalance_ratio}")
    if data.num_workers < 0:
        raise ValueError(f"--data.num_workers must be at least 0, not {data.num_workers}")
    if data.num_folds is not None and data.num_folds < 2:
        raise ValueError(f"--data.num_folds must be at least 2, not {data.num_folds}")
    if not 0 <= data.fold < (data.num_folds or data.fold + 1):
        raise ValueError(f"--data.fold must be from 0 to {(data.num_folds or 1) - 1}, not {data.fold}")
    for name in ("mixup", "cutmix"):
        if getattr(data, name) < 0:
            raise ValueError(f"--data.{name} must be at least 0, not {getattr(data, name)}")
    check_steps(data.augmentation)
    check_steps(data.strong_augmentation)


def check_conflicts(data: "ImageDataModule") -> None:
    """Refuse options that exclude each other, or lack the one that they need.

    Raises:
        ValueError: the message names both
    """
    if data.num_folds is not None and data.leave_out_source is not None:
        raise ValueError("--data.num_folds and --data.leave_out_source cannot be given together: both hold out")
    holds_out = data.num_folds is not None or data.leave_out_source is not None
    if data.fold and data.num_folds is None:
        raise ValueError("--data.fold needs --data.num_folds")
    if data.held_out != "val" and not holds_out:
        raise ValueError(
            f"--data.held_out {data.held_out} needs something to hold out: --data.num_folds, or --data.leave_out_source"
        )
    if data.held_out == "stack" and data.stack_fraction:
        raise ValueError("--data.held_out stack and --data.stack_fraction cannot be given together")
    if bool(data.strong_augmentation) != bool(data.strong_classes):
        raise ValueError("--data.strong_augmentation and --data.strong_classes need each other")
    if data.imbalance_ratio != 100 and data.long_tail == "none":
        raise ValueError("--data.imbalance_ratio needs --data.long_tail exponential or step")
