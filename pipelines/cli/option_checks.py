"""Checks of the Trainer's options before anything is built: Lightning's own come late and do not name our options."""

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry

from common.machine import core_count
from common.ranges import SEEDS, OptionError, check_range
from common.spelling import nearest
from common.warned import warn

RANGES = {
    "num_nodes": "[1, inf)",
    "fast_dev_run": "[0, inf)",
    "max_epochs": "[-1, inf)",
    "min_epochs": "[0, inf)",
    "max_steps": "[-1, inf)",
    "min_steps": "[0, inf)",
    "check_val_every_n_epoch": "[1, inf)",
    "num_sanity_val_steps": "[-1, inf)",
    "log_every_n_steps": "[0, inf)",
    "accumulate_grad_batches": "[1, inf)",
    "gradient_clip_val": "[0, inf)",
    "reload_dataloaders_every_n_epochs": "[0, inf)",
}
# how many batches of a split are used, as a count or as a share
LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches", "overfit_batches")
# options for which 0 leaves nothing to do, by command
EMPTY = {
    "fit": ("limit_train_batches", "max_epochs", "max_steps"),
    "validate": ("limit_val_batches",),
    "test": ("limit_test_batches",),
    "predict": ("limit_predict_batches",),
}
WORDS = {"gradient_clip_algorithm": ("norm", "value"), "profiler": ("simple", "advanced", "pytorch", "xla")}
DURATION = re.compile(r"\d+:\d\d:\d\d:\d\d")
OPTIONS = tuple(inspect.signature(pl.Trainer).parameters)


def check_seed(seed: bool | int) -> None:
    """Refuse a seed that no generator takes.

    Args:
        seed: of `--seed_everything`; true and false are Lightning's words for the default and for none

    Raises:
        OptionError: it is out of range
    """
    check_range("--seed_everything", None if isinstance(seed, bool) else seed, SEEDS)


def check_trainer(trainer: Namespace, command: str, here: bool = True) -> None:
    """Refuse options of the Trainer that cannot work.

    Args:
        trainer: its options
        command: one of fit, validate, test, predict
        here: whether it is this machine that has the devices

    Raises:
        OptionError: one has a value that it cannot take, or that leaves nothing to do
    """
    for name, interval in RANGES.items():
        check_range(f"--trainer.{name}", trainer[name], interval)
    for name in LIMITS:
        check_limit(name, trainer[name])
    if not trainer.fast_dev_run:
        for name in EMPTY[command]:
            if trainer[name] == 0:
                raise OptionError(f"--trainer.{name}", f"must be above 0: {trainer[name]} would {command} nothing")
    for name, words in WORDS.items():
        if isinstance(trainer[name], str) and trainer[name] not in words:
            raise OptionError(f"--trainer.{name}", f"takes one of {', '.join(words)}, not {trainer[name]!r}")
    if command == "fit" and trainer.precision == "16-true":
        warn(
            "--trainer.precision 16-true keeps the weights themselves in 16 bits, without a scaled loss: small "
            "gradients and AdamW's eps become 0, and training may go astray; 16-mixed or bf16-mixed costs no accuracy"
        )
    check_durations(trainer)
    if here:
        check_accelerator(trainer.accelerator)
    check_devices(trainer, here)
    if trainer.sync_batchnorm and trainer.accelerator == "cpu":
        raise OptionError(
            "--trainer.sync_batchnorm", "true and --trainer.accelerator cpu: torch synchronises BatchNorm on GPUs alone"
        )
    strategies = ["auto", *StrategyRegistry.available_strategies()]
    if isinstance(trainer.strategy, str) and trainer.strategy not in strategies:
        hint = nearest(trainer.strategy, strategies) or f" (known: {', '.join(strategies)})"
        raise OptionError("--trainer.strategy", f"takes no {trainer.strategy!r}{hint}")
    if trainer.barebones:
        raise OptionError("--trainer.barebones", "forbids the logs and checkpoints that every run keeps: leave it out")


def check_limit(name: str, value: float | None) -> None:
    """Refuse a number of batches that is neither a count nor a share.

    Args:
        name: of the option
        value: a whole number is a count, a float a share

    Raises:
        OptionError: it is neither
    """
    if isinstance(value, float) and not 0 <= value <= 1:
        raise OptionError(
            f"--trainer.{name}", f"takes a whole number of batches, or a share of them in [0, 1], not {value}"
        )
    check_range(f"--trainer.{name}", value, "[0, inf)")


