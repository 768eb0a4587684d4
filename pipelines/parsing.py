"""The order in which options win, and what a change of class does to them."""

from typing import Any

import jsonargparse._typehints
from jsonargparse import Namespace

CLASSES = ("--model", "--data")


def in_order(args: list[str]) -> list[str]:
    """Bring a command line into the order in which the parser lets later options win.

    Configs come first, so that the command line beats them wherever they stand; and a class before its options. The
    class chosen on the command line also goes before the configs, so that options in configs are options of it.

    Example:
        >>> in_order(["fit", "--model.lr", "1", "--model", "MLP", "--config", "a.yaml"])
        ['fit', '--model', 'MLP', '--config', 'a.yaml', '--model', 'MLP', '--model.lr', '1']
    """
    groups: list[list[str]] = [[]]
    for arg in args:
        if arg.startswith("--") or arg == "-c":
            groups.append([])
        groups[-1].append(arg)
    command, *options = groups

    def name(group: list[str]) -> str:
        return group[0].partition("=")[0]

    def depth(group: list[str]) -> int:
        # sorting keeps the order of equals; other options may depend on theirs
        return name(group).count(".") if name(group).startswith(("--model", "--data")) else 0

    configs = [group for group in options if name(group) in ("--config", "-c")]
    classes = [group for group in options if name(group) in CLASSES]
    others = sorted((group for group in options if group not in configs), key=depth)
    return [*command, *(arg for group in (*classes, *configs, *others) for arg in group)]


def given_checkpoint(args: list[str]) -> str | None:
    """Return the value that a command line gives to `--ckpt_path`; the last one wins."""
    given = None
    for arg, following in zip(args, [*args[1:], ""], strict=True):
        name, equals, value = arg.partition("=")
        if name == "--ckpt_path":
            given = value if equals else following
    return given


def reset_options_with_class() -> None:
    """Let a class start from its own defaults when it takes another one's place.

    jsonargparse keeps every option of the class before that the new one accepts, defaults included: CIFAR-10 would be
    served at the size of the digits, and SGD would get AdamW's weight decay. There is no setting for it.
    """
    jsonargparse._typehints.discard_init_args_on_class_path_change = _discard_all


def _discard_all(parser_or_action: Any, previous: Any, value: Any) -> None:
    if previous and "init_args" in previous and previous["class_path"] != value["class_path"]:
        previous["init_args"] = Namespace()
