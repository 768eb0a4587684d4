"""Two processes give what one gives."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from safetensors.torch import load_file

from engine.process_group import end_process_group
from lightning_modules import Linear
from tests.helpers.data import Blobs
from tests.helpers.shards import fetched, write
from tests.helpers.training import trainer
from tests.helpers.warm import Started, ranks, run_command, run_ranks

DDP = ("--trainer.devices", "2", "--trainer.strategy", "ddp")
SHARED = ("--data.stack_fraction", "0.2", "--trainer.max_epochs", "2", "--model.hidden", "[16]", "--model", "MLP")


QUIET = ("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false")
# of all figures, which take most of a test's time, those that are looked at
FEW = [f"--figures.{name}=false" for name in ("calibration", "curves", "prediction_sets", "gallery", "learning_curves")]


def train(*args, run=run_command):
    done = run(*args, *QUIET)
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def inside(folder):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def read(folder, run):
    path = folder / "runs/digits" / run
    return json.loads((path / "result.json").read_text()), load_file(path / "predictions.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A classifier fitted by two processes, with BatchNorm and batches that do not come out even."""
    folder = tmp_path_factory.mktemp("ddp")
    # by Lightning's own launcher, which starts the second process
    with inside(folder):
        train("fit", *SHARED, *DDP, "--run.name", "base", "--data.batch_size", "30")
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def test_fit__one_run_folder_with_a_whole_result(folder):
    assert [path.name for path in (folder / "runs/digits").iterdir()] == ["base"]
    result, predictions = read(folder, "base")
    assert result["processes"] == 2
    assert len(set(predictions["val/id"].tolist())) == result["samples"]["val"] == 143


def test_fit__throughput_is_that_of_both_processes(folder):
    result, _ = read(folder, "base")
    state = torch.load(folder / "runs/digits/base/checkpoints/last.ckpt", weights_only=True)["callbacks"]["Throughput"]
    for epoch in ("first", "later"):
        assert state[epoch]["images"] == result["samples"]["train"]
    rate = state["later"]["images"] / state["later"]["seconds"]
    assert result["fit"]["images_per_second"] == pytest.approx(rate, rel=1e-3)
    assert 0 <= result["fit"]["data_wait"] <= 1


@pytest.mark.parametrize("run", ["base", "stack"])
def test_test__two_processes_equal_one(here, run):
    folder = here
    if run == "stack" and not (folder / "runs/digits/stack").exists():
        bases = ("--model", "StackingModule", "--model.bases", "[runs/digits/base]")
        # ranks of torchrun find the folder of that very name
        train("fit", *SHARED[:4], *bases, *DDP, "--run.name", "stack", run=run_ranks)
    checkpoint = folder / "runs/digits" / run / "checkpoints/best.ckpt"
    results, figures, reports = {}, checkpoint.parents[1] / "figures", {}
    # 359 samples: no number of processes above one divides them
    for name, how, options in (("one", run_command, ()), ("two", run_ranks, (*DDP, "--data.batch_size", "50"))):
        train("test", "--ckpt_path", checkpoint, *options, *FEW, run=how)
        results[name] = read(folder, run)
        assert (figures / "test_confusion_matrix.png").is_file()
        reports[name] = (figures / "test_classification_report.txt").read_text()
        shutil.rmtree(figures)
    one, two = results["one"], results["two"]
    assert two[0]["test"] == pytest.approx(one[0]["test"], abs=1e-6)
    assert len(two[1]["test/id"].unique()) == len(two[1]["test/id"]) == 359
    assert two[1]["test/id"].equal(one[1]["test/id"])
    assert reports["one"] == reports["two"]
    if run == "stack":
        for left, right in zip(one[0]["members"], two[0]["members"], strict=True):
            assert left == pytest.approx(right, abs=1e-6)


def test_predict__each_sample_once(here):
    train("predict", "--ckpt_path", "runs/digits/base/checkpoints/best.ckpt", *DDP, run=run_ranks)
    rows = (here / "runs/digits/base/predicted.csv").read_text().splitlines()[1:]
    assert len({row.split(",")[0] for row in rows}) == len(rows) == 359


