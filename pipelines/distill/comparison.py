"""A student alone and distilled, and the stack: on the same test samples, over several seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datamodules import DataModule
from lightning_modules.checkpoints import load_classifier
from lightning_modules.speed import ms_per_image
from measures.classification import classification_metrics
from measures.intervals import numbered
from measures.repeats import gain_over_repeats
from pipelines.cells.cell import Cell
from pipelines.distill.plan import ALONE, DISTILLED, DistillPlan
from records.result_files import read_predictions, read_result
from records.run_dir import RunDir

SHOWN = ("accuracy", "nll", "ece")
# those whose gain has an interval; the ECE has none
COMPARED = ("accuracy", "nll")
BATCHES = (1, 32)


@dataclass(frozen=True, eq=False)
class Scored:
    """One model's predictions on the test samples, in the order of their ids.

    Args:
        ids: int64, shape `(sample,)`
        labels: int64, shape `(sample,)`
        logits: float64, shape `(sample, class)`
        groups: int64, shape `(sample,)`; None where there are none
    """

    ids: Tensor
    labels: Tensor
    logits: Tensor
    groups: Tensor | None

    @classmethod
    def of(cls, run: RunDir) -> "Scored":
        """Read what a run predicted for its test split."""
        found = read_predictions(run.predictions)
        order = found["test/id"].argsort()
        groups = found.get("test/group")
        return cls(
            found["test/id"][order],
            found["test/label"][order],
            found["test/logits"][order].double(),
            None if groups is None else groups[order],
        )

    @property
    def scores(self) -> dict[str, NDArray[np.float64]]:
        """By metric, what each sample contributes: 1 where the class is right; and minus its NLL in nats."""
        right = (self.logits.argmax(1) == self.labels).double()
        losses = nn.functional.cross_entropy(self.logits, self.labels, reduction="none")
        return {"accuracy": right.numpy(), "nll": -losses.numpy()}


def compare(plan: DistillPlan, cells: Sequence[Cell], folder: Path, data: DataModule) -> dict[str, Any]:
    """Compare the students with each other and with the stack.

    Args:
        plan: what was run
        cells: all tested
        folder: the experiment's
        data: brings images to time the models on

    Returns:
        of plain types: `models` (by name: metrics as means over seeds, `by_seed`, `parameters`, `bytes`, `ms_1` and
        `ms_32`), `gains` (by pair and metric: `value`, `images`, `seeds`, `low`, `high`), and what was run

    Raises:
        ValueError: a student was tested on other samples than the stack
    """
    teacher = plan.teacher
    stack, students = Scored.of(teacher), {ALONE: list[Scored](), DISTILLED: list[Scored]()}
    for cell in cells:
        found = Scored.of(RunDir(folder / cell.name))
        if not torch.equal(found.ids, stack.ids):
            raise ValueError(
                f"{cell.name} was tested on other samples than {teacher.folder}: their gains do not compare"
            )
        students[cell.member].append(found)
    models = {name: summary(tested) for name, tested in {**students, "stack": [stack]}.items()}
    paths = {cell.member: RunDir(folder / cell.name).weights for cell in reversed(cells)} | {"stack": teacher.stack}
    for name, costs in costs_of(paths, data).items():
        models[name] |= costs
    return {
        "stack": str(teacher.folder),
        "kept": read_result(teacher.result).get("kept"),
        "weight": plan.weight,
        "temperature": plan.temperature,
        "augmented": plan.augmented,
        "seeds": plan.seeds,
        "samples": len(stack.ids),
        "models": models,
        "gains": {
            f"{DISTILLED} over {ALONE}": gains(students[DISTILLED], students[ALONE]),
            f"stack over {DISTILLED}": gains([stack] * len(plan.seeds), students[DISTILLED]),
        },
        "notes": notes(plan),
    }


def summary(tested: Sequence[Scored]) -> dict[str, Any]:
    """Return the mean of each metric over the seeds, and each seed's."""
    found = [classification_metrics(one.logits, one.labels) for one in tested]
    by_seed = {metric: [row[metric] for row in found] for metric in SHOWN}
    return {metric: float(np.mean(values)) for metric, values in by_seed.items()} | {"by_seed": by_seed}


def gains(better: Sequence[Scored], worse: Sequence[Scored]) -> dict[str, dict[str, float | None]]:
    """Return by metric what some models gain over others, seed by seed on the same samples, with its interval."""
    unit = numbered(better[0].groups)
    pairs = [(one.scores, other.scores) for one, other in zip(better, worse, strict=True)]
    rows = {metric: np.stack([one[metric] - other[metric] for one, other in pairs]) for metric in COMPARED}
    return {metric: asdict(gain_over_repeats(gained, unit)) for metric, gained in rows.items()}


def costs_of(paths: Mapping[str, Path], data: DataModule) -> dict[str, dict[str, Any]]:
    """Measure what models cost: parameters, bytes of their weights, and milliseconds for a batch of 1 and of 32 images.

    Args:
        paths: checkpoints, by name
        data: brings the images
    """
    samples = data.samples("test")
    rows = torch.arange(max(BATCHES)).remainder(len(samples))
    images = samples.source.gather(samples.rows[rows])
    found = {}
    for name, path in paths.items():
        model = load_classifier(path)
        tensors = [*model.parameters(), *model.buffers()]
        found[name] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "bytes": sum(t.numel() * t.element_size() for t in tensors),
            **{f"ms_{size}": round(size * ms_per_image(model, images[:size]), 4) for size in BATCHES},
        }
    return found


def notes(plan: DistillPlan) -> list[str]:
    """Say what a student's teacher has seen."""
    of_images = (
        "The whole stack taught on augmented training images: members and head were fitted on these images and their "
        "labels, so its targets are surer than on new images"
        if plan.augmented
        else "Each training image's target comes from members and a head that had not seen it"
    )
    return [
        f"{of_images}. No model has seen the test images.",
        "Members were fitted on the images that the student is validated on: its validation scores, and what is "
        "calibrated on them, look better than they are.",
    ]
