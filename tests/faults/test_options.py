"""Drawn combinations of options: each runs, or is refused in words that name what is wrong.

The short version runs in the suite; FAULTS_LONG=1 tries each value of each option alone, and thousands of combinations.
"""

import contextlib
import csv
import io
import os
import random
import re
import shutil
import sys

import numpy as np
import pytest

from pipelines.main import main
from records import run_dir
from tests.faults import options
from tests.helpers.data import blobs, write_image_folder

LONG = bool(os.environ.get("FAULTS_LONG"))
SEED = int(os.environ.get("FAULTS_SEED", "0"))
# command lines of a test, and how many tests
EACH, BLOCKS, PARTS = 20, 150 if LONG else 5, 10
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu"]
# one that runs long by nature is cut short by the first of these
WATCHED = ["--trainer.max_epochs=1", "--data.subsample=0.2"]
FORBIDDEN = {
    "the name of an exception": r"(?m)^error: (member '\w+': )?[\w.]*(Error|Exception|Interrupt|Exit)\b",
    "a bare key": r"(?m)^error: ('[^']*'|\d+|None)$",
    "a fault of ours": r"internal error",
    "a trace": r"Traceback",
    "Python's way to write an object": r"<class '|Namespace\(|object at 0x|<function |init_args=",
}


def draw(rng, data):
    """A command line, its options in any order; most of its values are legal."""
    fast = rng.random() < 0.8
    words = ["--trainer.fast_dev_run=true"] if fast else [*WATCHED]
    name = rng.choice(list(data))
    words += data[name]
    tables = [(options.TRAINER, "trainer."), (options.DATA, "data."), (options.MODEL, "model."), (options.OTHERS, "")]
    if name in ("ImageFolder", "Manifest"):
        tables.append((options.FILES, "data."))
    words += chosen(rng, "model", options.MODELS, [6, 8, 3, 2, 0.5, 0.3, 1, 0.3])
    for part, table, share in (
        ("model.optimizer", options.OPTIMIZERS, 0.5),
        ("model.loss", options.LOSSES, 0.3),
        ("model.schedule", options.SCHEDULES, 0.3),
    ):
        if rng.random() < share:
            words += chosen(rng, part, table, None)
    for _ in range(rng.choice([1, 1, 2, 2, 3, 4])):
        table, prefix = rng.choice(tables)
        words.append(assigned(rng, prefix, table))
    return words


def chosen(rng, part, table, weights):
    """A class and perhaps an option of it."""
    (name,) = rng.choices(list(table), weights)
    words = [f"--{part}={name}"]
    if table[name] and rng.random() < 0.5:
        words.append(assigned(rng, f"{part}.", table[name]))
    return words


def assigned(rng, prefix, table):
    """An option with a value; the first values of a table are those that work."""
    option = rng.choice(list(table))
    values = table[option]
    number = min(int(rng.expovariate(0.4)), len(values) - 1) if rng.random() < 0.7 else rng.randrange(len(values))
    return f"--{prefix}{option}={values[number]}"


def singles(data):
    """Every value of every option alone."""
    plain = ["--trainer.fast_dev_run=true", *data["Digits"], "--model=MLP"]
    for table, prefix in ((options.TRAINER, "trainer."), (options.DATA, "data."), (options.OTHERS, "")):
        yield from ([*plain, f"--{prefix}{option}={value}"] for option in table for value in table[option])
    yield from ([*plain[:-1], "--model=SmallCNN", f"--model.{o}={v}"] for o in options.MODEL for v in options.MODEL[o])
    folder = ["--trainer.fast_dev_run=true", *data["ImageFolder"]]
    yield from ([*folder, f"--data.{option}={v}"] for option in options.FILES for v in options.FILES[option])
    for part, table in (
        ("model", options.MODELS),
        ("model.optimizer", options.OPTIMIZERS),
        ("model.loss", options.LOSSES),
        ("model.schedule", options.SCHEDULES),
    ):
        for name, own in table.items():
            first = [*plain[: -1 if part == "model" else None], f"--{part}={name}"]
            yield first
            yield from ([*first, f"--{part}.{option}={value}"] for option in own for value in own[option])


