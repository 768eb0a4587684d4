"""Defaults of options that are objects: the parser knows their class and options, and they are built when used."""

import inspect
import sys
from types import FrameType, ModuleType
from typing import Any, TypeVar

import jsonargparse.typing
from jsonargparse import lazy_instance

T = TypeVar("T")


def _stack() -> list[tuple[FrameType]]:
    # the second is the frame of the module that has called `lazy`
    return [(sys._getframe(),), (sys._getframe(3),)]


def _module_of(frame: FrameType) -> ModuleType | None:
    return sys.modules.get(frame.f_globals["__name__"])


# `inspect` with a quick way to the module that calls
_QUICK_INSPECT = ModuleType("inspect")
vars(_QUICK_INSPECT).update({**vars(inspect), "stack": _stack, "getmodule": _module_of})


def lazy(kind: type[T], **options: Any) -> T:
    """Do what `jsonargparse.lazy_instance` does, faster.

    To find the module that calls it, jsonargparse reads the source of every frame of the stack. In the middle of an
    import that took a seventh of the time that a command needs to start.

    Args:
        kind: the class of the default
        options: of the object
    """
    jsonargparse.typing.inspect = _QUICK_INSPECT
    try:
        return lazy_instance(kind, **options)
    finally:
        jsonargparse.typing.inspect = inspect
