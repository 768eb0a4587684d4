"""Entry point: subcommands, and errors for the person at the prompt."""

import logging
import os
import sys
import threading
import traceback
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from common.slurm import ANNOUNCED
from common.terminal import steady_output
from engine.allocator import keep_large_blocks
from records.ended import Ended, forget_end, note_end
from records.launched import JOB_FOLDER, is_first_process

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.stack.command import Planner

SUMMARY = """\
usage: python train.py COMMAND [options]      python train.py COMMAND --help

  fit        train a model                       python train.py fit --config configs/data/cifar10.yaml
  validate   evaluate on the validation split
  test       evaluate on the test split
  predict    classify images                     python train.py predict --ckpt_path RUN --images photos
  inspect    look at data before training        python train.py inspect --config configs/data/cifar10.yaml
  tune       find fast settings and a rate       python train.py tune --config configs/model/resnet18.yaml
  stack      train members, stack and test them  python train.py stack --config configs/stack/digits.yaml
  distill    teach one model what a stack knows  python train.py distill --config configs/distill/digits.yaml
  sweep      train and compare many runs         python train.py sweep --config configs/sweep/digits.yaml
  report     compare runs in one page            python train.py report runs
  export     write ONNX, int8 or other formats   python train.py export --ckpt_path runs/digits/small_cnn
  shards     write images for streaming          python train.py shards --data ImageFolder --data.root photos --out DIR
  submit     run one of these as a job of SLURM  python train.py submit --gpus 4 fit --config CONFIG
  status     how runs, cells and jobs stand      python train.py status runs

Options of every command: --debug (full traces of errors; or set FRANCESINHA_DEBUG=1), --version, and
--allow NAME (a module or class beyond this project that checkpoints, configs and plans may name; NAME,NAME for more).
`python train.py fit` alone trains a small CNN on the embedded digits."""

# commands beside those of Lightning, and the module whose `main` each of them runs
COMMANDS = {
    "distill": "pipelines.distill.command",
    "export": "pipelines.export.command",
    "inspect": "pipelines.inspect.command",
    "report": "pipelines.report.command",
    "shards": "pipelines.shards.command",
    "stack": "pipelines.stack.command",
    "status": "pipelines.status.command",
    "submit": "pipelines.submit.command",
    "sweep": "pipelines.sweep.command",
    "tune": "pipelines.tune.command",
}
# what says why a thread ended
PRINT_TRACE = threading.excepthook
# those that end with a report of their runs
WITH_PAGE = ("distill", "stack", "sweep")


def main(args: list[str] | None = None) -> int:
    """Run a command.

    Args:
        args: the command line after the program's name; None takes the process's

    Returns:
        the exit status: 0, 2 for something the user can mend, 130 after Ctrl-C, 143 after SIGTERM
    """
    with steady_output():
        return run_or_explain(list(sys.argv[1:] if args is None else args))


def run_or_explain(given: list[str]) -> int:
    """Run a command, and say what went wrong in a line or two; see `main`."""
    debug = "--debug" in given or os.environ.get("FRANCESINHA_DEBUG", "") not in ("", "0")
    given = [arg for arg in given if arg != "--debug"]
    if not given or given[0] in ("-h", "--help"):
        print(SUMMARY)
        return 0
    quieten()
    ANNOUNCED.listen()
    job_folder = os.environ.get(JOB_FOLDER, "")
    if job_folder and is_first_process():
        forget_end(Path(job_folder))
    try:
        return run(given)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if getattr(error, "on_all_processes", False):
            from engine.process_group import end_process_group

            end_process_group()
            if was_launched():
                # the first process tells; were this one to fail, it would be killed before it has
                return 0
        status = getattr(error, "exit_status", None)
        if status is not None:
            return int(status)
        if debug:
            traceback.print_exc()
        from pipelines.cli.errors import explain

        told = explain(error)
        print(f"error: {told}", file=sys.stderr)
        if job_folder:
            note_end(Path(job_folder), Ended("failed", told))
        return 2


def was_launched() -> bool:
    """Tell whether Lightning started this process beside the first one, which watches it."""
    return int(os.environ.get("LOCAL_RANK", "0")) > 0 and "TORCHELASTIC_RUN_ID" not in os.environ


