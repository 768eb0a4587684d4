"""The second stage of `python train.py stack`: from finished members to a tested stack."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from common import class_paths, yaml_files
from ensembling.heads.fitting import Head, MeanHead, cross_fit, fit_head, fit_notes
from ensembling.judging.calibration import calibrated_bases
from ensembling.judging.notes import note_on_best
from ensembling.judging.selection import mean_score, prune_to_budget
from ensembling.label_check import label_notes
from measures.problem import told
from measures.set_coverage import spoken
from pipelines.cli.after_run import looks_sentence, source_table
from pipelines.cli.configured_data import build_data
from pipelines.stack.data import refuse_changed_cells
from pipelines.stack.members import (
    LogitSource,
    MemberLogits,
    MemberRun,
    TrainedMember,
    check_leakage,
    member_speed,
    meta_samples,
    overlaps_with_test,
    tested_samples,
)
from pipelines.stack.negative_control import negative_control
from pipelines.stack.pictures import draw_stack
from pipelines.stack.plan import StackPlan
from pipelines.stack.result import FittedHead, Stack
from pipelines.stack.tables import print_stack_report
from records.damaged import damaged
from records.ledger import Looks
from records.recorded import check_recorded
from records.result_files import read_result
from records.run_dir import RunDir

# writes the page of the runs below a folder into another folder, and returns the page
WritePage = Callable[[Path, Path], Path]
# columns of tables that are printed into a file
FILE_WIDTH = 100


def second_stage(plan: StackPlan, folder: Path, console: Console, write_page: WritePage | None = None) -> int:
    """Fit every head on the members' logits for samples that they have not seen, and test once.

    Args:
        plan: all of whose cells are finished
        folder: the experiment's
        console: where to report
        write_page: writes the report's page; None writes none

    Returns:
        the exit status

    Raises:
        LeakageError: a member was fitted on meta samples
    """
    start = time.monotonic()
    runs = {cell.name: MemberRun.of(RunDir(folder / cell.name)) for cell in plan.cells}
    members = [
        TrainedMember(
            member.name,
            [runs[cell.name] for cell in plan.held_out_cells(member)],
            [runs[cell.name] for cell in plan.tested_cells(member)],
        )
        for member in plan.members
    ]
    run = RunDir(folder / plan.stack_name)
    check_configs(members)
    path = members[0].held_out[0].files.config
    config = yaml_files.read_mapping(path)
    class_paths.judge_all(config, str(path))
    data = build_data(config["data"])
    # checked again: all cells may have been finished before, or the data changed while they were trained
    changed = refuse_changed_cells(folder, plan.cells, data, plan.allow_changed)
    for member in members:
        member.check_data(data)
    source = LogitSource(plan, config["trainer"])
    if source.note:
        console.print(f"[yellow]note:[/] {source.note}", soft_wrap=True, highlight=False)
    folds, leakage = check_leakage(plan, members, meta_samples(plan, data))
    leakage = replace(leakage, changed=changed)
    overlaps = overlaps_with_test(members, folds, tested_samples(data))
    console.print(f"{sum(map(len, folds)):,} samples for the heads, {len(data.samples('test')):,} for the test")
    meta = source.held_out(members, data, folds)
    test = source.tested(members, data)
    console.print(str(source.counts))
    speed = member_speed(members, data, source)
    names = [member.name for member in members]
    notes = overlaps + notes_on_labels(names, test, list(data.dataset.class_names)) + data.test_notes
    if plan.max_ms_per_image is not None:
        # without temperatures, the NLL of a mean measures how unsure its members are, not how often they are wrong
        sure = calibrated_bases(meta.logits, meta.labels, meta.units) if plan.calibrate else meta.logits
        kept = prune_to_budget(speed, plan.max_ms_per_image, mean_score(sure, meta.labels))
        if left := [name for name in names if name not in kept]:
            if plan.keep in left:
                raise ValueError(
                    f"keep: {plan.keep!r} is left out by max_ms_per_image {plan.max_ms_per_image:g}; the best members "
                    f"within it are {', '.join(kept)}: keep one of these or a head, or raise max_ms_per_image"
                )
            notes.append(f"left out for max_ms_per_image {plan.max_ms_per_image:g}: {', '.join(left)}")
        numbers = [names.index(name) for name in kept]
        members, names = [members[number] for number in numbers], kept
        meta, test = meta.of_members(numbers), test.of_members(numbers)
    heads = fit_heads(plan, meta, test, console, notes)
    stack = Stack(plan, run, config, data, members, meta, test, heads, leakage, speed, notes)
    if plan.negative_control:
        stack = with_control(stack)
    looks = stack.write(time.monotonic() - start, source.device)
    drawn = draw_stack(stack)
    # tables are made for a screen; a file has no width
    wide = console if console.is_terminal else Console(file=console.file, width=FILE_WIDTH)
    print_stack_report(wide, stack.report, plan.experiment, plan.all_tables, beside(stack, looks))
    if stack.by_source:
        wide.print(source_table(read_result(run.result)))
    page = write_page(folder, run.folder / "report") if write_page is not None and plan.page else None
    if page is not None:
        console.print(f"report: {page}", soft_wrap=True, highlight=False)
    elif drawn:
        console.print(f"figures: {run.figures}/", soft_wrap=True, highlight=False)
    command = f"python train.py predict --ckpt_path {run.stack}{class_paths.suffix()}"
    console.print(f"next:  {command}", soft_wrap=True, highlight=False)
    return 0


def beside(stack: Stack, looks: Looks | None) -> list[str]:
    """Say what is known of a stack beside its report: the look at the test split, what is kept, and prediction sets.

    Args:
        stack: that has been written
        looks: at its test split; None where it could not be written down
    """
    said = [looks_sentence(looks, note_on_best(len(stack.report["models"]), stack.report["winners_curse"]))]
    recommended = str(stack.report["recommendation"]["model"])
    if stack.chosen != recommended:
        said.insert(0, f"Kept, as the plan wants: {stack.chosen}.")
    said.append(f"{spoken(stack.sets)}.")
    if stack.threshold is not None:
        said.append(f"{told(stack.threshold)}.")
    return [f"{sentence[0].upper()}{sentence[1:]}" for sentence in said if sentence]


def with_control(stack: Stack) -> Stack:
    """Add a negative control; one whose fit fails is a note, as a head of the plan's is.

    Args:
        stack: with its heads fitted; a note is appended to its own
    """
    plan, heads = stack.plan, {name: fitted.head for name, fitted in stack.heads.items()}
    seen = (stack.meta, stack.test, stack.held_out, stack.tested, stack.temperatures)
    try:
        control = negative_control(heads, *seen, partial(fit_one, plan), plan.smallest_gain, plan.seed)
    except Exception as error:
        stack.notes.append(f"the negative control is left out, because a fit failed: {reason_of(error)}")
        return stack
    return replace(stack, control=control)


def reason_of(error: Exception) -> str:
    """Say why a fit failed, also where the error has no text."""
    return str(error).strip() or type(error).__name__


def check_configs(members: Sequence[TrainedMember]) -> None:
    """Refuse configs that are no longer those that their runs were trained with: the data of the first is built anew.

    Args:
        members: with their runs

    Raises:
        DamagedFileError: one has changed
    """
    for member in members:
        for run in (*member.held_out, *member.tested):
            way_out = "copy it again, or remove its folder and train it anew by the same command"
            if not run.files.config.is_file():
                raise damaged(run.files.config, "it is missing", way_out)
            check_recorded(run.files.config, read_result(run.files.result), way_out)


def notes_on_labels(names: list[str], test: MemberLogits, class_names: list[str]) -> list[str]:
    """Say whose predictions fit other labels than those of the test much better.

    Args:
        names: of the members
        test: the members' logits for the test samples
        class_names: the name of each class, in label order
    """
    predicted = {name: test.logits[:, number].argmax(1) for number, name in enumerate(names)}
    found = {name: label_notes(classes, test.labels, class_names) for name, classes in predicted.items()}
    return [f"{name}: {note}" for name, notes in found.items() for note in notes]


def fit_heads(
    plan: StackPlan, meta: MemberLogits, test: MemberLogits, console: Console, notes: list[str]
) -> dict[str, FittedHead]:
    """Fit every head on all meta samples, and cross-fit it; the means are among them.

    A head that fails leaves the others as they are: the members were costly, and may have been trained for days.

    Args:
        plan: names the heads
        meta: what they are fitted on
        test: what they are asked for
        console: where to report
        notes: what to tell of the fits is appended, such as which head failed

    Returns:
        by name, without those that failed
    """
    fitted = {}
    for name, head in plan.named_heads().items():
        start = time.monotonic()
        try:
            fitted[name] = fit_one(plan, head, meta, test)
        except Exception as error:
            # the mean is what all else is compared with, and fails on broken logits only
            if isinstance(head, MeanHead):
                raise
            notes.append(f"head {name} is left out, because its fit failed: {reason_of(error)}")
            console.print(f"[red]head {name}: failed[/], see the notes", highlight=False)
            continue
        notes.extend(f"head {name}: {note}" for note in fitted[name].notes)
        console.print(f"head {name}: fitted in {time.monotonic() - start:.1f} s", highlight=False)
    if plan.keep in plan.named_heads() and plan.keep not in fitted:
        notes.append(f"keep: the fit of {plan.keep} failed, so the recommended model is kept")
    return fitted


def fit_one(plan: StackPlan, head: Head, meta: MemberLogits, test: MemberLogits) -> FittedHead:
    """Cross-fit a head, and fit it on all meta samples; see `fit_heads`."""
    classes, notes = meta.logits.shape[2], list[str]()
    held_out = cross_fit(head, meta.logits, meta.labels, classes, seed=plan.seed, groups=meta.units, notes=notes)
    module = fit_head(head, meta.logits, meta.labels, classes, plan.seed, meta.units)
    notes += fit_notes(module)
    with torch.no_grad():
        # fitted on the logits of single runs, so asked for those of each fold's runs
        tested = torch.stack([module(rows).float() for rows in test.folds.unbind(1)], dim=1)
    if not (held_out.isfinite().all() and tested.isfinite().all()):
        raise ValueError("it gives logits that are not finite")
    # once each: folds often say the same
    return FittedHead(head, module, held_out, tested, list(dict.fromkeys(notes)))
