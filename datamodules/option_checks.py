"""Checks of an ImageDataModule's options, before anything is read."""

from typing import TYPE_CHECKING

from common.ranges import check_ranges
from datamodules.transforms import check_steps

if TYPE_CHECKING:
    from datamodules.base import ImageDataModule

RANGES = {
    "batch_size": "[1, inf)",
    "val_fraction": "[0, 1)",
    "stack_fraction": "[0, 1)",
    "split_seed": "[0, inf)",
    "num_folds": "[2, inf)",
    "fold": "[0, inf)",
    "subsample": "(0, 1]",
    "imbalance_ratio": "[1, inf)",
    "image_size": "[1, 16384]",
    "mixup": "[0, inf)",
    "cutmix": "[0, inf)",
    "num_workers": "[0, inf)",
}


def check_numbers(data: "ImageDataModule") -> None:
    """Refuse options that are out of their ranges.

    Raises:
        ValueError: the message names the option
    """
    check_ranges("--data", data, RANGES)
    if data.num_folds is not None and data.fold >= data.num_folds:
        raise ValueError(f"--data.fold must be from 0 to {data.num_folds - 1}, not {data.fold}")
    check_steps("--data.augmentation", data.augmentation)
    check_steps("--data.strong_augmentation", data.strong_augmentation)


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
