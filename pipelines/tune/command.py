"""`python train.py tune`: the fastest settings that keep the loss, the largest batch and a learning rate."""

import shlex
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser
from rich.console import Console

from common import class_paths
from common.machine import device_name
from common.ranges import check_ranges
from common.settings import flat
from common.terminal import print_whole
from engine.out_of_memory import naming_smaller_batch
from engine.quiet import quiet
from figures.lr_curve import lr_curve
from lightning_modules import ImageClassifier
from pipelines.cli.fragments import fragment, write_fragment
from pipelines.cli.held_run import new_run
from pipelines.cli.image_cli import ImageCLI
from pipelines.tune.finders import find_batch_size, find_learning_rate
from pipelines.tune.range_test import RangeTest
from pipelines.tune.table import compute_table
from pipelines.tune.timing import Bench, Candidate, candidates, choose
from records import run_dir
from records.locks import one_at_a_time
from records.run_dir import RunDir
from records.whole_file import write_whole

# the Trainer's options that change a step
STEP_OPTIONS = ("accelerator", "gradient_clip_val", "gradient_clip_algorithm", "benchmark", "deterministic")


RANGES = {
    # up to Lightning's own limit
    "max_batch_size": "[2, 8192]",
    "rounds": "[1, inf)",
    "seconds": "(0, inf)",
    "loss_steps": "[4, inf)",
    "lr_steps": "[20, inf)",
}


@dataclass
class TuneOptions:
    """What to look for, and how long.

    Args:
        out: the config fragment to write; null puts tune.yaml into the run's folder. An earlier file is kept under a
            number
        compute: measure precision and memory format
        compile: measure each of them compiled too, which takes minutes
        learning_rate: look for a learning rate
        batch_size: look for the largest batch that fits, and put it into the fragment; it changes how the model trains
        max_batch_size: largest batch to try, over all processes
        rounds: how often each setting is timed, in turns
        seconds: about how long each turn takes
        loss_steps: training steps whose losses are compared
        lr_steps: training steps of the search for a learning rate
    """

    out: str | None = None
    compute: bool = True
    compile: bool = False
    learning_rate: bool = True
    batch_size: bool = False
    max_batch_size: int = 1024
    rounds: int = 5
    seconds: float = 1.0
    loss_steps: int = 40
    lr_steps: int = 100

    def __post_init__(self) -> None:
        if not (self.compute or self.learning_rate or self.batch_size):
            raise ValueError("--tune.compute, --tune.learning_rate and --tune.batch_size are all false: nothing to do")
        if self.compile and not self.compute:
            raise ValueError("--tune.compile true needs --tune.compute true")
        check_ranges("--tune", self, RANGES)
        if self.out is not None and Path(self.out).is_dir():
            raise ValueError(f"--tune.out {self.out} is a folder: name a file")


@dataclass
class Findings:
    """What was found; None where it was not looked for, or not found.

    Args:
        compute: how to compute
        batch_size: largest batch that fits, over all processes
        learning_rate: of the optimizer
    """

    compute: Candidate | None = None
    batch_size: int | None = None
    learning_rate: float | None = None


