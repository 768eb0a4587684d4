"""The second stage of `python train.py stack`: from finished members to a tested stack."""

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from common import class_paths
from datamodules import DataModule
from datamodules.files.image_files import ImageFiles
from ensembling.heads.fitting import MeanHead
from ensembling.judging.calibration import calibrated_bases
from ensembling.judging.notes import note_on_best
from ensembling.judging.selection import mean_score, prune_to_budget
from ensembling.label_check import label_notes
from measures.problem import told
from measures.set_coverage import spoken
from pipelines.cli.after_run import looks_sentence, source_table
from pipelines.stack.finished import read_cells
from pipelines.stack.fitted import FittedHead, fit_one
from pipelines.stack.members import (
    MemberLogits,
    member_speed,
)
from pipelines.stack.negative_control import negative_control
from pipelines.stack.pictures import draw_stack
from pipelines.stack.plan import StackPlan
from pipelines.stack.repeats import gain_of_repeats
from pipelines.stack.result import Stack
from pipelines.stack.tables import print_stack_report
from records.ledger import Looks
from records.result_files import read_result
from records.run_dir import RunDir

# writes the page of the runs below a folder into another folder, and returns the page
WritePage = Callable[[Path, Path], Path]
# what is told where classes are balanced
SETS_OF_OTHERS = (
    "heads, temperatures and the choice among models are for equally frequent classes, and prediction sets for classes "
    "as frequent as in the held-out samples (balanced)"
)
# columns of tables that are printed into a file
FILE_WIDTH = 100


def second_stage(
    plan: StackPlan,
    folder: Path,
    console: Console,
    write_page: WritePage | None = None,
    repeats: Sequence[StackPlan] = (),
) -> int:
    """Fit every head on the members' logits for samples that they have not seen, and test once.

    Args:
        plan: all of whose cells are finished
        folder: the experiment's
        console: where to report
        write_page: writes the report's page; None writes none
        repeats: the plan with other seeds, all of whose cells are finished too

    Returns:
        the exit status

    Raises:
        LeakageError: a member was fitted on meta samples
    """
    start, run = time.monotonic(), RunDir(folder / plan.stack_name)
    found = read_cells(plan, folder, console)
    data, members, test, source = found.data, found.members, found.test, found.source
    meta = found.meta.balanced(plan.seed) if plan.balanced else found.meta
    speed = member_speed(members, data, source)
    names = [member.name for member in members]
    labels = notes_on_labels(names, test, list(data.dataset.class_names))
    notes = [*found.overlaps, *labels, *data.test_notes, *([SETS_OF_OTHERS] * bool(meta.repeats))]
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
    stack = Stack(plan, run, found.config, data, members, meta, test, heads, found.leakage, speed, notes)
    if plan.negative_control:
        stack = with_control(stack)
    if repeats:
        stack.repeats.update(gain_of_repeats(stack, found.folds, repeats, folder, console))
    looks = stack.write(time.monotonic() - start, source.device)
    drawn = draw_stack(stack)
    # tables are made for a screen; a file has no width
    wide = console if console.is_terminal else Console(file=console.file, width=FILE_WIDTH)
    print_stack_report(wide, stack.reported, plan.experiment, plan.all_tables, beside(stack, looks))
    if stack.by_source:
        wide.print(source_table(read_result(run.result)))
    page = write_page(folder, run.folder / "report") if write_page is not None and plan.page else None
    if page is not None:
        console.print(f"report: {page}", soft_wrap=True, highlight=False)
    elif drawn:
        console.print(f"figures: {run.figures}/", soft_wrap=True, highlight=False)
    console.print(f"next:  {predict_command(run.stack, data)}", soft_wrap=True, highlight=False, markup=False)
    if isinstance(data, ImageFiles):
        console.print("       or --images FOLDER, for pictures of your own", soft_wrap=True, highlight=False)
    return 0


def predict_command(checkpoint: Path, data: DataModule) -> str:
    """Return a command that classifies a test image by its file; of data without files, the test split.

    Args:
        checkpoint: of the stack
        data: that it was tested on
    """
    words = ["python", "train.py", "predict", "--ckpt_path", str(checkpoint)]
    if isinstance(data, ImageFiles):
        words += ["--images", str(data.list_files().root / data.samples("test").sample_names()[0])]
    return shlex.join(words) + class_paths.suffix()


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
