"""Options that take a class: which classes they take, and the error for a value that names none of them."""

import inspect
import re
from types import ModuleType

import lightning.pytorch.accelerators
import lightning.pytorch.callbacks
import lightning.pytorch.loggers
import lightning.pytorch.plugins
import lightning.pytorch.profilers
import lightning.pytorch.strategies
import torch.optim
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.callbacks import BaseFinetuning, BasePredictionWriter, Callback, Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync, Precision
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch.optim import Optimizer

import callbacks
import datamodules
import ensembling.heads
import lightning_modules
from common.spelling import nearest
from datamodules import DataModule, ImageDataModule
from ensembling.heads.fitting import Head
from lightning_modules import (
    Classifier,
    ImageClassifier,
    Model,
    Regressor,
    StackedClassifier,
    TableModel,
    TrainedClassifier,
    TrainedModel,
)
from lightning_modules.training.losses import Loss
from lightning_modules.training.schedules import Schedule
from pipelines.cli.callback_options import instead_of

# for each option that takes a class: its base classes, and the module that offers their subclasses
CLASS_OPTIONS: dict[str, tuple[type | tuple[type, ...], ModuleType]] = {
    "model": (Model, lightning_modules),
    "data": (DataModule, datamodules),
    "model.optimizer": (Optimizer, torch.optim),
    "model.loss": (Loss, lightning_modules),
    "model.schedule": (Schedule, lightning_modules),
    "model.meta_model": (Head, ensembling.heads),
    "heads": (Head, ensembling.heads),
    "trainer.callbacks": (Callback, lightning.pytorch.callbacks),
    "trainer.logger": (Logger, lightning.pytorch.loggers),
    "trainer.strategy": (Strategy, lightning.pytorch.strategies),
    "trainer.accelerator": (Accelerator, lightning.pytorch.accelerators),
    "trainer.profiler": (Profiler, lightning.pytorch.profilers),
    "trainer.plugins": ((Precision, ClusterEnvironment, CheckpointIO, LayerSync), lightning.pytorch.plugins),
}
# base classes that are not declared abstract, and classes that only a command builds
BASES = (
    BaseFinetuning,
    BasePredictionWriter,
    Checkpoint,
    ImageClassifier,
    Classifier,
    ImageDataModule,
    Regressor,
    StackedClassifier,
    TableModel,
    TrainedClassifier,
    TrainedModel,
)
# patterns that find, in an error of jsonargparse, the class that an option was given; the surest first
NAMED = (
    r"Import path (\S+) does not correspond",
    r"Expected '([^']+)' to be a ",
    r"but (\S+) is abstract",
    r"Got value: Namespace\(class_path='([^']+)'",
    r"Got value: (.+)$",
    r"Expected a dot import path string: (\S+)",
    r"Given value: NestedArg\(key='\w+', val=(?:\{'class_path': )?'([^']+)'",
    r"Given value: \{'class_path': '([^']+)'",
    r"Given value: ([\w.]+)$",
    r"Expected a path but (\S+) either",
    r"Problem with given class_path '([^']+)'",
)
# what shows that an account is of a class
OF_A_CLASS = re.compile(
    r"does not correspond to a subclass|to be a subclass of|dot import path string|Unexpected import path format|"
    r"expects a function or a callable class|Not a valid subclass|is abstract|is a protocol|No module named|"
    r"has no attribute|Problem with given class_path|Expected a path but"
)


def offer(option: str, base: type, module: ModuleType) -> None:
    """Add an option that takes a class; commands above this one have options of their own.

    Args:
        option: its name
        base: what its classes are of
        module: that offers them
    """
    CLASS_OPTIONS[option] = (base, module)