class TuneCLI(ImageCLI):
    """Parse what `fit` takes, and look for better settings instead of training.

    Args:
        args: the command line after `tune`
    """

    def __init__(self, args: list[str]) -> None:
        self.given, self.console = args, Console()
        super().__init__(["fit", *args])

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of the search to those of `fit`."""
        super().add_arguments_to_parser(parser)
        parser.add_class_arguments(TuneOptions, "tune")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, under the name that the user has typed."""
        self.parser_of("fit").prog = "train.py tune"
        super().parse_arguments(parser, args)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Build a Trainer that knows the device; the runs that are timed get their own."""
        if self.model.is_stack:
            raise ValueError("tune is for models on images: the head of a stack already trains in seconds")
        if self.config.fit.ckpt_path:
            raise ValueError("tune trains from new weights: leave out --ckpt_path")
        with quiet():
            return pl.Trainer(accelerator=self.config.fit.trainer.accelerator, devices=1, logger=False)

    def carry_out(self, subcommand: str) -> None:
        """Search, and write what was found."""
        try:
            # Lightning's finders save the weights that they start from
            with (
                naming_smaller_batch(self.trainer, self.datamodule, self.model),
                tempfile.TemporaryDirectory(prefix="francesinha-") as folder,
            ):
                self.search(self.config_init.fit.tune, folder)
        except SystemExit:
            # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from None

    def search(self, tune: TuneOptions, folder: str) -> None:
        """Look for everything that was asked for, write the fragment and say what to do with it.

        Args:
            tune: what to look for
            folder: for temporary files
        """
        config, processes = self.config.fit, process_count(self.config.fit.trainer)
        trainer = {name: config.trainer[name] for name in STEP_OPTIONS}
        options = {**trainer, "devices": 1, "default_root_dir": folder}
        if self.datamodule.batch_size % processes == 0:
            # one process is measured, with its share of the batch; what cannot be shared out is refused by the loader
            self.datamodule.batch_size //= processes
        bench = Bench(self.model, self.datamodule, options, torch.initial_seed() % 2**32)
        found = Findings()
        precision: Any = config.trainer.precision or "32-true"
        of_images = isinstance(self.model, ImageClassifier)
        current = Candidate(precision)
        if of_images:
            current = Candidate(precision, self.model.memory_format, self.model.torch_compile)
        elif tune.compile:
            raise ValueError("--tune.compile true is for models on images")
        device = self.trainer.strategy.root_device
        self.console.print(
            f"{type(self.model).__name__}, batches of {self.datamodule.batch_size}, {device_name(device)}"
        )
        if tune.compute:
            tried = candidates(device.type, tune.compile, of_images)
            measured = bench.measure(tried, tune.rounds, tune.seconds, tune.loss_steps, self._report)
            current = found.compute = choose(measured).candidate
            print_whole(self.console, compute_table(measured))
        # compiling anew for each size would take longer than the searches
        eager = replace(current, torch_compile=False)
        if tune.batch_size:
            largest = find_batch_size(bench, eager, tune.max_batch_size // processes, self._report)
            found.batch_size = largest * processes
            # the rate is found for the batch that the fragment names
            self.datamodule.batch_size = largest
            self.console.print(f"[bold]largest batch that fits:[/] {found.batch_size}{capped(found, tune)}")
        curve = None
        if tune.learning_rate:
            curve = find_learning_rate(bench, eager, tune.lr_steps, self._report)
            suggestion = curve.suggestion()
            found.learning_rate = suggestion.rate
            told = "none" if suggestion.rate is None else f"{suggestion.rate:.3g}"
            self.console.print(f"[bold]learning rate:[/] {told} ({suggestion.reason})", highlight=False, soft_wrap=True)
        self._write(tune, found, curve, device_name(device))

    def _report(self, line: str) -> None:
        self.console.print(line, style="dim", highlight=False, soft_wrap=True)

    def _write(self, tune: TuneOptions, found: Findings, curve: RangeTest | None, device: str) -> None:
        config = self.config.fit
        experiment = config.run.experiment or run_dir.snake_case(type(self.datamodule).__name__)
        # one line: it is a comment
        command = " ".join(shlex.join(["python", "train.py", "tune", *self.given, *class_paths.options()]).split())
        # made when there is something to put into it
        with new_run(Path(config.run.root) / experiment, config.run.name or "tune") as run:
            path = run.tuned if tune.out is None else Path(tune.out)
            alone = nullcontext() if tune.out is None else one_at_a_time(path.with_name(f".{path.name}.lock"))
            with alone:
                write_fragment(path, found_fragment(config, found), (f"found by {command}", f"on {device}"))
            if curve is not None and curve.losses:
                self._draw(run, curve)
        given = without(
            self.given, ["tune", *flat(found_fragment(config, found)).keys() - {"model", "data", "model.optimizer"}]
        )
        fit = shlex.join(["python", "train.py", "fit", *given, "--config", str(path), *class_paths.options()])
        self.console.print(f"{path}\nnext:  {fit}", soft_wrap=True, highlight=False, markup=False)

    def _draw(self, run: RunDir, curve: RangeTest) -> None:
        path = run.figures / "lr_curve.png"
        suggestion = curve.suggestion()
        figure = lr_curve(curve.rates, curve.losses, curve.smoothed, suggestion.rate, suggestion.alike)
        with write_whole(path) as partial:
            figure.savefig(partial, format="png", dpi=120)
        self.console.print(f"its curve: {path}", soft_wrap=True, highlight=False, markup=False)


def process_count(trainer: Namespace) -> int:
    """Return how many processes a Trainer of these options has.

    Args:
        trainer: its options

    Example:
        >>> process_count(Namespace(devices=[0, 1], num_nodes=2, accelerator="gpu"))
        4
    """
    devices = trainer.devices
    if devices in ("auto", -1, "-1"):
        count = 1 if trainer.accelerator == "cpu" else max(1, torch.cuda.device_count())
    elif isinstance(devices, list):
        count = len(devices)
    else:
        count = len(str(devices).split(",")) if "," in str(devices) else int(devices)
    return count * trainer.num_nodes


def capped(found: Findings, tune: TuneOptions) -> str:
    """Say that a larger batch was not tried."""
    limit = tune.max_batch_size
    return f" (--tune.max_batch_size {limit} allows no larger one)" if 2 * (found.batch_size or 0) > limit else ""


def found_fragment(config: Namespace, found: Findings) -> dict[str, Any]:
    """Build the config that sets what was found; see `fragment`.

    Args:
        config: of the fit
        found: what to set
    """
    values: dict[str, Any] = {}
    if found.compute is not None:
        values["trainer.precision"] = found.compute.precision
        own = {"memory_format": found.compute.memory_format, "torch_compile": found.compute.torch_compile}
        # models of tables have none of them
        values |= {f"model.{name}": value for name, value in own.items() if name in config.model.init_args}
    if found.learning_rate is not None:
        values["model.optimizer.lr"] = float(f"{found.learning_rate:.3g}")
    if found.batch_size is not None:
        values["data.batch_size"] = found.batch_size
    return fragment(config.as_dict(), values)


def without(args: Sequence[str], options: Sequence[str]) -> list[str]:
    """Leave some options out of a command line: those of `tune`, and what would win over the config that it wrote.

    Args:
        args: the command line
        options: names without dashes; those that begin with one and a dot go too

    Example:
        >>> without(["--tune.rounds", "3", "-c", "a.yaml", "--data.a=8", "--data", "X"], ["tune", "data.a"])
        ['-c', 'a.yaml', '--data', 'X']
    """
    kept: list[str] = []
    keeping = True
    for arg in args:
        if arg.startswith("--") or arg == "-c":
            name = arg.partition("=")[0].removeprefix("--")
            keeping = not any(name == option or name.startswith(f"{option}.") for option in options)
        if keeping:
            kept.append(arg)
    return kept


def main(args: list[str]) -> int:
    """Run `python train.py tune`.

    Args:
        args: the command line after `tune`

    Returns:
        the exit status
    """
    TuneCLI(args)
    return 0
