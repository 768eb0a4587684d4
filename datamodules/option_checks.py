"""Checks of an ImageDataModule's options, before anything is read."""

import math
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
    if data.split_seed < 0:
        raise ValueError(f"--data.split_seed must be at least 0, not {data.split_seed}")
    if not 0 < data.subsample <= 1:
        raise ValueError(f"--data.subsample must be in (0, 1], not {data.subsample}")
    if not 1 <= data.imbalance_ratio < math.inf:
        raise ValueError(f"--data.imbalance_ratio must be at least 1 and finite, not {data.imbalance_ratio}")
    if data.num_workers < 0:
        raise ValueError(f"--data.num_workers must be at least 0, not {data.num_workers}")
    if data.num_folds is not None and data.num_folds < 2:
        raise ValueError(f"--data.num_folds must be at least 2, not {data.num_folds}")
    if not 0 <= data.fold < (data.num_folds or data.fold + 1):
        raise ValueError(f"--data.fold must be from 0 to {(data.num_folds or 1) - 1}, not {data.fold}")
    for name in ("mixup", "cutmix"):
        if not 0 <= getattr(data, name) < math.inf:
            raise ValueError(f"--data.{name} must be at least 0 and finite, not {getattr(data, name)}")
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


def check_shares(data: "ImageDataModule", val_fraction: float) -> None:
    """Refuse holdouts that leave nothing to train on.

    Args:
        data: has the options
        val_fraction: share of the training samples that is held out for validation

    Raises:
        ValueError: the message names the options
    """
    if val_fraction + data.stack_fraction >= 1:
        raise ValueError(
            f"--data.val_fraction {val_fraction} and --data.stack_fraction {data.stack_fraction} leave nothing to "
            f"train on: their sum must be less than 1"
        )


def check_not_empty(split: str, size: int) -> None:
    """Refuse to load a split without a sample.

    Args:
        split: one of train, val, test, predict
        size: its number of samples

    Raises:
        ValueError: the message says how it gets some
    """
    ways_out = {
        "train": "lower --data.val_fraction or --data.stack_fraction",
        "test": "set --data.test_fraction above 0, or give images of it",
        "predict": "set --data.predict_root, or --data.test_fraction above 0",
    }
    if not size:
        raise ValueError(f"there is no sample in the {split} split: {ways_out.get(split, 'give images of it')}")
