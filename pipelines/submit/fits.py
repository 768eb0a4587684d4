"""The fit of a job, parsed before it is submitted, and what its Trainer is told of the job."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from pipelines.cells.fit_parser import FitParser
from pipelines.cli.callback_options import check_callbacks
from pipelines.cli.errors import UsageError
from pipelines.cli.image_cli import ImageCLI
from pipelines.cli.option_checks import check_seed, check_trainer
from pipelines.cli.order import check_classes, run_names
from pipelines.submit.options import ClusterOptions
from records import run_dir


class GivenFit(FitParser):
    """A command line of `fit`, with what its checkpoint was trained with beneath it; nothing is built.

    Args:
        args: the command line after `fit`
    """

    def __init__(self, args: Sequence[str]) -> None:
        ImageCLI.__init__(self, ["fit", *args])

    @property
    def given(self) -> Namespace:
        """All its options."""
        return self.config.fit


def check_fit(args: Sequence[str], options: ClusterOptions) -> tuple[Path, bool, list[str]]:
    """Parse a fit, refuse what cannot work in the job, and tell its Trainer what the job has.

    Args:
        args: the command line after `fit`
        options: of the job

    Returns:
        the folder that its run asks for, whether that one is continued, and what its command line gets beside `args`

    Raises:
        ValueError: the command line is wrong, or contradicts the job
    """
    cli = GivenFit(args)
    config = cli.given
    check_classes(config)
    check_callbacks(config.trainer)
    check_seed(config.seed_everything)
    check_trainer(config.trainer, "fit", here=False)
    # refuses ranges and conflicts; reads no image
    cli.build(data=config.data)
    added = trainer_options(config.trainer, args, options)
    check_batch(config, options)
    if config.ckpt_path and cli.in_place and (run := run_dir.of_checkpoint(Path(config.ckpt_path))):
        return run.folder, True, added
    folder, name = run_names(config)
    return folder / name, False, added


def trainer_options(trainer: Any, args: Sequence[str], options: ClusterOptions) -> list[str]:
    """Return the Trainer's options that follow from what the job asks for.

    Args:
        trainer: its options, as they were parsed
        args: the command line, whose own words are never contradicted
        options: of the job

    Raises:
        UsageError: they contradict the job's
    """
    typed = {word.partition("=")[0] for word in args}
    each, added = options.processes_per_node, []
    if trainer.num_nodes != options.nodes:
        if "--trainer.num_nodes" in typed or trainer.num_nodes != 1:
            raise UsageError(
                f"--nodes {options.nodes} and --trainer.num_nodes {trainer.num_nodes}: leave out the second"
            )
        added += ["--trainer.num_nodes", str(options.nodes)]
    name = str(trainer.accelerator)
    if options.gpus and name == "cpu":
        raise UsageError(f"--gpus {options.gpus} and --trainer.accelerator cpu: leave out one of them")
    if not options.gpus and name in ("gpu", "cuda"):
        raise UsageError(f"--gpus 0 and --trainer.accelerator {name}: set --gpus to the GPUs of a node")
    if options.gpus and name == "auto":
        added += ["--trainer.accelerator", "gpu"]
    devices = trainer.devices
    if devices == "auto":
        added += ["--trainer.devices", str(each)] if options.all_processes > 1 or options.gpus else []
    elif count_of_devices(devices) != each:
        ours = f"--gpus {options.gpus}" if options.gpus else f"--processes {each}"
        raise UsageError(
            f"{ours} and --trainer.devices {devices}: each node starts a process for each device; make them equal, or "
            f"use --trainer.devices auto"
        )
    return added


def count_of_devices(devices: Any) -> int:
    """Return how many devices a Trainer's option asks for; 0 where it does not say."""
    if isinstance(devices, list):
        return len(devices)
    text = str(devices).strip()
    if "," in text:
        return len([part for part in text.split(",") if part.strip()])
    return int(text) if text.isdecimal() else 0


def check_batch(config: Namespace, options: ClusterOptions) -> None:
    """Refuse a batch that the processes cannot share evenly.

    Raises:
        UsageError: they cannot
    """
    size, processes = config.data.init_args.get("batch_size"), options.all_processes
    if isinstance(size, int) and size % processes:
        whole = max(1, round(size / processes)) * processes
        raise UsageError(
            f"--data.batch_size {size} is over all {processes} processes of --nodes {options.nodes}, and cannot be "
            f"divided by them: use --data.batch_size {whole}"
        )