def run(words, root):
    """Run a command line and return its exit status and what it printed."""
    os.environ.pop(run_dir.ENVIRONMENT_VARIABLE, None)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            status = main(["fit", *QUIET, *words, f"--run.root={root}"])
        except SystemExit as error:
            status = f"SystemExit {error.code}"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            status = f"raised {type(error).__name__}: {error}"
    return status, printed.getvalue()


def faults(status, printed, root):
    """What a run did that none may do."""
    found = [] if status in (0, 2) else [f"exit status {status}"]
    found += [what for what, pattern in FORBIDDEN.items() if re.search(pattern, printed)]
    message = printed.partition("error: ")[2].strip()
    if status == 2 and not 0 < len(message.splitlines()) <= 2:
        found.append("a message of other than one or two lines")
    if status == 2 and root.exists():
        found.append("a folder left behind")
    return found


def check(lines, root):
    """Run command lines, and fail with those that did what none may do."""
    wrong = []
    for words in lines:
        shutil.rmtree(root, ignore_errors=True)
        status, printed = run(words, root)
        found = faults(status, printed, root)
        if found:
            wrong.append(f"train.py fit {' '.join(words)}\n  {', '.join(found)}\n  {printed.strip()[-600:]}")
        elif LONG and os.environ.get("FAULTS_SHOW"):
            print(status, *words, "\n    ", printed.partition("error: ")[2].strip()[:300], file=sys.__stderr__)
    shutil.rmtree(root, ignore_errors=True)
    assert not wrong, f"{len(wrong)} of {len(lines)} command lines\n" + "\n".join(wrong)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The options of small data of each kind."""
    folder = tmp_path_factory.mktemp("data")
    images = write_image_folder(folder / "images", per_class=6, size=12)
    with (folder / "images/m.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "source", "group"])
        for number, path in enumerate(sorted(images.rglob("*.png"))):
            writer.writerow([path.relative_to(images), path.parent.name, "ab"[number % 2], f"g{number // 2}"])
    (x, y), (x_test, y_test) = blobs(36, 10), blobs(12, 10, seed=1)
    np.savez(folder / "a.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    files = ["--data.cache_dir", str(folder / "cache"), "--data.val_fraction", "0.2"]
    return {
        "Digits": ["--data=Digits"],
        "ImageFolder": ["--data=ImageFolder", "--data.root", str(images), *files],
        "Manifest": ["--data=Manifest", "--data.path", str(folder / "images/m.csv"), *files],
        "Npz": ["--data=Npz", "--data.path", str(folder / "a.npz")],
    }


@pytest.mark.parametrize("block", range(BLOCKS))
def test_drawn_options__run_or_are_refused_in_words(block, data, tmp_path):
    rng = random.Random(f"{SEED} {block}")
    check([draw(rng, data) for _ in range(EACH)], tmp_path / "runs")


@pytest.mark.parametrize("part", range(PARTS))
def test_each_value_alone__runs_or_is_refused_in_words(part, data, tmp_path):
    every = list(singles(data))
    lines = every[part::PARTS]
    # the short version looks at some of them, of each table
    check(lines if LONG else random.Random(part).sample(lines, 4), tmp_path / "runs")


def test_faults__are_found(tmp_path):
    assert faults(0, "", tmp_path / "none") == []
    assert faults(2, "error: --a must be b\n", tmp_path / "none") == []
    assert faults(2, "error: KeyError: 'a'", tmp_path / "none") == ["the name of an exception"]
    assert faults(2, "error: torch.cuda.OutOfMemoryError: a", tmp_path / "none") == ["the name of an exception"]
    assert faults(2, "error: 'a'", tmp_path / "none") == ["a bare key"]
    assert faults(1, "x", tmp_path) == ["exit status 1"]
    assert faults(2, "error: a\nb\nc", tmp_path) == [
        "a message of other than one or two lines",
        "a folder left behind",
    ]