def run(args: list[str]) -> int:
    """Run a command; see `main`."""
    if "--version" in args:
        from records.versions import print_version

        print_version()
        return 0
    keep_large_blocks()
    # the heavy imports come after the cheap answers
    from common import class_paths

    command, *options = class_paths.take_options(args) or [""]
    if command == "predict" and any(word.partition("=")[0] == "--images" for word in options):
        # files that the training data knows nothing of; without them, Lightning predicts on the data's own
        from pipelines.predict.command import main as predict

        return predict(options)
    if command == "submit":
        return int(import_module(COMMANDS[command]).main(options, check_cells))
    if command == "sweep":
        return int(import_module(COMMANDS[command]).main(options, make_page, stack_planner))
    if command in WITH_PAGE:
        return int(import_module(COMMANDS[command]).main(options, make_page))
    if command in COMMANDS:
        return int(import_module(COMMANDS[command]).main(options))
    from engine.process_group import end_process_group
    from pipelines.cli.errors import unknown_command
    from pipelines.cli.image_cli import ImageCLI
    from pipelines.cli.parsed_cli import SUBCOMMANDS

    if command not in SUBCOMMANDS:
        raise unknown_command(command, [*SUBCOMMANDS, *COMMANDS])
    ImageCLI([command, *options])
    end_process_group()
    return 0


def check_cells(command: str, args: list[str]) -> tuple[Path, list[str]]:
    """Check the command line of a command with cells, which `submit` hands to a cluster.

    Args:
        command: one of `WITH_PAGE`
        args: the command line after it

    Returns:
        the experiment's folder, and the command line that works in it
    """
    more = (stack_planner,) if command == "sweep" else ()
    folder, again = import_module(COMMANDS[command]).check_elsewhere(args, *more)
    return folder, again


def stack_planner() -> "Planner":
    """Return what reads the command lines of stacks, for a study of them; see `make_page`."""
    from pipelines.stack.command import Planner

    return Planner()


def make_page(runs: Path, out: Path, split: Literal["test", "val"] = "test", console: "Console | None" = None) -> Path:
    """Write the page of a report. Commands do not import each other, so those that run cells are given this.

    Args:
        runs: folder of the runs
        out: folder of the page
        split: on which they are compared
        console: where to print what a study found; None prints nothing

    Returns:
        the page
    """
    from pipelines.report.build import write_page

    return write_page(runs, out, split, console)


def quieten() -> None:
    """Leave out warnings and notices that ask nothing of the user."""
    for message in (
        # data sets in memory need no worker processes
        r".*does not have many workers.*",
        # the run's folder holds config.yaml before the loggers start, and a resumed run more
        r".*Experiment logs directory .* exists and is not empty.*",
        r".*Checkpoint directory .* exists and is not empty.*",
        # metrics are logged at epoch ends, so a short epoch misses nothing
        r".*The number of training batches .* is smaller than the logging interval.*",
        # a solved head and a constant rate have no scheduler
        r".*You are using `LearningRateMonitor` callback with models that have no learning rate schedulers.*",
        # no validation split was asked for
        r".*Total length of `list` across ranks is zero.*",
        # a run that starts from another one's checkpoint has checkpoints of its own
        r".*The dirpath has changed from .*",
        # an evaluation needs no checkpoint callbacks, and predictions are kept by the model
        r".*Be aware that when using `ckpt_path`, callbacks used to create the checkpoint need to be provided.*",
        r".*predict returned None if it was on purpose.*",
        # our own note names the file
        r"Image size .* exceeds limit of .*could be decompression bomb.*",
        # frozen modules are in evaluation mode on purpose
        r".*module\(s\) in eval mode at the start of training.*",
        # figures say it once, and how to mend it
        r".*Glyph \d+ .*missing from font.*",
        # cells of a job, and commands of a login node, are started without it
        r".*The `srun` command is available on your system but is not used.*",
        # Lightning's own use of torch
        r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    ):
        warnings.filterwarnings("ignore", message)
    threading.excepthook = no_trace_of_logs
    notices = (
        "💡 Tip",
        "Loading `train_dataloader` to estimate",
        "TPU available",
        "HPU available",
        "GPU available: False",
    )
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        lambda record: not record.getMessage().startswith(notices)
    )


def no_trace_of_logs(args: threading.ExceptHookArgs) -> None:
    """Print the trace of what ended a thread, but for TensorBoard's writers: the next event raises it once more."""
    kind = type(args.thread)
    if kind.__module__ != "tensorboard.summary.writer.event_file_writer":
        PRINT_TRACE(args)
