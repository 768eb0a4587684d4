import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pipelines.cells import job as cells
from pipelines.cells import process
from pipelines.cells.job import CellFiles, CellJob, run_cell, run_command, stop_file
from records.versions import REPOSITORY

# takes the place of train.py: records its arguments, saves a checkpoint, then does what the test wants
SCRIPT = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path({folder!r})
calls = folder.parent / "calls.jsonl"
calls.open("a").write(json.dumps([sys.argv[1:], sorted(os.environ), os.getcwd()]) + chr(10))
(folder / "checkpoints").mkdir(parents=True, exist_ok=True)
def save(): (folder / "checkpoints/last.ckpt").write_text("state")
{body}
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A cell whose process runs a script of the test's."""
    monkeypatch.setattr(process, "TRAIN", tmp_path / "train.py")
    monkeypatch.setattr(process, "POLL", 0.05)
    return CellJob("one", tmp_path / "x", ("fit", "--a=1"), {"a": 1}, tmp_path)


def script(job, body):
    text = SCRIPT.format(folder=str(job.folder / job.name), body=body)
    process.TRAIN.write_text(text)


def calls(job):
    path = job.folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def test_run_cell__is_run_once(job):
    script(job, "save(); print('hello')")
    outcome = run_cell(job)
    assert outcome.status == "done"
    again = run_cell(job)
    assert (again.status, again.seconds) == ("done", outcome.seconds)
    assert len(calls(job)) == 1
    files = CellFiles(job.folder, "one")
    assert files.is_done
    assert files.log.read_text() == "hello\n"
    record = files.read()
    assert (record["status"], record["settings"], record["exit_status"]) == ("done", {"a": 1}, 0)


def test_run_cell__goes_on_from_what_was_saved(job):
    script(job, "save(); sys.exit(1)")
    first = run_cell(job)
    script(job, "pass")
    second = run_cell(job)
    assert (first.status, second.status) == ("failed", "done")
    (before, *_), (after, *_) = calls(job)
    assert before == ["fit", "--a=1"]
    assert after == [*before, "--ckpt_path", str(job.folder / "one")]
    # the seconds are those of both processes
    assert second.seconds > first.seconds


def test_run_cell__one_killed_before_it_saved_starts_anew_in_its_folder(job):
    script(job, "(folder / 'config.yaml').touch(); os.kill(os.getpid(), signal.SIGKILL)")
    assert run_cell(job).status == "failed"
    script(job, "assert not (folder / 'config.yaml').exists(); save()")
    assert run_cell(job).status == "done"
    assert calls(job)[1][0] == ["fit", "--a=1"]


def test_run_cell__one_thrown_away_by_the_user_is_run_again(job):
    script(job, "save()")
    run_cell(job)
    (job.folder / "one/checkpoints/last.ckpt").unlink()
    assert not CellFiles(job.folder, "one").is_done
    assert run_cell(job).status == "done"
    assert len(calls(job)) == 2


def test_run_cell__one_that_ended_while_nobody_looked_is_done(job):
    script(job, "save(); (folder / 'result.json').write_text('{\"fit\": {\"seconds\": 70.5}}')")
    run_cell(job)
    files = CellFiles(job.folder, "one")
    # what a power cut right before the record was written leaves
    files.write({**files.read(), "status": "running", "seconds": 0.0})
    outcome = run_cell(job)
    assert (outcome.status, outcome.seconds) == ("done", 70.5)
    assert files.read()["seconds"] == 70.5
    assert len(calls(job)) == 1
    # the result of a test alone does not finish a fit
    files.write({**files.read(), "status": "running"})
    files.run.result.write_text('{"test": {}}')
    assert not files.is_done


def test_run_cell__a_failure_is_told_with_the_end_of_the_log(job):
    script(job, "print('\\n'.join(f'line {n}' for n in range(50))); sys.exit(2)")
    outcome = run_cell(job)
    assert outcome.status == "failed"
    assert "one failed; the end of" in outcome.message
    assert outcome.message.endswith("line 48\nline 49")
    assert "line 30" not in outcome.message


def test_run_cell__no_checkpoint_is_a_failure(job):
    script(job, "pass")
    assert "has left no checkpoint" in run_cell(job).message


def test_run_cell__stops_gently(job):
    body = (
        "signal.signal(signal.SIGTERM, lambda *a: (save(), sys.exit(143)))\n(folder / 'ready').touch()\ntime.sleep(60)"
    )
    script(job, body)
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(run_cell(job)))
    thread.start()
    wait_for(job.folder / "one/ready")
    stop_file(job.folder).touch()
    thread.join(30)
    assert outcomes[0].status == "stopped"
    assert CellFiles(job.folder, "one").run.last.is_file()
    # nor does another one start
    assert run_cell(job).status == "stopped"
    assert len(calls(job)) == 1


