"""Options that are null and may not be: the parser takes null for anything, and what is built of it fails late."""

import inspect
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import lightning.pytorch as pl
from jsonargparse import Namespace
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks import EMA, EarlyStopping, FigureOptions, LastCheckpoint, LayerTable, LearningRates, ProgressBar
from callbacks.drawing.given_images import GradCamOptions
from common.class_paths import import_class
from common.ranges import OptionError
from measures.set_options import SetOptions
from records.run_dir import RunOptions

# what takes the options of each group
GROUPS: dict[str, type] = {
    "trainer": pl.Trainer,
    "run": RunOptions,
    "figures": FigureOptions,
    "grad_cam": GradCamOptions,
    "sets": SetOptions,
    "best_checkpoint": ModelCheckpoint,
    "last_checkpoint": LastCheckpoint,
    "ema": EMA,
    "early_stopping": EarlyStopping,
    "lr_monitor": LearningRates,
    "progress_bar": ProgressBar,
    "model_summary": LayerTable,
}


def refuse_nulls(config: Namespace) -> None:
    """Refuse options that are null and may not be.

    Args:
        config: of a command such as fit

    Raises:
        OptionError: one is
    """
    for group in ("model", "data"):
        if config[group] is None:
            raise OptionError(f"--{group}", "must not be null: leave it out for its default")
        _refuse(f"--{group}", config[group])
    for group, kind in GROUPS.items():
        _refuse_of(f"--{group}", kind, config[group])


def _refuse(option: str, value: Any) -> None:
    # a class and its options; lists of them are callbacks and loggers, whose nulls their own classes judge
    if isinstance(value, Namespace) and "class_path" in value:
        _refuse_of(option, import_class(value.class_path), value.get("init_args") or Namespace())


def _refuse_of(option: str, kind: type, options: Namespace) -> None:
    never = dict(never_null(kind))
    for name, value in vars(options).items():
        if value is None and name in never:
            default = never[name]
            shown = f", {default}" if isinstance(default, bool | int | float | str | tuple | list) else ""
            raise OptionError(f"{option}.{name}", f"must not be null: leave it out for its default{shown}")
        _refuse(f"{option}.{name}", value)


def never_null(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the options of a class that may not be null, with their defaults.

    Args:
        kind: a class; of one whose annotations cannot be read, nothing is known
    """
    try:
        parameters = inspect.signature(kind, eval_str=True).parameters
    except NameError:
        return
    for name, parameter in parameters.items():
        annotated = parameter.annotation is not parameter.empty and not takes_none(parameter.annotation)
        if annotated and parameter.default is not None and parameter.default is not parameter.empty:
            yield name, parameter.default


def takes_none(hint: Any) -> bool:
    """Tell whether a type has None among its values.

    Example:
        >>> [takes_none(hint) for hint in (int, int | None, Literal["a"], Any, list[None])]
        [False, True, False, True, False]
    """
    if hint in (Any, None, NoneType, object):
        return True
    if get_origin(hint) in (Union, UnionType):
        return any(takes_none(each) for each in get_args(hint))
    return get_origin(hint) is Literal and None in get_args(hint)
