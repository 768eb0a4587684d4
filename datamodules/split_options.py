"""Options that say how the samples of a data set are split, and what they hold out of training or leave out of it."""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from common.few import few
from common.options import configurable, option
from common.ranges import check_ranges
from common.warned import warn
from datamodules.dataset import Dataset
from datamodules.names import matching, unknown_names
from datamodules.samples import Samples
from datamodules.splits import LongTail, long_tail, stratified_folds, stratified_subset

RANGES = {
    "val_fraction": "[0, 1)",
    "stack_fraction": "[0, 1)",
    "split_seed": "[0, inf)",
    "split_version": "[1, 2]",
    "num_folds": "[2, inf)",
    "fold": "[0, inf)",
    "subsample": "(0, 1]",
    "imbalance_ratio": "[1, inf)",
    "test_subsample": "(0, 1]",
}


@configurable
class SplitOptions:
    """How the samples of a data set are split.

    Args:
        val_fraction: share of the training samples held out for validation, stratified; ignored where the data set
            brings a validation split of its own, or where `held_out` is val
        stack_fraction: share of the training samples held out for the meta-model of a stack, stratified
        split_seed: names the draw of the held-out samples; keep it the same for all members of a stack
        split_version: how samples are drawn: 2 (by their content, so that neither their order matters nor a few new
            ones) or 1 (by their order, as runs of earlier versions were)
        num_folds: deal the training samples out to this many stratified folds, and hold one out; null makes none
        fold: which of the folds is held out, from 0
        leave_out_source: hold out all training samples of this source; null leaves out none
        held_out: the split that the held-out fold or source becomes: val, stack, or test (in place of the data set's
            own, for cross-validation)
        subsample: share of each class kept for training; a smaller share is a subset of a larger one
        long_tail: thin classes out, in label order: exponential, or step (the second half of the classes); or none
        imbalance_ratio: training samples of the largest class over those of the smallest, for `long_tail`
        long_tail_in: what the long tail thins out: train (the training split alone, not what is held out for val and
            stack), or all (all but the test split, before anything is held out, as if there were no more samples)
        test_subsample: share of each class kept in the test split, to try things out soon; results of less than all say
            so, and a smaller share is a subset of a larger one
    """

    val_fraction: float = option(0.1, "split")
    stack_fraction: float = option(0.0, "split")
    split_seed: int = option(0, "split")
    split_version: Literal[1, 2] = option(2, "split")
    num_folds: int | None = option(None, "split")
    fold: int = option(0, "split")
    leave_out_source: str | None = option(None, "split")
    held_out: Literal["val", "stack", "test"] = option("val", "split")
    subsample: float = option(1.0, "split")
    long_tail: LongTail = option("none", "split")
    imbalance_ratio: float = option(100.0, "split")
    long_tail_in: Literal["train", "all"] = option("train", "split")
    test_subsample: float = option(1.0, "split")

    # what one sample is called in messages
    sample_word: ClassVar[str] = "sample"

    def check_split_options(self) -> None:
        """Refuse options that are out of their ranges, exclude each other, or lack the one that they need.

        Raises:
            ValueError: the message names them
        """
        check_ranges("--data", self, RANGES)
        if self.num_folds is not None and self.fold >= self.num_folds:
            raise ValueError(f"--data.fold must be from 0 to {self.num_folds - 1}, not {self.fold}")
        if self.num_folds is not None and self.leave_out_source is not None:
            raise ValueError("--data.num_folds and --data.leave_out_source cannot be given together: both hold out")
        if self.fold and self.num_folds is None:
            raise ValueError("--data.fold needs --data.num_folds")
        if self.held_out != "val" and self.num_folds is None and self.leave_out_source is None:
            raise ValueError(
                f"--data.held_out {self.held_out} needs something to hold out: --data.num_folds, or "
                f"--data.leave_out_source"
            )
        if self.held_out == "stack" and self.stack_fraction:
            raise ValueError("--data.held_out stack and --data.stack_fraction cannot be given together")
        if self.imbalance_ratio != 100 and self.long_tail == "none":
            raise ValueError("--data.imbalance_ratio needs --data.long_tail exponential or step")
        if self.long_tail_in == "all" and self.long_tail == "none":
            raise ValueError("--data.long_tail_in all needs --data.long_tail exponential or step")

    def check_shares(self, val_fraction: float) -> None:
        """Refuse holdouts that leave nothing to train on.

        Args:
            val_fraction: share of the training samples that is held out for validation

        Raises:
            ValueError: the message names the options
        """
        if val_fraction + self.stack_fraction >= 1:
            raise ValueError(
                f"--data.val_fraction {val_fraction} and --data.stack_fraction {self.stack_fraction} leave nothing to "
                f"train on: their sum must be less than 1"
            )

    def drawn_by(self, samples: Samples) -> dict[str, Any]:
        """Return what the functions that draw splits need to know of samples beside their labels.

        Args:
            samples: to draw from
        """
        if self.split_version == 1:
            return {"keys": samples.keys.numpy(), "groups": samples.group_array()}
        groups = samples.groups if samples.group_forms is None else samples.group_forms
        return {
            "keys": samples.contents.numpy(),
            "groups": None if groups is None else groups.numpy(),
            "by_content": True,
        }

    def _keys_to_thin(self, samples: Samples) -> NDArray[np.int64] | None:
        return samples.contents.numpy() if self.split_version == 2 else None

    def pool(self, dataset: Dataset) -> Samples:
        """Return the training samples that everything but the test split is drawn from.

        Args:
            dataset: what was read
        """
        return self._thin_tail(dataset.train, dataset.class_names) if self.long_tail_in == "all" else dataset.train

    def hold_out(self, dataset: Dataset) -> tuple[Samples, Samples | None]:
        """Hold a fold or a source out of the training samples.

        Args:
            dataset: what was read

        Returns:
            the rest, without copies and groups of what is held out; and that, or None if nothing is

        Raises:
            ValueError: there is no such source, or too few samples for the folds
        """
        samples, source_names = self.pool(dataset), dataset.source_names
        if self.num_folds is not None:
            folds = stratified_folds(
                samples.labels.numpy(),
                self.num_folds,
                self.split_seed,
                class_names=dataset.class_names,
                **self.drawn_by(samples),
            )
            held = folds == self.fold
        elif self.leave_out_source is not None:
            source = matching(self.leave_out_source, source_names)
            if samples.sources is None or source is None:
                known = few(source_names, shown=20) or "none: a manifest with a source column has them"
                asked = unknown_names([self.leave_out_source], source_names)
                raise ValueError(f"--data.leave_out_source: there is no source {asked} ({known})")
            held = samples.sources.numpy() == source_names.index(source)
            if not held.any():
                raise ValueError(
                    f"--data.leave_out_source {self.leave_out_source!r} has no {self.sample_word} outside the test "
                    f"split"
                )
        else:
            return samples, None
        rest, out = samples.subset(np.flatnonzero(~held)), samples.subset(np.flatnonzero(held))
        return _without_shared(rest, out, f"{self.sample_word}s"), out

    def thin_out(self, samples: Samples, class_names: list[str]) -> Samples:
        """Leave out training samples: a long tail, a nested subset.

        Args:
            samples: of training
            class_names: for error messages

        Raises:
            ValueError: a class would be left without any
        """
        if self.long_tail != "none" and self.long_tail_in == "train":
            samples = self._thin_tail(samples, class_names)
        if self.subsample < 1:
            labels, keys = samples.labels.numpy(), self._keys_to_thin(samples)
            samples = samples.subset(stratified_subset(labels, self.subsample, self.split_seed, keys))
        return samples

    def _thin_tail(self, samples: Samples, class_names: list[str]) -> Samples:
        labels, keys = samples.labels.numpy(), self._keys_to_thin(samples)
        return samples.subset(
            long_tail(labels, self.long_tail, self.imbalance_ratio, self.split_seed, class_names, keys)
        )

    @property
    def test_notes(self) -> list[str]:
        """What results of the test split must say of it."""
        if self.test_subsample == 1:
            return []
        return [f"tested on a part of the test split alone (--data.test_subsample {self.test_subsample:g})"]

    def thin_out_test(self, samples: Samples) -> Samples:
        """Keep the share of the test samples that `test_subsample` asks for.

        Args:
            samples: of the test split
        """
        if self.test_subsample == 1 or not len(samples):
            return samples
        labels, keys = samples.labels.numpy(), self._keys_to_thin(samples)
        return samples.subset(stratified_subset(labels, self.test_subsample, self.split_seed, keys))


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


def _without_shared(samples: Samples, held: Samples, what: str) -> Samples:
    """Leave out copies of held-out samples, and samples of their groups, which several sources may share."""
    shared = torch.isin(samples.keys, held.keys) | torch.isin(samples.contents, held.contents)
    if samples.groups is not None and held.groups is not None:
        shared |= torch.isin(samples.groups, held.groups)
    if shared.any():
        warn(
            f"{int(shared.sum())} training {what} are left out: they are copies of {what} that are held out, or of the "
            f"same groups"
        )
    return samples.subset(torch.nonzero(~shared)[:, 0])