def test_run_cell__one_that_is_stopped_on_its_way_out_is_done(job):
    script(job, "save(); (folder / 'result.json').write_text('{\"fit\": {}}'); sys.exit(130)")
    assert run_cell(job).status == "done"
    assert CellFiles(job.folder, "one").read()["status"] == "done"


def start_stack(job, tmp_path, **options):
    """Run a cell in a process of its own, until it is under way."""
    code = (
        "from pathlib import Path; from pipelines.cells import process, job as cells; "
        f"process.TRAIN = Path({str(process.TRAIN)!r}); "
        f"job = cells.CellJob('one', Path({str(job.folder)!r}), ('fit',), cwd=Path({str(tmp_path)!r}), **{options}); "
        "cells.run_cell(job)"
    )
    stack = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
    wait_for(job.folder / "one/ready")
    wait_for(CellFiles(job.folder, "one").record)
    return stack


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_run_cell__one_that_dies_with_its_worker_saves_first(job, tmp_path):
    saves = "signal.signal(signal.SIGTERM, lambda *a: (save(), sys.exit(143)))"
    script(job, f"{saves}\n(folder / 'ready').touch(); time.sleep(60)")
    worker = start_stack(job, tmp_path, die_with_parent=True)
    worker.kill()
    worker.wait()
    wait_for(CellFiles(job.folder, "one").run.last)
    # the next one need not wait for its end, and goes on from there
    script(job, "sys.exit('--ckpt_path' not in sys.argv)")
    assert run_cell(job).status == "done"


def test_run_cell__waits_for_a_process_that_outlived_its_stack(job, tmp_path):
    script(
        job, "save(); (folder / 'ready').touch(); time.sleep(1.5); (folder / 'result.json').write_text('{\"fit\": {}}')"
    )
    stack = start_stack(job, tmp_path)
    stack.kill()
    stack.wait()
    assert run_cell(job).status == "done"
    # the process that was there finished it
    assert len(calls(job)) == 1


def test_run_cell__what_a_process_trained_with_other_settings_is_not_taken_for_this(job, tmp_path):
    ends = "(folder / 'ready').touch(); time.sleep(0.5); save(); (folder / 'result.json').write_text('{\"fit\": {}}')"
    script(job, ends)
    stack = start_stack(job, tmp_path, settings={"a": 1})
    stack.kill()
    stack.wait()
    # while it lives, and before it has saved anything
    other = replace(job, settings={"a": 2})
    outcome = run_cell(other)
    assert outcome.status == "failed"
    pid = CellFiles(job.folder, "one").read()["pid"]
    assert f"is being trained with other settings by process {pid} on host " in outcome.message
    assert "a was 1, is 2" in outcome.message
    # with the same settings, the process is waited for and the cell is done
    assert run_cell(job).status == "done"
    # other settings are still refused once it has ended
    outcome = run_cell(other)
    assert outcome.status == "failed"
    assert "cell 'one' was trained with other settings: a was 1, is 2" in outcome.message
    assert len(calls(job)) == 1


def test_run_cell__settings_are_compared_once_nobody_else_has_the_cell(job, monkeypatch):
    """Between the first look and the lock another process has trained it."""
    script(job, "save()")

    def locked(descriptor):
        CellFiles(job.folder, "one").write({"status": "stopped", "settings": {"a": 7}, "seconds": 1.0})
        CellFiles(job.folder, "one").run.checkpoints.mkdir(parents=True)
        CellFiles(job.folder, "one").run.last.touch()
        return True

    monkeypatch.setattr(cells, "_locked", locked)
    assert "a was 7, is 1" in run_cell(job).message
    assert calls(job) == []


def test_run_cell__a_run_of_the_users_own_is_left_alone(job):
    (job.folder / "one/checkpoints").mkdir(parents=True)
    (job.folder / "one/checkpoints/last.ckpt").touch()
    assert "is not a cell of this experiment" in run_cell(job).message
    assert calls(job) == []


def test_run_cell__its_settings_are_noted_before_it_starts(job, monkeypatch):
    noted = []
    monkeypatch.setattr(
        cells, "_run", lambda args, *others: noted.append(CellFiles(job.folder, "one").read()) or process.Ended(1)
    )
    script(job, "pass")
    CellFiles(job.folder, "one").log.parent.mkdir(parents=True)
    CellFiles(job.folder, "one").log.touch()
    run_cell(job)
    assert (noted[0]["status"], noted[0]["settings"]) == ("running", {"a": 1})


