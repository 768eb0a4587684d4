"""Which gain a planned stack could see, said before anything is trained."""

from collections.abc import Sequence
from pathlib import Path

import torch

from datamodules import DataModule
from datamodules.samples import Samples
from measures.power import ERROR_CORRELATION, POWER, smallest_visible_gain, typical_discordance
from pipelines.cells.job import CellFiles
from pipelines.stack.members import MemberLogits, meta_samples, tested_samples
from pipelines.stack.plan import StackPlan
from records.damaged import DamagedFileError
from records.result_files import read_result

# accuracy of the members where no finished cell tells it
ASSUMED_ACCURACY = 0.9


def visible_gain(plan: StackPlan, data: DataModule, folder: Path) -> str:
    """Say which gain in accuracy over its best member a stack could see on its held-out and test samples.

    Args:
        plan: the plan
        data: of its first cell
        folder: the experiment's; its finished cells tell the accuracy

    Returns:
        one sentence, with what it assumes
    """
    held_out, test = meta_samples(plan, data), [tested_samples(data)]
    units = [units_of(held_out), units_of(test)]
    images = [sum(map(len, part)) for part in (held_out, test)]
    accuracy, source = expected_accuracy(plan, folder)
    discordant = plan.expected_disagreement
    how = "as given"
    if discordant is None:
        discordant, how = typical_discordance(accuracy), f"errors that correlate by {ERROR_CORRELATION:g}"
    gains = [smallest_visible_gain(count, discordant) for count in units]
    if units == images:
        there = "with {:,} held-out and {:,} test images".format(*images)
    else:
        there = "with {:,} held-out and {:,} test groups (of {:,} and {:,} images)".format(*units, *images)
    if None in gains:
        return f"{there}, no gain in accuracy can be seen: there are too few"
    least = [100 * gain for gain in gains if gain is not None]
    return (
        f"{there}, less than {max(least):.1f} points of accuracy cannot be seen (held-out {least[0]:.1f}, test "
        f"{least[1]:.1f}: a paired comparison sees these gains in {POWER:.0%} of the cases, at the 5 % level, if the "
        f"members have an accuracy of {accuracy:.4g}, {source}, and one of two models alone is right on "
        f"{discordant:.1%} of the images, {how})"
    )


def units_of(parts: Sequence[Samples]) -> int:
    """Count what is independent among some samples: groups, copies of an image as one, or single samples.

    Args:
        parts: the samples, such as those of each fold
    """
    joined = MemberLogits.of(parts, [torch.empty(len(part), 0, 0) for part in parts]).units
    return sum(map(len, parts)) if joined is None else len(joined.unique())


def expected_accuracy(plan: StackPlan, folder: Path) -> tuple[float, str]:
    """Return the accuracy that members are expected to have, and where it is from.

    Args:
        plan: may give it
        folder: the experiment's
    """
    if plan.expected_accuracy is not None:
        return plan.expected_accuracy, "as given"
    known = []
    for cell in plan.cells:
        files = CellFiles(folder, cell.name)
        if not files.is_done:
            continue
        try:
            value = read_result(files.run.result).get("val", {}).get("accuracy")
        except DamagedFileError:
            # the stack itself refuses it, with a way out
            continue
        known += [value] if isinstance(value, float) else []
    return (max(known), "as validated by finished cells") if known else (ASSUMED_ACCURACY, "an assumption")