class Write(pl.Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with Path(f"epoch{trainer.current_epoch}.rank{trainer.global_rank}").open("a") as file:
            print(*batch["id"].tolist(), sep="\n", file=file)


def fit_sampled(sampling, processes):
    if sampling == "none":
        # nobody has given a seed: each process draws its own
        torch.seed()
    else:
        pl.seed_everything(3)
    data = Blobs(count=120, long_tail="exponential", imbalance_ratio=6, sampler=sampling, batch_size=10)
    devices = {"devices": 2, "strategy": "ddp"} if processes == 2 else {}
    fitting = trainer(".", callbacks=[Write()], enable_checkpointing=False, limit_val_batches=0, **devices)
    fitting.fit(Linear(data_info=data.info), datamodule=data)
    end_process_group()


def sampled(tmp_path, sampling, processes):
    """Fit and return the ids that each process was served, by processes, epoch and rank."""
    folder = tmp_path / str(processes)
    folder.mkdir()
    with inside(folder):
        ended = ranks(fit_sampled, sampling, 2) if processes == 2 else [Started(fit_sampled, sampling, 1).ended()]
    for one in ended:
        assert one.returncode == 0, one.stdout + one.stderr
    return {(processes, *path.name.split(".rank")): path.read_text().split() for path in folder.glob("epoch*")}


@pytest.mark.parametrize("sampling", ["balanced", "undersample"])
def test_sampler__two_processes_share_the_epoch_of_one(sampling, tmp_path):
    drawn = {**sampled(tmp_path, sampling, 1), **sampled(tmp_path, sampling, 2)}
    for epoch in ("epoch0", "epoch1"):
        alone, left, right = drawn[1, epoch, "0"], drawn[2, epoch, "0"], drawn[2, epoch, "1"]
        assert sorted(alone) == sorted(left + right)
        if sampling == "undersample":
            # no sample comes twice in an epoch, so none is on both
            assert not set(left) & set(right)
    assert drawn[1, "epoch0", "0"] != drawn[1, "epoch1", "0"]


class WriteShards(Write):
    def on_train_end(self, trainer, pl_module):
        names = sorted(path.name for path in Path(f"cache{trainer.global_rank}").glob("*/train/*.bin"))
        Path(f"shards{trainer.global_rank}").write_text("\n".join(names))


def fit_streamed(shards, processes):
    pl.seed_everything(3)
    rank = os.environ.get("RANK", "0")
    # each keeps what it fetches in a folder of its own, as two nodes do
    data = fetched(shards, f"cache{rank}", mixed_shards=2, streams=2, fetch_ahead=1, val_fraction=0.0)
    devices = {"devices": 2, "strategy": "ddp"} if processes == 2 else {}
    fitting = trainer(".", max_epochs=1, callbacks=[WriteShards()], enable_checkpointing=False, **devices)
    fitting.fit(Linear(data_info=data.info), datamodule=data)
    end_process_group()


def test_streamed__two_processes_share_the_shards_and_get_the_batches_of_one(tmp_path):
    _, shards = write(tmp_path, per_class=32)
    served = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        with inside(folder):
            both = processes == 2
            ended = ranks(fit_streamed, shards, 2) if both else [Started(fit_streamed, shards, 1).ended()]
        assert all(one.returncode == 0 for one in ended), [one.stdout + one.stderr for one in ended]
        served[processes] = [path.read_text().split() for path in sorted(folder.glob("epoch0.rank*"))]
    alone, (left, right) = served[1][0], served[2]
    assert len(alone) == len(set(alone)) == 96
    # batches of 8, of which each has 4
    assert len(left) == len(right) == 48
    assert all(
        set(alone[2 * start : 2 * start + 8]) == set(left[start : start + 4] + right[start : start + 4])
        for start in range(0, 48, 4)
    )
    fetched_by = [set((tmp_path / f"2/shards{rank}").read_text().split()) for rank in (0, 1)]
    assert len(set.union(*fetched_by)) == 12
    assert len(set.intersection(*fetched_by)) <= 1


def test_sampler__two_processes_share_an_epoch_without_a_seed(tmp_path):
    drawn = sampled(tmp_path, "none", 2)
    both = drawn[2, "epoch0", "0"] + drawn[2, "epoch0", "1"]
    assert len(set(both)) == len(both) == 36 + 14 + 6
