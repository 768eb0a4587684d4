"""A machine that lacks something: leave to write, open files, shared memory, letters, a clock that goes forward."""

import contextlib
import errno
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.data import DataLoader, Dataset

from pipelines.cli.errors import explain
from tests.helpers.data import write_image_folder
from tests.helpers.faults import LONG, copy_of, run
from tests.helpers.machine import CannotError, limit, read_only, without_shared_memory
from tests.helpers.safe import different
from tests.helpers.warm import TRAIN, Started, in_main, ranks

pytestmark = pytest.mark.usefixtures("blank_figures")
QUICK = (
    "--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu",
)  # fmt: skip
FIT = (
    "fit", "--data", "Digits", "--data.subsample", "0.2", "--model", "MLP", "--model.hidden", "[8]", *QUICK,
    "--run.root", "runs", "--run.experiment", "e", "--run.name",
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a run of two epochs."""
    root = tmp_path_factory.mktemp("machine") / "world"
    root.mkdir()
    with contextlib.chdir(root):
        outcome = run(*FIT, "a", "--trainer.max_epochs", "2")
    assert outcome.status == 0, outcome.said
    return root


@pytest.fixture
def here(world, tmp_path, monkeypatch):
    monkeypatch.chdir(copy_of(world, tmp_path / "work"))


ON = ("--ckpt_path", "runs/e/a")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ((*FIT, "new"), "the run's folder cannot be made in runs/e/new"),
        ((*FIT, "a", *ON, "--trainer.max_epochs", "3"), "runs/e/a/ cannot be written to"),
        (("test", *QUICK, *ON), "runs/e/a/ cannot be written to"),
        (("predict", *QUICK, *ON), "runs/e/a/ cannot be written to"),
        (("report", "runs", "--out", "runs/page"), "runs/page"),
        (("submit", *FIT, "sent"), "the run's folder cannot be made in runs/e/sent"),
        (("stack", "--config", "plan.yaml", "--root", "runs"), "the run's folder cannot be made in runs/"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_read_only__is_told_before_any_work(command, told, here):
    members = [{"name": name, "options": {"model": "Linear"}} for name in "ab"]
    cold = {"class_path": "LocalExecutor", "init_args": {"warm": False}}
    options = {"data": "Digits", "data.stack_fraction": 0.3, "trainer.accelerator": "cpu"}
    Path("plan.yaml").write_text(yaml.safe_dump({"members": members, "options": options, "executor": cold}))
    before = sorted(Path("runs").rglob("*"))
    try:
        with read_only(Path("runs").absolute()):
            outcome = run(*command)
    except CannotError as error:
        pytest.skip(str(error))
    assert outcome.status == 2
    assert not outcome.in_python_words
    assert told in outcome.said
    assert "choose another" in outcome.said or "choose a folder" in outcome.said
    assert sorted(Path("runs").rglob("*")) == before


def test_read_only__data_and_runs_may_be_read(here, tmp_path):
    images = write_image_folder(tmp_path / "images")
    data = ("--data", "ImageFolder", "--data.root", images, "--data.image_size", "16")
    try:
        with read_only(images), read_only(Path("runs").absolute()):
            mine = ("--run.root", "mine", "--trainer.max_epochs", "1")
            assert run("fit", *data, "--model", "Linear", *QUICK, *mine).status == 0
            outcome = run(
                "test", *QUICK, *ON, "--figures.draw", "false", "--run.root", "mine", "--run.name", "elsewhere"
            )
            assert outcome.status == 0, outcome.said
    except CannotError as error:
        pytest.skip(str(error))
    assert json.loads(Path("mine/e/elsewhere/result.json").read_text())["test"]


def few_files(words, number):
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    in_main(words)


def test_open_files__64_are_enough(here, tmp_path):
    images = write_image_folder(tmp_path / "images")
    on_disk = ("--data", "ImageFolder", "--data.root", str(images), "--data.image_size", "16", "--data.cache", "none")
    words = ("fit", *on_disk, "--data.num_workers", "8", "--model", "Linear", *QUICK, "--trainer.max_epochs", "1")
    ended = Started(few_files, words, 64).ended()
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.skipif(not LONG, reason="runs by make faults")
@pytest.mark.parametrize(
    "words",
    [
        ("test", *QUICK, *ON),
        ("report", "runs"),
        ("stack", "--config", "plan.yaml", "--executor.jobs", "8", "--retries", "0"),
    ],
    ids=lambda words: words[0],
)
def test_open_files__64_are_enough_for(words, here):
    members = [{"name": name, "options": {"model": "Linear"}} for name in "abcdefgh"]
    options = {
        "data": "Digits", "data.stack_fraction": 0.3, "trainer.accelerator": "cpu", "trainer.max_epochs": 1,
    }  # fmt: skip
    plan = {"members": members, "options": options, "heads": ["MeanHead"]}
    Path("plan.yaml").write_text(yaml.safe_dump(plan))
    ended = Started(few_files, words, 64).ended(600)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_open_files__none_left_names_the_limit(here):
    # the files that are open stay open
    with limit(resource.RLIMIT_NOFILE, 3):
        outcome = run("submit", *FIT, "sent")
    assert outcome.status == 2
    assert not outcome.in_python_words
    assert "Too many open files; raise the limit of open files, as by ulimit -n 4096" in outcome.said


class Dies(Dataset):
    """A data set of the user's own whose worker process is killed."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> int:
        os._exit(1)


class Fails(Dies):
    """One that cannot read a file."""

    def __getitem__(self, number: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "a.png")


def of_worker(data):
    with pytest.raises((RuntimeError, OSError)) as caught:
        next(iter(DataLoader(data, num_workers=1)))
    return explain(caught.value)


def test_worker__that_dies_is_told_with_a_way_out():
    told = of_worker(Dies())
    assert told.startswith("a worker process of a DataLoader was killed")
    assert "num_workers" in told


def test_worker__what_it_raised_is_told_without_its_trace():
    told = of_worker(Fails())
    assert "a.png" in told
    assert "Input/output error" in told
    assert "Traceback" not in told


def raised_by_torch(text):
    """An error that seems to come out of torch."""
    code = compile("raise RuntimeError(text)", "torch.py", "exec")
    with pytest.raises(RuntimeError) as caught:
        exec(code, {"__name__": "torch.multiprocessing", "text": text})
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "unable to write to file </torch_88_1>: No space left on device (28)",
        "unable to open shared memory object </torch_88_1> in read-write mode: Too many open files (24)",
        "received 0 items of ancdata",
    ],
)
def test_shared_memory__that_is_full_is_told_with_a_way_out(text):
    told = explain(raised_by_torch(text))
    assert told.startswith("no shared memory is left: make room in /dev/shm")
    assert text in told


