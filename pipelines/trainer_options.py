"""What of the Trainer's options is refused, because it goes against what every run does."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry

from common import class_paths
from common.spelling import nearest
from pipelines.class_errors import offered
from pipelines.errors import UsageError
from pipelines.refused_callbacks import instead_of

PROFILERS = ("simple", "advanced", "pytorch", "xla")


def as_list(value: Any) -> list[Any]:
    """Return an option that takes one thing or a list of them as a list; nothing for null and false."""
    if value is None or value is False:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def check_trainer_classes(trainer: Namespace) -> None:
    """Refuse a name that Lightning does not know, and callbacks that every run has or that none can have.

    Args:
        trainer: its options, as they were parsed

    Raises:
        UsageError: with the option, and the way out
    """
    for entry in as_list(trainer.callbacks):
        _check_callback(entry)
    strategies = StrategyRegistry.available_strategies()
    # the others are these with a suffix
    plain = [name for name in strategies if not any(name.startswith(f"{other}_") for other in strategies)]
    _check_name("strategy", trainer.strategy, ["auto", *strategies], ["auto", *plain])
    accelerators = ["auto", "gpu", *sorted(AcceleratorRegistry.available_accelerators())]
    _check_name("accelerator", trainer.accelerator, accelerators, accelerators)
    _check_name("profiler", trainer.profiler, PROFILERS, PROFILERS)


def _check_callback(entry: Any) -> None:
    kind = class_paths.import_class(entry["class_path"])
    if instead := instead_of(kind):
        raise UsageError(f"--trainer.callbacks {kind.__name__}: {instead}")


def _check_name(option: str, value: Any, known: Sequence[str], shown: Sequence[str]) -> None:
    if not isinstance(value, str) or value.lower() in known:
        return
    # a text is taken for a name, whatever it says
    classes = [name for name in offered(f"trainer.{option}") if name in value]
    if classes:
        way_out = f"; give a class in a config, as trainer: {{{option}: {{class_path: {classes[0]}}}}}"
    else:
        way_out = nearest(value, known) or f" (known: {', '.join(shown)})"
    raise UsageError(f"--trainer.{option}: there is no {option} {value!r}{way_out}")
