"""What a result says of an evaluation: of what, on what, and what the model had seen of it."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from common import class_paths
from common.machine import device_name
from common.warned import warn
from datamodules.base import DataModule
from datamodules.data_record import only_numbered
from datamodules.provenance import Provenance, fingerprint
from datamodules.samples import Samples
from lightning_modules.model import Model


def evaluation(trainer: pl.Trainer, model: Model, split: str, changed: Sequence[str]) -> dict[str, Any]:
    """Say what was evaluated, on what, and how many of its samples the model had been fitted on."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    samples = data.served(split)
    evaluated = torch.isin(samples.ids, model.predictions["id"].cpu())
    record = model.provenance or Provenance.of()
    # the head of a stack is fitted too, on samples of its own
    known = record.knows(samples, "fitted", "calibrated")
    overlap, related = int((known & evaluated).sum()), 0
    if overlap:
        warn(f"the model was fitted on copies of {overlap} of the {int(evaluated.sum())} {split} samples")
    if samples.groups is not None:
        of_groups = record.knows_group(samples, "fitted", "calibrated")
        related = int((of_groups & ~known & evaluated).sum())
        if related:
            warn(
                f"the model was fitted on other samples of the groups of {related} of the {int(evaluated.sum())} "
                f"{split} samples"
            )
    notes = model.evaluation_notes(data)
    trained = {"the model": model.trained_on} if model.trained_on else {}
    notes += only_numbered(model.info.class_names, trained, data)
    if split == "test":
        notes += data.test_notes
    for note in notes:
        warn(note)
    return {
        "data": class_paths.public_name(type(data)),
        "checkpoint": str(trainer.ckpt_path) if trainer.ckpt_path else None,
        "samples": int(evaluated.sum()),
        "fingerprint": fingerprint(samples.ids, samples.keys, samples.labels),
        "digests": data.record.digests,
        "fitted_on": overlap,
        **({"data_changed": list(changed)} if changed else {}),
        **({"notes": notes} if notes else {}),
        **({"fitted_on_groups": related} if samples.groups is not None else {}),
        **model.evaluation_facts,
        **what_is_special(data),
        **circumstances(trainer),
    }


def with_groups(predictions: dict[str, Tensor], samples: Samples) -> dict[str, Tensor]:
    """Add the group of each sample to its prediction, where the data has groups.

    Args:
        predictions: `id` of each sample, shape `(sample,)`, and other columns
        samples: what was predicted on, in any order
    """
    if samples.groups is None:
        return predictions
    ids, order = samples.ids.sort()
    return {**predictions, "group": samples.groups[order[torch.searchsorted(ids, predictions["id"].cpu())]]}


def what_is_special(data: DataModule) -> dict[str, Any]:
    """Name the data's sources, the files that were left out, and what was noticed in them, where there is any."""
    found = data.dataset
    facts = {"source_names": found.source_names, "skipped_files": found.skipped, "data_notes": found.notes}
    left_out = {"left_out_files": dict(found.left_out)} if found.left_out else {}
    return {name: list(values) for name, values in facts.items() if values} | left_out


def circumstances(trainer: pl.Trainer) -> dict[str, Any]:
    """Say on what a Trainer runs."""
    return {
        "device": device_name(trainer.strategy.root_device),
        "processes": trainer.world_size,
        "precision": str(trainer.precision),
    }
