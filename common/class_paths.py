"""Names of classes that files give: judged before anything is imported, because an import runs code.

Checkpoints, configs and plans name classes. A file may name those of this project and of the libraries that models are
built from; the user may trust more, by `--allow NAME` or by typing a class on the command line.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

import yaml

from common.yaml_loader import load

PROJECT = (
    "callbacks",
    "common",
    "datamodules",
    "engine",
    "ensembling",
    "figures",
    "lightning_modules",
    "measures",
    "pipelines",
    "records",
)
LIBRARIES = ("lightning", "timm", "torch", "torchmetrics", "torchvision")
# modules that held classes which saved files name, in earlier versions, and the packages where those are now
MOVED = {
    "callbacks.batch_picture": "callbacks",
    "callbacks.calibration": "callbacks",
    "callbacks.class_distribution": "callbacks",
    "callbacks.confusion_matrix": "callbacks",
    "callbacks.curves": "callbacks",
    "callbacks.drawing.evaluation": "callbacks",
    "callbacks.embeddings": "callbacks",
    "callbacks.figure_options": "callbacks",
    "callbacks.gallery": "callbacks",
    "callbacks.grad_cam": "callbacks",
    "callbacks.learning_curves": "callbacks",
    "callbacks.per_class_report": "callbacks",
    "callbacks.stack_decisions": "callbacks",
    "datamodules.cifar": "datamodules",
    "datamodules.digits": "datamodules",
    "datamodules.image_folder": "datamodules",
    "datamodules.manifest": "datamodules",
    "datamodules.mnist": "datamodules",
    "datamodules.npz": "datamodules",
    "ensembling.base": "ensembling.heads",
    "ensembling.logistic": "ensembling.heads",
    "ensembling.mlp": "ensembling.heads",
    "ensembling.pooling": "ensembling.heads",
    "lightning_modules.convnext": "lightning_modules",
    "lightning_modules.custom_cnn": "lightning_modules",
    "lightning_modules.efficientnet": "lightning_modules",
    "lightning_modules.losses": "lightning_modules",
    "lightning_modules.mlp": "lightning_modules",
    "lightning_modules.optim": "lightning_modules",
    "lightning_modules.resnet": "lightning_modules",
    "lightning_modules.small_cnn": "lightning_modules",
    "lightning_modules.stacked_classifier": "lightning_modules",
    "lightning_modules.vgg": "lightning_modules",
    "pipelines.executors": "pipelines.cells.executors",
}
# options that classes had in earlier versions, though they took one value alone
OF_A_BACKBONE = {
    "input_size": None,
    "backbone_lr_factor": 1.0,
    "layer_decay": 1.0,
    "logit_adjustment": 0.0,
    "freeze": "none",
    "weights": None,
    "pretrained": False,
    "normalization": "auto",
    "memory_format": "contiguous",
    "torch_compile": False,
}
DROPPED = {"StackingModule": OF_A_BACKBONE, "StackedClassifier": OF_A_BACKBONE}
# what of them starts processes, or runs what it is given
REFUSED = (
    "lightning.fabric.cli",
    "lightning.pytorch.cli",
    "torch.classes",
    "torch.distributed.elastic",
    "torch.distributed.launch",
    "torch.distributed.launcher",
    "torch.distributed.rpc",
    "torch.distributed.run",
    "torch.export",
    "torch.hub",
    "torch.jit",
    "torch.load",
    "torch.multiprocessing",
    "torch.ops",
    "torch.package",
    "torch.serialization",
    "torch.utils.cpp_extension",
)
# options whose values are files
FILE_OPTIONS = ("--config", "-c", "--ckpt_path")
NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
# what a refusal says, to find it inside the account of a parser, which may leave the name out
REFUSAL = "is not imported"


class UntrustedNameError(ImportError, ValueError):
    """A file names what may not be imported. Parsers report errors of both kinds."""


class _Trust:
    """What the user trusts beyond the project and its libraries, for one command."""

    def __init__(self, allowed: Sequence[str] = (), typed: Iterable[str] = ()) -> None:
        self.allowed = list(dict.fromkeys(allowed))
        self.typed = frozenset(typed)
        # the last name that was refused, and what was said of it
        self.refused = ("", "")


_trust = _Trust()


def take_options(args: Sequence[str]) -> list[str]:
    """Trust what a command line allows and the classes that are typed on it, and nothing that an earlier one has.

    Args:
        args: the command line

    Returns:
        it without `--allow`

    Raises:
        ValueError: what `--allow` is given is not the name of a module or class, or is Python's own
    """
    global _trust
    rest: list[str] = []
    allowed: list[str] = []
    words = iter(args)
    for word in words:
        option, equals, value = word.partition("=")
        if option != "--allow":
            rest.append(word)
            continue
        names = [name.strip() for name in (value if equals else next(words, "")).split(",")]
        wrong = next((name for name in names if not NAME.fullmatch(name)), None)
        if wrong is not None:
            raise ValueError(f"--allow takes the name of a module or class, such as my_nets, not {wrong!r}")
        if own := next((name for name in names if _root(name) in sys.stdlib_module_names), None):
            raise ValueError(f"--allow {own}: this is Python's own, and nothing that a model is built from")
        allowed += names
    _trust = _Trust(allowed, _typed(rest))
    return rest


def trust(*names: str) -> None:
    """Let files name more modules or classes, as `--allow` does, until the next command line is read.

    Args:
        names: dotted
    """
    _trust.allowed.extend(name for name in names if name not in _trust.allowed)


def options() -> list[str]:
    """Return the option `--allow` that another command needs to trust what this one does; empty if it needs none."""
    return ["--allow", ",".join(_trust.allowed)] if _trust.allowed else []


def suffix() -> str:
    """Return the same as the end of a command that is printed."""
    return "".join(f" {word}" for word in options())


def judge(path: str) -> None:
    """Refuse a name that may not be imported.

    Args:
        path: dotted, of a class or function

    Raises:
        UntrustedNameError: neither this project, its libraries nor the user vouch for it; the message says what would
    """
    root = _root(path)
    is_ours = root in (*PROJECT, *LIBRARIES)
    if _within(path, _trust.allowed) or (is_ours and not _within(path, REFUSED)):
        return
    can_be_trusted = not is_ours and root not in sys.stdlib_module_names
    if can_be_trusted and path in _trust.typed:
        # the command line is no file: from here on the code of that package runs, with what its classes are made of
        trust(root)
        return
    if not can_be_trusted:
        why = (
            ", because no model is built from it: name a class of this project, torch, torchvision, timm, lightning "
            "or torchmetrics"
        )
    else:
        why = f", because a file names it and its code would run: add --allow {root} if you trust it"
    _trust.refused = path, f"{path} {REFUSAL}{why}"
    raise UntrustedNameError(_trust.refused[1])


def refusal(message: str) -> tuple[str, str] | None:
    """Find a refusal inside a parser's account of an error.

    Args:
        message: the account

    Returns:
        the name that was refused, and what was said of it; None if the account is of something else
    """
    return _trust.refused if REFUSAL in message else None


def import_class(path: str) -> Any:
    """Import what a file names, if it may be imported.

    Args:
        path: dotted, of a class

    Raises:
        UntrustedNameError: it may not
        ImportError: there is no such module
        AttributeError: there is no such name in it
    """
    judge(path)
    module, _, name = current(path).rpartition(".")
    return getattr(import_module(module), name)


def current(path: str) -> str:
    """Return the name of today for a class that an earlier version has named.

    Args:
        path: dotted, of a class

    Example:
        >>> current("lightning_modules.losses.Focal"), current("lightning_modules.Focal"), current("my.losses.Focal")
        ('lightning_modules.Focal', 'lightning_modules.Focal', 'my.losses.Focal')
    """
    module, _, name = path.rpartition(".")
    return f"{MOVED.get(module, module)}.{name}" if module else path


def public_name(kind: type) -> str:
    """Return the name by which files name a class: the shortest one, which stays when a file moves.

    Args:
        kind: a class

    Example:
        >>> from collections import OrderedDict
        >>> public_name(OrderedDict)
        'collections.OrderedDict'
    """
    packages = kind.__module__.split(".")
    for length in range(1, len(packages)):
        package = sys.modules.get(".".join(packages[:length]))
        if getattr(package, kind.__qualname__, None) is kind:
            return f"{'.'.join(packages[:length])}.{kind.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__}"


# only a saved config holds all of these options: without split_version, it is of an earlier version
SAVED_SPLIT = frozenset({"val_fraction", "stack_fraction", "split_seed", "num_folds", "subsample", "num_workers"})


def up_to_date(content: Any) -> Any:
    """Write a config of an earlier version as this one would: by current names, without options that are gone.

    Args:
        content: of plain types

    Example:
        >>> up_to_date({"class_path": "StackingModule", "init_args": {"freeze": "none", "tta": "flip"}})
        {'class_path': 'StackingModule', 'init_args': {'tta': 'flip'}}
        >>> up_to_date({"class_path": "lightning_modules.losses.Focal"})
        {'class_path': 'lightning_modules.Focal'}
    """
    if isinstance(content, list):
        return [up_to_date(value) for value in content]
    if not isinstance(content, dict):
        return content
    kept = {name: up_to_date(value) for name, value in content.items()}
    path, options = kept.get("class_path"), kept.get("init_args")
    if not isinstance(path, str):
        return kept
    kept["class_path"] = current(path)
    if isinstance(options, dict) and options.keys() >= SAVED_SPLIT and "split_version" not in options:
        kept["init_args"] = options = {**options, "split_version": 1}
    if isinstance(options, dict) and _root(path) in (path, *PROJECT):
        dropped = DROPPED.get(path.rpartition(".")[2], {})
        kept["init_args"] = {n: v for n, v in options.items() if n not in dropped or v != dropped[n]}
    return kept


def with_public_names(content: Any) -> Any:
    """Write the project's classes in a config by their public names.

    Args:
        content: of plain types

    Example:
        >>> with_public_names({"loss": {"class_path": "lightning_modules.losses.Focal", "init_args": {"gamma": 2}}})
        {'loss': {'class_path': 'lightning_modules.Focal', 'init_args': {'gamma': 2}}}
    """
    if isinstance(content, list):
        return [with_public_names(value) for value in content]
    if not isinstance(content, dict):
        return content
    named = {name: with_public_names(value) for name, value in content.items()}
    path = named.get("class_path")
    if isinstance(path, str) and "." in path and _root(path) in PROJECT:
        named["class_path"] = public_name(import_class(path))
    return named


def named_in(content: Any) -> list[str]:
    """Return the class paths that a config names, nested ones too.

    Args:
        content: of plain types

    Example:
        >>> named_in({"model": {"class_path": "my.Net", "init_args": {"loss": {"class_path": "my.Loss"}}}})
        ['my.Net', 'my.Loss']
    """
    mappings = [value for value in _inside(content) if isinstance(value, dict)]
    return [mapping["class_path"] for mapping in mappings if isinstance(mapping.get("class_path"), str)]


def judge_all(content: Any, where: str) -> None:
    """Refuse a config that names a class which may not be imported.

    Args:
        content: of plain types
        where: the file that it is from

    Raises:
        UntrustedNameError: with the file's name
    """
    for path in named_in(content):
        # short names are of classes that are loaded already
        if "." in path:
            try:
                judge(path)
            except UntrustedNameError as error:
                raise UntrustedNameError(f"{where}: {error}") from None


def _typed(args: Sequence[str]) -> Iterator[str]:
    """Yield the dotted names that stand as values on a command line."""
    option = ""
    for word in args:
        option, _, value = word.partition("=") if word.startswith("-") else (option, "", word)
        if option in FILE_OPTIONS or not value:
            continue
        try:
            # lists and mappings are typed as YAML
            content = load(value) if value[0] in "[{" else value
        except yaml.YAMLError:
            continue
        texts = (text for text in _inside(content) if isinstance(text, str))
        # a file of this name is what was meant
        yield from (text for text in texts if "." in text and NAME.fullmatch(text) and not os.path.exists(text))  # noqa: PTH110


def _inside(content: Any) -> Iterator[Any]:
    """Yield a value and all inside it, each once: one that is held many times must not take forever."""
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list | tuple):
            if id(value) in seen:
                continue
            seen.add(id(value))
            inner = value.values() if isinstance(value, dict) else value
            waiting += reversed(list(inner))
        yield value


def _root(path: str) -> str:
    return path.partition(".")[0]


def _within(path: str, names: Iterable[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in names)
