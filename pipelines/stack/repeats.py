"""Repeats of a stack: all its cells trained again with other seeds, and what they say of the gain itself."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from datamodules import DataModule
from ensembling.heads.fitting import Head
from ensembling.judging.selection import COMPARED
from measures.influence import Floats
from measures.intervals import largest_change, numbered
from measures.repeats import Gain, corrected_interval, gain_over_repeats
from pipelines.stack.finished import Finished, read_cells
from pipelines.stack.fitted import fit_one
from pipelines.stack.looks import keys_of
from pipelines.stack.plan import REPEAT, Member, StackPlan
from pipelines.stack.plan_check import Checked
from pipelines.stack.result import Stack

SEEDS_END = 2**32


def repeated_plans(plan: StackPlan, checked: Checked) -> list[StackPlan]:
    """Return the plan with the seeds of each further repeat, whose cells have names of their own.

    Repeat r trains each member with its seed + r, on splits drawn by `split_seed` + r: other folds, or other held-out
    samples. The test split stays: where it may be drawn by the same seed, all splits stay with it.

    Args:
        plan: whose `repeats` says how many
        checked: the settings of its cells
    """
    if plan.repeats == 1:
        return []
    first = plan.cells[0].name
    data: DataModule = checked.parser.build(data=checked.configs[first].data).data

    def again(member: Member, number: int) -> Member:
        own = checked.settings[plan.cells_of(member)[0].name]
        seed, split = (own.get(name) for name in ("seed_everything", "data.split_seed"))
        options = {name: value for name, value in member.options.items() if name != "seed_everything"}
        if isinstance(split, int) and not data.test_is_drawn:
            options["data.split_seed"] = split + number
        # a member without a seed of its own has another one in each run
        base = seed if isinstance(seed, int) and not isinstance(seed, bool) else 0
        name = REPEAT.format(member.name, number + 1)
        start = None if member.starts_from is None else REPEAT.format(member.starts_from, number + 1)
        return replace(member, name=name, options=options, seed=(base + number) % SEEDS_END, starts_from=start)

    return [
        replace(plan, members=[again(member, number) for member in plan.members], only=[], repeats=1, keep=None)
        for number in range(1, plan.repeats)
    ]


@dataclass(frozen=True)
class Gains:
    """What a head gains over a member in one training.

    Args:
        test: by metric, on each test sample in the order of ids, shape `(sample,)`
        folds: by metric, on the held-out samples of each fold
    """

    test: dict[str, Floats]
    folds: dict[str, list[float]]


def gain_of_repeats(
    stack: Stack, folds: Sequence[int], repeats: Sequence[StackPlan], folder: Path, console: Console
) -> dict[str, Any]:
    """Fit the recommended head on each repeat's cells, and divide the noise of its gain over the best member.

    Head and member are chosen on the held-out samples of the first training, and stay.

    Args:
        stack: of the first training; a note is appended to its own for each repeat that fails, and what was looked at
        folds: how many meta samples each of its folds has
        repeats: the plan with the seeds of the others
        folder: the experiment's
        console: where to report

    Returns:
        of plain types: `repeats`, `head`, `member`, `recommended`, `runs` (names of folders), `metrics` (by metric
        `value`, `images`, `seeds`, `low`, `high`, `by_repeat`), `folds` (by metric `value`, `low`, `high`, `by_fold`;
        empty where there are none) and `sentence`; empty where all repeats fail
    """
    report = stack.report
    member, recommended = report["best_member"]["held_out"], report["recommendation"]["model"]
    name = recommended if recommended in stack.heads else best_head(report)
    head, place = stack.heads[name].head, [m.name for m in stack.plan.members].index(member)
    places = [[m.name for m in stack.plan.members].index(kept) for kept in stack.names]
    trained = [gains_of(stack, name, member, folds)]
    ids = stack.test.ids.sort().values
    for number, plan in enumerate(repeats, 2):
        found = read_cells(plan, folder, console, stack.data.dataset)
        if not torch.equal(found.test.ids.sort().values, ids):
            raise ValueError(f"repeat {number} was tested on other samples than the first: their gains do not compare")
        try:
            other = stack_of_repeat(plan, found, stack, name, head, places)
        except Exception as error:
            reason = str(error).strip() or type(error).__name__
            stack.notes.append(f"repeat {number} is left out, because the fit of {name} failed: {reason}")
            continue
        keys = keys_of(other.members, {name: other.heads[name].module}, other.temperatures, plan.tta)
        # a member's name says already which repeat it is of
        stack.looked_at_again.update({REPEAT.format(n, number) if n == name else n: key for n, key in keys.items()})
        trained.append(gains_of(other, name, plan.members[place].name, found.folds))
        console.print(f"repeat {number}: {name} fitted", highlight=False)
    if len(trained) < 2:
        return {}
    unit = numbered(None if stack.test.units is None else stack.test.units[stack.test.ids.argsort()])
    metrics = {
        metric: gain_over_repeats(np.stack([gains.test[metric] for gains in trained]), unit, largest_change(metric))
        for metric in COMPARED
    }
    by_repeat = {metric: [float(gains.test[metric].mean()) for gains in trained] for metric in COMPARED}
    of_folds = fold_intervals(stack.plan, trained)
    return {
        "repeats": len(trained),
        "head": name,
        "member": member,
        "recommended": name == recommended,
        "runs": [cell.name for plan in repeats for cell in plan.cells],
        "metrics": {metric: asdict(gain) | {"by_repeat": by_repeat[metric]} for metric, gain in metrics.items()},
        "folds": of_folds,
        "sentence": sentence(name, member, len(trained), metrics["accuracy"], of_folds.get("accuracy")),
    }


def best_head(report: Mapping[str, Any]) -> str:
    """Return the head with the highest accuracy on held-out samples, for a stack that recommends a member."""

    def key(row: Mapping[str, Any]) -> tuple[float, float]:
        return row["held_out"]["accuracy"]["value"], -row["held_out"]["nll"]["value"]

    return str(max((row for row in report["models"] if row["kind"] == "head"), key=key)["name"])


def stack_of_repeat(
    plan: StackPlan, found: Finished, first: Stack, name: str, head: Head, places: Sequence[int]
) -> Stack:
    """Fit one head on the members of a repeat.

    Args:
        plan: of the repeat
        found: what its cells say
        first: the stack of the first training
        name: of the head
        head: its options
        places: numbers of the members that the first stack has kept
    """
    meta, test = found.meta.of_members(places), found.test.of_members(places)
    members = [found.members[number] for number in places]
    fitted = {name: fit_one(plan, head, meta, test)}
    return Stack(plan, first.run, found.config, found.data, members, meta, test, fitted, found.leakage, {}, [])


def gains_of(stack: Stack, head: str, member: str, folds: Sequence[int]) -> Gains:
    """Compute what a head gains over a member, both after their temperatures.

    Args:
        stack: of one training
        head: its name
        member: its name
        folds: how many meta samples each fold has
    """
    tested, held_out = (part.scaled(stack.temperatures) for part in (stack.tested, stack.held_out))
    order = stack.test.ids.argsort()
    on_test = gain_rows(tested[head][order], tested[member][order], stack.test.labels[order])
    on_folds = gain_rows(held_out[head], held_out[member], stack.meta.labels)
    ends = np.cumsum(folds)[:-1]
    by_fold = {metric: [float(part.mean()) for part in np.split(rows, ends)] for metric, rows in on_folds.items()}
    return Gains(on_test, by_fold)


def gain_rows(head: Tensor, member: Tensor, labels: Tensor) -> dict[str, Floats]:
    """Return the gain on each sample, by metric: 1, 0 or -1 in accuracy, and nats of NLL.

    Args:
        head: logits, shape `(sample, class)`
        member: likewise
        labels: int64, shape `(sample,)`
    """
    right = [(logits.argmax(1) == labels).double() for logits in (head, member)]
    losses = [torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none") for logits in (head, member)]
    return {"accuracy": (right[0] - right[1]).numpy(), "nll": (losses[1] - losses[0]).numpy()}


def fold_intervals(plan: StackPlan, trained: Sequence[Gains]) -> dict[str, dict[str, Any]]:
    """Return the mean gain on held-out folds of all repeats, with its corrected interval, by metric.

    Args:
        plan: says how many folds there are; in another mode than oof there are none
        trained: the gains of each training
    """
    if plan.mode != "oof":
        return {}
    found = {}
    for metric in COMPARED:
        values = [value for gains in trained for value in gains.folds[metric]]
        low, high = corrected_interval(values, 1 / (plan.num_folds - 1), largest_change(metric))
        found[metric] = {"value": float(np.mean(values)), "low": low, "high": high, "by_fold": values}
    return found


def sentence(head: str, member: str, repeats: int, gain: Gain, folds: Mapping[str, Any] | None) -> str:
    """Say what a stack gains in accuracy over its best member, and how sure that is.

    Args:
        head: name of the head
        member: name of the best member
        repeats: how many trainings there are
        gain: on test
        folds: on held-out folds; None where there are none

    Example:
        >>> sentence("mlp head", "mlp", 5, Gain(0.027, 0.003, 0.004, None, None), None)
        'mlp head over mlp, 5 trainings: +2.7 points, ±0.3 (images) ±0.4 (seeds)'
    """
    said = (
        f"{head} over {member}, {repeats} trainings: {100 * gain.value:+.1f} points, ±{100 * gain.images:.1f} (images) "
        f"±{100 * gain.seeds:.1f} (seeds)"
    )
    if gain.low is not None and gain.high is not None:
        said += f", 95 % interval of the mean {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    if folds is not None:
        low, value, high = (100 * folds[name] for name in ("low", "value", "high"))
        said += f"; on held-out folds {value:+.1f} points, corrected 95 % interval {low:+.1f} to {high:+.1f}"
    return said
