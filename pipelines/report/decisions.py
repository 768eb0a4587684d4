"""Where a stack repaired and broke its members' decisions, for the report, from the logits that the stack has kept."""

import torch

from figures.stack import class_decisions, stack_decisions
from pipelines.report.comparison import ComparedRun
from pipelines.report.page import Picture, drawn
from records.damaged import DamagedFileError
from records.damaged_files import dict_at
from records.tensor_files import read_tensors


def decision_pictures(run: ComparedRun, members: list[str], anchor: str, leaks: bool) -> list[Picture]:
    """Draw a stack's decisions against each member's, and class by class against the best one.

    Args:
        run: a stack that was tested
        members: their names, in the order of the logits
        anchor: of the section
        leaks: whether leakage was allowed

    Returns:
        the pictures; none where the logits are not there, or are not of the samples that were tested
    """
    path, found = run.run.files.logits, run.run.predictions("test")
    if found is None or not members or not path.is_file():
        return []
    try:
        tensors = read_tensors(path, "run the same stack command again, which finds its members trained")[0]
    except DamagedFileError as error:
        run.run.problems.append(str(error))
        return []
    ids, logits = tensors.get("test/id"), tensors.get("test/logits")
    if ids is None or logits is None or logits.ndim != 3 or ids.shape != logits.shape[:1]:
        run.run.problems.append(f"{path}: the columns of test do not fit together")
        return []
    order = ids.argsort()
    if not torch.equal(ids[order], found.ids) or logits.shape[1] != len(members):
        return []
    labels, decided = found.labels.numpy(), found.logits.argmax(1).numpy()
    by_member = logits[order].argmax(2).numpy()
    title = f"{run.label}: {len(labels):,} test images" + (" (LEAKAGE)" if leaks and not run.leaks else "")
    best = str(dict_at(dict_at(run.run.result, "stack"), "best_member").get("held_out"))
    number = members.index(best) if best in members else 0
    names = run.run.class_names
    decisions = stack_decisions(labels, by_member, decided, members, title)
    pictures = [
        drawn(f"{anchor}_decisions", "what the stack repaired and broke", "bars of decisions by member", decisions)
    ]
    if ((by_member[:, number] == labels) == (decided == labels)).all():
        # a picture of no change shows nothing
        return pictures
    classes = class_decisions(labels, by_member[:, number], decided, names, members[number], title)
    told = f"class by class, against {members[number]}"
    return [*pictures, drawn(f"{anchor}_classes", told, "bars of decisions by class", classes)]
