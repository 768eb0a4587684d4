"""Running the commands of records, and writing down what they gave, where and when."""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.claims.record import RECORDS, REPOSITORY, Record, RecordError, checked, made
from common.machine import core_count

# of the files that a command names, those whose change may change its figures
FOLDERS = ("benchmarks/", "configs/", "tests/")


def git(*words: str) -> str:
    """What a git command prints; nothing where it fails."""
    return subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=False).stdout


def machine() -> str:
    """Cores, processor, memory, GPU and versions of this machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    processor = names[0] if names else platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = "no GPU"
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        gpu = ", ".join(subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines())
    versions = f"Python {platform.python_version()}, torch {version('torch').partition('+')[0]}"
    return f"{core_count()} cores of {processor}, {memory:.0f} GiB of memory, {gpu}; {versions}"


def commit() -> str:
    """The commit that is checked out, and whether the code differs from it."""
    changed = [line for line in git("status", "--porcelain").splitlines() if not line[3:].startswith("docs/")]
    return git("rev-parse", "--short=7", "HEAD").strip() + (" with changes" if changed else "")


def looked_up(result: Any, path: str) -> Any:
    """A value in nested JSON by a path such as `shares.fit`, or `interval.0` of a list."""
    for word in path.split("."):
        result = result[int(word)] if isinstance(result, list) else result[word]
    return result


def figures_of(record: Record, result: dict[str, Any]) -> dict[str, Any]:
    """The figures that a run of a record's command gave.

    Args:
        record: with `taken`, if only some are wanted, or by other names
        result: the JSON object of the run's last line

    Returns:
        the figures

    Raises:
        RecordError: `taken` names what the result does not have
    """
    if not record.taken:
        return {key: value for key, value in result.items() if isinstance(value, int | float | str)}
    try:
        return {key: looked_up(result, path) for key, path in record.taken.items()}
    except (KeyError, IndexError, ValueError) as error:
        raise RecordError(f"{record.name}.json: the run's last line has no {error} of `taken`") from error


def last_object(printed: str) -> dict[str, Any]:
    """The JSON object of the last line that a command printed."""
    result = json.loads(printed.strip().splitlines()[-1])
    if not isinstance(result, dict):
        raise ValueError(f"the last line is no JSON object: {result}")
    return result


def written(name: str, folder: Path = RECORDS) -> dict[str, Any]:
    """A record's file as it is."""
    file = folder / f"{name}.json"
    if not file.is_file():
        raise RecordError(f"there is no {file}: write its claim and command first")
    return json.loads(file.read_text("utf-8"))


def write(name: str, content: dict[str, Any], folder: Path = RECORDS) -> None:
    """Check a record and write it."""
    checked(name, content)
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def stamp(name: str, folder: Path = RECORDS) -> None:
    """Write this machine, commit and day into a record whose figures were entered by hand."""
    here = {"machine": machine(), "commit": commit(), "date": date.today().isoformat()}
    write(name, written(name, folder) | here, folder)


def run(name: str, folder: Path = RECORDS) -> None:
    """Run a record's command, and write its figures, this machine, commit and day into it.

    Args:
        name: of the record
        folder: where the records are

    Raises:
        RecordError: the command failed, or its last line is no JSON object
    """
    content = written(name, folder)
    content.pop("not_run", None)
    record = made(name, content)
    words = [sys.executable if word == "python" else word for word in shlex.split(record.command)]
    started = commit()
    done = subprocess.run(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RecordError(f"{name}.json: its command ended with status {done.returncode}: {record.command}")
    try:
        result = last_object(done.stdout)
    except (ValueError, IndexError) as error:
        raise RecordError(f"{name}.json: the last line of its command is no JSON object of figures") from error
    content["figures"] = figures_of(record, result)
    if "table" in result:
        content["table"] = result["table"]
    here = {"machine": machine(), "commit": started, "date": date.today().isoformat()}
    # what was said of an earlier run does not hold for this one
    content.pop("note", None)
    write(name, content | here, folder)


def stale(records: dict[str, Record]) -> list[str]:
    """What to run again: what was never run, and what a change of the script or config may have made old.

    Args:
        records: by name

    Returns:
        a line for each, and for each benchmark without a record
    """
    lines = [f"{record.name}: not run, {record.not_run}" for record in records.values() if record.not_run]
    for record in records.values():
        words = shlex.split(record.command, posix=False)
        files = [word for word in words if word.startswith(FOLDERS) and (REPOSITORY / word).is_file()]
        at = record.commit.partition(" ")[0]
        if record.not_run or not files:
            continue
        if not git("cat-file", "-t", at).strip():
            lines.append(f"{record.name}: its commit {at} is not in this history")
        elif git("log", "--format=%h", f"{at}..HEAD", "--", *files).strip():
            lines.append(f"{record.name}: changed since {at}: {', '.join(files)}")
    commands = " ".join(record.command for record in records.values())
    scripts = sorted((REPOSITORY / "benchmarks").glob("*.py"))
    return lines + [
        f"benchmarks/{path.name}: no record" for path in scripts if f"benchmarks/{path.name}" not in commands
    ]