def test_run_cell__is_no_part_of_the_launchers_job(job, monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.setenv(name, "1")
    script(job, "save()")
    monkeypatch.setattr(process, "SLOT", SimpleNamespace(environment={"OMP_NUM_THREADS": "1"}))
    run_cell(job)
    _, seen, cwd = calls(job)[0]
    assert "OMP_NUM_THREADS" in seen
    assert not any(name.startswith(("SLURM_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_")) for name in seen)
    assert cwd == str(job.cwd)


@pytest.mark.parametrize(
    ("body", "status"),
    [("print('all good')", "done"), ("print('disk full'); sys.exit(2)", "failed"), ("sys.exit(130)", "stopped")],
)
def test_run_command__tells_how_it_ended(job, body, status):
    script(job, body)
    outcome = run_command(job)
    assert outcome.status == status
    assert outcome.message.endswith("disk full") == (status == "failed")
    assert (job.folder / "cells/one.json").is_file()
    # again, from the start, and the folder is left as it is
    assert run_command(job).status == status
    assert [args for args, _, _ in calls(job)] == [["fit", "--a=1"]] * 2


def test_run_command__is_stopped_by_the_file(job):
    script(job, "(folder / 'ready').touch(); time.sleep(60)")
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(run_command(job)))
    thread.start()
    wait_for(job.folder / "one/ready")
    assert CellFiles(job.folder, "one").read()["status"] == "running"
    stop_file(job.folder).touch()
    thread.join(30)
    assert [outcome.status for outcome in outcomes] == ["stopped"]
    assert CellFiles(job.folder, "one").read()["status"] == "stopped"
    assert run_command(job).status == "stopped"
    assert len(calls(job)) == 1


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


@pytest.fixture
def tested(job):
    """A cell that is tested once it is trained."""
    return replace(job, then=("test", "--ckpt_path=one"), proof="test")


# what `fit` and `test` leave of themselves in result.json
RESULTS = """
save()
result = folder / "result.json"
found = json.loads(result.read_text()) if result.is_file() else {}
result.write_text(json.dumps({**found, sys.argv[1]: {}}))
"""


def words(job):
    return [args[0] for args, *_ in calls(job)]


def test_run_cell__is_tested_once_it_is_trained(tested):
    script(tested, RESULTS)
    assert run_cell(tested).status == "done"
    assert words(tested) == ["fit", "test"]
    assert tested.files.is_done
    assert run_cell(tested).status == "done"
    assert words(tested) == ["fit", "test"]


def test_run_cell__one_that_was_trained_alone_is_only_tested(job, tested):
    script(job, RESULTS)
    run_cell(job)
    assert job.files.is_done
    assert not tested.files.is_done
    assert run_cell(tested).status == "done"
    assert words(job) == ["fit", "test"]
    # nor does it matter to who asks for less
    assert job.files.is_done


def test_run_cell__a_failed_test_is_tried_again_without_training(tested):
    script(tested, "if sys.argv[1] == 'test': sys.exit(2)" + RESULTS)
    assert run_cell(tested).status == "failed"
    script(tested, RESULTS)
    assert run_cell(tested).status == "done"
    assert words(tested) == ["fit", "test", "test"]


def test_run_cell__a_broken_result_is_a_failure_with_a_way_out(tested):
    script(
        tested,
        "save(); (folder / 'result.json').write_text('{\"fit\": {}, ' if sys.argv[1] == 'test' else '{\"fit\": {}}')",
    )
    outcome = run_cell(tested)
    assert outcome.status == "failed"
    assert "result.json is damaged (it is no JSON" in outcome.message
    assert "the same command then trains it anew" in outcome.message


def test_run_cell__no_result_of_the_test_is_a_failure(tested):
    script(tested, "save(); (folder / 'result.json').write_text('{\"fit\": {}}')")
    assert "result.json holds no test" in run_cell(tested).message


def test_run_cell__one_that_hangs_is_ended_at_its_time_limit(job, monkeypatch):
    monkeypatch.setattr(process, "GRACE", 0.1)
    script(job, "save(); signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    outcome = run_cell(replace(job, time_limit=1.0))
    assert outcome.status == "failed"
    assert outcome.message.startswith("one failed: it ran for longer than time_limit 1 s, and was ended; the end of ")


def test_run_cell__one_that_was_killed_says_what_kills(job):
    script(job, "save(); os.kill(os.getpid(), signal.SIGKILL)")
    assert "it was killed from outside (SIGKILL), as the system does where memory runs out" in run_cell(job).message