def test_rank__that_has_ended_is_told_with_a_way_out():
    text = "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234"
    told = explain(raised_by_torch(text))
    assert told.startswith("another process of this job has ended")
    assert "--ckpt_path RUN" in told


def no_shared_memory(words):
    without_shared_memory()
    in_main(words)


@pytest.mark.skipif(not LONG, reason="runs by make faults")
def test_shared_memory__two_processes_need_none(here):
    try:
        without = Started(without_shared_memory).ended()
        if without.returncode:
            pytest.skip(without.stderr.strip().splitlines()[-1])
        both = ("--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs", "2")
        for one in ranks(no_shared_memory, (*FIT, "both", *both)):
            assert one.returncode == 0, one.stdout + one.stderr
    finally:
        assert os.access("/dev/shm", os.W_OK)


def left(run_folder):
    """What a run leaves that does not depend on the clock."""
    saved = torch.load(Path(run_folder) / "checkpoints/last.ckpt", weights_only=True)
    result = json.loads((Path(run_folder) / "result.json").read_text())
    rows = (Path(run_folder) / "metrics.csv").read_text().splitlines()
    return {
        "weights": saved["state_dict"],
        "val": result["val"],
        "rows": len(rows),
        "negative": result["fit"]["seconds"] < 0,
    }


def test_clock__that_goes_back_changes_nothing(here, monkeypatch):
    def fit_and_continue(name, between):
        assert run(*FIT, name, "--trainer.max_epochs", "1").status == 0
        between()
        assert run(*FIT, name, "--trainer.max_epochs", "2", "--ckpt_path", f"runs/e/{name}").status == 0

    fit_and_continue("forth", lambda: None)
    real, begun = time.time, time.monotonic()
    # two hours back in the middle of a run, and a day back before it goes on
    monkeypatch.setattr(time, "time", lambda: real() - (7200 if time.monotonic() - begun > 0.3 else 0))
    fit_and_continue("back", lambda: monkeypatch.setattr(time, "time", lambda: real() - 86_400))
    assert different(left("runs/e/forth"), left("runs/e/back")) == []
    outcome = run("status", "runs/e/back")
    assert "1 done" in outcome.said


NAMES = ("bîlder und mehr", "läufe ☃", "é 1")


def images_with_letters(images):
    write_image_folder(Path(images), classes=("chêne", "pin maritime", "猫"))


def commands_with_letters(images, root, name):
    folder = f"{root}/image_folder/{name}"
    data = ("--data", "ImageFolder", "--data.root", images, "--data.image_size", "16", "--model", "Linear", *QUICK)
    return [
        ("fit", *data, "--run.root", root, "--run.name", name, "--trainer.max_epochs", "1"),
        ("test", *QUICK, "--ckpt_path", folder, "--figures.draw", "false"),
        ("report", root, "--out", f"{root}/séite"),
        ("status", root),
    ]


def test_letters__spaces_and_unicode_in_all_paths(tmp_path, monkeypatch):
    folder = tmp_path / 'ein wörk ☃ "q"'
    folder.mkdir()
    monkeypatch.chdir(folder)
    images_with_letters(NAMES[0])
    for words in commands_with_letters(*NAMES):
        outcome = run(*words)
        assert outcome.status == 0, outcome.said
    assert Path("läufe ☃/image_folder/é 1/predictions.csv").is_file()


def test_letters__that_a_locale_lacks_are_told_with_a_way_out():
    with pytest.raises(UnicodeEncodeError) as caught:
        "läufe".encode("ascii")
    assert "'läufe' cannot be written in ascii" in explain(caught.value)
    assert "PYTHONUTF8=1" in explain(caught.value)


@pytest.mark.skipif(not LONG, reason="runs by make faults")
def test_letters__in_locale_c(tmp_path):
    folder = tmp_path / 'ein wörk ☃ "q"'
    folder.mkdir()
    images_with_letters(folder / NAMES[0])
    environment = {**os.environ, "LC_ALL": "C"}
    for words in commands_with_letters(*NAMES):
        done = subprocess.run(
            [sys.executable, TRAIN, *words], cwd=folder, env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
