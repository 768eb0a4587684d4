"""Damage done on purpose, and what a command makes of it."""

import contextlib
import io
import logging
import os
import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from pipelines.main import main
from records import run_dir

# the long version is run by `make faults`
LONG = os.environ.get("FAULTS_LONG", "") not in ("", "0")
# what no message for a person at the prompt may hold
PYTHON_WORDS = re.compile(
    r"error: (\w+\.)*[A-Z]\w*(Error|Exception|Interrupt|Warning)\b"
    r"|internal error|Traceback|<class '|Namespace\(| object at 0x"
)


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Args:
        status: its exit status
        said: all that it printed
    """

    status: int
    said: str

    @property
    def in_python_words(self) -> bool:
        """Whether the message is one for a programmer."""
        return bool(PYTHON_WORDS.search(self.said))


def run(*args: object) -> Outcome:
    """Run a command in this process, and catch all that it prints."""
    os.environ.pop(run_dir.ENVIRONMENT_VARIABLE, None)
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    loggers = [
        logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric", "py.warnings")
    ]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("always")
            # the test runner has put its own in this place
            warnings.showwarning = lambda message, *rest: print(message, file=said)
            try:
                status = main([str(arg) for arg in args])
            except SystemExit as error:
                status = error.code if isinstance(error.code, int) else 1
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        os.environ.pop(run_dir.ENVIRONMENT_VARIABLE, None)
    return Outcome(status, said.getvalue())


def flip(path: Path, random: np.random.Generator) -> str:
    """Turn one bit of a file over, and say which."""
    content = bytearray(path.read_bytes())
    place, bit = int(random.integers(len(content))), int(random.integers(8))
    content[place] ^= 1 << bit
    replace(path, bytes(content))
    return f"bit {bit} of byte {place} of {len(content)}"


def cut(path: Path, random: np.random.Generator) -> str:
    """Cut a file off, at times to nothing, and say where."""
    content = path.read_bytes()
    length = int(random.choice([0, len(content) // 2, int(random.integers(len(content)))]))
    replace(path, content[:length])
    return f"cut to {length} of {len(content)} bytes"


def replace(path: Path, content: bytes) -> None:
    """Put other content in a file's place; links and copies of it stay as they are."""
    path.unlink()
    path.write_bytes(content)


def copy_of(source: Path, target: Path) -> Path:
    """Copy a tree, in place of an earlier copy."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))


def same_tensors(one: Path, other: Path) -> bool:
    """Tell whether two safetensors files hold the same tensors."""
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