def offered(option: str) -> list[str]:
    """Return the names of the classes that an option takes: public ones that can be built.

    Args:
        option: one of `CLASS_OPTIONS`

    Example:
        >>> offered("model.loss")
        ['BalancedSoftmax', 'CrossEntropy', 'Focal', 'LogitAdjusted']
    """
    base, module = CLASS_OPTIONS[option]
    bases = base if isinstance(base, tuple) else (base,)
    public = {name: value for name, value in vars(module).items() if name in public_names(module)}
    if option == "trainer.callbacks":
        # callbacks of this project that draw can be given here with options of their own
        public |= {name: getattr(callbacks, name) for name in callbacks.__all__}
    return sorted(
        name
        for name, value in public.items()
        if inspect.isclass(value)
        and issubclass(value, bases)
        and value not in (*bases, *BASES)
        and not inspect.isabstract(value)
        and not instead_of(value)
    )


def public_names(module: ModuleType) -> list[str]:
    """Return what a module says that it offers, or else all that is not private."""
    # the list of torch.optim leaves some out
    said = getattr(module, "__all__", None) if module is not torch.optim else None
    return [name for name in vars(module) if not name.startswith("_")] if said is None else said


def explain_class(key: str, message: str) -> str | None:
    """Say what is wrong with a value of an option that takes a class.

    Args:
        key: of the option; empty for `--model.help NAME`, which does not name the option
        message: jsonargparse's account

    Returns:
        one line; None where it is about something else
    """
    if re.search(rf'Parser key "{key.rpartition(".")[2]}":\s+Expected a typing.Literal', message):
        # a class of its own has words for it
        return None
    of_class = key in CLASS_OPTIONS or not key
    # the last line repeats the whole value of an option above
    inner = message.split("Given value type")[0] if of_class and "Got value: " in message else message
    name = next((names[-1] for pattern in NAMED if (names := re.findall(pattern, inner, re.M))), None)
    if found := re.search(r"Multiple subclasses with name (\w+)\.[^:]*: (.+?)\.?$", message, re.M):
        paths = found[2].replace(", ", " or ")
        return f"--{key} {found[1]}: several classes have this name; give the whole name, {paths}"
    if name is not None and name.startswith("Namespace("):
        # a mapping with more than a class and its options, or with options alone
        given = re.sub(r"Namespace\(.*?\)", "", name.removeprefix("Namespace("))
        more = [other for other in re.findall(r"(\w+)=", given) if other not in ("class_path", "init_args")]
        beside = f", and not {' or '.join(more)}" if more else ""
        return f"--{key} takes class_path and init_args{beside}" if key else None
    if name is None or not (OF_A_CLASS.search(message) and (of_class or "Expected a <class" not in inner)):
        return None
    short = name.rpartition(".")[2]
    missing = re.search(r"the following arguments are required: ([\w, ]+)", message)
    if missing and (key not in CLASS_OPTIONS or short in offered(key) or not is_ours(name)):
        options = missing[1].split(", ")
        ways = " ".join(f"--{key}.{option} VALUE" for option in options)
        how = f"--{key}+={short} {ways}" if key in ("trainer.callbacks", "heads") else f"--{key} {short} {ways}"
        return f"--{key}: {short} needs {', '.join(options)}: give it as {how}"
    return unknown_class(key, name)


def is_ours(path: str) -> bool:
    """Tell whether a class is this project's, or one of a module that offers classes."""
    return any(path.startswith((module.__name__, "callbacks.")) for _, module in CLASS_OPTIONS.values())


def unknown_class(key: str, name: str) -> str:
    """Say which classes an option takes instead of one that it does not know.

    Args:
        key: of the option; empty where it is not known
        name: what it was given
    """
    if not key:
        names = sorted({other for option in CLASS_OPTIONS for other in offered(option)})
        return f"there is no class {name!r}{nearest(name.rpartition('.')[2], names)}"
    if key == "members":
        return f"--members takes mappings such as {{name: {name}}}, not {name!r}"
    if key not in CLASS_OPTIONS:
        return f"--{key}: there is no class {name!r}"
    base, names = CLASS_OPTIONS[key][0], offered(key)
    kind = key.rpartition(".")[2].removesuffix("s") if isinstance(base, tuple) else base.__name__
    # a base class is like all that are below it
    short = name.rpartition(".")[2]
    hint = nearest(short, names) if short != kind else ""
    return f"--{key}: there is no {kind} {name!r}{hint or ' (known: ' + ', '.join(names) + ')'}"
