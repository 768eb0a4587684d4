import os
import sys
from concurrent.futures import wait

import pytest
import torch

from pipelines.cells import die_with_parent, executors, process
from pipelines.cells.executors import LocalExecutor, ParslExecutor
from pipelines.cells.job import CellJob, run_cell
from tests.pipelines.cells.test_job import script


@pytest.fixture
def machine(monkeypatch):
    """Eight cores, no GPU."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("options", "count", "threads"),
    [
        ({}, 3, ["2", "2", "2"]),
        ({}, 50, ["1"] * 8),
        ({"jobs": 2}, 50, ["4", "4"]),
        ({"threads": 4}, 50, ["4", "4"]),
        # alone, it is not told how many
        ({}, 1, [None]),
    ],
)
def test_local__cells_share_the_cores(options, count, threads):
    environments = LocalExecutor(**options).environments(count)
    assert [environment.get("OMP_NUM_THREADS") for environment in environments] == threads
    assert not any("CUDA_VISIBLE_DEVICES" in environment for environment in environments)


@pytest.mark.usefixtures("machine")
def test_local__a_number_of_threads_of_the_users_own_stands(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert LocalExecutor().environments(4) == [{}] * 4


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("given", "options", "expected"),
    [
        (None, {}, ["0", "1"]),
        ("3,5", {}, ["3", "5"]),
        (None, {"cells_per_gpu": 2}, ["0", "1", "0", "1"]),
        (None, {"jobs": 3}, ["0", "1", "0"]),
    ],
)
def test_local__each_cell_gets_one_gpu(given, options, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    if given:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    environments = LocalExecutor(**options).environments(50)
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments] == expected


def test_local__no_two_cells_at_once_share_a_slot(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "TRAIN", tmp_path / "train.py")
    slots = [{"CUDA_VISIBLE_DEVICES": "a"}, {"CUDA_VISIBLE_DEVICES": "b"}]
    monkeypatch.setattr(LocalExecutor, "environments", lambda self, count: slots)
    jobs = [CellJob(f"cell{n}", tmp_path / "x", ("fit",), cwd=tmp_path) for n in range(4)]
    # each leaves its slot's name for as long as it runs
    body = (
        "folder = folder.parent / sys.argv[2]; (folder / 'checkpoints').mkdir(parents=True, exist_ok=True); "
        "slot = folder.parent / os.environ['CUDA_VISIBLE_DEVICES']; slot.mkdir(); time.sleep(0.2); slot.rmdir(); save()"
    )
    script(jobs[0], body)
    jobs = [CellJob(**{**vars(job), "args": ("fit", job.name)}) for job in jobs]
    executor = LocalExecutor()
    pool = executor.open(tmp_path / "x", 4)
    outcomes = [future.result() for future in [pool.submit(run_cell, job) for job in jobs]]
    executor.close(pool)
    assert [outcome.status for outcome in outcomes] == ["done"] * 4, outcomes


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LocalExecutor(jobs=0), "executor.jobs must be at least 1"),
        (lambda: LocalExecutor(cells_per_gpu=0), "executor.cells_per_gpu must be at least 1"),
        (lambda: ParslExecutor(max_blocks=0), "executor.max_blocks must be at least 1"),
        (
            lambda: ParslExecutor(gpus_per_node=4),
            "--executor.cells_per_node 1 would leave some of --executor.gpus_per_node 4",
        ),
        (lambda: ParslExecutor(provider="local", nodes_per_block=2), "executor.provider local has one node"),
    ],
)
def test_options__conflicts_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_parsl__says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(executors.shutil, "which", lambda name, path=None: None)
    with pytest.raises(ValueError, match="needs sbatch: start it on a login node"):
        ParslExecutor().open(tmp_path, 1)
    monkeypatch.setitem(sys.modules, "parsl", None)
    with pytest.raises(ValueError, match=r"pip install 'francesinha\[cluster\]'"):
        ParslExecutor(provider="local").open(tmp_path, 1)


def test_parsl__asks_slurm_for_what_cells_need(tmp_path, monkeypatch):
    pytest.importorskip("parsl")
    executor = ParslExecutor(
        partition="gpu", account="me", cells_per_node=4, cores_per_cell=3, gpus_per_node=2, worker_init="module load x"
    )
    provider = executor._provider()
    assert (provider.partition, provider.account, provider.cores_per_node, provider.gpus_per_node) == (
        "gpu",
        "me",
        12,
        2,
    )
    assert not provider.exclusive
    assert "module load x" in provider.worker_init
    assert str(executors.REPOSITORY) in provider.worker_init


def test_parsl__runs_cells_in_workers(tmp_path):
    pytest.importorskip("parsl")
    # workers import the real module: a command that ends at once
    job = CellJob("one", tmp_path / "x", ("--help",), {"a": 1}, tmp_path)
    executor = ParslExecutor(provider="local", cores_per_cell=1, gpus_per_node=1)
    pool = executor.open(tmp_path / "x", 1)
    try:
        future = pool.submit(run_cell, job)
        wait([future], timeout=120)
        outcome = future.result(timeout=0)
        launched = pool._dfk.executors["cells"].interchange_launch_cmd
    finally:
        executor.close(pool)
    # a killed command takes it along
    assert launched[1] == die_with_parent.__file__
    assert outcome.status == "failed"
    assert "has left no checkpoint" in outcome.message
    assert "usage: python train.py" in (tmp_path / "x/logs/one.log").read_text()
    assert (tmp_path / "x/parsl").is_dir()