def check_durations(trainer: Namespace) -> None:
    """Refuse a time that cannot be read, and an interval of validation that never comes.

    Raises:
        OptionError: one of them is wrong
    """
    for name in ("max_time", "val_check_interval"):
        value = trainer[name]
        if isinstance(value, str) and not DURATION.fullmatch(value.strip()):
            raise OptionError(f"--trainer.{name}", f"takes a time as days:hours:minutes:seconds, not {value!r}")
        units = ("weeks", "days", "hours", "minutes", "seconds")
        if isinstance(value, dict) and (wrong := next((unit for unit in value if unit not in units), None)):
            raise OptionError(f"--trainer.{name}", f"takes a time in {', '.join(units)}, not in {wrong!r}")
    every = trainer.val_check_interval
    if isinstance(every, int | float):
        check_range("--trainer.val_check_interval", every, "(0, 1]" if isinstance(every, float) else "[1, inf)")


def check_accelerator(name: Any) -> None:
    """Refuse an accelerator that does not exist.

    Args:
        name: as given; an object was built by its own class

    Raises:
        OptionError: it does not exist, or not on this machine
    """
    if not isinstance(name, str) or name == "auto":
        return
    known = AcceleratorRegistry.available_accelerators()
    here = [each for each in known if AcceleratorRegistry[each]["accelerator"].is_available()]
    present = {*here, *(["gpu"] if {"cuda", "mps"} & set(here) else [])}
    if name not in present:
        reason = f"{name}: there is none on this machine" if name in (*known, "gpu", "hpu") else f"takes no {name!r}"
        raise OptionError("--trainer.accelerator", f"{reason}; use auto, or one of {', '.join(sorted(present))}")


def check_devices(trainer: Namespace, here: bool = True) -> None:
    """Refuse a number of devices that is no number, or more than there are; Lightning's error on missing GPUs is clear.

    Args:
        trainer: its options
        here: whether it is this machine that has them

    Raises:
        OptionError: it cannot work
    """
    devices, option = trainer.devices, "--trainer.devices"
    words = devices if isinstance(devices, str) else ""
    if words == "auto":
        return
    if words and not re.fullmatch(r"-?\d+(\s*,\s*\d+)*,?", words.strip()):
        raise OptionError(option, f"takes auto, a number or a list of them, not {words!r}")
    if devices in (0, "0", "", []):
        raise OptionError(option, f"must name at least one device, not {devices!r}")
    if trainer.accelerator == "cpu" or (here and trainer.accelerator == "auto" and not has_accelerator()):
        count = int(words) if words.strip().strip("-").isdigit() else devices
        if not isinstance(count, int) or count < 1:
            raise OptionError(option, f"takes a number of processes on a CPU, not {devices!r}")
        # two, to try things out, may share one core
        cores = core_count()
        if here and count > (most := max(2, cores)):
            there = f"{cores} core" + "s" * (cores != 1)
            raise OptionError(
                option,
                f"{count} would start {count} processes on a CPU, and this machine has {there}: use at most {most}",
            )


def has_accelerator() -> bool:
    """Tell whether `--trainer.accelerator auto` finds something else than a CPU on this machine."""
    names = AcceleratorRegistry.available_accelerators()
    return any(AcceleratorRegistry[name]["accelerator"].is_available() for name in names if name != "cpu")


# other options that Lightning refuses


@contextmanager
def naming_options() -> Iterator[None]:
    """Name the options of the command line where Lightning refuses to build a Trainer.

    Raises:
        OptionError: it does
    """
    try:
        yield
    except (TypeError, ValueError, RuntimeError, ImportError, MisconfigurationException) as error:
        told = as_options(str(error).strip())
        raise (ValueError(told) if "--" in told else OptionError("--trainer", f"cannot be built: {told}")) from error


def as_options(text: str) -> str:
    """Write the Trainer's options in a message of Lightning's as the command line does.

    Example:
        >>> as_options("Please increase the `limit_val_batches` argument. Try `limit_val_batches=0.3`.")
        'Please increase the --trainer.limit_val_batches argument. Try --trainer.limit_val_batches 0.3.'
    """

    def option(found: re.Match[str]) -> str:
        name, value = found[1], (found[2] or "").strip("'\"")
        if name not in OPTIONS:
            return found[0]
        return f"--trainer.{name}" + (f" {value}" if value and "<" not in value else "")

    text = re.sub(r"`(?:Trainer\()?(\w+)(?:=([^`]*?))?\)?`", option, text)
    names = "|".join(name for name in OPTIONS if "_" in name)
    return re.sub(rf"(?<![\w.\-`])({names})(?:=([\w.\-]+\w))?(?!\w)", option, text)
