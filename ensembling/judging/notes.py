"""What a stack's report says beside its numbers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from measures.intervals import FEW_UNITS, LEVEL, MIN_UNITS, Measured, beyond_noise

if TYPE_CHECKING:
    from ensembling.judging.predictions import Predictions


def notes_against(
    kept: Mapping[str, Any], differences: Sequence[Mapping[str, Any]], units: int, tested: int
) -> list[str]:
    """Say where test speaks against the model that is kept, and what its thresholds could not reach.

    Args:
        kept: its row of the report
        differences: the report's
        units: held-out samples or groups
        tested: test samples or groups
    """
    name, notes, sure = kept["name"], list[str](), beyond_noise(min(units, tested))
    before, after = kept["held_out"]["accuracy"], kept["metrics"]["accuracy"]
    if None not in (before["low"], after["high"]) and after["high"] < min(before["low"], 1 - unseen_error(units)):
        notes.append(
            f"{name}, which is kept, has an accuracy of {before['value']:.4f} on the samples it was chosen by, and of "
            f"{after['value']:.4f} on test, which is less {sure}: at test the images, or the members' runs, are "
            "unlike those that its head, temperature and thresholds were fitted on"
        )
    for row in differences:
        change = row["accuracy"]
        if row["model"] == name and change["high"] is not None and change["high"] < 0:
            notes.append(
                f"on test {name}, which is kept, is less accurate than {row['to']} {beyond_noise(tested)} "
                f"({change['value']:+.4f} [{change['low']:+.4f}, {change['high']:+.4f}])"
            )
    return [*notes, *(f"{name}: {note}" for note in (kept["rejection"] or {"notes": []})["notes"])]


def note_on_best(models: int, curse: float | None) -> str:
    """Say what the best row of a stack's table is expected to lose, if it were chosen by that; empty if unknown.

    Args:
        models: rows of the table
        curse: see `measures.winners_curse`
    """
    if curse is None:
        return ""
    return (
        f"if it were chosen by this table, the most accurate of these {models:,} models would be expected to lose "
        f"{100 * curse:.2f} points of accuracy on new images (bootstrap bias correction, BBC-CV); the recommended one "
        f"is chosen on other images"
    )


def unseen_error(units: int) -> float:
    """Return the upper bound of the error rate, at a level of 95 %, where all of so many answers are right."""
    return 1 - (1 - LEVEL) ** (1 / units)


def notes_on_samples(
    test: "Predictions", held_out: "Predictions", raw: Measured, chosen_on: Measured, present: Tensor
) -> list[str]:
    """Say for which classes and intervals there are too few samples, or none.

    Args:
        test: logits on test
        held_out: logits on held-out samples
        raw: metrics on test
        chosen_on: metrics on held-out samples
        present: classes of the test samples, shape `(class,)`
    """
    notes = []
    classes = next(iter(test.members.values())).shape[1]
    if len(present) < classes:
        notes.append(
            f"{classes - len(present)} of {classes} classes are absent in test: averages over classes leave them out "
            "(macro F1 only if they are not predicted either)"
        )
    if missing := classes - len(held_out.labels.unique()):
        notes.append(f"{missing} of {classes} classes are absent in the held-out samples")
    if len(present) < 2:
        notes.append("test holds one class alone: AUROC is undefined")
    for kind, part in (("test", raw), ("held-out", chosen_on)):
        if part.units < MIN_UNITS:
            notes.append(f"{part.units} {kind} samples or groups are too few for intervals: there are none")
        elif part.units < FEW_UNITS:
            notes.append(f"intervals from {part.units} {kind} samples or groups are too narrow")
    if perfect := [name for name, values in raw.points.items() if values["accuracy"] == 1]:
        notes.append(
            f"{', '.join(perfect)}: right on every test sample; an error of up to {unseen_error(raw.units):.2g} would "
            "go unseen"
        )
    if test.groups is not None:
        notes.append(
            "intervals come from whole groups, or copies of an image; McNemar's test takes samples as independent"
        )
    return notes
